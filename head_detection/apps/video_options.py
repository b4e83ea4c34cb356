"""Options for videos and cameras: which frames to use, tracking, and counting in zones.

Nothing here may import torch or another slow module, so that options are parsed quickly.
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
"""FFmpeg's name for each V4L2 format whose name differs."""


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for frames, tracking and counting."""
    add_frame_options(parser)
    add_tracking_options(parser)
    add_counting_options(parser)


def add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options for which frames are used."""
    frames = parser.add_argument_group("frames of videos and cameras")
    frames.add_argument(
        "--start", type=seconds, default=0.0, metavar="S",
        help="skip the first S seconds of each video",
    )  # fmt: skip
    frames.add_argument(
        "--end", type=seconds, metavar="S", help="stop S seconds after the video's beginning"
    )
    rate = frames.add_mutually_exclusive_group()
    rate.add_argument(
        "--stride", "--vid-stride", type=positive, default=1, metavar="N",
        help="use every Nth frame; frames keep their numbers",
    )  # fmt: skip
    rate.add_argument(
        "--max-fps", type=fps, metavar="X", help="use at most X frames of each second"
    )
    waiting = frames.add_mutually_exclusive_group()
    waiting.add_argument(
        "--live", action="store_const", const=True, dest="live",
        help="always use the newest frame and drop older ones (default for cameras)",
    )  # fmt: skip
    waiting.add_argument(
        "--every-frame", action="store_const", const=False, dest="live",
        help="drop no frame, however late it is (default for files)",
    )  # fmt: skip
    usual = Patience()
    frames.add_argument(
        "--open-timeout", type=timeout, default=usual.open_seconds, metavar="S",
        help="reconnect to a camera that has not answered for S seconds "
        f"(default: {usual.open_seconds:g})",
    )  # fmt: skip
    frames.add_argument(
        "--read-timeout", type=timeout, default=usual.read_seconds, metavar="S",
        help="reconnect to a camera that has sent nothing for S seconds "
        f"(default: {usual.read_seconds:g})",
    )  # fmt: skip
    _add_mode_options(frames)


def _add_mode_options(frames: argparse._ArgumentGroup) -> None:
    frames.add_argument(
        "--camera-size", type=frame_size, metavar="WxH",
        help="frame size of a camera attached to this machine: 1920x1080 (default: its own)",
    )  # fmt: skip
    frames.add_argument(
        "--camera-fps", type=fps, metavar="X", help="set that camera to the rate nearest to X"
    )
    frames.add_argument(
        "--camera-format", type=camera_format, metavar="NAME",
        help="pixel format of that camera, such as yuyv422, or mjpeg, which many cameras need for "
        "large frames at full rate",
    )  # fmt: skip


class SourceOptions(TypedDict):
    """Keyword arguments of ``open_source``."""

    options: FrameOptions
    patience: Patience
    mode: DeviceMode | None


def frame_options(arguments: argparse.Namespace) -> SourceOptions:
    """Return which frames to use, and how to open cameras and how long to wait for them.

    Raises:
        UsageError: the end is not after the start.
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
    """Declare the tracking options."""
    parser.add_argument(
        "--track", nargs="?", choices=TRACKERS, const=TRACKERS[0], metavar="NAME",
        help="track heads in videos and cameras, so that each keeps its id from frame to frame; "
        f"NAME is {', '.join(TRACKERS[:-1])} or {TRACKERS[-1]} ({TRACKERS[0]} if omitted); "
        "change its settings with --set tracking.lost_seconds=2 ...",
    )  # fmt: skip


def tracking_config(
    arguments: argparse.Namespace, options: dict[str, Any]
) -> TrackingConfig | None:
    """Return the tracking settings, and remove them from the engine's options.

    Args:
        arguments: of the command.
        options: of ``engine_options``; ``tracking.KEY=VALUE`` is removed from its overrides.

    Raises:
        UsageError: ``tracking.KEY=VALUE`` without ``--track``.
        ConfigError: an unknown key or a wrong value.
    """
    given: list[str] = options["overrides"]
    own = [override for override in given if override.startswith(_TRACKING)]
    options["overrides"] = [override for override in given if override not in own]
    if arguments.track is None and own:
        raise UsageError(f"--set {own[0]}: expected --track beside it, which it is for")
    return None if arguments.track is None else override_tracking(own)


def lowest_score(hide_from: float | None, tracking: TrackingConfig | None) -> float | None:
    """Return the lowest score of heads that hiding or tracking needs; None if neither does."""
    asked = (hide_from, None if tracking is None else tracking.lowest_score)
    return min((score for score in asked if score is not None), default=None)


def make_tracker(
    name: str | None, config: TrackingConfig | None, score_threshold: float
) -> "HeadTracker | None":
    """Build the tracker that was asked for, or return None.

    Raises:
        MissingPackageError: its package is not installed.
    """
    if name is None or config is None:
        return None
    from head_detection.pipeline.tracking import HeadTracker

    return HeadTracker.from_config(config, name, score_threshold)


def add_counting_options(parser: argparse.ArgumentParser) -> None:
    """Declare where heads are counted, and how often counts are written."""
    parser.add_argument(
        "--zones", type=Path, metavar="FILE.yaml",
        help="count heads at the lines and in the zones of this file; in videos and cameras, heads "
        f"are tracked for this (with {TRACKERS[0]} unless --track names another tracker)",
    )  # fmt: skip
    parser.add_argument(
        "--counts-every", type=seconds, metavar="S",
        help="write the counts of videos and cameras to counts.csv every S seconds; 0: for each "
        "frame (default: 1)",
    )  # fmt: skip


def zones_config(
    arguments: argparse.Namespace, formats: Sequence[str], info: SourceInfo
) -> "ZonesConfig | None":
    """Return where heads are to be counted, and turn on tracking if that needs it.

    Args:
        arguments: of the command; ``track`` is set if needed.
        formats: what is written.
        info: of the source; for a single video, all points must lie in its frames.

    Raises:
        UsageError: ``--save events`` without zones.
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
        note = "lines only count in videos and cameras" if zones.has_lines else None
    elif arguments.track is None and (zones.has_lines or find_spec("trackers")):
        arguments.track = TRACKERS[0]
        note = f"--zones follows heads by {TRACKERS[0]}; --track names another"
    elif arguments.track is None:
        note = "without pip install 'head-detection[track]' zones only have the current count"
    if note is not None:
        print(f"note: {note}", file=sys.stderr)
    return zones


def make_counter(
    zones: "ZonesConfig | None", tracking: TrackingConfig | None
) -> "RegionCounter | None":
    """Build the counter for zones and lines, or return None if none were given."""
    if zones is None:
        return None
    from head_detection.pipeline.zones import build_region_counter

    return build_region_counter(zones, 0.0 if tracking is None else tracking.lost_seconds)


def note_not_live(arguments: argparse.Namespace, info: SourceInfo) -> None:
    """Say so if ``--live`` changes nothing, as files come one after another."""
    if arguments.live and not info.is_live:
        line = "note: --live: only for cameras and a single video; no frame is dropped here"
        print(line, file=sys.stderr)


def note_without_frames(
    arguments: argparse.Namespace, formats: Sequence[str], tally: "Tally"
) -> bool:
    """If there were no frames, name the options that had no effect because of that.

    Returns:
        Whether the part of a video chosen by ``--start`` and ``--end`` held nothing at all.
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
    options += [f"--stride {arguments.stride}"] if arguments.stride > 1 else []
    options += [] if arguments.max_fps is None else [f"--max-fps {arguments.max_fps:g}"]
    if arguments.counts_every is not None and "counts" in formats:
        options.append(f"--counts-every {arguments.counts_every:g}")
    if saved := [name for name in FRAME_FORMATS if name in formats]:
        options.append(f"--save {','.join(saved)}")
    if options and tally.pictures:
        what = ", ".join(options)
        print(f"note: {what}: only for videos and cameras; these were pictures", file=sys.stderr)
    return False


def seconds(text: str) -> float:
    """Read a time in a video, in seconds.

    Raises:
        argparse.ArgumentTypeError: not a number, or below 0.

    Example:
        >>> seconds("2.5")
        2.5
    """
    return number_in(text, 0.0, LONGEST_SECONDS)


def timeout(text: str) -> float:
    """Read how long to wait, in seconds.

    Raises:
        argparse.ArgumentTypeError: not a number, or too short for any answer.

    Example:
        >>> timeout("10")
        10.0
    """
    return number_in(text, SHORTEST_TIMEOUT, LONGEST_SECONDS)


def frame_size(text: str) -> tuple[int, int]:
    """Read a size in the usual order, width first; return (height, width).

    Raises:
        argparse.ArgumentTypeError: not two numbers with an x between.

    Example:
        >>> frame_size("1920x1080")
        (1080, 1920)
    """
    found = re.fullmatch(r"([1-9]\d{0,4})[xX]([1-9]\d{0,4})", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT such as 1920x1080; got {text!r}")
    return int(found[2]), int(found[1])


def camera_format(text: str) -> str:
    """Read a camera's pixel format by FFmpeg's name, or by that of V4L2 and OpenCV.

    Raises:
        argparse.ArgumentTypeError: not a name.

    Example:
        >>> camera_format("MJPG"), camera_format("nv12")
        ('mjpeg', 'nv12')
    """
    name = text.lower()
    if re.fullmatch(r"\w{1,32}", name, re.ASCII) is None:
        raise argparse.ArgumentTypeError(f"expected a name such as mjpeg or yuyv422; got {text!r}")
    return FOURCC.get(name, name)


def fps(text: str) -> float:
    """Read a frame rate, in frames per second; it may be below one.

    Raises:
        argparse.ArgumentTypeError: not a number, or not above 0.

    Example:
        >>> fps("0.2")
        0.2
    """
    return number_in(text, LOWEST_FPS, HIGHEST_FPS)
