"""Options of frames: which of videos and cameras are taken, and what is done with them.

Nothing here may import torch, nor anything else that takes long: options are parsed before it is.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

from head_detection.apps.arguments import number_in, positive
from head_detection.apps.command import UsageError
from head_detection.config import TRACKERS, TrackingConfig, override_tracking
from head_detection.pipeline.addresses import DeviceMode
from head_detection.pipeline.sources import FrameOptions, Patience, SourceInfo
from head_detection.results.format_names import FRAME_FORMATS

if TYPE_CHECKING:
    from head_detection.config.zones import ZonesConfig
    from head_detection.pipeline.run import Tally
    from head_detection.pipeline.tracking import HeadTracker
    from head_detection.pipeline.zones import RegionCounter

_TRACKING: Final = "tracking."
LONGEST_SECONDS: Final = 1e9
SHORTEST_TIMEOUT: Final = 0.1
LOWEST_FPS: Final = 1e-4
HIGHEST_FPS: Final = 1e4
FOURCC: Final = {
    "mjpg": "mjpeg", "yuyv": "yuyv422", "uyvy": "uyvy422", "yu12": "yuv420p", "rgb3": "rgb24",
    "bgr3": "bgr24", "grey": "gray",
}  # fmt: skip
"""V4L2's names of formats, by FFmpeg's, where they differ."""


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Declare which frames are taken, and what is done with their heads."""
    add_frame_options(parser)
    add_tracking_options(parser)
    add_counting_options(parser)


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
    _add_mode_options(frames)


def _add_mode_options(frames: argparse._ArgumentGroup) -> None:
    frames.add_argument(
        "--camera-size", type=frame_size, metavar="WxH",
        help="ask a camera of this machine for this size: 1920x1080 (default: its own)",
    )  # fmt: skip
    frames.add_argument(
        "--camera-fps", type=fps, metavar="X", help="ask it for the rate nearest to this"
    )
    frames.add_argument(
        "--camera-format", type=camera_format, metavar="NAME",
        help="ask it for this format: mjpeg (which many need for large frames at full rate), "
        "yuyv422 ...",
    )  # fmt: skip


class SourceOptions(TypedDict):
    """Of ``open_source``."""

    options: FrameOptions
    patience: Patience
    mode: DeviceMode | None


def frame_options(arguments: argparse.Namespace) -> SourceOptions:
    """Return which frames the options ask for, and how cameras are opened and waited for.

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
    mode = DeviceMode(arguments.camera_size, arguments.camera_fps, arguments.camera_format)
    return {
        "options": options,
        "patience": Patience(arguments.open_timeout, arguments.read_timeout),
        "mode": None if mode == DeviceMode() else mode,
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


def lowest_score(hide_from: float | None, tracking: TrackingConfig | None) -> float | None:
    """Return down to which score heads are of use to what hides or follows them."""
    asked = (hide_from, None if tracking is None else tracking.lowest_score)
    return min((score for score in asked if score is not None), default=None)


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


def add_counting_options(parser: argparse.ArgumentParser) -> None:
    """Declare where heads are counted, and how often that is written."""
    parser.add_argument(
        "--zones", type=Path, metavar="FILE.yaml",
        help="count heads at the lines and in the zones of this file; heads of videos and cameras "
        f"are followed for it (by {TRACKERS[0]} without --track)",
    )  # fmt: skip
    parser.add_argument(
        "--counts-every", type=seconds, default=1.0, metavar="S",
        help="seconds between two counts of a video or a camera in counts.csv; 0 is each frame "
        "(default: 1)",
    )  # fmt: skip


def zones_config(
    arguments: argparse.Namespace, formats: Sequence[str], info: SourceInfo
) -> "ZonesConfig | None":
    """Return where heads are to be counted, and see that they are followed for it.

    Args:
        arguments: of the command; ``track`` is set where it has to be.
        formats: what is written.
        info: of the source; of a video, the points are checked to lie in its frames.

    Raises:
        UsageError: events asked for without zones.
        ConfigError: no such file, or a mistake in it.
    """
    if arguments.zones is None:
        if "events" in formats:
            raise UsageError("--save events: expected --zones FILE.yaml beside it, where they are")
        return None
    from head_detection.config.zones import load_zones

    zones = load_zones(arguments.zones)
    if info.size is not None and not info.is_live:  # a single video
        from head_detection.pipeline.zones import build_region_counter

        build_region_counter(zones).regions_in(Path(*arguments.source).name, info.size)
    note = None
    if "frames" not in info.unit and "-" not in arguments.source:  # where both may be typed
        note = "lines count in videos and from cameras alone" if zones.has_lines else None
    elif arguments.track is None and (zones.has_lines or find_spec("trackers")):
        arguments.track = TRACKERS[0]
        note = f"--zones follows heads by {TRACKERS[0]}; --track names another"
    elif arguments.track is None:
        note = "without pip install 'head-detection[track]' zones have counts of the moment alone"
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    return zones


def make_counter(
    zones: "ZonesConfig | None", tracking: TrackingConfig | None
) -> "RegionCounter | None":
    """Build what counts in zones; None: none were given."""
    if zones is None:
        return None
    from head_detection.pipeline.zones import build_region_counter

    return build_region_counter(zones, 0.0 if tracking is None else tracking.lost_seconds)


def note_without_frames(
    arguments: argparse.Namespace, formats: Sequence[str], tally: "Tally"
) -> bool:
    """Say what was asked of frames, where none came: in vain of pictures, or of another part.

    Returns:
        Whether nothing at all came of the part of a video that was asked for.
    """
    if tally.frames:
        return False
    part = f"--start {arguments.start:g}"
    part += "" if arguments.end is None else f" and --end {arguments.end:g}"
    is_part = arguments.start > 0 or arguments.end is not None
    if is_part and not (tally.pictures or tally.failed):
        start = "between" if arguments.end is not None else "behind"
        print(f"note: no frame lies {start} {part}: nothing was looked at", file=sys.stderr)
        return True
    options = ["--track"] if arguments.track is not None else []
    options += [part] if is_part else []
    if saved := [name for name in FRAME_FORMATS if name in formats]:
        options.append(f"--save {','.join(saved)}")
    if options and tally.pictures:
        what = ", ".join(options)
        print(f"note: {what}: of videos and cameras alone; these were pictures", file=sys.stderr)
    return False


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


def frame_size(text: str) -> tuple[int, int]:
    """Read a size as it is usual, width first; return (height, width).

    Raises:
        argparse.ArgumentTypeError: no two numbers with an x between.

    Example:
        >>> frame_size("1920x1080")
        (1080, 1920)
    """
    found = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, as 1920x1080; got {text!r}")
    return int(found[2]), int(found[1])


def camera_format(text: str) -> str:
    """Read a format of a camera by FFmpeg's name, or by the one that V4L2 and OpenCV have for it.

    Raises:
        argparse.ArgumentTypeError: nothing that a name may be.

    Example:
        >>> camera_format("MJPG"), camera_format("nv12")
        ('mjpeg', 'nv12')
    """
    name = text.lower()
    if re.fullmatch(r"\w{1,32}", name, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"expected a name, as mjpeg or yuyv422; got {text!r}")
    return FOURCC.get(name, name)


def fps(text: str) -> float:
    """Read how many frames a second; less than one too.

    Raises:
        argparse.ArgumentTypeError: no number, or none above 0.

    Example:
        >>> fps("0.2")
        0.2
    """
    return number_in(text, LOWEST_FPS, HIGHEST_FPS)
