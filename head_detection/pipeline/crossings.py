"""Who crosses a line, and in which direction: one line of one source."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from head_detection.structures import Event, Point, RegionCount

Points = npt.NDArray[np.float64]
ROUNDING: Final = 0.05
"""Share of a waiting time that may be missing: frame times are rounded to the file's clock."""


class Moment(NamedTuple):
    """When a frame was taken.

    Attributes:
        frame: the frame's number in its source.
        seconds: its presentation time.
    """

    frame: int
    seconds: float


@dataclass(frozen=True)
class Confirmation:
    """When it is certain that a head has changed sides, and does not flicker or sway.

    Attributes:
        frames: it was seen there in this many frames in a row, 1 or more.
        seconds: and for this long, from the first of them on.

    Example:
        >>> confirmation = Confirmation(2, 0.2)
        >>> since = Moment(30, 1.0)
        >>> [confirmation.is_given(n, since, Moment(30 + n, 1 + n / 30)) for n in (2, 5, 6)]
        [False, False, True]
    """

    frames: int = 1
    seconds: float = 0.0

    def is_given(self, num_seen: int, since: Moment, now: Moment) -> bool:
        """Tell whether it is certain by now.

        Args:
            num_seen: frames in a row.
            since: the first of them.
            now: the last of them; it may be earlier if a camera has restarted.
        """
        passed = abs(now.seconds - since.seconds)
        return num_seen >= self.frames and passed >= self.seconds * (1 - ROUNDING)


AT_ONCE: Final = Confirmation()


@dataclass
class _Course:
    """The path of one head past the line.

    Attributes:
        position: where it was last.
        is_in: the confirmed side; None if it was only on the line.
        run: frames in a row on the other side since.
        has_crossed: whether it got there through the line, not around its ends.
        began: when and where it was there first.
    """

    position: Point
    is_in: bool | None
    run: int
    has_crossed: bool
    began: tuple[Moment, Point]


class LineCounter:
    """Counts heads that cross a line between two ends.

    A head crosses if its path from one frame to the next does, and counts once it is confirmed on
    the other side; if it turns back before, nothing is counted. A head that goes around an end
    changes sides without being counted. On the line itself, it keeps its side. The side where it is
    first seen needs no confirmation: a head that enters the picture a step before the line counts.

    Args:
        name: of the line.
        points: both ends in original pixels; *in* is on the left when walking from the first to the
            second.
        confirmation: when it is certain that a head is on the other side.
    """

    def __init__(self, name: str, points: tuple[Point, ...], confirmation: Confirmation) -> None:
        self.num_in = self.num_out = self.num_appeared = 0
        self._name, self._confirmation = name, confirmation
        self._courses: dict[int, _Course] = {}
        self.place(points)

    def place(self, points: tuple[Point, ...]) -> None:
        """Move the line; heads tracked so far are forgotten, counts stay."""
        self._points = points
        self._courses.clear()

    @property
    def count(self) -> RegionCount:
        """What was counted so far."""
        return RegionCount(self._name, self._points, None, self.num_in, self.num_out)

    def forget(self, head: int) -> Iterator[Event]:
        """Forget a head; this causes no event."""
        self._courses.pop(head, None)
        yield from ()

    def follow(self, moment: Moment, heads: list[int], positions: Points) -> Iterator[Event]:
        """Take the positions of heads in a frame.

        Args:
            moment: later than the last one of these heads.
            heads: their ids.
            positions: ``(N, 2)`` in original pixels.
        """
        offsets = offsets_from(self._points, positions).tolist()
        places = positions.tolist()
        for head, offset, (x, y) in zip(heads, offsets, places, strict=True):
            if head in self._courses:
                yield from self._move(head, offset, (x, y), moment)
            else:
                yield from self._begin(head, offset, (x, y), moment)

    def _begin(self, head: int, offset: float, place: Point, moment: Moment) -> Iterator[Event]:
        is_in = None if offset == 0 else offset > 0
        self._courses[head] = _Course(place, is_in, 0, False, (moment, place))
        if is_in and self._is_beside(place):
            self.num_appeared += 1
            yield Event("appearance", self._name, head, *moment, place)

    def _move(self, head: int, offset: float, place: Point, moment: Moment) -> Iterator[Event]:
        course = self._courses[head]
        before, course.position = course.position, place
        is_in = offset > 0
        if offset == 0:
            return
        if course.is_in is None:
            course.is_in = is_in
        if is_in == course.is_in:
            course.run = 0
            return
        if course.run == 0:
            course.has_crossed = self._is_between(before, place)
            course.began = moment, place
        course.run += 1
        if not self._confirmation.is_given(course.run, course.began[0], moment):
            return
        course.is_in, course.run = is_in, 0
        if course.has_crossed:
            began, where = course.began
            direction: Literal["in", "out"] = "in" if is_in else "out"
            self.num_in += is_in
            self.num_out += not is_in
            yield Event("crossing", self._name, head, *began, where, direction)

    def _is_between(self, before: Point, after: Point) -> bool:
        """Tell whether the path between two points goes between the ends, or over one."""
        if before == after:
            return False
        start, end = offsets_from((before, after), np.array(self._points)).tolist()
        return bool(start * end <= 0)

    def _is_beside(self, place: Point) -> bool:
        """Tell whether a point is beside the line, not beside its extension."""
        (x1, y1), (x2, y2) = self._points
        along = (place[0] - x1) * (x2 - x1) + (place[1] - y1) * (y2 - y1)
        return 0 <= along <= (x2 - x1) ** 2 + (y2 - y1) ** 2


def offsets_from(line: tuple[Point, ...], positions: Points) -> Points:
    """Return how far points are to the left of an endless line, times the distance of its points.

    Swapping the two points gives exactly the same numbers with the opposite sign.

    Args:
        line: two points.
        positions: ``(N, 2)``; y points down.

    Returns:
        ``(N,)``: above 0 on the left when walking from the first point to the second.

    Example:
        >>> offsets_from(((0, 5), (10, 5)), np.array([[3.0, 4.0], [3.0, 5.0], [3.0, 7.0]])).tolist()
        [10.0, 0.0, -20.0]
    """
    (x1, y1), (x2, y2) = sorted(line)
    offsets: Points = (positions[:, 0] - x1) * (y2 - y1) - (positions[:, 1] - y1) * (x2 - x1)
    return offsets if line[0] <= line[1] else 0.0 - offsets
