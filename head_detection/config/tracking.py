"""How heads are tracked from frame to frame; the defaults were chosen by measurement."""

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
"""The first is the default."""
LOWEST_TRACKED: Final = 0.1
"""Fixed in the trackers: none of them uses heads with a lower score."""


class TrackingConfig(Section):
    """How heads are tracked. Times are in seconds, so the values suit any frame rate."""

    lost_seconds: PositiveFloat = 1.0
    """A head that is missing for longer gets a new id when it returns."""
    lowest_score: Annotated[float, Field(ge=LOWEST_TRACKED, le=1.0)] = LOWEST_TRACKED
    """A tracked head counts down to this score."""
    start_score: Probability | None = None
    """Tracking of a head starts from this score on; null is the score threshold."""
    min_detections: Annotated[int, Field(ge=2)] = 2
    """Frames in which a head must be found before it gets an id; heads of the first frame get one
    at once."""
    min_overlap: Probability = 0.1
    """Smallest overlap for a match between the predicted and the detected box, both enlarged: the
    IoU, multiplied by the score with ``cbiou`` and ``botsort``."""
    buffer: NonNegativeFloat = 0.2
    """For matching, boxes are enlarged on each side by this share of their size ..."""
    buffer_per_second: NonNegativeFloat = 4.0
    """... plus this share for each second between two frames, in which heads move on."""
    camera_motion: bool = True
    """``botsort`` estimates the camera's motion from the picture; the other trackers cannot."""
