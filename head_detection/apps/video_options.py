"""Options of frames: of what follows heads in videos and from cameras.

Nothing here may import torch, nor anything else that takes long: options are parsed before it is.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from head_detection.apps.arguments import number_in
from head_detection.apps.command import UsageError
from head_detection.config import TRACKERS, TrackingConfig, override_tracking

if TYPE_CHECKING:
    from head_detection.config.zones import ZonesConfig
    from head_detection.pipeline.tracking import HeadTracker
    from head_detection.pipeline.zones import RegionCounter

LONGEST_INTERVAL: Final = 86_400.0
"""Seconds: a day."""
_TRACKING: Final = "tracking."


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Declare what is done with the frames of videos and cameras."""
    add_tracking_options(parser)
    add_counting_options(parser)


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


def add_counting_options(parser: argparse.ArgumentParser) -> None:
    """Declare where heads are counted, and how often that is written."""
    parser.add_argument(
        "--zones", type=Path, metavar="FILE.yaml",
        help="count heads at the lines and in the zones of this file; heads of videos and cameras "
        f"are followed for it (by {TRACKERS[0]} without --track)",
    )  # fmt: skip
    parser.add_argument(
        "--counts-every", type=interval, default=1.0, metavar="S",
        help="seconds between two counts of a video or a camera in counts.csv; 0 is each frame "
        "(default: 1)",
    )  # fmt: skip


def zones_config(arguments: argparse.Namespace, formats: Sequence[str]) -> "ZonesConfig | None":
    """Return where heads are to be counted, and see that they are followed for it.

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
    if arguments.track is None and (zones.has_lines or find_spec("trackers")):
        arguments.track = TRACKERS[0]
        print(
            f"note: heads of videos are followed by {TRACKERS[0]}, for --zones (--track names "
            "another)",
            file=sys.stderr,
        )
    elif arguments.track is None:
        print(
            "note: zones have counts of the moment alone: to follow heads, "
            "pip install 'head-detection[track]'",
            file=sys.stderr,
        )
    return zones


def make_counter(
    zones: "ZonesConfig | None", tracking: TrackingConfig | None
) -> "RegionCounter | None":
    """Build what counts in zones; None: none were given."""
    if zones is None:
        return None
    from head_detection.pipeline.zones import build_region_counter

    return build_region_counter(zones, 0.0 if tracking is None else tracking.lost_seconds)


def interval(text: str) -> float:
    """Read seconds from 0 to a day.

    Raises:
        argparse.ArgumentTypeError: anything else.

    Example:
        >>> interval("0.5")
        0.5
    """
    return number_in(text, 0.0, LONGEST_INTERVAL)
