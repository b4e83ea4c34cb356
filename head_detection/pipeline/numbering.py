"""Numbers of frames that damage does not shift: by what a file holds, not by what is decoded."""

from dataclasses import dataclass
from heapq import heappop, heappush


@dataclass(frozen=True)
class Numbered:
    """A frame that came out of the decoder.

    Attributes:
        index: its number, from 0.
        stamp: its time stamp.
        missing: number and stamp of the frames before it that did not.
    """

    index: int
    stamp: int | None
    missing: list[tuple[int, int]]


class FrameNumbers:
    """Gives frames their numbers in order of presentation, those that never came included.

    A decoder takes packets in the file's order and gives frames in that of presentation, each with
    the time stamp of its packet. A packet whose stamp has been passed by gave no frame.

    Args:
        in_order: stamps tell when, not which: the next frame has the lowest that waits. AVI has no
            times of presentation.

    Example:
        >>> numbers = FrameNumbers()
        >>> for stamp in (0, 30, 10, 20):
        ...     numbers.send(stamp)
        >>> numbers.take(0).index, numbers.take(20), numbers.rest()
        (0, Numbered(index=2, stamp=20, missing=[(1, 10)]), [(3, 30)])
    """

    def __init__(self, *, in_order: bool = False) -> None:
        self._in_order = in_order
        self._waiting: list[int] = []
        self._stamps: set[int] = set()
        self._failed: set[int] = set()
        self._next = 0

    def send(self, stamp: int) -> None:
        """Note that a packet with this stamp is about to be decoded."""
        if stamp not in self._stamps:  # a second one cannot be told from the first
            self._stamps.add(stamp)
            heappush(self._waiting, stamp)

    def fail(self, stamp: int) -> None:
        """Note that a packet with this stamp could not be decoded."""
        if self._in_order and stamp in self._stamps:
            self._failed.add(stamp)

    def pass_over(self, stamp: int) -> None:
        """Note that frames before this stamp are not decoded, nor missed: they count all the same.

        Example:
            >>> numbers = FrameNumbers()
            >>> numbers.send(0), numbers.send(10), numbers.pass_over(10)
            (None, None, None)
            >>> numbers.take(10)
            Numbered(index=1, stamp=10, missing=[])
        """
        self._missing_before(stamp)

    def skip(self, count: int) -> None:
        """Note that so many frames are not in the file, as its times tell."""
        self._next += count

    def take(self, stamp: int | None) -> "Numbered":
        """Return which frame came out of the decoder, and which before it did not."""
        missing: list[tuple[int, int]] = []
        if self._in_order:
            while self._waiting and self._waiting[0] in self._failed:
                missing += self._missing_before(self._waiting[0] + 1)
            stamp = self._waiting[0] if self._waiting else stamp
        elif stamp is not None:
            missing = self._missing_before(stamp)
        if self._waiting and self._waiting[0] == stamp:
            self._stamps.discard(heappop(self._waiting))
        self._next += 1
        return Numbered(self._next - 1, stamp, missing)

    def rest(self) -> list[tuple[int, int]]:
        """Return (number, stamp) of the frames that wait: at the end they are missing."""
        return self._missing_before(None)

    def _missing_before(self, stamp: int | None) -> list[tuple[int, int]]:
        missing = []
        while self._waiting and (stamp is None or self._waiting[0] < stamp):
            lowest = heappop(self._waiting)
            self._stamps.discard(lowest)
            self._failed.discard(lowest)
            missing.append((self._next, lowest))
            self._next += 1
        return missing
