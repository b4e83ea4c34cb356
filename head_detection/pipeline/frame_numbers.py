"""Numbers frames by what a file holds, not by what is decoded, so that damage shifts none."""

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Protocol

LONGEST_REORDERING = 16
"""Frames that may be decoded after one and still be shown before it (H.264, A.3.1: the buffer of
decoded pictures has room for 16)."""
LONGEST_DELAY = 64
"""Packets that a decoder's threads may lag behind."""


@dataclass(frozen=True)
class Numbered:
    """A frame that came out of the decoder.

    Attributes:
        index: its number, from 0.
        stamp: its time stamp.
        missing: number and stamp of the frames before it that did not come out.
    """

    index: int
    stamp: int | None
    missing: list[tuple[int, int]]


class Numbers(Protocol):
    """Gives frames their numbers, by the stamps of what goes into a decoder and comes out."""

    def send(self, stamp: int) -> None:
        """Note that a packet with this stamp is about to be decoded."""

    def fail(self) -> None:
        """Note that the decoder refused one of the latest packets."""

    def pass_over(self, stamp: int) -> None:
        """Note that frames before this stamp are not decoded: they count, but are not missing.

        Example:
            >>> numbers = FrameNumbers()
            >>> numbers.send(0), numbers.send(10), numbers.pass_over(10)
            (None, None, None)
            >>> numbers.take(10)
            Numbered(index=1, stamp=10, missing=[])
        """

    def skip(self, count: int) -> None:
        """Note that this many frames are not in the file, as its times show."""

    def take(self, stamp: int | None, *, is_key: bool = False) -> Numbered:
        """Return which frame came out of the decoder, and which frames before it did not.

        Args:
            stamp: of the packet that it came from; None if unknown.
            is_key: all frames decoded before it are also shown before it.
        """
        ...

    def __len__(self) -> int:
        """Return how many packets wait for their frames."""
        ...

    def rest(self) -> list[tuple[int, int]]:
        """Return (number, stamp) of the waiting frames, which are missing at the end."""
        ...


class FrameNumbers:
    """Gives frames their numbers in order of presentation, including those that never came.

    A decoder takes packets in file order and gives frames in order of presentation, each with the
    time stamp of its packet. A packet whose stamp has been passed gave no frame.

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
        """Note a packet; a second one with the same stamp cannot be told from the first."""
        if stamp not in self._stamps:
            self._stamps.add(stamp)
            heappush(self._waiting, stamp)

    def fail(self) -> None:
        """Do nothing: a later stamp shows which packet gave no frame."""

    def pass_over(self, stamp: int) -> None:
        """Count the frames before a stamp."""
        self._missing_before(stamp)

    def skip(self, count: int) -> None:
        """Count this many more frames."""
        self._next += count

    def take(self, stamp: int | None, *, is_key: bool = False) -> Numbered:  # noqa: ARG002
        """Return the frame with this stamp, or the next one if it is None."""
        missing = [] if stamp is None else self._missing_before(stamp)
        if self._waiting and self._waiting[0] == stamp:
            self._stamps.discard(heappop(self._waiting))
        self._next += 1
        return Numbered(self._next - 1, stamp, missing)

    def __len__(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    def rest(self) -> list[tuple[int, int]]:
        """Return all waiting frames."""
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
    """Numbers the frames of AVI, which counts chunks and does not say when each is shown.

    Frames are shown in the decoder's order, at the times of the chunks in file order. It is known
    which chunk a frame came from. Frames of damaged chunks never come, and must not be waited for.
    Before any damage, all frames are waited for, since decoders give some late.

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
        """Note a lost chunk: the decoder's threads report it as late as they give a frame."""
        self._has_losses = True
        if self._num_sent:
            self._failed.add(self._latest[-1 - min(self._delay or 0, len(self._latest) - 1)])

    def pass_over(self, stamp: int) -> None:
        """Count the chunks before a stamp. Frames that depend on them may not come."""
        self._has_losses = True
        for before in [waiting for waiting in self._waiting if waiting < stamp]:
            self._count(before)

    def skip(self, count: int) -> None:
        """Count this many more frames."""
        self._next += count

    def take(self, stamp: int | None, *, is_key: bool = False) -> Numbered:
        """Return the next frame; frames of chunks lost by now are missing before it."""
        lost = [] if stamp is None else self._lost_before(stamp, is_key=is_key)
        missing = [self._count(chunk) for chunk in lost]
        if stamp not in self._waiting:  # the second frame of a chunk; then the next chunk has none
            stamp = next(iter(self._waiting), None)
        if stamp is None:
            self._next += 1
            return Numbered(self._next - 1, None, missing)
        delay = self._num_sent - self._waiting[stamp]
        self._delay = delay if self._delay is None else min(delay, self._delay)
        return Numbered(*self._count(stamp), missing)

    def __len__(self) -> int:
        """Return how many frames wait."""
        return len(self._waiting)

    def rest(self) -> list[tuple[int, int]]:
        """Return all waiting frames."""
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
        """Return the number and time of a chunk's frame, which are the next ones."""
        del self._waiting[chunk]
        self._failed.discard(chunk)
        self._next += 1
        return self._next - 1, self._times.popleft()
