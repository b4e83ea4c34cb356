"""From what the network says to heads: proposals, pooling, candidates, suppression.

No tensor here is learnt. All pictures of a batch go through together: sizes are fixed, empty slots
are scored ``EMPTY``, and the number of operators does not depend on the number of pictures. On a
CPU, where nothing waits, empty slots are dropped before the costly parts; elsewhere they stay,
for a GPU waits at each question of how many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor

from head_detection.config import InferenceConfig, NetworkConfig
from head_detection.devices import constant
from head_detection.models.anchors import Anchors, Grids, build_anchors
from head_detection.models.box_regression import ROI_WEIGHTS, RPN_WEIGHTS, decode_boxes
from head_detection.models.network import DenseMaps
from head_detection.models.nms import EMPTY, greedy_nms
from head_detection.models.roi_align import PyramidRoIAlign
from head_detection.models.roi_heads import NUM_CLASSES
from head_detection.models.suppression import (
    Candidates,
    Heads,
    SoftNms,
    Suppression,
    box_sizes,
    filled_width,
    gather_boxes,
)

SMALLEST_PROPOSAL: Final = 1e-3
"""Proposals thinner than this many network pixels are dropped, as torchvision does."""
SMALLEST_HEAD: Final = 1e-2
"""Likewise heads."""

ImageSizes = Sequence[tuple[int, int]]
"""``(height, width)`` of each picture of a batch, in network pixels, without its padding."""


class SizeRange(NamedTuple):
    """Sizes of boxes, root of area in pixels; both ends belong to it."""

    smallest: float = 0.0
    largest: float = float("inf")


@dataclass(frozen=True)
class ProposalLimits:
    """Which boxes of the first stage go through the second one.

    Args:
        pre_nms_top_n: kept by score on each level before suppression.
        post_nms_top_n: of all levels, after it.
        nms_iou_threshold: a box goes where a better one of its level overlaps it by more.
        score_threshold: less likely ones are dropped.
    """

    pre_nms_top_n: int
    post_nms_top_n: int
    nms_iou_threshold: float
    score_threshold: float = 0.0


class Proposals(NamedTuple):
    """Where a head may be: P slots for each of B pictures, by falling objectness.

    Attributes:
        boxes: ``(B, P, 4)`` xyxy in network pixels, zeros in empty slots.
        scores: ``(B, P)`` objectness in 0..1, ``EMPTY`` in empty slots.
        rows: ``(M,)`` int64 in 0..B*P-1, rising: the slots that go through the second stage; None
            is all of them.
        is_settled: as ``Candidates``.
    """

    boxes: Annotated[Tensor, "b p 4"]
    scores: Annotated[Tensor, "b p"]
    rows: Annotated[Tensor, "m"] | None = None
    is_settled: Annotated[Tensor, ""] | None = None

    @property
    def is_filled(self) -> Tensor:
        """Tell of each of ``(B, P)`` slots whether it holds a proposal."""
        return self.scores > EMPTY


@dataclass(frozen=True)
class Decoder:
    """What is done with the maps of a network; plain values, changed with ``replace``.

    Args:
        anchors: that the first stage moves.
        limits: of the proposals.
        roi_align: pools the features of boxes.
        suppression: of the candidates.
        waits: sizes may be asked for while it runs; None: on a CPU, where asking costs nothing.
    """

    anchors: Anchors
    limits: ProposalLimits
    roi_align: PyramidRoIAlign
    suppression: Suppression
    waits: bool | None = None

    def with_score_threshold(self, score_threshold: float) -> "Decoder":
        """Return the same, that finds heads scored above another threshold."""
        suppression = replace(self.suppression, score_threshold=score_threshold)
        return replace(self, suppression=suppression)

    @torch.no_grad()
    def propose(
        self,
        maps: DenseMaps,
        padded_size: tuple[int, int],
        image_sizes: ImageSizes,
        *,
        limits: ProposalLimits | None = None,
        sizes: SizeRange | None = None,
    ) -> Proposals:
        """Return the likeliest boxes of each picture, without overlaps within a level.

        torchvision decodes every anchor and keeps a few hundred; here the best of each level are
        chosen first and only they are given an anchor and decoded. The proposals are the same.

        Args:
            maps: float32.
            padded_size: ``(height, width)`` of the batch.
            image_sizes: of its pictures.
            limits: other than the decoder's own.
            sizes: of the proposals that are kept, all others being left to other views.
        """
        limits = self.limits if limits is None else limits
        waits = self._may_wait(maps.objectness[0])
        logits, codes, indices = _best_of_levels(maps, limits.pre_nms_top_n)
        anchors = self.anchors.at(indices, grids_of(maps), padded_size)
        boxes = clip_boxes(decode_boxes(codes, anchors, RPN_WEIGHTS), image_sizes)
        scores = logits.sigmoid()
        is_wanted = _has_sides(boxes, SMALLEST_PROPOSAL) & (scores >= limits.score_threshold)
        boxes, scores = _empty_others(boxes, scores, is_wanted & (logits > -torch.inf))
        kept, is_settled = greedy_nms(
            boxes.flatten(0, 1), scores.flatten(0, 1), limits.nms_iou_threshold, waits=waits
        )
        scores = scores.masked_fill(~kept.view_as(scores), EMPTY).flatten(1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        scores, order = scores[:, : limits.post_nms_top_n], order[:, : limits.post_nms_top_n]
        if waits:
            width = filled_width(scores)
            scores, order = scores[:, :width], order[:, :width]
        boxes = gather_boxes(boxes.flatten(1, 2), order)
        if sizes is not None:
            own = box_sizes(boxes)
            boxes, scores = _empty_others(
                boxes, scores, (own >= sizes.smallest) & (own <= sizes.largest) & (scores > EMPTY)
            )
        return Proposals(boxes, scores, _filled_rows(scores) if waits else None, is_settled)

    def pool(
        self,
        features: Sequence[Annotated[Tensor, "b c _ _"]],
        boxes: Annotated[Tensor, "b p 4"],
        rows: Annotated[Tensor, "m"] | None,
    ) -> Annotated[Tensor, "m c s s"]:
        """Return ``(M, C, S, S)`` float32, what the second stage looks at.

        Args:
            features: ``(B, C, H_i, W_i)`` float32, finest first.
            boxes: ``(B, P, 4)`` xyxy in network pixels.
            rows: ``(M,)`` of the B*P boxes, as ``Proposals``; None is all.
        """
        batch, count = boxes.shape[:2]
        flat = boxes.flatten(0, 1)
        if rows is None:
            rows = torch.arange(batch * count, device=boxes.device)
        else:
            flat = flat.index_select(0, rows)
        image = rows.div(max(count, 1), rounding_mode="floor")
        return self.roi_align(features, flat, image)

    def candidates(
        self,
        logits: Annotated[Tensor, "m 2"],
        deltas: Annotated[Tensor, "m 8"],
        proposals: Proposals,
        image_sizes: ImageSizes,
    ) -> Candidates:
        """Return what may be a head, in network pixels.

        Args:
            logits: ``(M, 2)`` float32, background and head.
            deltas: ``(M, 8)`` float32, four a class.
            proposals: that these are of.
            image_sizes: of the pictures.
        """
        codes = deltas.unflatten(1, (NUM_CLASSES, 4))[:, 1]
        likelihoods = F.softmax(logits, dim=1)[:, 1]
        shape = proposals.scores.shape
        if proposals.rows is None:
            codes, scores = codes.view(*shape, 4), likelihoods.view(shape)
        else:
            slots = codes.new_zeros((shape.numel(), 4))
            codes = slots.index_copy(0, proposals.rows, codes).view(*shape, 4)
            slots = likelihoods.new_full((shape.numel(),), EMPTY)
            scores = slots.index_copy(0, proposals.rows, likelihoods).view(shape)
        boxes = clip_boxes(decode_boxes(codes, proposals.boxes, ROI_WEIGHTS), image_sizes)
        is_likely = (scores > self.suppression.score_threshold) & proposals.is_filled
        is_likely &= _has_sides(boxes, SMALLEST_HEAD)
        boxes, scores = _empty_others(boxes, scores, is_likely)
        return Candidates(boxes, scores, is_settled=proposals.is_settled)

    def chosen(self, is_wanted: Annotated[Tensor, "b"] | None) -> list[int] | None:
        """Return which pictures are viewed again; None: all, also where asking would wait.

        Args:
            is_wanted: ``(B,)`` bool.
        """
        if is_wanted is None or not self._may_wait(is_wanted):
            return None
        indices: list[int] = np.flatnonzero(is_wanted.cpu().numpy()).tolist()
        return indices

    def suppress(self, candidates: Candidates) -> Heads:
        """Return one box a head, in the pixels of the candidates, by falling score."""
        return self.suppression(candidates, waits=self._may_wait(candidates.scores))

    def _may_wait(self, values: Tensor) -> bool:
        return values.device.type == "cpu" if self.waits is None else self.waits


def build_decoder(network: NetworkConfig, inference: InferenceConfig) -> Decoder:
    """Return what the config describes.

    Raises:
        ConfigError: anchors that do not fit the pyramid.
    """
    strides, box_head = network.backbone.strides, network.box_head
    proposals, suppression = inference.proposals, inference.suppression
    soft_nms = suppression.soft_nms
    voting = suppression.box_voting
    return Decoder(
        build_anchors(network.anchors, len(strides)),
        ProposalLimits(
            proposals.pre_nms_top_n,
            proposals.post_nms_top_n,
            proposals.nms_iou_threshold,
            proposals.score_threshold,
        ),
        PyramidRoIAlign(
            tuple(stride / (2 if network.upscale else 1) for stride in strides),
            box_head.pool_size,
            box_head.sampling_ratio,
            box_head.canonical_scale,
        ),
        Suppression(
            suppression.score_threshold,
            suppression.nms_iou_threshold,
            suppression.detections_per_image,
            SoftNms(soft_nms.sigma, soft_nms.score_threshold) if soft_nms.enabled else None,
            voting.iou_threshold if voting.enabled else None,
        ),
    )


def grids_of(maps: DenseMaps) -> Grids:
    """Return ``(height, width)`` of each level."""
    return tuple((level.shape[2], level.shape[3]) for level in maps.objectness)


def _best_of_levels(maps: DenseMaps, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits ``(B, L, K)``, codes ``(B, L, K, 4)`` and their indices in the flat maps.

    The maps differ in size, so that the best of each are looked for on its own. A level of less
    than K locations is filled up with logits of minus infinity.
    """
    chosen = []
    largest = max(level[0].numel() for level in maps.objectness)
    slots = min(count, largest)
    for objectness, deltas in zip(maps.objectness, maps.deltas, strict=True):
        flat = objectness.permute(0, 2, 3, 1).flatten(1)  # in channels_last memory: a view
        logits, indices = flat.topk(min(slots, flat.shape[1]), dim=1)
        codes = deltas.permute(0, 2, 3, 1).reshape(len(flat), -1, 4)
        codes = gather_boxes(codes, indices)
        lacking = slots - indices.shape[1]
        if lacking:
            logits = F.pad(logits, (0, lacking), value=-torch.inf)
            indices, codes = F.pad(indices, (0, lacking)), F.pad(codes, (0, 0, 0, lacking))
        chosen.append((logits, codes, indices))
    logits, codes, indices = (torch.stack(parts, dim=1) for parts in zip(*chosen, strict=True))
    return logits, codes, indices


def clip_boxes(
    boxes: Annotated[Tensor, "b *n 4"], image_sizes: ImageSizes
) -> Annotated[Tensor, "b *n 4"]:
    """Return ``(B, ..., 4)`` boxes cut off where each picture ends."""
    corners = tuple((width, height, width, height) for height, width in image_sizes)
    limits = constant(corners, boxes.device).view(-1, *(1,) * (boxes.dim() - 2), 4)
    return torch.minimum(boxes, limits).clamp_(min=0)


def _has_sides(boxes: Tensor, smallest: float) -> Tensor:
    """Tell of ``(..., 4)`` boxes whether both sides are as long; no number is not."""
    return (boxes[..., 2:] - boxes[..., :2] >= smallest).all(dim=-1)


def _empty_others(boxes: Tensor, scores: Tensor, is_wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return boxes of zeros and ``EMPTY`` scores where nothing is wanted: no number spreads."""
    others = ~is_wanted
    return boxes.masked_fill(others[..., None], 0.0), scores.masked_fill(others, EMPTY)


def _filled_rows(scores: Tensor) -> Tensor | None:
    """Return which slots hold something, None where all do; on a CPU this is no operator."""
    is_filled = scores.cpu().numpy().reshape(-1) > EMPTY
    if is_filled.all():
        return None
    return torch.from_numpy(np.flatnonzero(is_filled)).to(scores.device)
