"""Matching boxes with heads, for all pictures of a batch at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from head_detection.models.targets import Targets

HEAD, BACKGROUND, NEITHER = 1, 0, -1
"""torchvision's labels of boxes; boxes labelled ``NEITHER`` are not sampled."""
IGNORED_SHARE = 0.5
"""A background box with more than this share of its area in one ignored region is ``NEITHER``."""
PAIRS_AT_ONCE = 2**24
"""Pairs of a head and a box per matrix: 64 MiB in float32, up to three of them at a time. A batch
of 16 pictures of 384 pixels with 40 heads each is one matrix; a crowd is split into several."""
CACHED_PAIRS = 2**20
"""The same on a CPU: 4 MiB, which fit in its caches. Operator calls cost almost nothing there, and
8 such pictures with 25 heads each are labelled in less than half the time."""


@dataclass(frozen=True)
class BoxMatcher:
    """torchvision's ``Matcher`` for all pictures of a batch at once.

    The number of operators does not depend on the number of pictures, until the pairs of heads and
    boxes exceed ``PAIRS_AT_ONCE`` (``CACHED_PAIRS`` on a CPU). It does not synchronise.

    Args:
        fg_iou_threshold: boxes of at least this IoU with a head are heads.
        bg_iou_threshold: boxes of less than this IoU with every head are background.
        allow_low_quality_matches: for each head, the boxes with the highest IoU, including ties,
            are heads however low that IoU is. As in torchvision, this also holds at IoU 0: a head
            that no box overlaps turns all boxes of its picture into heads.
    """

    fg_iou_threshold: float
    bg_iou_threshold: float
    allow_low_quality_matches: bool

    @torch.no_grad()
    def label(
        self, boxes: Annotated[Tensor, "*shared n 4"], targets: Targets
    ) -> Annotated[Tensor, "b n"]:
        """Return ``(B, N)`` int64: ``HEAD``, ``BACKGROUND`` or ``NEITHER`` for every box.

        In a picture without heads, all boxes are background. Background in an ignored region is
        ``NEITHER``.

        Args:
            boxes: ``(N, 4)`` xyxy float32, shared by all pictures, or ``(B, N, 4)``, in the pixels
                of the targets.
            targets: of B pictures.
        """
        candidates = _Coordinates.of(boxes)
        best = boxes.new_full((targets.num_images, boxes.shape[-2]), -1.0)
        behind = best.clone()
        for heads, owner in _parts(targets.boxes, targets.owner, boxes.shape[-2]):
            iou = _iou(heads, candidates.of_pictures(owner))
            _raise_to(best, iou, owner)
            if self.allow_low_quality_matches:
                # IoU minus the head's best IoU: 0 for the best boxes, negative for others.
                _raise_to(behind, iou.sub_(iou.amax(dim=1, keepdim=True)), owner)
        labels = torch.full_like(best, NEITHER, dtype=torch.int64)
        is_background = best < self.bg_iou_threshold
        is_background &= _share_ignored(candidates, best, targets) <= IGNORED_SHARE
        labels.masked_fill_(is_background, BACKGROUND)
        return labels.masked_fill_((best >= self.fg_iou_threshold) | (behind == 0), HEAD)


@torch.no_grad()
def best_heads(
    boxes: Annotated[Tensor, "*shared n 4"], targets: Targets
) -> Annotated[Tensor, "b n"]:
    """Return ``(B, N)`` indices into ``targets.boxes``: the head with the highest IoU per box.

    Ties go to the first head, as in torchvision; -1 in a picture without heads. It computes one
    matrix of all pairs, so pass only sampled boxes.

    Args:
        boxes: ``(N, 4)`` xyxy float32, shared by all pictures, or ``(B, N, 4)``, in the pixels of
            the targets.
        targets: of B pictures.
    """
    heads, owner = targets.boxes, targets.owner
    iou = _iou(heads, _Coordinates.of(boxes).of_pictures(owner))
    best = iou.new_full((targets.num_images, boxes.shape[-2]), -1.0)
    _raise_to(best, iou, owner)
    rows = torch.arange(len(heads), device=owner.device)[:, None]
    rows = torch.where(iou == best[owner], rows, len(heads))
    first = torch.full_like(best, len(heads), dtype=torch.int64)
    first.scatter_reduce_(0, owner[:, None].expand_as(rows), rows, "amin")
    return first.masked_fill_(first == len(heads), -1)


class _Coordinates(NamedTuple):
    """Boxes by coordinate, each contiguous; one row if all pictures share the boxes."""

    corners: Tensor
    """``(4, 1 or B, N)``, or ``(4, 1 or R, N)`` beside R heads or regions."""
    areas: Tensor
    """``(1 or B, N)``, or ``(1 or R, N)``."""

    @classmethod
    def of(cls, boxes: Tensor) -> "_Coordinates":
        rows = boxes if boxes.dim() == 3 else boxes[None]  # noqa: PLR2004 - (B, N, 4)
        corners = rows.movedim(-1, 0).contiguous()
        return cls(corners, (corners[2] - corners[0]) * (corners[3] - corners[1]))

    def of_pictures(self, owner: Tensor) -> "_Coordinates":
        if len(self.areas) == 1:
            return self
        return _Coordinates(self.corners.index_select(1, owner), self.areas.index_select(0, owner))


def _parts(boxes: Tensor, owner: Tensor, num_candidates: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield heads or regions with their pictures, in parts that bound the memory."""
    if len(boxes):
        pairs = CACHED_PAIRS if boxes.device.type == "cpu" else PAIRS_AT_ONCE
        rows = max(1, pairs // max(num_candidates, 1))
        yield from zip(boxes.split(rows), owner.split(rows), strict=True)


def _raise_to(highest: Tensor, values: Tensor, owner: Tensor) -> None:
    """Raise ``(B, N)`` in place to the highest of the ``(R, N)`` values of each picture."""
    highest.scatter_reduce_(0, owner[:, None].expand_as(values), values, "amax")


def _intersection(boxes: Tensor, candidates: _Coordinates) -> Tensor:
    """Return the ``(R, N)`` intersection areas of ``(R, 4)`` boxes with their candidates."""
    left, top, right, bottom = boxes.t()[:, :, None]
    # In place: at these sizes, memory costs more than arithmetic.
    width = torch.minimum(right, candidates.corners[2])
    width.sub_(torch.maximum(left, candidates.corners[0])).clamp_(min=0)
    height = torch.minimum(bottom, candidates.corners[3])
    height.sub_(torch.maximum(top, candidates.corners[1])).clamp_(min=0)
    return width.mul_(height)


def _iou(heads: Tensor, candidates: _Coordinates) -> Tensor:
    """Return ``(R, N)``, bit for bit equal to ``torchvision.ops.box_iou`` of ``(R, 4)`` heads."""
    intersection = _intersection(heads, candidates)
    areas = (heads[:, 2] - heads[:, 0]) * (heads[:, 3] - heads[:, 1])
    return intersection.div_((areas[:, None] + candidates.areas).sub_(intersection))


def _share_ignored(candidates: _Coordinates, like: Tensor, targets: Targets) -> Tensor:
    """Return ``(B, N)``: the highest share of a box in one ignored region; 0 without an area.

    Args:
        candidates: the boxes.
        like: ``(B, N)``, gives the shape and type of the result.
        targets: of B pictures.
    """
    highest = torch.zeros_like(like)
    smallest = torch.finfo(like.dtype).eps
    for regions, owner in _parts(targets.ignore_boxes, targets.ignore_owner, like.shape[1]):
        own = candidates.of_pictures(owner)
        _raise_to(highest, _intersection(regions, own).div_(own.areas.clamp(min=smallest)), owner)
    return highest
