"""Makes items in a thread, ahead of their reader, within a limit of memory.

It lets decoding continue while the network runs, and is apart from the sources since it knows
nothing of video.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Final, Generic, TypeVar

AHEAD_BYTES: Final = 64 * 1024**2
"""Bytes that waiting items may hold: 24 frames of 1280x720, 2 of 4K."""
FEWEST: Final = 2
"""Items that may always wait, of whatever size: one is taken while the next is made."""

T = TypeVar("T")


def run_ahead(
    items: Iterator[T], size_of: Callable[[T], int], max_bytes: int = AHEAD_BYTES
) -> Generator[T]:
    """Yield the items in order, while a thread takes them from their iterator ahead of the reader.

    The thread starts when the first item is requested, and ends when the generator ends or is
    closed. The iterator is used, and closed if it is a generator, only in that thread.

    Args:
        items: an exception that it raises is raised here after the items before it.
        size_of: returns the bytes that an item holds while it waits.
        max_bytes: no item is added once this much waits, unless fewer than ``FEWEST`` items do.
    """
    with closing(_Ahead(items, size_of, max_bytes)) as ahead:
        yield from ahead


class _Ahead(Generic[T]):
    """The waiting items, with the thread that makes them."""

    def __init__(self, items: Iterator[T], size_of: Callable[[T], int], max_bytes: int) -> None:
        self._items, self._size_of, self._max_bytes = items, size_of, max_bytes
        self._waiting: deque[T] = deque()
        self._held = 0
        self._changed = threading.Condition()
        self._is_done = self._is_closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="read-ahead", daemon=True)

    def __iter__(self) -> Iterator[T]:
        self._thread.start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_done)
                if not self._waiting:
                    break
                item = self._waiting.popleft()
                self._held -= self._size_of(item)
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let the thread end, and wait for it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as error:  # noqa: BLE001 - raised where the items are taken
            self._error = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._is_done = True
                self._changed.notify_all()

    def _put(self, item: T) -> bool:
        """Add an item once there is room, and tell whether more are wanted."""
        with self._changed:
            self._changed.wait_for(self._has_room)
            if not self._is_closed:
                self._waiting.append(item)
                self._held += self._size_of(item)
                self._changed.notify_all()
            return not self._is_closed

    def _has_room(self) -> bool:
        return self._is_closed or len(self._waiting) < FEWEST or self._held < self._max_bytes
