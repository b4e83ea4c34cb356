"""What a GPU does with a batch, recorded once and replayed: one launch in place of a thousand."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

MOST_GRAPHS: Final = 8
"""Each keeps its pictures and its answer in the GPU's memory; what lies between, all share."""
MOST_SEEN: Final = 64
"""Shapes that are remembered."""
FIRST_SIGHTS: Final = 2
"""Recording takes as long as two batches, so shapes that come once are not worth it."""

logger = logging.getLogger(__name__)

Work: TypeAlias = Callable[[Sequence[Tensor]], Tensor]
"""From pictures on a device to one tensor there; it never waits for the device."""
Shapes: TypeAlias = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype], ...]


@dataclass
class Recording:
    """A graph with the memory that it reads and writes.

    Attributes:
        images: where its pictures are put.
        answer: where its answer is.
        replay: does the work.
        is_used: it was replayed since it was made.
    """

    images: list[Tensor]
    answer: Tensor
    replay: Callable[[], object]
    is_used: bool = False


Recorder: TypeAlias = Callable[[Work, list[Tensor]], Recording]


class CudaGraphs:
    """Does a work with pictures on a GPU, as a graph from the second batch of equal shapes on.

    A small network's kernels are done sooner than a processor launches them. A camera's frames, and
    whole batches of pictures of one size, have shapes that come again; where those that were
    recorded are dropped unused, since there are too many, shapes have to be seen more often.

    Args:
        work: done as it is with shapes that are new.
        record: makes a graph of it.
    """

    def __init__(self, work: Work, record: Recorder) -> None:
        self._work, self._record = work, record
        self._recordings: OrderedDict[Shapes, Recording] = OrderedDict()
        self._sights: OrderedDict[Shapes, int] = OrderedDict()
        self._needed = FIRST_SIGHTS

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Return the answer; it is overwritten by the next batch of these shapes.

        Args:
            images: on the device; they are left as they are.

        Raises:
            torch.OutOfMemoryError: the device does not hold them.
        """
        shapes = tuple((image.shape, image.stride(), image.dtype) for image in images)
        recording = self._recordings.get(shapes)
        if recording is not None:
            self._recordings.move_to_end(shapes)
            recording.is_used = True
        elif self._is_worth_it(shapes):
            recording = self._recorded(shapes, images)
        if recording is None:
            return self._work(images)
        torch._foreach_copy_(recording.images, list(images))
        recording.replay()
        return recording.answer

    def clear(self) -> bool:
        """Give the memory of all graphs back; tell whether there was any."""
        had_any = bool(self._recordings)
        self._recordings.clear()
        return had_any

    def _is_worth_it(self, shapes: Shapes) -> bool:
        sights = self._sights.pop(shapes, 0) + 1
        self._sights[shapes] = sights
        if len(self._sights) > MOST_SEEN:
            self._sights.popitem(last=False)
        return sights >= self._needed

    def _recorded(self, shapes: Shapes, images: Sequence[Tensor]) -> Recording | None:
        """Return a new recording; None where it cannot be made, and then hardly another."""
        del self._sights[shapes]
        if len(self._recordings) == MOST_GRAPHS:
            _, dropped = self._recordings.popitem(last=False)
            self._needed *= 1 if dropped.is_used else 2
        try:
            recording = self._record(self._work, [image.clone() for image in images])
        except RuntimeError as error:  # memory above all, under whatever name it ends a recording
            logger.warning("cuda: %d pictures go on without a graph: %s", len(images), error)
            self.clear()
            self._needed *= 16
            return None
        self._recordings[shapes] = recording
        return recording


class CudaRecorder:
    """Records work on a GPU; all recordings share the memory between pictures and answer.

    That is sound since they are replayed one after the other, and what is kept beyond a replay,
    pictures and answers, is each one's own.

    Args:
        device: a GPU, which need not be the current one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: Any = None

    def __call__(self, work: Work, images: list[Tensor]) -> Recording:
        """Return a recording of work that was done with such pictures before.

        Args:
            work: must have been done once: libraries choose their kernels then, and constants are
                copied to the device, neither of which can be recorded.
            images: the recording's own.
        """
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(self._device)  # torch's own is of one device for all
        graph = torch.cuda.CUDAGraph()
        how = {"stream": self._stream, "capture_error_mode": "thread_local"}
        # Other threads may go on using the GPU: decoding, or another detector.
        with torch.cuda.device(self._device), torch.cuda.graph(graph, pool=self._pool, **how):
            answer = work(images)

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return Recording(images, answer, replay)
