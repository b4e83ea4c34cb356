"""Views of a picture (enlarged, mirrored, reduced), and the conversion of boxes between them.

Each view answers for heads of a range of sizes. The candidates of all views are merged in the
pixels of the first view, suppressed once, and scored by the views that answer for their size.

Source:
    Testing at several scales and mirrored: He et al., Deep Residual Learning, CVPR 2016, appendix.
    A range of sizes per scale: Singh and Davis, An Analysis of Scale Invariance in Object Detection
    (SNIP), CVPR 2018, section 5. Averaging the scores: Solovyev et al., Weighted boxes fusion,
    Image and Vision Computing 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Annotated, Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from head_detection.config import InferenceConfig, NetworkConfig, ViewConfig
from head_detection.devices import constant
from head_detection.models.nms import EMPTY
from head_detection.models.proposals import ImageSizes, SizeRange, clip_boxes
from head_detection.models.suppression import SURE_SHARE, Candidates, all_of, any_of, box_sizes
from head_detection.models.transform import (
    GeneralizedRCNNTransform,
    build_resize,
    build_transform,
)

MARGIN: Final = 1.25
"""Factor around the size that separates the first view from a view for larger heads. Within it both
keep heads, because each view measures sizes slightly differently."""
REFINEMENT: Final = 1.5
"""The second stage hardly ever changes a proposal's sides by more than this factor."""
SURELY: Final = 2.0
"""A head this factor inside a view's range of sizes surely belongs to the view, despite inexact
measurement. Making views for all heads that may belong (the range widened by as much) gives .002
more AP50 in classrooms (`accurate` on SCUT-HEAD), but needs views of more pictures."""
PART: Final = 2.0
"""If a head is too large for the first view, that view detects a part of it as a head, smaller by
this factor and less likely."""
REDUCED: Final = 0.5
"""At this scale or less, a view is averaged from the first view's pixels, which hold enough detail:
squares of 2, 3, ... pixels a side become one."""
SMALLEST_REDUCED: Final = 85
"""A reduced view is skipped if no side has this many pixels: the coarsest usual level would have
fewer than three cells."""
EVERYTHING: Final = SizeRange()


@dataclass(frozen=True)
class View:
    """A further view of a picture.

    Args:
        scale: relative to the size of the first view.
        mirrored: whether it is flipped horizontally.
        sizes: sizes of the heads that it answers for, in pixels of the first view.
        reasons: the view is made if the first view has a candidate of these sizes.
        min_score: lowest score of such a candidate; None: the view is made of every picture.
        transform: transforms a picture to pixels of the view, or to those of the first view, which
            are then reduced.
        slack: heads too small by up to this factor are kept, but the view does not answer for them.
    """

    scale: float
    mirrored: bool
    sizes: SizeRange
    reasons: SizeRange
    min_score: float | None
    transform: GeneralizedRCNNTransform
    slack: float = 1.0

    @property
    def step(self) -> int:
        """Side of the square of the first view's pixels that becomes one; 1 if not reduced."""
        return round(1 / self.scale) if self.scale <= REDUCED else 1

    @property
    def proposal_sizes(self) -> SizeRange | None:
        """Sizes of the proposals that may become heads of this view, in its own pixels."""
        if self.sizes == EVERYTHING:
            return None
        scale = 1 / self.step if self.step > 1 else self.scale
        return SizeRange(
            self.sizes.smallest * scale / (self.slack * REFINEMENT),
            self.sizes.largest * scale * REFINEMENT,
        )

    def is_wanted(self, first: Candidates) -> Annotated[Tensor, "b"] | None:
        """Return ``(B,)`` bool: whether to make the view of each picture; None: of all.

        Args:
            first: candidates of the first view.
        """
        if self.min_score is None:
            return None
        sizes = box_sizes(first.boxes)
        is_one = (sizes >= self.reasons.smallest) & (sizes <= self.reasons.largest)
        return (is_one & (first.scores >= self.min_score)).any(dim=1)

    def fits(self, first: ImageList) -> bool:
        """Tell whether pictures of this size are large enough for the view."""
        return self.step == 1 or max(first.tensors.shape[2:]) >= SMALLEST_REDUCED * self.step

    def batch(self, images: Sequence[Annotated[Tensor, "3 _ _"]], first: ImageList) -> ImageList:
        """Return this view of a batch of pictures.

        Args:
            images: ``(3, H, W)`` each.
            first: their first view.
        """
        dtype = first.tensors.dtype
        if self.step == 1:
            seen: ImageList = self.transform(images, dtype=dtype, mirrored=self.mirrored)[0]
            return seen
        if self.mirrored:
            first = self.transform(images, dtype=dtype, mirrored=True)[0]
        small = F.avg_pool2d(first.tensors, self.step, ceil_mode=True)
        down, right = (-side % self.transform.size_divisor for side in small.shape[2:])
        padded = F.pad(small, (0, right, 0, down)).contiguous(memory_format=torch.channels_last)
        sizes = [(-(-h // self.step), -(-w // self.step)) for h, w in first.image_sizes]
        return ImageList(padded, sizes)

    def place(
        self, boxes: Annotated[Tensor, "b n 4"], own_sizes: ImageSizes, first_sizes: ImageSizes
    ) -> Annotated[Tensor, "b n 4"]:
        """Convert ``(B, N, 4)`` boxes of this view to pixels of the first view.

        Args:
            boxes: xyxy, in pixels of this view.
            own_sizes: ``(height, width)`` of the pictures in this view.
            first_sizes: of the pictures in the first view.
        """
        sizes = own_sizes
        if self.step > 1:  # its last column may stand for fewer of the first view's
            boxes, sizes = boxes * self.step, first_sizes
        if self.mirrored:
            widths = constant(tuple(width for _, width in sizes), boxes.device)[:, None]
            left, top, right, bottom = boxes.unbind(2)
            boxes = torch.stack((widths - right, top, widths - left, bottom), dim=2)
        if self.step > 1:
            return clip_boxes(boxes, first_sizes)
        factors = tuple(
            (first[1] / own[1], first[0] / own[0]) * 2
            for first, own in zip(first_sizes, own_sizes, strict=True)
        )
        return boxes * constant(factors, boxes.device)[:, None]


class ViewCandidates(NamedTuple):
    """The candidates of a view in all pictures of a batch.

    Attributes:
        sizes: sizes of the heads that the view answers for.
        candidates: in pixels of the first view.
        is_made: ``(B,)`` bool: whether the view was made of the picture; None: of all.
        slack: as ``View``.
    """

    sizes: SizeRange
    candidates: Candidates
    is_made: Annotated[Tensor, "b"] | None = None
    slack: float = 1.0


def merge(seen: Sequence[ViewCandidates], largest_head: float) -> Candidates:
    """Merge the candidates of all views, each restricted to the view's own sizes.

    Args:
        seen: by view, the first view's first.
        largest_head: views whose range includes this size leave larger heads to views whose range
            starts there, in pictures of which such a view was made.
    """
    if len(seen) == 1:
        return seen[0].candidates
    parts = [own.candidates for own in seen]
    boxes = torch.cat([part.boxes for part in parts], dim=1)
    counts = [part.scores.shape[1] for part in parts]
    starts = constant(tuple(accumulate(counts[:-1])), boxes.device, torch.int64)
    slots = torch.arange(sum(counts), device=boxes.device)
    view = (slots[:, None] >= starts).sum(dim=1).expand(len(boxes), -1)
    sizes, limits = _ranges(seen, largest_head, boxes)
    smallest, largest = limits.gather(1, view[..., None].expand(-1, -1, 2)).unbind(2)
    own = box_sizes(boxes)
    is_own = (own >= smallest) & (own <= largest)
    scores = torch.cat([part.scores for part in parts], dim=1).masked_fill(~is_own, EMPTY)
    is_settled = all_of(*(part.is_settled for part in parts))
    is_cut = any_of(*(part.is_cut for part in parts))
    return Candidates(boxes, scores, view, sizes, is_settled, is_cut)


def _ranges(
    seen: Sequence[ViewCandidates], largest_head: float, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the sizes that each view answers for and those that it keeps, ``(B, V, 2)`` each."""
    everywhere = like.new_ones(len(like), dtype=torch.bool)
    is_made = torch.stack(
        [everywhere if own.is_made is None else own.is_made for own in seen], dim=1
    )
    ranges = constant(tuple((*own.sizes,) for own in seen), like.device)
    smallest, largest = ranges.expand(len(like), -1, -1).unbind(2)
    smallest, kept = smallest.masked_fill(~is_made, torch.inf), largest
    begins_there = tuple(own.sizes.smallest >= largest_head for own in seen)
    is_endless = tuple(own.sizes.smallest < largest_head < own.sizes.largest for own in seen)
    if any(begins_there):
        is_left = (is_made & constant(begins_there, like.device, torch.bool)).any(dim=1)
        is_limited = is_left[:, None] & constant(is_endless, like.device, torch.bool)
        kept = kept.masked_fill(is_limited, largest_head * MARGIN)
        # A view answers for heads up to SURE_SHARE of its largest, so this is all that it keeps.
        largest = largest.masked_fill(is_limited, largest_head * MARGIN / SURE_SHARE)
    slack = constant(tuple(own.slack for own in seen), like.device)
    return torch.stack((smallest, largest), dim=2), torch.stack((smallest / slack, kept), dim=2)


def build_views(network: NetworkConfig, inference: InferenceConfig) -> tuple[View, ...]:
    """Return the further views that the config describes."""
    return tuple(_build_view(view, network, inference) for view in inference.views)


def _build_view(config: ViewConfig, network: NetworkConfig, inference: InferenceConfig) -> View:
    smallest, largest = config.smallest_head, config.largest_head
    sizes = SizeRange(
        EVERYTHING.smallest if smallest is None else smallest,
        EVERYTHING.largest if largest is None else largest,
    )
    resize = build_resize(inference.resize)
    if config.scale > REDUCED:
        resize = replace(resize, enlargement=resize.enlargement * config.scale)
    min_score = None if sizes == EVERYTHING else config.min_score
    reasons = SizeRange(sizes.smallest * SURELY, sizes.largest / SURELY)
    slack = 1.0
    if inference.largest_head is not None and sizes.smallest >= inference.largest_head:
        reasons, slack = SizeRange(sizes.smallest / PART), MARGIN
    return View(
        config.scale,
        config.mirrored,
        sizes,
        reasons,
        min_score,
        build_transform(network, resize),
        slack,
    )
