"""Options of frames: of what follows heads in videos and from cameras.

Nothing here may import torch, nor anything else that takes long: options are parsed before it is.
"""

import argparse
from typing import TYPE_CHECKING, Any, Final

from head_detection.apps.command import UsageError
from head_detection.config import TRACKERS, TrackingConfig, override_tracking

if TYPE_CHECKING:
    from head_detection.pipeline.tracking import HeadTracker

_TRACKING: Final = "tracking."


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
