"""How one picture is viewed: whole, enlarged, mirrored, small, in tiles; and where boxes lie then.

A view is a way to look at a picture with the sizes of heads that it answers for. What all views
find is put together in the pixels of the first one, suppressed once, and scored by the views that
answer for the size.

Source:
    Testing at several scales and mirrored: He et al., Deep Residual Learning, CVPR 2016, appendix.
    Sizes that a scale answers for: Singh and Davis, An Analysis of Scale Invariance in Object
    Detection (SNIP), CVPR 2018, section 5. One score of several: Solovyev et al., Weighted boxes
    fusion, Image and Vision Computing 2021.
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
"""Around the size that parts what the first view and one for larger heads answer for, both keep
heads: each measures one a little otherwise."""
REFINEMENT: Final = 1.5
"""The second stage hardly ever makes a proposal's sides longer or shorter by more."""
SURELY: Final = 2.0
"""A head so many times smaller than the largest, or larger than the smallest, surely is one of a
view's, however it is measured. Views for any that may be (within the range and as much beyond it)
find .002 more AP50 in classrooms (`accurate` on SCUT-HEAD), and are made of more pictures."""
PART: Final = 2.0
"""Of a head that is too large for it the first view takes a part for a head, so many times smaller
and less likely."""
REDUCED: Final = 0.5
"""From this scale down, a view is made of the first view's pixels, which hold more than it needs:
squares of 2, 3, ... of them become one."""
SMALLEST_REDUCED: Final = 85
"""A view so made with no side of so many pixels is left out: the coarsest of the usual levels would
have less than three cells for it."""
EVERYTHING: Final = SizeRange()


@dataclass(frozen=True)
class View:
    """A way to look at a picture once more.

    Args:
        scale: times the size of the first view.
        mirrored: left is right.
        sizes: of the heads that it answers for, in pixels of the first view.
        reasons: sizes of the first view's candidates that are a reason to make this view.
        min_score: they are from this score on; None: the view is made of every picture.
        transform: from a picture to pixels of the view, or to those of the first view that it is
            then reduced from.
        slack: heads so many times too small are kept, and not answered for.
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
        """Pixels of the first view, down and across, that become one; 1 where it is not reduced."""
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
        """Tell of each of B pictures whether the view is made of it; None: it is made of all.

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
        """Return the view of pictures.

        Args:
            images: ``(3, H, W)`` each.
            first: the first view of them.
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
        """Return ``(B, N, 4)`` boxes of this view in pixels of the first one.

        Args:
            boxes: xyxy, in pixels of this view.
            own_sizes: ``(height, width)`` of the pictures in this view.
            first_sizes: of the pictures in the first view.
        """
        if self.mirrored:
            widths = constant(tuple(width for _, width in own_sizes), boxes.device)[:, None]
            left, top, right, bottom = boxes.unbind(2)
            boxes = torch.stack((widths - right, top, widths - left, bottom), dim=2)
        if self.step > 1:
            return clip_boxes(boxes * self.step, first_sizes)
        factors = tuple(
            (first[1] / own[1], first[0] / own[0]) * 2
            for first, own in zip(first_sizes, own_sizes, strict=True)
        )
        return boxes * constant(factors, boxes.device)[:, None]


class ViewCandidates(NamedTuple):
    """What a view has found in all pictures of a batch.

    Attributes:
        sizes: that it answers for.
        candidates: in pixels of the first view.
        is_made: ``(B,)`` bool: the view was made of the picture; None: of all.
        slack: as ``View``.
    """

    sizes: SizeRange
    candidates: Candidates
    is_made: Annotated[Tensor, "b"] | None = None
    slack: float = 1.0


def merge(seen: Sequence[ViewCandidates], largest_head: float) -> Candidates:
    """Put the candidates of all views together; each keeps those of its own sizes.

    Args:
        seen: by view, the first one's first.
        largest_head: larger heads are left, by views whose range has no end, to those that begin
            there, in the pictures that such a view was made of.
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
    """Return ``(B, V, 2)`` twice: smallest and largest head answered for by each view, and kept."""
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
        # Surely among its own are heads up to a share of its largest: up to all that it keeps.
        largest = largest.masked_fill(is_limited, largest_head * MARGIN / SURE_SHARE)
    slack = constant(tuple(own.slack for own in seen), like.device)
    return torch.stack((smallest, largest), dim=2), torch.stack((smallest / slack, kept), dim=2)


def build_views(network: NetworkConfig, inference: InferenceConfig) -> tuple[View, ...]:
    """Return the views beside the first one that the config describes."""
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
