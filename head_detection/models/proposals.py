"""Proposals: the most likely boxes of the first stage, as many as the picture needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor

from head_detection.devices import constant
from head_detection.models.anchors import Anchors, Grids
from head_detection.models.box_regression import RPN_WEIGHTS, decode_boxes
from head_detection.models.network import DenseMaps
from head_detection.models.nms import EMPTY, greedy_nms
from head_detection.models.suppression import all_of, any_of, box_sizes, filled_width, gather_boxes

SMALLEST_PROPOSAL: Final = 1e-3
"""Proposals thinner than this many network pixels are dropped, as torchvision does."""
LIKELY: Final = 0.9
"""A limit is too small if the last box that it keeps is at least this likely; boxes that are less
likely hardly ever belong to another head."""
ROUNDING: Final = 1e-6
"""Ten times float32's rounding of a likelihood; this far below a threshold, it may equal it."""
GROWTH: Final = 16
"""Most that a limit grows: 800 proposals become 12,800."""

ImageSizes = Sequence[tuple[int, int]]
"""``(height, width)`` of each picture of a batch, in network pixels, without its padding."""
Counts = npt.NDArray[np.int64]


class SizeRange(NamedTuple):
    """A range of box sizes (root of area in pixels), including both ends."""

    smallest: float = 0.0
    largest: float = float("inf")


@dataclass(frozen=True)
class ProposalLimits:
    """Which boxes of the first stage go to the second stage.

    Args:
        pre_nms_top_n: boxes kept per level, by score, before suppression.
        post_nms_top_n: boxes kept of all levels after suppression.
        nms_iou_threshold: a box is dropped if a better one of its level overlaps it by more.
        score_threshold: less likely boxes are dropped.
        grows: whether both numbers adapt to the picture, as in ``room_for``.
        room: factor by which both may grow on a device that is not synchronised. Tensors have that
            size from the start, and each level of each picture uses what it needs.
    """

    pre_nms_top_n: int
    post_nms_top_n: int
    nms_iou_threshold: float
    score_threshold: float = 0.0
    grows: bool = False
    room: int = 1


class Proposals(NamedTuple):
    """Where a head may be: P slots for each of B pictures, by descending objectness.

    Attributes:
        boxes: ``(B, P, 4)`` xyxy in network pixels, zeros in empty slots.
        scores: ``(B, P)`` objectness in 0..1, ``EMPTY`` in empty slots.
        rows: ``(M,)`` int64 in 0..B*P-1, ascending: the slots that go to the second stage; None
            means all.
        is_settled: as ``Candidates``.
        is_cut: as ``Candidates``.
    """

    boxes: Annotated[Tensor, "b p 4"]
    scores: Annotated[Tensor, "b p"]
    rows: Annotated[Tensor, "m"] | None = None
    is_settled: Annotated[Tensor, ""] | None = None
    is_cut: Annotated[Tensor, "b"] | None = None

    @property
    def is_filled(self) -> Tensor:
        """Return ``(B, P)`` bool: whether the slot holds a proposal."""
        return self.scores > EMPTY


class _Chosen(NamedTuple):
    """The highest scores, descending, of B pictures or of L levels of each.

    Attributes:
        scores: ``(B, K)``, or logits ``(B, L, K)``.
        indices: of the same shape, int64: their indices among all scores.
        is_settled: as ``Candidates``.
        is_cut: as ``Candidates``.
    """

    scores: Tensor
    indices: Tensor
    is_settled: Tensor | None = None
    is_cut: Tensor | None = None


def propose(
    anchors: Anchors,
    limits: ProposalLimits,
    maps: DenseMaps,
    padded_size: tuple[int, int],
    image_sizes: ImageSizes,
    *,
    waits: bool,
    sizes: SizeRange | None = None,
) -> Proposals:
    """Return the most likely boxes of each picture, suppressed within each level.

    torchvision decodes every anchor and keeps a few hundred. This first selects the best of each
    level, and computes anchors and boxes only for them. If no limit grows, the proposals are the
    same.

    Args:
        anchors: the boxes that are moved.
        limits: limits of their number.
        maps: float32.
        padded_size: ``(height, width)`` of the batch.
        image_sizes: of its pictures.
        waits: as ``greedy_nms``. If False, a limit cannot grow beyond its ``room``; if that is not
            enough, the proposals are not settled.
        sizes: proposals outside this range are left to other views; None: keep all.
    """
    best = _best_of_levels(maps, limits, waits=waits)
    codes, logits = _codes_at(maps, best.indices), best.scores
    boxes = decode_boxes(codes, anchors.at(best.indices, grids_of(maps), padded_size), RPN_WEIGHTS)
    boxes, scores = clip_boxes(boxes, image_sizes), logits.sigmoid()
    is_wanted = has_sides(boxes, SMALLEST_PROPOSAL) & (scores >= limits.score_threshold)
    boxes, scores = empty_others(boxes, scores, is_wanted & (logits > -torch.inf))
    kept, is_settled = greedy_nms(
        boxes.flatten(0, 1), scores.flatten(0, 1), limits.nms_iou_threshold, waits=waits
    )
    chosen = _best_of_all(
        scores.masked_fill(~kept.view_as(scores), EMPTY).flatten(1), limits, waits=waits
    )
    boxes, scores = gather_boxes(boxes.flatten(1, 2), chosen.indices), chosen.scores
    if sizes is not None:
        own = box_sizes(boxes)
        boxes, scores = empty_others(
            boxes, scores, (own >= sizes.smallest) & (own <= sizes.largest) & (scores > EMPTY)
        )
    return Proposals(
        boxes,
        scores,
        _filled_rows(scores) if waits else None,
        all_of(best.is_settled, is_settled, chosen.is_settled),
        any_of(best.is_cut, chosen.is_cut),
    )


def room_for(likely: Counts, limit: int) -> Counts:
    """Return a limit doubled until it exceeds the number of likely boxes.

    A limit of just their number is a little faster, but loses .005 AP50 in crowded streets.

    Args:
        likely: number of boxes at least ``LIKELY``, of any shape, which the result has too.
        limit: the initial limit; it grows at most by the factor ``GROWTH``.

    Example:
        >>> room_for(np.array([0, 599, 600, 1300, 10**6]), 600).tolist()
        [600, 600, 1200, 2400, 9600]
    """
    doublings = np.floor(np.log2(np.maximum(likely / limit, 0.5))) + 1
    room: Counts = limit * 2 ** np.minimum(doublings, math.log2(GROWTH)).astype(np.int64)
    return room


def grids_of(maps: DenseMaps) -> Grids:
    """Return ``(height, width)`` of each level."""
    return tuple((level.shape[2], level.shape[3]) for level in maps.objectness)


def _best_of_levels(maps: DenseMaps, limits: ProposalLimits, *, waits: bool) -> _Chosen:
    """Return logits and indices ``(B, L, K)`` of the most likely anchors of each level."""
    if waits:
        return _best_that_count(maps.objectness, limits)
    count = limits.pre_nms_top_n
    if not limits.grows:
        return _Chosen(*_top_of_levels(maps, count))
    logits, indices = _top_of_levels(maps, count * limits.room)
    is_likely = logits >= _logit(LIKELY)
    logits, is_settled = _within_room(logits, is_likely, count, limits.room, -torch.inf)
    return _Chosen(logits, indices, is_settled)


def _best_that_count(objectness: Sequence[Tensor], limits: ProposalLimits) -> _Chosen:
    """Consider only anchors above the score threshold: in a crowd, one location in fifty.

    On a CPU, comparing a whole map takes a tenth of the time of selecting its highest values.
    """
    count, shape = limits.pre_nms_top_n, (len(objectness[0]), len(objectness))
    least = _logit(limits.score_threshold - ROUNDING)
    likely, best = np.zeros(shape, np.int64), []
    for level, own in enumerate(objectness):
        logits = _values(own.permute(0, 2, 3, 1)).reshape(shape[0], -1)
        for picture, row in enumerate(logits):
            if limits.grows:
                likely[picture, level] = np.count_nonzero(row >= _logit(LIKELY))
            places = np.flatnonzero(row >= least)
            room = int(room_for(likely[picture, level], count))
            places = places[_largest(row[places], room)]
            best.append((picture, level, places, row[places]))
    slots = max(len(places) for _, _, places, _ in best)
    chosen = np.full((*shape, slots), -np.inf, np.float32)
    indices = np.zeros((*shape, slots), np.int64)
    for picture, level, places, values in best:
        chosen[picture, level, : len(places)] = values
        indices[picture, level, : len(places)] = places
    is_cut = None
    if (likely >= count).any():
        is_cut = torch.from_numpy((likely >= count * GROWTH).any(axis=1))
    device = objectness[0].device
    return _Chosen(
        torch.from_numpy(chosen).to(device), torch.from_numpy(indices).to(device), is_cut=is_cut
    )


def _largest(values: npt.NDArray[np.float32], count: int) -> Counts:
    """Return the indices of the largest values, descending; ties keep their order.

    Example:
        >>> _largest(np.array([0.5, 2, 1, 2], np.float32), 3).tolist()
        [1, 3, 2]
    """
    some = np.arange(len(values))
    if len(values) > 2 * count:  # sorting a whole map takes longer than all that follows
        least = np.partition(values, len(values) - count)[len(values) - count]
        some = np.flatnonzero(values >= least)
    order: Counts = some[np.argsort(-values[some], kind="stable")][:count]
    return order


def _logit(likelihood: float) -> float:
    """Return the logit of a likelihood below 1; minus infinity for 0 or less."""
    return math.log(likelihood / (1 - likelihood)) if likelihood > 0 else -math.inf


def _top_of_levels(maps: DenseMaps, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``(B, L, K)`` largest logits, descending, and their indices, per level.

    The maps differ in size, so each is searched separately. A level with fewer than K locations is
    padded with logits of minus infinity.
    """
    chosen = []
    slots = min(count, max(level[0].numel() for level in maps.objectness))
    for objectness in maps.objectness:
        flat = objectness.permute(0, 2, 3, 1).flatten(1)  # in channels_last memory: a view
        logits, indices = flat.topk(min(slots, flat.shape[1]), dim=1)
        lacking = slots - indices.shape[1]
        if lacking:
            logits = F.pad(logits, (0, lacking), value=-torch.inf)
            indices = F.pad(indices, (0, lacking))
        chosen.append((logits, indices))
    logits, indices = (torch.stack(parts, dim=1) for parts in zip(*chosen, strict=True))
    return logits, indices


def _codes_at(maps: DenseMaps, indices: Tensor) -> Tensor:
    """Return the ``(B, L, K, 4)`` codes at ``(B, L, K)`` indices of each level."""
    codes = []
    for deltas, own in zip(maps.deltas, indices.unbind(1), strict=True):
        flat = deltas.permute(0, 2, 3, 1).reshape(len(deltas), -1, 4)
        codes.append(gather_boxes(flat, own))
    return torch.stack(codes, dim=1)


def _best_of_all(scores: Tensor, limits: ProposalLimits, *, waits: bool) -> _Chosen:
    """Return the best ``(B, P)`` of ``(B, N)`` scores."""
    count = limits.post_nms_top_n
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    if not waits:
        if not limits.grows:
            return _Chosen(scores[:, :count], order[:, :count])
        scores, order = scores[:, : count * limits.room], order[:, : count * limits.room]
        scores, is_settled = _within_room(scores, scores >= LIKELY, count, limits.room, EMPTY)
        return _Chosen(scores, order, is_settled)
    is_cut = None
    number = (_values(scores) >= LIKELY).sum(axis=1) if limits.grows else np.zeros(1, np.int64)
    if (number >= count).any():
        room = room_for(number, count)
        is_cut = torch.from_numpy(number >= count * GROWTH)
        count = int(room.max())
        scores, order = scores[:, :count], order[:, :count]
        scores = scores.masked_fill(_beyond(room, scores), EMPTY)
    scores, order = scores[:, :count], order[:, :count]
    width = filled_width(scores)
    return _Chosen(scores[:, :width], order[:, :width], is_cut=is_cut)


def _within_room(
    scores: Tensor, is_likely: Tensor, limit: int, room: int, empty: float
) -> tuple[Tensor, Tensor | None]:
    """Apply ``room_for`` to descending scores without synchronising.

    Scores beyond the limit are emptied. The second result tells whether the room was enough; None
    if that is certain.
    """
    is_settled = None if scores.shape[-1] < limit * room else ~is_likely[..., -1].any()
    if scores.shape[-1] <= limit:
        return scores, is_settled
    ranks = torch.arange(scores.shape[-1], device=scores.device)
    steps = constant(tuple(limit << step for step in range(room.bit_length())), scores.device)
    number = is_likely.sum(dim=-1, keepdim=True)
    doublings = (number >= steps).sum(dim=-1, keepdim=True)
    return scores.masked_fill(ranks >= limit * 2**doublings, empty), is_settled


def _beyond(room: Counts, like: Tensor) -> Tensor:
    """Tell which ranks, along the last dimension of a tensor, are beyond the limit."""
    is_beyond = np.arange(like.shape[-1]) >= room[..., None]
    return torch.from_numpy(is_beyond).to(like.device)


def _values(values: Tensor) -> npt.NDArray[Any]:
    """Return an array; this is no operator on a CPU, and synchronises with a GPU."""
    array: npt.NDArray[Any] = values.detach().cpu().numpy()
    return array


def clip_boxes(
    boxes: Annotated[Tensor, "b *n 4"], image_sizes: ImageSizes
) -> Annotated[Tensor, "b *n 4"]:
    """Return ``(B, ..., 4)`` boxes clipped to each picture."""
    corners = tuple((width, height, width, height) for height, width in image_sizes)
    limits = constant(corners, boxes.device).view(-1, *(1,) * (boxes.dim() - 2), 4)
    return torch.minimum(boxes, limits).clamp_(min=0)


def has_sides(boxes: Annotated[Tensor, "*n 4"], smallest: float) -> Annotated[Tensor, "*n"]:
    """Tell whether both sides of ``(..., 4)`` boxes are at least this long; False for NaN."""
    return (boxes[..., 2:] - boxes[..., :2] >= smallest).all(dim=-1)


def empty_others(
    boxes: Annotated[Tensor, "*n 4"],
    scores: Annotated[Tensor, "*n"],
    is_wanted: Annotated[Tensor, "*n"],
) -> tuple[Annotated[Tensor, "*n 4"], Annotated[Tensor, "*n"]]:
    """Empty the slots that are not wanted, with zero boxes, so that NaN does not spread."""
    others = ~is_wanted
    return boxes.masked_fill(others[..., None], 0.0), scores.masked_fill(others, EMPTY)


def _filled_rows(scores: Tensor) -> Tensor | None:
    """Return the indices of filled slots, None if all are filled; no operator on a CPU."""
    is_filled = scores.cpu().numpy().reshape(-1) > EMPTY
    if is_filled.all():
        return None
    return torch.from_numpy(np.flatnonzero(is_filled)).to(scores.device)
