"""Estimates where heads are on frames in which the detector missed them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from head_detection.structures import NOT_TRACKED, BoolArray, Detections, FloatArray, IntArray

SecondsArray = npt.NDArray[np.float64]

BRIDGE_SECONDS: Final = 2.0
"""A head found again within this time was there in between; trackers give up after 1 or 2 s."""
LONGEST_BRIDGE_SECONDS: Final = 10.0
"""The same for files, whose frames can wait this long, and heads that keep an id or their place."""
KEPT_PLACE: Final = 0.5
"""A head has stayed in place if it is no farther away, and moves no faster per second, than this
multiple of its size."""
HOLD_SECONDS: Final = 0.5
"""A head is hidden for this long before it is first found and after it was last found."""
REACH: Final = 2.0
"""Largest distance from the expected position, in sizes of the head: heads of 12 pixels can move by
more than their size between frames."""
LARGEST_GROWTH: Final = 2.0
"""Largest change of size between two detections of one head."""
SMOOTHING: Final = 0.5
"""Weight of the last step in a head's speed, because boxes jitter."""
ROUNDING: Final = 1e-3
"""Relative tolerance of a distance, above the rounding of float32."""
SAME: Final = 0.9
"""A box with this share inside a found one is not filled in."""


@dataclass
class CoveredFrame:
    """A frame and what is hidden on it.

    Attributes:
        seconds: its presentation time.
        found: ``(N, 4)`` xyxy, where heads were found.
        between: boxes ``(4,)`` of heads that were found before and after.
        around: boxes ``(4,)`` where a head will soon first be found, or has just last been found.
        unlikely: boxes ``(4,)`` between two detections that score too low to count.
    """

    seconds: float
    found: FloatArray
    between: list[FloatArray] = field(default_factory=list)
    around: list[FloatArray] = field(default_factory=list)
    unlikely: list[FloatArray] = field(default_factory=list)

    @property
    def boxes(self) -> FloatArray:
        """All boxes that are hidden, ``(M, 4)`` xyxy."""
        boxes = [*self.found, *self.between, *self.around, *self.unlikely]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def is_missing_in(self, boxes: list[FloatArray]) -> bool:
        """Tell whether any of the boxes covers more than what was found."""
        return any(_share_inside(box, self.found) < SAME for box in boxes)


@dataclass
class _Heads:
    """Heads found so far, one row each.

    Attributes:
        keys: ``(N,)`` their ids, -1 without one.
        boxes: ``(N, 4)`` xyxy, where they were last found.
        seconds: ``(N,)`` when that was.
        first_boxes: ``(N, 4)`` where they were first found.
        first_seconds: ``(N,)`` when that was.
        is_sure: ``(N,)`` whether they ever counted.
        speeds: ``(N, 2)`` pixels a second, right and down.
        is_moving: ``(N,)`` whether the speed is known, from two detections or more.
    """

    keys: IntArray
    boxes: FloatArray
    seconds: SecondsArray
    first_boxes: FloatArray
    first_seconds: SecondsArray
    is_sure: BoolArray
    speeds: FloatArray
    is_moving: BoolArray

    @classmethod
    def found(cls, keys: IntArray, boxes: FloatArray, seconds: float) -> Self:
        """Return newly found heads; none of them counts yet."""
        times = np.full(len(boxes), seconds)
        no, still = np.zeros(len(boxes), bool), np.zeros((len(boxes), 2), np.float32)
        return cls(keys, boxes, times, boxes.copy(), times.copy(), no, still, no.copy())

    def __len__(self) -> int:
        """Return the number of heads."""
        return len(self.keys)

    def where(self, chosen: BoolArray) -> Self:
        """Return some of them."""
        return type(self)(*(getattr(self, part.name)[chosen] for part in fields(self)))

    def joined(self, others: Self) -> Self:
        """Return these heads followed by others."""
        names = [part.name for part in fields(self)]
        return type(self)(*(np.concatenate([getattr(self, n), getattr(others, n)]) for n in names))

    @property
    def has_stayed(self) -> BoolArray:
        """``(N,)`` whether they hardly moved when they were last found."""
        sizes = (self.boxes[:, 2:] - self.boxes[:, :2]).max(axis=1)
        return np.asarray(np.hypot(*self.speeds.T) <= KEPT_PLACE * sizes, bool)

    def boxes_at(self, seconds: float) -> FloatArray:
        """Return ``(N, 4)`` where they are expected at a later time."""
        passed = (seconds - self.seconds).astype(np.float32)
        return self.boxes + np.tile(self.speeds * passed[:, None], 2)


class GapFiller:
    """Follows detections from frame to frame and fills the gaps.

    Each frame is held back for the length of the longest gap, because later detections tell where a
    head was. Heads are matched by id, otherwise by their expected position, nearest first; after
    ``BRIDGE_SECONDS`` only by id, or by the same place for heads that stayed. Detections that score
    too low to count are filled in only between two of them, at most half a second apart: holding
    false ones longer would hide the street.

    Args:
        score_threshold: heads with a lower score do not count.
        bridge_seconds: the longest gap that is filled.
    """

    def __init__(self, score_threshold: float, bridge_seconds: float = BRIDGE_SECONDS) -> None:
        self._score_threshold, self._bridge_seconds = score_threshold, bridge_seconds
        self._frames: deque[CoveredFrame] = deque()
        self._heads = _no_heads()

    def add(self, seconds: float, found: Detections) -> None:
        """Add a frame with the heads to hide; if the time jumps back, earlier heads are forgotten.

        Args:
            seconds: its presentation time.
            found: heads of any score, with ids if they are tracked.
        """
        if self._frames and seconds < self._frames[-1].seconds:
            self._heads = _no_heads()
        frame = CoveredFrame(seconds, found.boxes)
        is_sure = found.scores >= self._score_threshold
        keys = np.full(len(found), NOT_TRACKED, np.int64)
        if found.ids is not None:
            keys, is_sure = found.ids, is_sure | (found.ids != NOT_TRACKED)
        rows = self._match(seconds, keys, found.boxes)
        is_new = rows < 0
        rows[is_new] = len(self._heads) + np.arange(np.count_nonzero(is_new))
        new = _Heads.found(keys[is_new], found.boxes[is_new], seconds)
        self._heads = self._heads.joined(new)
        self._bridge(rows, found.boxes, seconds, is_sure)
        self._meet(rows, keys, found.boxes, seconds, is_sure)
        self._frames.append(frame)
        ages = seconds - self._heads.seconds
        is_held = self._heads.is_sure & (ages <= HOLD_SECONDS)
        is_held[rows] = False
        held = self._heads.where(is_held)
        frame.around.extend(_hulls(held.boxes, held.boxes_at(seconds)))
        self._heads = self._heads.where(ages <= self._reach())

    def ready(self) -> Iterator[CoveredFrame]:
        """Remove and yield the frames that later ones can no longer change."""
        while self._frames and not (
            0 <= self._frames[-1].seconds - self._frames[0].seconds <= self._bridge_seconds
        ):
            yield self._frames.popleft()

    def rest(self) -> Iterator[CoveredFrame]:
        """Remove and yield all frames that are left, at the end."""
        while self._frames:
            yield self._frames.popleft()

    def _reach(self) -> SecondsArray:
        """Return ``(N,)`` for how many seconds heads are searched for."""
        heads = self._heads
        may_come_back = heads.is_sure & ((heads.keys != NOT_TRACKED) | heads.has_stayed)
        short = min(BRIDGE_SECONDS, self._bridge_seconds)
        return np.where(may_come_back, self._bridge_seconds, short)

    def _match(self, seconds: float, keys: IntArray, boxes: FloatArray) -> IntArray:
        """Return ``(N,)`` the row of the head that each box is of, -1 for a new head."""
        heads = self._heads
        rows = np.full(len(boxes), -1, np.int64)
        row_of = {key: row for row, key in enumerate(heads.keys.tolist()) if key != NOT_TRACKED}
        for number, key in enumerate(keys.tolist()):
            rows[number] = row_of.get(key, -1)
        is_left = np.ones(len(heads), bool)
        is_left[rows[rows >= 0]] = False
        left, numbers = np.flatnonzero(is_left), np.flatnonzero(rows < 0)
        if not len(left) or not len(numbers):
            return rows
        others = heads.where(is_left)
        ages = seconds - others.seconds
        is_old = ages > BRIDGE_SECONDS
        expected = np.where(is_old[:, None], others.boxes, others.boxes_at(seconds))
        reach = np.where(is_old, np.where(others.has_stayed, KEPT_PLACE, -1.0), REACH)
        near, columns, distances = _near(expected, boxes[numbers], reach)
        order = np.argsort(distances + ages[near], kind="stable")
        taken = order[_first_of_both(near[order], columns[order])]
        rows[numbers[columns[taken]]] = left[near[taken]]
        return rows

    def _bridge(
        self, rows: IntArray, boxes: FloatArray, seconds: float, is_sure: BoolArray
    ) -> None:
        """Hide heads on the frames since they were last found."""
        if not self._frames:
            return
        heads = self._heads
        are_sure = heads.is_sure[rows] | is_sure
        befores = heads.seconds[rows]
        is_missed = befores < min(seconds, self._frames[-1].seconds)
        chosen = np.flatnonzero(is_missed & (are_sure | (seconds - befores <= HOLD_SECONDS)))
        frames, times = self._frames_since(befores[chosen].min(initial=seconds))
        which, places = np.nonzero(times > befores[chosen, None])
        which, before = chosen[which], befores[chosen][which]
        parts = (times[places] - before) / (seconds - before)
        hidden = _between(heads.boxes[rows[which]], boxes[which], parts)
        is_long = seconds - before > BRIDGE_SECONDS  # the path in between is unknown
        growth = np.where(is_long, 1 + 2 * np.minimum(parts, 1 - parts), 1)
        hidden = _grown(hidden, growth)
        for n, place, box in zip(which.tolist(), places.tolist(), hidden, strict=True):
            frame = frames[place]
            (frame.between if are_sure[n] else frame.unlikely).append(box)
            if are_sure[n] and seconds - frame.seconds <= HOLD_SECONDS:
                frame.around.append(boxes[n])  # it may have stayed there, then moved

    def _frames_since(self, seconds: float) -> tuple[list[CoveredFrame], SecondsArray]:
        """Return the waiting frames after a time, and their times ``(N,)``."""
        later = takewhile(lambda frame: frame.seconds > seconds, reversed(self._frames))
        frames = [*later][::-1]
        return frames, np.array([frame.seconds for frame in frames], np.float64)

    def _meet(
        self,
        rows: IntArray,
        keys: IntArray,
        boxes: FloatArray,
        seconds: float,
        is_sure: BoolArray,
    ) -> None:
        """Update the heads; look back for those that now count or whose speed is now known."""
        heads = self._heads
        was_sure, was_moving = heads.is_sure[rows], heads.is_moving[rows]
        passed = (seconds - heads.seconds[rows]).astype(np.float32)
        goes = passed > 0
        known = rows[goes]
        steps = _centres(boxes[goes]) - _centres(heads.boxes[known])
        share = np.where(was_moving[goes], np.float32(SMOOTHING), np.float32(1))[:, None]
        steps = steps / passed[goes, None]
        heads.speeds[known] = share * steps + (1 - share) * heads.speeds[known]
        heads.is_moving[known] = True
        heads.keys[rows] = np.where(keys == NOT_TRACKED, heads.keys[rows], keys)
        heads.boxes[rows], heads.seconds[rows] = boxes, seconds
        heads.is_sure[rows] |= is_sure
        is_better = ~was_sure | (heads.is_moving[rows] != was_moving)
        self._look_back(rows[is_better & heads.is_sure[rows]])

    def _look_back(self, rows: IntArray) -> None:
        """Hide heads on the frames just before they were first found."""
        if not len(rows):
            return
        heads = self._heads
        first_seconds = heads.first_seconds[rows]
        frames, times = self._frames_since(first_seconds.min() - 2 * HOLD_SECONDS)
        ahead = first_seconds[:, None] - times
        which, places = np.nonzero((ahead > 0) & (ahead <= HOLD_SECONDS))
        some, passed = rows[which], -ahead[which, places].astype(np.float32)
        first = heads.first_boxes[some]
        before = first + np.tile(heads.speeds[some] * passed[:, None], 2)
        for place, box in zip(places.tolist(), _hulls(first, before), strict=True):
            frames[place].around.append(box)


def _no_heads() -> _Heads:
    return _Heads.found(np.empty(0, np.int64), np.empty((0, 4), np.float32), 0.0)


def _centres(boxes: FloatArray) -> FloatArray:
    return ((boxes[..., :2] + boxes[..., 2:]) / 2).astype(np.float32)


def _near(
    expected: FloatArray, boxes: FloatArray, reach: SecondsArray
) -> tuple[IntArray, IntArray, FloatArray]:
    """Return the pairs of similar size within reach: rows, columns and distances.

    Args:
        expected: ``(N, 4)`` where heads are expected.
        boxes: ``(M, 4)``.
        reach: ``(N,)`` from centre to centre, in sizes of the larger of the two.
    """
    own = (expected[:, 2:] - expected[:, :2]).max(axis=1)
    other = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    centres, places = _centres(expected), _centres(boxes)
    order = np.argsort(places[:, 0], kind="stable")
    # In a crowd, the horizontal distance alone rules out nearly all pairs.
    widest = reach * own * LARGEST_GROWTH * (1 + ROUNDING)
    begin = np.searchsorted(places[order, 0], centres[:, 0] - widest)
    end = np.searchsorted(places[order, 0], centres[:, 0] + widest, "right")
    counts = np.maximum(end - begin, 0)
    rows = np.repeat(np.arange(len(expected)), counts)
    nth = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    columns = order[begin[rows] + nth]
    is_level = np.abs(centres[rows, 1] - places[columns, 1]) <= widest[rows]
    rows, columns = rows[is_level], columns[is_level]
    larger = np.maximum(own[rows], other[columns])
    is_alike = larger <= LARGEST_GROWTH * np.minimum(own[rows], other[columns])
    larger = np.maximum(larger, np.finfo(np.float32).tiny)
    distances = np.hypot(*(centres[rows] - places[columns]).T) / larger
    is_near = is_alike & (distances <= reach[rows])
    return rows[is_near], columns[is_near], distances[is_near]


def _first_of_both(rows: IntArray, columns: IntArray) -> BoolArray:
    """Return ``(N,)`` which pairs a greedy match takes, in their order.

    A pair is taken unless an earlier taken pair has its row or its column.

    Example:
        >>> _first_of_both(np.array([0, 0, 1]), np.array([5, 6, 5])).tolist()
        [True, False, False]
    """
    is_taken = np.zeros(len(rows), bool)
    pairs, left = np.stack([rows, columns]), np.arange(len(rows))
    first = np.zeros(pairs.max(initial=-1) + 1, np.int64)
    is_gone = np.zeros(len(first), bool)
    while len(left):
        is_first = np.ones(len(left), bool)
        for numbers in pairs[:, left]:
            first[numbers[::-1]] = left[::-1]  # the last write wins, so the first pair
            is_first &= first[numbers] == left
        taken = left[is_first]
        is_taken[taken] = True
        for numbers in pairs:
            is_gone[numbers[taken]] = True
            left = left[~is_gone[numbers[left]]]
            is_gone[numbers[taken]] = False
    return is_taken


def _between(before: FloatArray, after: FloatArray, parts: SecondsArray) -> FloatArray:
    """Return ``(N, 4)`` boxes interpolated between two each, as large as the larger of the two.

    Args:
        before: ``(N, 4)``.
        after: ``(N, 4)``.
        parts: ``(N,)`` share of the way, 0 to 1.

    Example:
        >>> boxes = np.array([[[0, 0, 4, 4]], [[10, 0, 16, 6]]], np.float32)
        >>> _between(*boxes, np.array([0.5])).tolist()
        [[4.5, -0.5, 10.5, 5.5]]
    """
    part = parts[:, None]
    centres = _centres(before) * (1 - part) + _centres(after) * part
    half = np.maximum(before[:, 2:] - before[:, :2], after[:, 2:] - after[:, :2]) / 2
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def _grown(boxes: FloatArray, factors: SecondsArray) -> FloatArray:
    """Return ``(N, 4)`` the boxes enlarged by the factors around their centres."""
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * factors[:, None].astype(np.float32)
    return np.concatenate([_centres(boxes) - half, _centres(boxes) + half], axis=1)


def _hulls(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return ``(N, 4)`` the smallest boxes that contain two each."""
    corners = [np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])]
    return np.concatenate(corners, axis=1)


def _share_inside(box: FloatArray, others: FloatArray) -> float:
    """Return the share of a box that lies inside the one of the others that covers most of it."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    area = max(float(np.prod(box[2:] - box[:2])), float(np.finfo(np.float32).tiny))
    return float(np.maximum(sides, 0).prod(axis=1).max(initial=0.0)) / area
