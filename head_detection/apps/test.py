"""``test``: heads in pictures, as boxes in files and as drawn pictures."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Never

from tqdm import tqdm

from head_detection.apps.arguments import (
    add_engine_options,
    add_weights_option,
    engine_options,
    positive,
    probability,
)
from head_detection.apps.command import ending_in_order, ignore_signals
from head_detection.errors import OutputError
from head_detection.pipeline.opening import open_source
from head_detection.pipeline.sources import Source, describe_skipped
from head_detection.results.formats import DEFAULT_FORMATS, SINKS, Sinks, parse_formats
from head_detection.results.record import Failure, Origin

if TYPE_CHECKING:
    from head_detection.inference.detector import HeadDetector
    from head_detection.pipeline.run import Tally

SOME_FAILED: Final = 1
STANDARD_OUTPUT: Final = Path("-")
LINE_SECONDS: Final = 10.0
"""Between two lines of progress where standard error is a file."""
BAR: Final = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--source", required=True, nargs="+", metavar="PATH",
        help="a picture, a folder (with all below it), a glob in quotes, a text list of paths, "
        "or - for paths on standard input; also several",
    )  # fmt: skip
    add_weights_option(parser)
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="default: runs/test/<name of the source>; - with --save lines is standard output",
    )  # fmt: skip
    default = ",".join(DEFAULT_FORMATS)
    parser.add_argument(
        "--save", default=default, metavar="LIST",
        help=f"what to write, with commas: {', '.join(SINKS)} (default: {default})",
    )  # fmt: skip
    parser.add_argument(
        "--score-threshold", type=probability, metavar="X",
        help="leave out heads scored lower, 0 to 1 (default: the weights' own)",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=positive, metavar="N",
        help="pictures of like shape at once (default: what suits the device)",
    )  # fmt: skip
    add_engine_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Find heads and return the exit code: 0, or 1 where a picture could not be read.

    Raises:
        HeadDetectionError: a mistake of the user, one line.
        KeyboardInterrupt: Ctrl-C; what was found till then is written, as after SIGTERM.
    """
    from head_detection.inference.detector import HeadDetector
    from head_detection.pipeline.run import Tally

    with _naming("--save"):
        formats = parse_formats(arguments.save)
    source = open_source(*arguments.source)
    detector = HeadDetector.from_weights(
        arguments.weights,
        score_threshold=arguments.score_threshold,
        **engine_options(arguments),
    )
    folder = arguments.output or Path("runs", "test", source.info.name)
    folder = None if folder == STANDARD_OUTPUT else folder
    tally = Tally()
    with ending_in_order(), _naming("--output"):
        sinks = Sinks(formats, folder, Origin(detector.origin, detector.score_threshold))
        try:
            with sinks:
                _detect(source, detector, sinks, arguments.batch_size, tally)
        except (KeyboardInterrupt, SystemExit):
            _say("stopped early; what was found till then is written", folder)
            _report(tally, source.skipped, folder, sinks)
            raise
    _report(tally, source.skipped, folder, sinks)
    return SOME_FAILED if tally.failed else 0


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Name the option that a mistake is in."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{option}: {error}") from error


def _detect(
    source: Source, detector: "HeadDetector", sinks: Sinks, batch_size: int | None, tally: "Tally"
) -> None:
    from head_detection.pipeline.run import run_pipeline

    try:
        with _progress_bar(source.info.count) as progress:
            for outcome in run_pipeline(source, detector, sinks, batch_size):
                tally.add(outcome)
                if isinstance(outcome, Failure):
                    tqdm.write(f"failed: {outcome.name}: {outcome.reason}", file=sys.stderr)
                progress.set_postfix_str(f"{tally.heads} heads", refresh=False)
                progress.update()
    finally:
        ignore_signals()  # the files are brought to their end, which is soon done


def _say(line: str, folder: Path | None) -> None:
    """Print to standard output, to standard error where the results take that."""
    print(line, file=sys.stderr if folder is None else sys.stdout)


def _report(tally: "Tally", skipped: Counter[str], folder: Path | None, sinks: Sinks) -> None:
    seconds = time.monotonic() - tally.start
    rate = tally.pictures / seconds if seconds else 0.0
    _say(
        f"pictures: {tally.pictures}, heads: {tally.heads}, failed: {tally.failed}, "
        f"seconds: {seconds:.1f} ({rate:.2f} pictures/s)",
        folder,
    )
    if skipped:
        _say(f"passed over: {describe_skipped(skipped)}", folder)
    if folder is not None:
        _say(f"results in {folder}: {', '.join(sinks.outputs)}", folder)


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
