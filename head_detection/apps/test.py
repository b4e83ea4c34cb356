"""``test``: heads in pictures, as boxes in files and as drawn pictures."""

import argparse
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Never

from tqdm import tqdm

from head_detection.apps.arguments import (
    add_engine_options,
    add_weights_option,
    engine_options,
    positive,
    probability,
)
from head_detection.inference.detector import HeadDetector
from head_detection.pipeline.run import DEFAULT_FORMATS, LINE_SECONDS, Tally, hand_on
from head_detection.pipeline.sources import Source, describe_skipped, find_pictures
from head_detection.results.record import Origin
from head_detection.results.sinks import SINKS, Sinks, parse_formats

SOME_FAILED: Final = 1
TERMINATED: Final = 143  # 128 + SIGTERM, as a shell reports it
BAR: Final = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Find heads and return the exit code: 0, or 1 where a picture could not be read.

    Raises:
        ValueError: a mistake of the user, one line.
        KeyboardInterrupt: Ctrl-C; what was found till then is written, as after SIGTERM.
    """
    arguments = _create_parser().parse_args(argv)
    formats = parse_formats(arguments.save)
    source = find_pictures(arguments.source)
    detector = HeadDetector.from_weights(
        arguments.weights,
        score_threshold=arguments.score_threshold,
        **engine_options(arguments),
    )
    folder: Path = arguments.output or Path("runs", "test", source.name)
    origin = Origin(detector.origin, detector.score_threshold)
    tally = Tally()
    with _ending_in_order():
        sinks = Sinks(formats, folder, origin)
        try:
            with sinks:
                _detect(detector, source, sinks, arguments.batch_size, tally)
        except (KeyboardInterrupt, SystemExit):
            print("stopped early; what was found till then is written")
            _report(tally, source.skipped, folder, sinks.outputs)
            raise
    _report(tally, source.skipped, folder, sinks.outputs)
    return SOME_FAILED if tally.failed else 0


def _detect(
    detector: HeadDetector, source: Source, sinks: Sinks, batch_size: int | None, tally: Tally
) -> None:
    results = detector.stream(source.pictures, batch_size, keep_pixels=sinks.needs_pixels)
    try:
        with _progress_bar(source.num_pictures) as progress:
            for number, result in enumerate(results, start=1):
                hand_on(result, number, sinks, tally)
                progress.set_postfix_str(f"{tally.heads} heads", refresh=False)
                progress.update()
    finally:
        _ignore_signals()  # the files are brought to their end, which is soon done


def _report(tally: Tally, skipped: Counter[str], folder: Path, outputs: Sequence[str]) -> None:
    seconds = time.monotonic() - tally.start
    rate = tally.pictures / seconds if seconds else 0.0
    print(
        f"pictures: {tally.pictures}, heads: {tally.heads}, failed: {tally.failed}, "
        f"seconds: {seconds:.1f} ({rate:.2f} pictures/s)"
    )
    if skipped:
        print(f"passed over: {describe_skipped(skipped)}")
    print(f"results in {folder}: {', '.join(outputs)}")


def _progress_bar(total: int | None) -> "tqdm[Never]":
    is_terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc="Finding heads",
        unit=" pictures",
        bar_format=BAR,
        mininterval=0.1 if is_terminal else LINE_SECONDS,
        dynamic_ncols=is_terminal,
    )


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM unwind the work as Ctrl-C does; put the handlers back at the end."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Find heads in pictures.")
    parser.add_argument(
        "--source",
        required=True,
        nargs="+",
        metavar="PATH",
        help="a picture, a folder (with all below it), a glob in quotes, a text list of paths, "
        "or - for paths on standard input; also several",
    )
    add_weights_option(parser)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: runs/test/<name of the source>"
    )
    parser.add_argument(
        "--save",
        default=DEFAULT_FORMATS,
        metavar="LIST",
        help=f"what to write, with commas: {', '.join(SINKS)} (default: {DEFAULT_FORMATS})",
    )
    parser.add_argument(
        "--score-threshold",
        type=probability,
        metavar="X",
        help="leave out heads scored lower, 0 to 1 (default: the weights' own)",
    )
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="pictures of like shape at once (default: what suits the device)",
    )
    add_engine_options(parser)
    return parser
