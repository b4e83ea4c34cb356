"""A run that ends cleanly when it is asked to."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Remembers the first SIGINT or SIGTERM; a second one of its kind ends the process as ever.

    Example:
        >>> request = StopRequest()
        >>> with request.listening():
        ...     signal.raise_signal(signal.SIGTERM)
        >>> request.number == signal.SIGTERM
        True
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals within the block."""
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, _frame: FrameType | None) -> None:
            self.number = number
            signal.signal(number, previous[signal.Signals(number)])

        for number in previous:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
