"""Side streams of a GPU: work that it does beside that of the current stream."""

from collections.abc import Callable
from functools import lru_cache
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

ResultT = TypeVar("ResultT")


def has_streams(device: torch.device) -> bool:
    """Tell whether a device has streams."""
    return device.type == "cuda" and torch.cuda.is_available()


class SideStreams:
    """Launches work that starts once all that was launched before is done.

    When the context is left, the current stream waits for it; the host never does. This is so after
    an error, too: a CUDA graph in which a stream is left alone cannot be ended, and PyTorch would
    then free no memory that several streams used. Tensors of the work may be used afterwards
    without marking them: their memory is taken again only by later work of the same side stream,
    which starts after all that was launched before it.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._current: Any = torch.cuda.current_stream(device)
        self._streams: list[Any] = []

    def run(self, work: Callable[[], ResultT]) -> ResultT:
        """Return the result of work, to be used once the context is left.

        Args:
            work: launches kernels on the current stream, and never waits for them; it runs beside
                the work of other calls, too.
        """
        stream = _side_stream(self._current, len(self._streams))
        stream.wait_stream(self._current)
        self._streams.append(stream)
        with torch.cuda.stream(stream):
            return work()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the current stream wait for all work."""
        for stream in self._streams:
            self._current.wait_stream(stream)


@lru_cache(maxsize=64)
def _side_stream(stream: Any, _number: int) -> Any:
    """Return the stream of this number beside another stream."""
    return torch.cuda.Stream(stream.device)
