"""The processing of a picture before and after the network; nothing here changes its weights."""

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
    """How a picture is resized for the network."""

    policy: Literal["never_upsample", "fit"] = "never_upsample"
    """``never_upsample`` only scales down; ``fit`` also scales small pictures up."""
    min_size: PositiveInt = 800
    """Target for the short side, in network pixels."""
    max_size: PositiveInt = 1400
    """Upper limit of the long side, in network pixels."""
    enlargement: float = Field(1.0, gt=0, le=4)
    """Multiplies the size that results from the above; values over 1 make small heads easier to
    find."""
    antialias: bool = True
    """Antialias when scaling down; HeadHunter does not."""


class ProposalConfig(Section):
    """Which boxes of the region proposal network (RPN) reach the second stage.

    The two numbers are doubled for a picture in which they would cut off likely boxes.
    """

    pre_nms_top_n: PositiveInt = 1000
    """Proposals with the highest scores that are kept per level before NMS."""
    post_nms_top_n: PositiveInt = 1000
    """Proposals that are kept per picture after NMS."""
    nms_iou_threshold: Probability = 0.7
    """If two proposals overlap by more than this IoU, the one with the lower score is dropped."""
    score_threshold: Probability = 0.0
    """Proposals with a lower score are dropped."""


class SoftNmsConfig(Section):
    """Gaussian soft-NMS instead of hard NMS."""

    enabled: bool = False
    """Lower the scores of boxes that overlap a better one, instead of dropping them."""
    sigma: PositiveFloat = 0.25
    """A score is multiplied by ``exp(-iou^2 / sigma)``."""
    score_threshold: Probability = 0.001
    """Boxes whose score falls to this value are dropped."""


class BoxVotingConfig(Section):
    """Replaces each kept box by the mean of the candidates for the same head."""

    enabled: bool = False
    """Average the boxes, weighted by their scores."""
    iou_threshold: Probability = 0.65
    """Candidates with at least this IoU with the kept box take part."""


class SuppressionConfig(Section):
    """Reduces the candidates to one box per head."""

    score_threshold: Probability = 0.05
    """Candidates with a lower score are dropped first."""
    nms_iou_threshold: Probability = 0.5
    """If two candidates overlap by more than this IoU, the one with the lower score is dropped."""
    soft_nms: SoftNmsConfig = SoftNmsConfig()
    box_voting: BoxVotingConfig = BoxVotingConfig()
    detections_per_image: PositiveInt = 1000
    """Heads per picture for which a GPU reserves room; a picture with more is run again with more
    room. Without ``growing_limits`` this is the maximum."""


class ViewConfig(Section):
    """An additional view of a picture.

    Its candidates are suppressed together with those of the first view, and vote with them.
    """

    scale: PositiveFloat = 1.0
    """Size relative to the first view."""
    mirrored: bool = False
    """Flip the picture horizontally."""
    smallest_head: PositiveFloat | None = None
    """Smallest head that this view answers for: square root of area in pixels of the first view;
    null is no limit. The view is skipped if the first view has no candidate of at least twice this
    size. If this is at least ``inference.largest_head``, half the size is enough, since the first
    view may have found only a part of such a head."""
    largest_head: PositiveFloat | None = None
    """Largest head that this view answers for, in the same unit. The view is skipped if the first
    view has no candidate of at most half this size."""
    min_score: Probability = 0.3
    """Only candidates of the first view with at least this score are a reason to make this view."""

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
    """Makes a score mean the same probability for small and large heads.

    With x = log2(size / 24), where size is the square root of area in network pixels, it adds
    ``linear * x + quadratic * x^2`` to the logit of a score: a head of 24 pixels keeps its score.
    ``evaluate --calibrate`` fits the numbers to labelled pictures.
    """

    linear: float = 0.0
    """Factor of x."""
    quadratic: float = 0.0
    """Factor of x squared."""
    smallest_head: PositiveFloat = 8.0
    """Smaller heads are treated as this size, because too few were available for the fit."""
    largest_head: PositiveFloat = 160.0
    """Larger heads are treated as this size, for the same reason."""

    @model_validator(mode="after")
    def _check(self) -> "CalibrationConfig":
        if self.smallest_head > self.largest_head:
            raise ValueError(
                "smallest_head: expected at most largest_head; got "
                f"{self.smallest_head:g} and {self.largest_head:g}"
            )
        return self


class InferenceConfig(Section):
    """From pictures to heads. Changing these values needs no new training."""

    resize: ResizeConfig = ResizeConfig()
    proposals: ProposalConfig = ProposalConfig()
    suppression: SuppressionConfig = SuppressionConfig()
    growing_limits: bool = True
    """Raise the limits of proposals and heads for a picture that has more; false keeps them."""
    largest_head: PositiveFloat | None = None
    """Largest head that the first view answers for: square root of area in network pixels. Larger
    ones are left to other views; null is no limit."""
    views: tuple[ViewConfig, ...] = ()
    """Views in addition to the first one, which is the whole picture. Each finds a little more and
    costs the time of one view."""
    tile: NonNegativeInt | None = None
    """Side of a tile in pixels. Pictures that the network would shrink are viewed in tiles at full
    scale, and once as a whole. Null tiles only pictures whose whole view shows so many small heads
    that others are probably missed, with the largest tiles that are not shrunk; 0 tiles none."""
    tile_overlap: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Smallest share of a tile that its neighbour also covers: a head no larger than that is whole
    in at least one tile."""
    calibration: CalibrationConfig | None = None
    """Makes the scores of heads of all sizes comparable, as the last step; null leaves them."""
    score_threshold: Probability = 0.5
    """The operating point: heads with a lower score are left out of the results."""
