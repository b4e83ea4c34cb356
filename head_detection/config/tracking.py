"""How heads are followed from frame to frame; the defaults are chosen by measuring."""

from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from head_detection.config.section import (
    NonNegativeFloat,
    PositiveFloat,
    Probability,
    Section,
)

TrackerName = Literal["bytetrack", "ocsort", "cbiou", "botsort"]
TRACKERS: Final[tuple[TrackerName, ...]] = get_args(TrackerName)
"""The first is the one that is taken unless another is asked for."""
LOWEST_TRACKED: Final = 0.1
"""The trackers' own: heads scored lower are of no use to any of them."""


class TrackingConfig(Section):
    """How heads are followed. Times are in seconds: other frame rates need no other values."""

    lost_seconds: PositiveFloat = 1.0
    """A head that is not found for longer gets a new id when it comes back."""
    lowest_score: Annotated[float, Field(ge=LOWEST_TRACKED, le=1.0)] = LOWEST_TRACKED
    """A head that is followed counts down to this score."""
    start_score: Probability | None = None
    """A head is followed from this score on; null: from the score threshold on."""
    min_detections: Annotated[int, Field(ge=2)] = 2
    """Found in so many frames before it gets an id; those of the first frame get theirs at once."""
    min_overlap: Probability = 0.1
    """Of where a head is expected and where one is found, both enlarged: IoU, times the score with
    ``cbiou`` and ``botsort``."""
    buffer: NonNegativeFloat = 0.2
    """Boxes are enlarged to match them, on each side by this share of their size ..."""
    buffer_per_second: NonNegativeFloat = 4.0
    """... and by so much more a second between frames: heads walk on."""
    camera_motion: bool = True
    """``botsort`` tells the camera's motion from the heads' by the picture; the others cannot."""
