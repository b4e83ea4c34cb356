"""CUDA graphs: record a GPU's work on a batch once and replay it with a single launch."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from head_detection.devices import kept_constants

MOST_GRAPHS: Final = 8
"""Each keeps its pictures and its answer in the GPU's memory; all share intermediate memory."""
MOST_SEEN: Final = 64
"""Number of shapes whose occurrences are counted."""
FIRST_SIGHTS: Final = 2
"""Recording takes as long as a batch, so it is not worth it for shapes that occur once."""

logger = logging.getLogger(__name__)

Work: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""Maps pictures on a device to one tensor there; it never waits for the device."""
Shapes: TypeAlias = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]


@dataclass
class Recording:
    """A graph with the memory that it reads and writes.

    Attributes:
        images: its input; copy the pictures here before a replay.
        answer: its output.
        replay: runs the graph.
        is_used: whether it was replayed since it was recorded.
        constants: read by the graph at their addresses, so they must not be freed before it.
    """

    images: list[Tensor]
    answer: Tensor
    replay: Callable[[], object]
    is_used: bool = False
    constants: list[Tensor] = field(default_factory=list)


Recorder: TypeAlias = Callable[[Work, list[Tensor]], Recording]


class CudaGraphs:
    """Runs work on a GPU, as a graph from the third batch of equal shapes on.

    The second one is recorded after it has run, so that all is there that a recording needs: the
    kernels, and constants, which cannot be copied to the device meanwhile. The GPU runs a small
    network's kernels faster than the CPU launches them. Shapes repeat for a camera's frames and for
    full batches of pictures of one size. If there are so many shapes that recordings are dropped
    unused, a shape must occur more often before it is recorded.

    Args:
        work: called directly for shapes without a recording.
        record: records it as a graph.
    """

    def __init__(self, work: Work, record: Recorder) -> None:
        self._work, self._record = work, record
        self._recordings: OrderedDict[Shapes, Recording] = OrderedDict()
        self._sights: OrderedDict[Shapes, int] = OrderedDict()
        self._needed = FIRST_SIGHTS

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Return the answer; the next batch of these shapes overwrites it.

        Args:
            images: on the device; not modified.

        Raises:
            torch.OutOfMemoryError: the device has too little memory.
        """
        shapes = tuple((image.shape, image.stride(), image.dtype) for image in images)
        recording = self._recordings.get(shapes)
        if recording is None:
            answer = self._work(images)
            if self._is_worth_it(shapes):
                self._keep_recording(shapes, images)
            return answer
        self._recordings.move_to_end(shapes)
        recording.is_used = True
        torch._foreach_copy_(recording.images, list(images))
        recording.replay()
        return recording.answer

    def clear(self) -> bool:
        """Free the memory of all graphs; return whether there were any."""
        had_any = bool(self._recordings)
        self._recordings.clear()
        return had_any

    def _is_worth_it(self, shapes: Shapes) -> bool:
        sights = self._sights.pop(shapes, 0) + 1
        self._sights[shapes] = sights
        if len(self._sights) > MOST_SEEN:
            self._sights.popitem(last=False)
        return sights >= self._needed

    def _keep_recording(self, shapes: Shapes, images: Sequence[Tensor]) -> None:
        """Record the work for these shapes; if that fails, further attempts become rare."""
        del self._sights[shapes]
        if len(self._recordings) == MOST_GRAPHS:
            _, dropped = self._recordings.popitem(last=False)
            self._needed *= 1 if dropped.is_used else 2
        try:
            with kept_constants() as constants:
                recording = self._record(self._work, [image.clone() for image in images])
        except RuntimeError as error:  # mostly out of memory, which has several types here
            logger.warning("cuda: %d pictures go on without a graph: %s", len(images), error)
            self.clear()
            self._needed *= 16
            return
        recording.constants = constants
        self._recordings[shapes] = recording


class CudaRecorder:
    """Records work on a GPU; all recordings share the memory of intermediate results.

    Sharing is safe because recordings are replayed one after the other, and each has its own
    memory for pictures and answer, which outlive a replay.

    Args:
        device: a GPU, which need not be the current one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: Any = None

    def __call__(self, work: Work, images: list[Tensor]) -> Recording:
        """Return a recording of work that has already run on pictures of these shapes.

        Args:
            work: must have just run, because libraries then choose kernels and constants are copied
                to the device, which cannot be recorded.
            images: become the recording's input memory.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(self._device)  # torch's default is for one device only
        graph = torch.cuda.CUDAGraph()
        how = {"stream": self._stream, "capture_error_mode": "thread_local"}
        # Other threads may keep using the GPU, for decoding or for another detector.
        with (
            torch.cuda.device(self._device),
            # torch.cuda.graph leaves this thread on its own stream where a recording fails.
            torch.cuda.stream(torch.cuda.current_stream(self._device)),
            torch.cuda.graph(graph, pool=self._pool, **how),
        ):
            answer = work(images)

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return Recording(images, answer, replay)


def on_default_stream(device: torch.device) -> AbstractContextManager[object]:
    """Return a context on the device's default stream, after what the current one has launched.

    Threads of the host may have streams of their own. Graphs share memory, so that one must have
    ended before the next begins, which holds only for work of one stream.

    Args:
        device: one without streams has nothing to put in order.
    """
    if device.type != "cuda":
        return nullcontext()
    current, default = torch.cuda.current_stream(device), torch.cuda.default_stream(device)
    if current == default:
        return nullcontext()
    default.wait_stream(current)
    return torch.cuda.stream(default)
