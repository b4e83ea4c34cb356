"""Who is in a zone, and for how long: one zone of one source."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from head_detection.pipeline.crossings import Confirmation, Moment, Points
from head_detection.structures import Event, Point, RegionCount


@dataclass
class _Visit:
    """The presence of one head.

    Attributes:
        is_inside: whether it is inside, once confirmed.
        run: frames in a row in which it was seen on the other side since.
        changed: when and where it was first there.
        began: when and where the present stay began.
        last: when and where it was last seen inside.
        is_counted: whether the present stay was long enough.
    """

    changed: tuple[Moment, Point]
    began: tuple[Moment, Point]
    last: tuple[Moment, Point]
    is_inside: bool = False
    run: int = 0
    is_counted: bool = False


class ZoneCounter:
    """Counts heads in a polygon: how many are inside now, how many came and left, and their stays.

    Every head whose centre is inside in this frame is inside now, tracked or not. A head has come,
    or left, once that is confirmed, as of its first frame there; it counts once it has stayed
    ``min_seconds``. A head that is first seen inside came in then.

    Args:
        name: of the zone.
        points: corners in original pixels.
        confirmation: when it is certain that a head has come, or left.
        min_seconds: the shortest stay that counts.
    """

    def __init__(
        self,
        name: str,
        points: tuple[Point, ...],
        confirmation: Confirmation,
        min_seconds: float,
    ) -> None:
        self.num_in = self.num_out = self._now = 0
        self.seconds_inside = self.longest = 0.0
        self._name, self._confirmation, self._min_seconds = name, confirmation, min_seconds
        self._visits: dict[int, _Visit] = {}
        self.place(points)

    def place(self, points: tuple[Point, ...]) -> None:
        """Move the zone; heads tracked so far are forgotten, counts stay."""
        self._points, self._now = points, 0
        self._visits.clear()

    @property
    def count(self) -> RegionCount:
        """What was counted so far."""
        return RegionCount(self._name, self._points, self._now, self.num_in, self.num_out)

    @property
    def dwell(self) -> tuple[float, float]:
        """Seconds: the sum of all stays that count, including ongoing ones, and the longest.

        An ongoing stay lasts until the head was last seen, since it may be gone.
        """
        visits = [visit for visit in self._visits.values() if visit.is_counted]
        going_on = [visit.last[0].seconds - visit.began[0].seconds for visit in visits]
        return self.seconds_inside + sum(going_on), max([self.longest, *going_on])

    def look(self, positions: Points) -> None:
        """Take all positions of heads in a frame, tracked or not: ``(N, 2)`` in original pixels."""
        self._now = int(np.count_nonzero(is_inside(self._points, positions)))

    def forget(self, head: int) -> Iterator[Event]:
        """Forget a head that is no longer seen: its stay ended when it was last seen."""
        visit = self._visits.pop(head, None)
        if visit is not None and visit.is_counted:
            yield self._end(head, visit, *visit.last, is_lost=True)

    def follow(self, moment: Moment, heads: list[int], positions: Points) -> Iterator[Event]:
        """Take the positions of the tracked heads in a frame.

        Args:
            moment: later than the last one of these heads.
            heads: their ids.
            positions: ``(N, 2)`` in original pixels.
        """
        inside = is_inside(self._points, positions).tolist()
        for head, is_in, (x, y) in zip(heads, inside, positions.tolist(), strict=True):
            visit = self._visits.get(head)
            if visit is None and is_in:
                now = (moment, (x, y))
                visit = self._visits[head] = _Visit(now, now, now)
            if visit is not None:
                yield from self._update(head, visit, (moment, (x, y)), is_in=is_in)

    def _update(
        self, head: int, visit: _Visit, now: tuple[Moment, Point], *, is_in: bool
    ) -> Iterator[Event]:
        if is_in:
            visit.last = now
        if is_in == visit.is_inside:
            visit.run = 0
        else:
            if visit.run == 0:
                visit.changed = now
            visit.run += 1
            if self._confirmation.is_given(visit.run, visit.changed[0], now[0]):
                visit.is_inside, visit.run = is_in, 0
                if is_in:
                    visit.began = visit.changed
                elif visit.is_counted:
                    yield self._end(head, visit, *visit.changed)
        began, place = visit.began
        is_long = now[0].seconds - began.seconds >= self._min_seconds
        if is_in and visit.is_inside and is_long and not visit.is_counted:
            visit.is_counted = True
            self.num_in += 1
            yield Event("entry", self._name, head, *began, place)
        elif not is_in and not visit.is_inside and visit.run == 0:
            self._visits.pop(head, None)  # it is outside, as if it had never been here

    def _end(
        self, head: int, visit: _Visit, moment: Moment, place: Point, *, is_lost: bool = False
    ) -> Event:
        visit.is_counted = False
        self.num_out += 1
        dwell = max(0.0, moment.seconds - visit.began[0].seconds)
        self.seconds_inside += dwell
        self.longest = max(self.longest, dwell)
        return Event(
            "exit", self._name, head, *moment, place, dwell=round(dwell, 6), is_lost=is_lost
        )


def is_inside(polygon: tuple[Point, ...], positions: Points) -> npt.NDArray[np.bool_]:
    """Tell which points are in a polygon; if two share a side, a point is in exactly one.

    A point on a side belongs to the polygon to the right of it, or below it if it is level.

    Args:
        polygon: corners in order.
        positions: ``(N, 2)``; y points down.

    Returns:
        ``(N,)``.

    Source:
        Crossing number with half-open sides: Haines, Point in Polygon Strategies, Graphics Gems IV,
        1994. Each side is taken from its upper end, so that neighbours compute the same.

    Example:
        >>> left, right = ((0, 0), (5, 0), (5, 9), (0, 9)), ((5, 0), (9, 0), (9, 9), (5, 9))
        >>> border = np.array([[5.0, 4.0]])
        >>> is_inside(left, border).tolist(), is_inside(right, border).tolist()
        ([False], [True])
    """
    corners = np.array(polygon, np.float64)
    ends = np.roll(corners, -1, axis=0)
    is_upwards = (corners[:, 1] > ends[:, 1])[:, None]
    (x1, y1), (x2, y2) = (
        np.where(is_upwards, last, first).T[:, :, None]
        for first, last in ((corners, ends), (ends, corners))
    )
    x, y = positions[:, 0], positions[:, 1]
    is_level = (y1 <= y) & (y < y2)
    is_left = (x2 - x1) * (y - y1) > (x - x1) * (y2 - y1)
    inside: npt.NDArray[np.bool_] = (is_level & is_left).sum(axis=0) % 2 == 1
    return inside
