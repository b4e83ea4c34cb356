"""``test``: heads in pictures, as boxes in files and as drawn pictures."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from head_detection.apps.arguments import (
    add_engine_options,
    add_weights_option,
    engine_options,
    positive,
    probability,
    scale,
)
from head_detection.apps.command import ending_in_order, ignore_signals
from head_detection.apps.progress import Progress
from head_detection.errors import OutputError
from head_detection.images.hiding import HIDING_STYLES, Hiding
from head_detection.images.reading import MAX_PIXELS
from head_detection.pipeline.opening import open_source
from head_detection.pipeline.sources import Source
from head_detection.results.formats import DEFAULT_FORMATS, SINKS, Sinks, parse_formats
from head_detection.results.record import Origin

if TYPE_CHECKING:
    from head_detection.inference.detector import HeadDetector

SOME_FAILED: Final = 1
STANDARD_OUTPUT: Final = Path("-")


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
    parser.add_argument(
        "--max-pixels", type=positive, default=MAX_PIXELS, metavar="N",
        help=f"refuse larger pictures, which memory may not hold (default: {MAX_PIXELS:,})",
    )  # fmt: skip
    usual = Hiding()
    parser.add_argument(
        "--blur-style", choices=HIDING_STYLES, default=usual.style,
        help=f"how --save blur hides heads (default: {usual.style}, nothing is left of them)",
    )  # fmt: skip
    parser.add_argument(
        "--blur-scale", type=scale, default=usual.scale, metavar="X",
        help=f"how much it hides, of the size of the head's box (default: {usual.scale})",
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
    detector.max_pixels = arguments.max_pixels
    folder = arguments.output or Path("runs", "test", source.info.name)
    folder = None if folder == STANDARD_OUTPUT else folder
    hiding = Hiding(arguments.blur_style, arguments.blur_scale)
    tally = Tally()
    with ending_in_order(), _naming("--output"):
        origin = Origin(detector.origin, detector.score_threshold)
        sinks = Sinks(formats, folder, origin, hiding)
        progress = Progress(source, sinks, folder, tally)
        try:
            with sinks:
                _detect(source, detector, sinks, arguments.batch_size, progress)
        except (KeyboardInterrupt, SystemExit):
            progress.say("stopped early; what was found till then is written")
            progress.report()
            raise
    progress.report()
    return SOME_FAILED if tally.failed else 0


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Name the option that a mistake is in."""
    try:
        yield
    except OutputError as error:
        raise OutputError(f"{option}: {error}") from error


def _detect(
    source: Source,
    detector: "HeadDetector",
    sinks: Sinks,
    batch_size: int | None,
    progress: Progress,
) -> None:
    from head_detection.pipeline.run import run_pipeline

    try:
        with progress.bar() as bar:
            for outcome in run_pipeline(source, detector, sinks, batch_size):
                progress.add(outcome, bar)
    finally:
        ignore_signals()  # the files are brought to their end, which is soon done
