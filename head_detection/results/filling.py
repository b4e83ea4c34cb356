"""Where heads are on the frames that a detector missed them on."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from head_detection.structures import NOT_TRACKED, Detections, FloatArray

BRIDGE_SECONDS: Final = 2.0
"""A head that is found again so soon was there meanwhile; trackers give up after one or two."""
LONGEST_BRIDGE_SECONDS: Final = 10.0
"""Where frames may wait so long, as of a file: who keeps an id, or a place, was there."""
KEPT_PLACE: Final = 0.5
"""Of a head's size: so far from its place, and so slow a second, it is taken to have stayed."""
HOLD_SECONDS: Final = 0.5
"""A head stays hidden so long after it was last found, and is so long before it is first found."""
REACH: Final = 2.0
"""Of a head's size, from where it should be: heads of 12 pixels move more than that a frame."""
LARGEST_GROWTH: Final = 2.0
"""Between two sights of one head, of its size."""
SMOOTHING: Final = 0.5
"""Of a speed, what the last step tells; boxes tremble."""
SAME: Final = 0.9
"""Of a box, inside one that was found: nothing is filled in there."""


@dataclass
class CoveredFrame:
    """A frame and what is hidden on it.

    Attributes:
        seconds: its presentation time.
        found: ``(N, 4)`` xyxy, where heads were found.
        between: boxes ``(4,)`` of heads that were found before and after.
        around: boxes ``(4,)`` where a head is first found soon, or was last found just before.
        unlikely: boxes ``(4,)`` between two sights of what is less likely a head than those that
            count.
    """

    seconds: float
    found: FloatArray
    between: list[FloatArray] = field(default_factory=list)
    around: list[FloatArray] = field(default_factory=list)
    unlikely: list[FloatArray] = field(default_factory=list)

    @property
    def boxes(self) -> FloatArray:
        """All of it, ``(M, 4)`` xyxy."""
        boxes = [*self.found, *self.between, *self.around, *self.unlikely]
        return np.array(boxes, np.float32).reshape(-1, 4)

    def is_missing_in(self, boxes: list[FloatArray]) -> bool:
        """Tell whether one of some boxes covers more than was found."""
        return any(_share_inside(box, self.found) < SAME for box in boxes)


@dataclass
class _Head:
    """A head that was found, some time or other."""

    key: int
    box: FloatArray
    seconds: float
    first_box: FloatArray
    first_seconds: float
    is_sure: bool
    speed: FloatArray = field(default_factory=lambda: np.zeros(2, np.float32))
    """Pixels a second, right and down."""
    is_moving: bool = False
    """Whether the speed is known: it was found twice."""

    @property
    def has_stayed(self) -> bool:
        """Whether it hardly moved where it was last found."""
        size = float((self.box[2:] - self.box[:2]).max())
        return float(np.hypot(*self.speed)) <= KEPT_PLACE * size

    def box_at(self, seconds: float) -> FloatArray:
        """Return where it should be after it was last found."""
        return self.box + np.tile(self.speed * np.float32(seconds - self.seconds), 2)

    def box_before(self, seconds: float) -> FloatArray:
        """Return where it should have been before it was first found."""
        return self.first_box + np.tile(self.speed * np.float32(seconds - self.first_seconds), 2)


class GapFiller:
    """Follows what was found from frame to frame, and fills the gaps.

    A frame is held back for as long as gaps are filled, for what is found later tells where a head
    was. Heads go by their id, or else by the place where they should be: the nearest first; after
    ``BRIDGE_SECONDS`` by their id, or by the very place where one stayed. What is less
    likely than the heads that count is not held beyond the frames where it is found, and those
    between, half a second at most: wrong ones would hide the street.

    Args:
        score_threshold: heads scored lower do not count.
        bridge_seconds: the longest gap that is filled.
    """

    def __init__(self, score_threshold: float, bridge_seconds: float = BRIDGE_SECONDS) -> None:
        self._score_threshold, self._bridge_seconds = score_threshold, bridge_seconds
        self._frames: deque[CoveredFrame] = deque()
        self._heads: list[_Head] = []

    def add(self, seconds: float, found: Detections) -> None:
        """Take what is to be hidden on a frame; seconds rise, or all that was before is forgotten.

        Args:
            seconds: its presentation time.
            found: heads of any score, with ids where they are followed.
        """
        if self._frames and seconds < self._frames[-1].seconds:
            self._heads = []
        frame = CoveredFrame(seconds, found.boxes)
        matches = self._match(seconds, found)
        is_sure = found.scores >= self._score_threshold
        if found.ids is not None:
            is_sure = is_sure | (found.ids != NOT_TRACKED)
        seen = set()
        for number, box in enumerate(found.boxes):
            key = NOT_TRACKED if found.ids is None else int(found.ids[number])
            head = matches.get(number)
            if head is None:
                head = _Head(key, box, seconds, box, seconds, is_sure=False)
                self._heads.append(head)
            else:
                self._bridge(head, box, seconds, is_sure=head.is_sure or bool(is_sure[number]))
            seen.add(id(head))
            self._meet(head, key, box, seconds, is_sure=bool(is_sure[number]))
        self._frames.append(frame)
        for head in self._heads:
            if id(head) not in seen and head.is_sure and seconds - head.seconds <= HOLD_SECONDS:
                frame.around.append(_hull(head.box, head.box_at(seconds)))
        self._heads = [h for h in self._heads if seconds - h.seconds <= self._reach_of(h)]

    def ready(self) -> Iterator[CoveredFrame]:
        """Give, once each, the frames that nothing later changes."""
        while self._frames and not (
            0 <= self._frames[-1].seconds - self._frames[0].seconds <= self._bridge_seconds
        ):
            yield self._frames.popleft()

    def rest(self) -> Iterator[CoveredFrame]:
        """Give all that is left, at the end."""
        while self._frames:
            yield self._frames.popleft()

    def _reach_of(self, head: _Head) -> float:
        """Return for how many seconds a head is looked for."""
        may_come_back = head.is_sure and (head.key != NOT_TRACKED or head.has_stayed)
        return self._bridge_seconds if may_come_back else min(BRIDGE_SECONDS, self._bridge_seconds)

    def _match(self, seconds: float, found: Detections) -> dict[int, _Head]:
        """Return the heads that are found again, by their number on this frame."""
        by_key = {head.key: head for head in self._heads if head.key != NOT_TRACKED}
        keys = [] if found.ids is None else found.ids.tolist()
        matches = {n: by_key[key] for n, key in enumerate(keys) if key in by_key}
        known = {id(head) for head in matches.values()}
        heads = [head for head in self._heads if id(head) not in known]
        numbers = [n for n in range(len(found)) if n not in matches]
        if not heads or not numbers:
            return matches
        ages = np.array([seconds - head.seconds for head in heads])
        is_old = ages > BRIDGE_SECONDS
        expected = np.array(
            [
                head.box if old else head.box_at(seconds)
                for head, old in zip(heads, is_old, strict=True)
            ],
            np.float32,
        )
        distances = _distances(expected, found.boxes[numbers])
        has_stayed = np.array([head.has_stayed for head in heads])
        reach = np.where(is_old, np.where(has_stayed, KEPT_PLACE, -1.0), REACH)
        rows, columns = np.nonzero(distances <= reach[:, None])
        order = np.argsort(distances[rows, columns] + ages[rows], kind="stable")
        taken: set[int] = set()
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            if row not in taken and numbers[column] not in matches:
                taken.add(row)
                matches[numbers[column]] = heads[row]
        return matches

    def _bridge(self, head: _Head, box: FloatArray, seconds: float, *, is_sure: bool) -> None:
        """Hide a head on the frames since it was last found."""
        if not is_sure and seconds - head.seconds > HOLD_SECONDS:
            return
        for frame in reversed(self._frames):
            if frame.seconds <= head.seconds:
                break
            part = (frame.seconds - head.seconds) / (seconds - head.seconds)
            hidden = _between(head.box, box, part)
            if seconds - head.seconds > BRIDGE_SECONDS:  # who knows by which way
                hidden = _grown(hidden, 1 + 2 * min(part, 1 - part))
            (frame.between if is_sure else frame.unlikely).append(hidden)
            if (
                is_sure and seconds - frame.seconds <= HOLD_SECONDS
            ):  # it may have stood still, then moved
                frame.around.append(box)

    def _meet(
        self, head: _Head, key: int, box: FloatArray, seconds: float, *, is_sure: bool
    ) -> None:
        """Note where a head is; once it counts, and once its way is known, look back."""
        was_sure, was_moving = head.is_sure, head.is_moving
        passed = seconds - head.seconds
        if passed > 0:
            step = (_centres(box) - _centres(head.box)) / np.float32(passed)
            share = SMOOTHING if head.is_moving else 1.0
            head.speed = (share * step + (1 - share) * head.speed).astype(np.float32)
            head.is_moving = True
        head.key = head.key if key == NOT_TRACKED else key
        head.box, head.seconds, head.is_sure = box, seconds, head.is_sure or is_sure
        if head.is_sure and (not was_sure or head.is_moving != was_moving):
            for frame in self._frames:
                if 0 < head.first_seconds - frame.seconds <= HOLD_SECONDS:
                    before = head.box_before(frame.seconds)
                    frame.around.append(_hull(head.first_box, before))


def _centres(boxes: FloatArray) -> FloatArray:
    return ((boxes[..., :2] + boxes[..., 2:]) / 2).astype(np.float32)


def _distances(expected: FloatArray, boxes: FloatArray) -> FloatArray:
    """Return ``(N, M)`` from centre to centre in sizes of the larger; inf for unlike sizes."""
    apart = (expected[:, None, :2] + expected[:, None, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    own = (expected[:, 2:] - expected[:, :2]).max(axis=1)[:, None]
    other = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    larger = np.maximum(np.maximum(own, other), np.finfo(np.float32).tiny)
    is_alike = larger <= LARGEST_GROWTH * np.minimum(own, other)
    distances = np.where(is_alike, np.hypot(apart[..., 0], apart[..., 1]) / larger, np.inf)
    return distances.astype(np.float32)


def _between(before: FloatArray, after: FloatArray, part: float) -> FloatArray:
    """Return the box on the way from one to another, as large as the larger.

    Example:
        >>> boxes = np.array([[0, 0, 4, 4], [10, 0, 16, 6]], np.float32)
        >>> _between(*boxes, 0.5).tolist()
        [4.5, -0.5, 10.5, 5.5]
    """
    centre = _centres(before) * (1 - part) + _centres(after) * part
    half = np.maximum(before[2:] - before[:2], after[2:] - after[:2]) / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _grown(box: FloatArray, factor: float) -> FloatArray:
    """Return the box around the same centre, so many times as large."""
    half = (box[2:] - box[:2]) / 2 * np.float32(factor)
    return np.concatenate([_centres(box) - half, _centres(box) + half]).astype(np.float32)


def _hull(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the smallest box around two."""
    return np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])


def _share_inside(box: FloatArray, others: FloatArray) -> float:
    """Return how much of a box lies in that one of others which covers most of it."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    area = max(float(np.prod(box[2:] - box[:2])), float(np.finfo(np.float32).tiny))
    return float(np.maximum(sides, 0).prod(axis=1).max(initial=0.0)) / area
