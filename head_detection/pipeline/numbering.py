"""Numbers of frames that damage does not shift: by what a file holds, not by what is decoded."""

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

LONGEST_REORDERING = 16
"""Frames that may be shown before one that was decoded before them (H.264, A.3.1: the buffer of
decoded pictures has room for 16)."""
LONGEST_DELAY = 64
"""Packets that a decoder's threads are behind, at most."""


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


class Numbers(Protocol):
    """Gives frames their numbers, from the stamps of what goes into a decoder and comes out."""

    def send(self, stamp: int) -> None:
        """Note that a packet with this stamp is about to be decoded."""

    def fail(self) -> None:
        """Note that the decoder refused a packet, one of the latest."""

    def pass_over(self, stamp: int) -> None:
        """Note that frames before this stamp are not decoded, nor missed: they count all the same.

        Example:
            >>> numbers = FrameNumbers()
            >>> numbers.send(0), numbers.send(10), numbers.pass_over(10)
            (None, None, None)
            >>> numbers.take(10)
            Numbered(index=1, stamp=10, missing=[])
        """

    def skip(self, count: int) -> None:
        """Note that so many frames are not in the file, as its times tell."""

    def take(self, stamp: int | None, *, is_key: bool = False) -> Numbered:
        """Return which frame came out of the decoder, and which before it did not.

        Args:
            stamp: of the packet that it came from; None where that is not known.
            is_key: what was decoded before it is shown before it.
        """
        ...

    def __len__(self) -> int:
        """Return how many packets wait for their frames."""
        ...

    def rest(self) -> list[tuple[int, int]]:
        """Return (number, stamp) of the frames that wait: at the end they are missing."""
        ...


class FrameNumbers:
    """Gives frames their numbers in order of presentation, those that never came included.

    A decoder takes packets in the file's order and gives frames in that of presentation, each with
    the time stamp of its packet. A packet whose stamp has been passed by gave no frame.

    Example:
        >>> numbers = FrameNumbers()
        >>> for stamp in (0, 30, 10, 20):
        ...     numbers.send(stamp)
        >>> numbers.take(0).index, numbers.take(20), numbers.rest()
        (0, Numbered(index=2, stamp=20, missing=[(1, 10)]), [(3, 30)])
    """

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._stamps: set[int] = set()
        self._next = 0

    def send(self, stamp: int) -> None:
        """Note a packet: of two with one stamp the second cannot be told from the first."""
        if stamp not in self._stamps:
            self._stamps.add(stamp)
            heappush(self._waiting, stamp)

    def fail(self) -> None:
        """Wait for a later stamp: it tells which came to nothing."""

    def pass_over(self, stamp: int) -> None:
        """Count what is before a stamp."""
        self._missing_before(stamp)

    def skip(self, count: int) -> None:
        """Count so many more."""
        self._next += count

    def take(self, stamp: int | None, *, is_key: bool = False) -> Numbered:  # noqa: ARG002
        """Return which frame has this stamp; None has the next one."""
        missing = [] if stamp is None else self._missing_before(stamp)
        if self._waiting and self._waiting[0] == stamp:
            self._stamps.discard(heappop(self._waiting))
        self._next += 1
        return Numbered(self._next - 1, stamp, missing)

    def __len__(self) -> int:
        """Count those that wait."""
        return len(self._waiting)

    def rest(self) -> list[tuple[int, int]]:
        """Return all that wait."""
        return self._missing_before(None)

    def _missing_before(self, stamp: int | None) -> list[tuple[int, int]]:
        missing = []
        while self._waiting and (stamp is None or self._waiting[0] < stamp):
            lowest = heappop(self._waiting)
            self._stamps.discard(lowest)
            missing.append((self._next, lowest))
            self._next += 1
        return missing


class ChunkNumbers:
    """Gives frames their numbers where no packet tells when it is shown: AVI, which counts chunks.

    Frames are shown as the decoder gives them, at the times of the chunks as they lie in the file.
    Of each frame it is known which chunk it came from; those of damaged ones never come, and may
    not be waited for. Before any damage all are waited for: decoders give some late.

    Args:
        is_reordered: frames may be shown in another order than they are decoded.

    Example:
        >>> numbers = ChunkNumbers(is_reordered=False)
        >>> for stamp in (0, 10, 20):
        ...     numbers.send(stamp)
        >>> numbers.take(0).index, numbers.take(20)
        (0, Numbered(index=2, stamp=20, missing=[(1, 10)]))
    """

    def __init__(self, *, is_reordered: bool = True) -> None:
        self._is_reordered = is_reordered
        self._has_losses = not is_reordered
        self._waiting: dict[int, int] = {}
        self._times: deque[int] = deque()
        self._latest: deque[int] = deque(maxlen=LONGEST_DELAY)
        self._failed: set[int] = set()
        self._next = self._num_sent = 0
        self._delay: int | None = None

    def send(self, stamp: int) -> None:
        """Note a chunk; stamps rise from one to the next."""
        self._num_sent += 1
        self._latest.append(stamp)
        if stamp not in self._waiting:
            self._waiting[stamp] = self._num_sent
            self._times.append(stamp)

    def fail(self) -> None:
        """Note that a chunk is lost: the decoder's threads tell of it as late as of a frame."""
        self._has_losses = True
        if self._num_sent:
            self._failed.add(self._latest[-1 - min(self._delay or 0, len(self._latest) - 1)])

    def pass_over(self, stamp: int) -> None:
        """Count the chunks before a stamp. Frames that lean on those may not come."""
        self._has_losses = True
        for before in [waiting for waiting in self._waiting if waiting < stamp]:
            self._count(before)

    def skip(self, count: int) -> None:
        """Count so many more."""
        self._next += count

    def take(self, stamp: int | None, *, is_key: bool = False) -> Numbered:
        """Return the next frame; those of chunks that are lost by now are missing before it."""
        lost = [] if stamp is None else self._lost_before(stamp, is_key=is_key)
        missing = [self._count(chunk) for chunk in lost]
        if stamp not in self._waiting:  # of two frames in one chunk; the next one then has none
            stamp = next(iter(self._waiting), None)
        if stamp is None:
            self._next += 1
            return Numbered(self._next - 1, None, missing)
        delay = self._num_sent - self._waiting[stamp]
        self._delay = delay if self._delay is None else min(delay, self._delay)
        return Numbered(*self._count(stamp), missing)

    def __len__(self) -> int:
        """Count those that wait."""
        return len(self._waiting)

    def rest(self) -> list[tuple[int, int]]:
        """Return all that wait."""
        return [self._count(chunk) for chunk in list(self._waiting)]

    def _lost_before(self, stamp: int, *, is_key: bool) -> list[int]:
        """Return the chunks whose frames can no longer come."""
        sent = self._waiting.get(stamp)
        if not self._has_losses or sent is None:
            return []
        is_over = is_key or not self._is_reordered
        return [
            chunk
            for chunk, before in self._waiting.items()
            if before < sent
            and (is_over or chunk in self._failed or sent - before > LONGEST_REORDERING)
        ]

    def _count(self, chunk: int) -> tuple[int, int]:
        """Return the next number and time, those of a chunk's frame."""
        del self._waiting[chunk]
        self._failed.discard(chunk)
        self._next += 1
        return self._next - 1, self._times.popleft()
