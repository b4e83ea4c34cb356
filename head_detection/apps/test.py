"""``test``: finds heads in pictures and videos, and writes boxes and drawings."""

import argparse
from typing import TYPE_CHECKING, Final

from head_detection.apps.arguments import (
    add_detection_options,
    add_engine_options,
    add_weights_option,
    check_detector_options,
    engine_options,
)
from head_detection.apps.command import ending_in_order, ignore_signals
from head_detection.apps.progress import Progress, telling
from head_detection.apps.publishing_options import add_publishing_options, publishers
from head_detection.apps.result_options import (
    add_output_options,
    add_picture_options,
    blur_threshold,
    choose_formats,
    naming_option,
    open_window,
    results_folder,
    sink_options,
)
from head_detection.apps.video_options import (
    add_video_options,
    frame_options,
    lowest_score,
    make_counter,
    make_tracker,
    note_not_live,
    note_without_frames,
    tracking_config,
    zones_config,
)
from head_detection.pipeline.opening import open_source
from head_detection.results.output_folder import claiming

if TYPE_CHECKING:
    from head_detection.inference.detector import HeadDetector
    from head_detection.pipeline.sources import Source
    from head_detection.pipeline.tracking import HeadTracker

SOME_FAILED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--source", required=True, action="extend", nargs="+", metavar="PATH",
        help="one or more pictures, videos, folders (searched recursively), globs in quotes, or "
        "text files that list paths; - reads paths from standard input; or camera numbers, stream "
        "addresses, or a .streams file that lists them",
    )  # fmt: skip
    add_weights_option(parser)
    add_output_options(parser)
    add_detection_options(parser)
    add_video_options(parser)
    add_picture_options(parser)
    add_publishing_options(parser)
    add_engine_options(parser)


@telling()
def run(arguments: argparse.Namespace) -> int:
    """Find heads and return the exit code: 0, or 1 if a picture could not be read.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
        KeyboardInterrupt: Ctrl-C; what was found until then is written, as after SIGTERM.
    """
    check_detector_options(arguments)
    source = open_source(*arguments.source, **frame_options(arguments))
    formats = choose_formats(arguments, source.info.unit, is_live=source.info.is_live)
    options, told = sink_options(arguments, source.info.unit), publishers(arguments, source)
    window = open_window(arguments, options)
    hide_from = blur_threshold(arguments, formats)
    zones = zones_config(arguments, formats, source.info)
    note_not_live(arguments, source.info)
    engine = engine_options(arguments)
    if source.info.unit == "frames" and not arguments.compile:
        engine["compile_network"] = None  # let the engine decide: most videos have one frame size
    tracking = tracking_config(arguments, engine)
    engine |= {"lowest_score": lowest_score(hide_from, tracking)}
    from head_detection.inference.detector import HeadDetector
    from head_detection.pipeline.run import Tally
    from head_detection.results.formats import Sinks
    from head_detection.results.record import Origin

    detector = HeadDetector.from_weights(
        arguments.weights, score_threshold=arguments.score_threshold, **engine
    )
    detector.max_pixels = arguments.max_pixels
    if hide_from is not None:  # every head that is counted is hidden
        hide_from = min(hide_from, detector.score_threshold)
    tracker = make_tracker(arguments.track, tracking, detector.score_threshold)
    with ending_in_order(), naming_option("--output"):
        folder = results_folder(arguments, formats, source.info.name)
        with claiming(folder, formats):
            origin = Origin(detector.origin, detector.score_threshold)
            sinks = Sinks(formats, folder, origin, options, told)
        counter = make_counter(zones, tracking)
        progress = Progress(source, sinks, folder, Tally(), hide_from, window, counter)
        with progress.reporting(), window, sinks:
            _detect(source, detector, arguments.batch_size, progress, tracker)
    has_nothing = note_without_frames(arguments, formats, progress.tally)
    return SOME_FAILED if progress.tally.failed or has_nothing else 0


def _detect(
    source: "Source",
    detector: "HeadDetector",
    batch_size: int | None,
    progress: Progress,
    tracker: "HeadTracker | None",
) -> None:
    from head_detection.pipeline.run import run_pipeline

    try:
        with progress.bar() as bar:
            outcomes = run_pipeline(
                source, detector, progress, batch_size,
                hide_from=progress.hide_from, tracker=tracker, counter=progress.counter,
            )  # fmt: skip
            for outcome in outcomes:
                progress.add(outcome, bar)
    finally:
        ignore_signals()  # files are being finished, which takes little time
