"""What runs a detector on a device: pictures in, heads in original pixels out."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from head_detection.errors import DeviceMemoryError, ForkError
from head_detection.inference.cuda_graphs import CudaGraphs, CudaRecorder
from head_detection.inference.isolation import has_own_settings, is_forked, isolated
from head_detection.inference.memory import FreedMemory
from head_detection.inference.upload import Upload
from head_detection.inference.workers import suitable_workers
from head_detection.models.decoder import Decoder
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.network import DetectorNetwork
from head_detection.models.nms import EMPTY
from head_detection.models.stages import is_observed
from head_detection.models.suppression import Heads
from head_detection.models.transform import GeneralizedRCNNTransform
from head_detection.structures import Detections

CUT: Final = (
    "more heads than there is room for, some are left out; a larger "
    "inference.proposals.post_nms_top_n and pre_nms_top_n have room"
)
"""Said of a picture whose heads fill every limit, grown as far as limits grow."""

ROOMS: Final = (1, 2, 4)
"""Times the limits that a device which is not waited for is given, one after the other, until they
are not in the way; then it is waited for. 800 proposals become 3200, in crowds alone."""
PATIENCE: Final = 32
"""Batches after which less room is tried."""

NetworkT = TypeVar("NetworkT", bound=DetectorNetwork)


class Engine(Protocol):
    """Runs a detector on batches.

    Attributes:
        name: one of ``ENGINES``.
        device: where it runs.
        precision: what it multiplies in, never ``auto``.
        batch_size: pictures at once that suit the device.
    """

    name: str
    device: str
    precision: str
    batch_size: int

    @property
    def concurrency(self) -> int:
        """Return how many threads may detect at once, and suit the device."""
        ...

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) in network pixels that each view of a picture is padded to.

        In a batch of pictures with equal padded sizes each gives what it gives alone.
        """
        ...

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that a picture may be read at and lose nothing."""
        ...

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        Raises:
            DeviceMemoryError: the device's memory does not hold one of them.
        """
        ...


class Backend(DetectorNetwork, Protocol):
    """A network as some library runs it, in the place of PyTorch's own.

    Attributes:
        name: one of ``ENGINES``.
        device: where pictures go and maps come from.
        precision: what it multiplies in, never ``auto``.
        batch_size: pictures at once that suit it.
        takes_threads: whether several threads may run it at once, on a CPU.
        survives_fork: whether it goes on in a process forked from the one that built it.
        can_be_recorded: whether all it does is launch work on a GPU, by PyTorch's own stream.
    """

    name: str
    device: torch.device
    precision: str
    batch_size: int
    takes_threads: bool
    survives_fork: bool
    can_be_recorded: bool


def with_network(
    model: FasterRCNN[Any], network: NetworkT, decoder: Decoder | None = None
) -> FasterRCNN[NetworkT]:
    """Return the detector, to detect alone, with another network in the place of its own.

    Args:
        model: it stays as it is, and shares its other parts.
        network: a backend of the model's network, say.
        decoder: None is the model's.
    """
    decoder = model.decoder if decoder is None else decoder
    parts = (model.transform, network, decoder, model.views)
    detector = FasterRCNN(*parts, largest_head=model.largest_head)
    detector.eval()
    return detector


class TwoStageEngine:
    """A detector whose network is a backend; all between its two parts is PyTorch's.

    Args:
        model: with the backend in the place of its network.
    """

    def __init__(self, model: FasterRCNN[Backend]) -> None:
        model.eval()
        self.model, backend = model, model.network
        self.name, self.device = backend.name, str(backend.device)
        self.precision, self.batch_size = backend.precision, backend.batch_size
        self._concurrency = suitable_workers() if backend.takes_threads else 1
        self._upload, self._process = Upload(backend.device), os.getpid()
        self._room: dict[tuple[tuple[int, int], ...], int] = {}
        self._freed = FreedMemory()
        self._is_waited_for = model.decoder.may_wait_for(backend.device)
        self._graphs = self._record() if backend.can_be_recorded else {}
        self._step = self._batches = 0

    @property
    def concurrency(self) -> int:
        """Return how many threads may detect at once: one where the process is another's.

        Settings of torch that all threads share are put back after each picture, and in a fork all
        work is for one thread.
        """
        return self._concurrency if has_own_settings() and not is_forked() else 1

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) in network pixels that each view of a picture is padded to."""
        return tuple(transform.padded_size(*image_size) for transform in self.model.transforms)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that a picture may be read at and lose nothing."""
        transforms: list[GeneralizedRCNNTransform] = self.model.transforms
        return max(transform.enough_size(*image_size) for transform in transforms)

    @isolated
    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        Where a GPU's memory does not hold a batch, half of it is tried, and no larger one of
        pictures like its first again.

        Raises:
            DeviceMemoryError: the device's memory does not hold one of them.
            ForkError: the process was forked from the one that built the engine, which the backend
                does not survive. One line.
        """
        if is_forked(self._process) and not self.model.network.survives_fork:
            raise ForkError(
                f"engine {self.name} on {self.device} was built in process {self._process}, and "
                "this one was forked from it, where the engine's threads are no more: build the "
                "detector after the fork, or use engine torch on cpu"
            )
        found: list[Detections] = []
        while len(found) < len(images):
            height, width = images[len(found)].shape[1:]
            size = self.padded_sizes((height, width))
            batch = images[len(found) :][: self._room.get(size)]
            try:
                found += self._detect(batch)
            except torch.OutOfMemoryError as error:
                if sum(graphs.clear() for graphs in self._graphs.values()):
                    continue
                if len(batch) == 1:
                    raise DeviceMemoryError(
                        f"{self.device} has too little memory for a picture of {width}x{height}; "
                        "use cpu or a smaller inference.resize"
                    ) from error
                self._room[size] = len(batch) // 2
            self._freed.tidy()
        return found

    @torch.inference_mode()
    def _detect(self, images: Sequence[Tensor]) -> list[Detections]:
        rows, is_cut = self._heads(self._upload(images))
        found = []
        for own, image, lacks in zip(rows, images, is_cut, strict=True):
            count = int((own[:, 4] > EMPTY).sum())
            size = (image.shape[1], image.shape[2])
            detections = Detections.from_arrays(own[:count, :4], own[:count, 4], size)
            found.append(replace(detections, note=CUT) if lacks else detections)
        return found

    def _heads(self, images: list[Tensor]) -> tuple[np.ndarray, list[bool]]:
        """Return boxes and scores ``(B, K, 5)``, and which pictures have heads beyond limits."""
        steps = range(self._step, 0 if self._is_waited_for else len(ROOMS))
        for step in steps:
            fetched = _fetch(self._table(images, ROOMS[step]))
            if fetched is not None:
                self._begin_at(step)
                return fetched, [False] * len(images)
        if steps:
            self._begin_at(len(ROOMS) - 1)
        heads = self.model.detect(images, waits=True if steps else None)
        fetched = _fetch(_as_table(heads))
        if fetched is None:
            raise RuntimeError("heads: expected them settled, since the device was waited for")
        return fetched, [False] * len(images) if heads.is_cut is None else heads.is_cut.tolist()

    def _begin_at(self, step: int) -> None:
        """Begin with the room that was enough; now and then look whether less is."""
        self._batches += 1
        self._step = max(step - (self._batches % PATIENCE == 0), 0)

    def _table(self, images: list[Tensor], room: int) -> Tensor:
        if room not in self._graphs or is_observed():
            return _as_table(self.model.detect(images, room=room))
        return self._graphs[room](images)

    def _record(self) -> dict[int, CudaGraphs]:
        """Return what runs each room as graphs; they share their memory."""
        recorder, model = CudaRecorder(self.model.network.device), self.model

        def work(images: Sequence[Tensor], room: int) -> Tensor:
            return _as_table(model.detect(images, room=room))

        return {room: CudaGraphs(partial(work, room=room), recorder) for room in ROOMS}


def _as_table(heads: Heads) -> Tensor:
    """Return ``(B, K + 1, 5)`` float32: boxes and scores; the last row says whether it is settled.

    One tensor, for each copy from a device waits for it.
    """
    table = torch.cat((heads.boxes, heads.scores[..., None]), dim=2).float()
    mark = table.new_ones(()) if heads.is_settled is None else heads.is_settled.to(table)
    return torch.cat((table, mark.expand(len(table), 1, 5)), dim=1)


def _fetch(table: Tensor) -> np.ndarray | None:
    """Return boxes and scores ``(B, K, 5)`` of a table; None where they are not settled."""
    values = table.cpu().numpy()
    return values[:, :-1] if values[0, -1, 0] else None
