"""Work that a GPU does beside other work, on a stream of its own."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

import torch

ResultT = TypeVar("ResultT")


def can_run_beside(device: torch.device) -> bool:
    """Tell whether a device has streams."""
    return device.type == "cuda" and torch.cuda.is_available()


class Beside(Generic[ResultT]):
    """Launches work that starts once all that was launched before is done.

    Nothing waits for it but the stream that asks for its result. It can be recorded as a part of a
    CUDA graph. Its tensors may be used on the asking stream without marking them: their memory is
    taken again only by later work beside, which starts after all that was launched before it.

    Args:
        work: launches kernels on the current stream, and never waits for them.
        device: a GPU.
        number: work of other numbers runs beside this work too.
    """

    def __init__(self, work: Callable[[], ResultT], device: torch.device, number: int) -> None:
        self._device = device
        self._stream = _stream_beside(torch.cuda.current_stream(device), number)
        self._stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(self._stream):
            self._result = work()

    def result(self) -> ResultT:
        """Return the result, for which the current stream waits."""
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return self._result


@lru_cache(maxsize=64)
def _stream_beside(stream: Any, _number: int) -> Any:
    """Return the stream of this number for work beside that of another stream."""
    return torch.cuda.Stream(stream.device)
