"""The video of ``demo``: people walk through a door, are tracked and counted; truth is known.

Separate from ``demo.py`` because it needs the ``track`` extra, which the pictures do not.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from head_detection.data.sequences import HeadSequence, door_scene
from head_detection.errors import MissingPackageError
from head_detection.files import real_path

if TYPE_CHECKING:
    from head_detection.inference.detector import HeadDetector
    from head_detection.pipeline.tracking import HeadTracker

SECONDS: Final = 4.0
"""Of the scene's eight seconds; by then, two heads have passed in each direction."""
FOLDER: Final = "walk"
CLIP: Final = "door.mp4"


def show_walk(detector: "HeadDetector", folder: Path) -> None:
    """Make a clip, track and count its heads, and print the result beside the truth.

    Args:
        detector: finds the heads.
        folder: of the demo; the clip and its drawn copy go into a subfolder.

    Raises:
        HeadDetectionError: a frame cannot be used, or the folder cannot be written.
    """
    from head_detection.pipeline.tracking import HeadTracker

    try:
        tracker = HeadTracker()
    except MissingPackageError as error:
        print(f"\nThe video is left out: {error}", file=sys.stderr)
        return
    sequence = replace(door_scene(), duration=SECONDS)
    clip = folder / FOLDER / CLIP
    _write_clip(sequence, clip)
    ids, counts = _follow(detector, tracker, clip, folder / FOLDER, len(sequence))
    people = {int(number) for truth in sequence.truths() for number in truth.ids}
    to_the_right, to_the_left = crossings(sequence)
    rows = [
        ("people", len(people), len(ids)),
        ("through the door to the right", to_the_right, counts[0]),
        ("... to the left", to_the_left, counts[1]),
    ]
    print(f"\nA video of {SECONDS:g} seconds, its heads followed and counted at a line:")
    header = ("", "there", "found")
    print(
        tabulate(rows, header, "plain", disable_numparse=True, colalign=("left", "right", "right"))
    )
    print(f"  {real_path(folder / FOLDER / 'video' / CLIP).as_uri()}")


def crossings(sequence: HeadSequence) -> tuple[int, int]:
    """Return how often heads cross the vertical line in the middle: to the right, to the left.

    Example:
        >>> crossings(door_scene())
        (4, 2)
    """
    times = np.arange(len(sequence)) / sequence.fps
    middle = sequence.image_size[1] / 2
    right = left = 0
    for head in sequence.heads:
        steps = np.diff((head.centers(times)[:, 0] > middle).astype(int))
        is_seen = ~np.isnan(head.centers(times)[:, 0])
        steps = steps[is_seen[1:] & is_seen[:-1]]
        right, left = right + int((steps > 0).sum()), left + int((steps < 0).sum())
    return right, left


def _write_clip(sequence: HeadSequence, path: Path) -> None:
    from head_detection.results.encoding import Encoding, VideoWriter

    writer = VideoWriter(path, Encoding())
    try:
        for frame in sequence.frames():
            if frame.pixels is not None and frame.seconds is not None:
                writer.add(frame.seconds, frame.pixels)
    finally:
        writer.close()


def _follow(
    detector: "HeadDetector", tracker: "HeadTracker", clip: Path, folder: Path, num_frames: int
) -> tuple[set[int], tuple[int, int]]:
    """Return the ids of tracked heads, and how often they crossed to the right and to the left.

    The drawn video is written to the folder and replaces an earlier one.
    """
    from head_detection.config.zones import LineConfig, ZonesConfig
    from head_detection.pipeline.opening import open_source
    from head_detection.pipeline.run import run_pipeline
    from head_detection.pipeline.zones import build_region_counter
    from head_detection.results.formats import Sinks
    from head_detection.results.record import Failure, Origin
    from head_detection.structures import NOT_TRACKED

    # "In" is the left side of a line's direction; for a line drawn downwards, that is our right.
    line = LineConfig(points=((0.5, 0.0), (0.5, 1.0)))
    counter = build_region_counter(ZonesConfig(lines={"door": line}))
    origin = Origin(detector.origin, detector.score_threshold)
    ids, counts = {NOT_TRACKED}, (0, 0)
    (folder / "video" / CLIP).unlink(missing_ok=True)
    with Sinks(["video"], folder, origin) as sinks:
        source = open_source(str(clip))
        outcomes = run_pipeline(source, detector, sinks, tracker=tracker, counter=counter)
        for outcome in tqdm(outcomes, total=num_frames, desc="Following heads", unit=" frames"):
            if isinstance(outcome, Failure):
                raise outcome.error
            ids |= set(outcome.ids or ())
            for region in outcome.regions or ():
                counts = (region.num_in or 0, region.num_out or 0)
    return ids - {NOT_TRACKED}, counts
