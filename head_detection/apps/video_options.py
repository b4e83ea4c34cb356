"""Options of frames: which of videos and cameras are taken, and what is done with them.

Nothing here may import torch, nor anything else that takes long: options are parsed before it is.
"""

import argparse
from typing import TYPE_CHECKING, Any, Final, TypedDict

from head_detection.apps.arguments import number_in, positive
from head_detection.apps.command import UsageError
from head_detection.config import TRACKERS, TrackingConfig, override_tracking
from head_detection.pipeline.sources import FrameOptions, Patience

if TYPE_CHECKING:
    from head_detection.pipeline.tracking import HeadTracker

_TRACKING: Final = "tracking."
LONGEST_SECONDS: Final = 1e9
SHORTEST_TIMEOUT: Final = 0.1
LOWEST_FPS: Final = 1e-4
HIGHEST_FPS: Final = 1e4


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Declare which frames are taken."""
    frames = parser.add_argument_group("frames of videos and cameras")
    frames.add_argument(
        "--start", type=seconds, default=0.0, metavar="S",
        help="leave out so many seconds of each video's beginning",
    )  # fmt: skip
    frames.add_argument(
        "--end", type=seconds, metavar="S", help="stop so many seconds from its beginning"
    )
    rate = frames.add_mutually_exclusive_group()
    rate.add_argument(
        "--stride", "--vid-stride", type=positive, default=1, metavar="N",
        help="take one frame of N; it keeps its number",
    )  # fmt: skip
    rate.add_argument(
        "--max-fps", type=fps, metavar="X", help="take at most X frames of each second"
    )
    waiting = frames.add_mutually_exclusive_group()
    waiting.add_argument(
        "--live", action="store_const", const=True, dest="live",
        help="take the newest frame and drop older ones, as of a camera (default of those)",
    )  # fmt: skip
    waiting.add_argument(
        "--every-frame", action="store_const", const=False, dest="live",
        help="drop no frame, however late it is (default of files)",
    )  # fmt: skip
    usual = Patience()
    frames.add_argument(
        "--open-timeout", type=timeout, default=usual.open_seconds, metavar="S",
        help=f"try a camera again that has not answered for S seconds ({usual.open_seconds:g})",
    )  # fmt: skip
    frames.add_argument(
        "--read-timeout", type=timeout, default=usual.read_seconds, metavar="S",
        help=f"try a camera again that has sent nothing for S seconds ({usual.read_seconds:g})",
    )  # fmt: skip


class SourceOptions(TypedDict):
    """Of ``open_source``."""

    options: FrameOptions
    patience: Patience


def frame_options(arguments: argparse.Namespace) -> SourceOptions:
    """Return which frames the options ask for, and how long cameras are waited for.

    Raises:
        UsageError: an end that is not behind the start.
    """
    if arguments.end is not None and arguments.end <= arguments.start:
        raise UsageError(
            f"--end: expected more than --start, {arguments.start:g}; got {arguments.end:g}"
        )
    options = FrameOptions(
        start=arguments.start,
        end=arguments.end,
        stride=arguments.stride,
        max_fps=arguments.max_fps,
        max_pixels=arguments.max_pixels,
        is_live=arguments.live,
    )
    return {
        "options": options,
        "patience": Patience(arguments.open_timeout, arguments.read_timeout),
    }


def add_tracking_options(parser: argparse.ArgumentParser) -> None:
    """Declare whether heads are followed, and how."""
    parser.add_argument(
        "--track", nargs="?", choices=TRACKERS, const=TRACKERS[0], metavar="NAME",
        help="give heads of videos and cameras an id that they keep from frame to frame: "
        f"{', '.join(TRACKERS)} (default where NAME is left out: {TRACKERS[0]}); "
        "--set tracking.lost_seconds=2 ... for how",
    )  # fmt: skip


def tracking_config(
    arguments: argparse.Namespace, options: dict[str, Any]
) -> TrackingConfig | None:
    """Return how heads are to be followed, and take what says so out of the engine's options.

    Args:
        arguments: of the command.
        options: of ``engine_options``; ``tracking.KEY=VALUE`` is taken out of its overrides.

    Raises:
        UsageError: such a value without ``--track``.
        ConfigError: an unknown key or a wrong value.
    """
    given: list[str] = options["overrides"]
    own = [override for override in given if override.startswith(_TRACKING)]
    options["overrides"] = [override for override in given if override not in own]
    if arguments.track is None and own:
        raise UsageError(f"--set {own[0]}: expected --track beside it, which it is for")
    return None if arguments.track is None else override_tracking(own)


def make_tracker(
    name: str | None, config: TrackingConfig | None, score_threshold: float
) -> "HeadTracker | None":
    """Build the tracker that was asked for; None: none was.

    Raises:
        MissingPackageError: its package is not installed.
    """
    if name is None or config is None:
        return None
    from head_detection.pipeline.tracking import HeadTracker

    return HeadTracker.from_config(config, name, score_threshold)


def seconds(text: str) -> float:
    """Read a time in a video.

    Raises:
        argparse.ArgumentTypeError: no number, or one below 0.

    Example:
        >>> seconds("2.5")
        2.5
    """
    return number_in(text, 0.0, LONGEST_SECONDS)


def timeout(text: str) -> float:
    """Read how long to wait, in seconds.

    Raises:
        argparse.ArgumentTypeError: no number, or one that no answer is as quick as.

    Example:
        >>> timeout("10")
        10.0
    """
    return number_in(text, SHORTEST_TIMEOUT, LONGEST_SECONDS)


def fps(text: str) -> float:
    """Read how many frames a second; less than one too.

    Raises:
        argparse.ArgumentTypeError: no number, or none above 0.

    Example:
        >>> fps("0.2")
        0.2
    """
    return number_in(text, LOWEST_FPS, HIGHEST_FPS)
