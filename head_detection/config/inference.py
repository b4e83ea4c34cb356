"""What is done with a picture around the network; nothing here decides a tensor."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from head_detection.config.section import (
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    Section,
)


class ResizeConfig(Section):
    """From a picture to the network's pixels."""

    policy: Literal["never_upsample", "fit"] = "never_upsample"
    """``never_upsample`` only ever scales down; ``fit`` scales small pictures up as well."""
    min_size: PositiveInt = 800
    """Short side in network pixels."""
    max_size: PositiveInt = 1400
    """Long side in network pixels at most."""
    enlargement: float = Field(1.0, gt=0, le=4)
    """Times the size that all the above gives, to 4; above 1 small heads are easier to find."""
    antialias: bool = True
    """Smooth before scaling down; HeadHunter does not."""


class ProposalConfig(Section):
    """Which boxes of the region proposal network go through the second stage.

    The two numbers are doubled for a picture in which likely boxes would be left out.
    """

    pre_nms_top_n: PositiveInt = 1000
    """Kept by score on each level before NMS."""
    post_nms_top_n: PositiveInt = 1000
    """Kept of a picture after NMS."""
    nms_iou_threshold: Probability = 0.7
    """Of two that overlap more, the less likely is dropped."""
    score_threshold: Probability = 0.0
    """Less likely ones are dropped."""


class SoftNmsConfig(Section):
    """Gaussian soft-NMS in place of the hard one."""

    enabled: bool = False
    """Lower the score of what overlaps a better box, in place of dropping it."""
    sigma: PositiveFloat = 0.25
    """A score is multiplied by ``exp(-iou^2 / sigma)``."""
    score_threshold: Probability = 0.001
    """What falls to this score is dropped."""


class BoxVotingConfig(Section):
    """Each box as the mean of those that suppression took it for."""

    enabled: bool = False
    """Average the boxes, by their scores."""
    iou_threshold: Probability = 0.65
    """From this overlap with the best box on, one takes part."""


class SuppressionConfig(Section):
    """One box a head, of all that was found of it."""

    score_threshold: Probability = 0.05
    """Candidates less likely are dropped before all else."""
    nms_iou_threshold: Probability = 0.5
    """Of two that overlap more, the less likely is dropped."""
    soft_nms: SoftNmsConfig = SoftNmsConfig()
    box_voting: BoxVotingConfig = BoxVotingConfig()
    detections_per_image: PositiveInt = 1000
    """What a GPU has room for at first; more are found at a second try. Without ``growing_limits``
    there are never more."""


class ViewConfig(Section):
    """One more view of a picture; its candidates are suppressed and vote with the first view's."""

    scale: PositiveFloat = 1.0
    """Times the size of the first view."""
    mirrored: bool = False
    """Left and right exchanged."""
    smallest_head: PositiveFloat | None = None
    """Smaller heads, root of area in pixels of the first view, are left to the other views, and so
    is a picture in which the first found none of twice this size; null leaves nothing. From the
    first view's own ``largest_head`` on, a candidate of half this size is reason enough: a part."""
    largest_head: PositiveFloat | None = None
    """Larger heads likewise, and a picture in which the first found none of half this size."""
    min_score: Probability = 0.3
    """A candidate of the first view is reason enough for this one from this score on."""

    @model_validator(mode="after")
    def _check(self) -> "ViewConfig":
        smallest, largest = self.smallest_head, self.largest_head
        if smallest is not None and largest is not None and smallest > largest / 4:
            raise ValueError(
                "smallest_head: expected at most a quarter of largest_head, or no picture gets "
                f"this view; got {smallest:g} and {largest:g}"
            )
        return self


class CalibrationConfig(Section):
    """Small and large heads of one score made equally likely to be one.

    What is added to the logit of a score grows with the octaves from 24 pixels to the head's size,
    root of area in network pixels: a head of 24 pixels keeps its score. ``evaluate --calibrate``
    fits the numbers to labelled pictures.
    """

    linear: float = 0.0
    """Times the octaves."""
    quadratic: float = 0.0
    """Times their square."""
    smallest_head: PositiveFloat = 8.0
    """Smaller heads are taken for as large: there were too few to fit."""
    largest_head: PositiveFloat = 160.0
    """Larger ones likewise."""

    @model_validator(mode="after")
    def _check(self) -> "CalibrationConfig":
        if self.smallest_head > self.largest_head:
            raise ValueError(
                "smallest_head: expected at most largest_head; got "
                f"{self.smallest_head:g} and {self.largest_head:g}"
            )
        return self


class InferenceConfig(Section):
    """From pictures to heads: other values need no training."""

    resize: ResizeConfig = ResizeConfig()
    proposals: ProposalConfig = ProposalConfig()
    suppression: SuppressionConfig = SuppressionConfig()
    growing_limits: bool = True
    """The numbers of proposals and of heads grow in a picture that has more; false keeps them."""
    largest_head: PositiveFloat | None = None
    """Larger heads, root of area in network pixels, are left by the first view to others; null
    leaves none."""
    views: tuple[ViewConfig, ...] = ()
    """Beside the first view, the whole picture; each finds a little more, for a view's time."""
    tile: NonNegativeInt | None = None
    """Pictures that the network would shrink are viewed in tiles of so many pixels a side, at full
    scale, and once as a whole; null: those alone in which the whole shows many heads too small to
    find the rest of, in tiles as large as are not shrunk; 0: none."""
    tile_overlap: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """The least share of a tile that its neighbour has too: heads so large lie whole in one."""
    calibration: CalibrationConfig | None = None
    """Scores of all sizes made comparable, the last thing that is done; null leaves them."""
    score_threshold: Probability = 0.5
    """The operating point: heads less likely are left out of the answer."""
