"""Engines, which run a detector on a device: pictures in, heads in original pixels out."""

import os
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from head_detection.errors import DeviceMemoryError, ForkError
from head_detection.inference.cuda_graphs import CudaGraphs, CudaRecorder, on_default_stream
from head_detection.inference.isolation import has_own_settings, is_forked, isolated
from head_detection.inference.memory import FreedMemory
from head_detection.inference.transfer import Download, Upload
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
"""Note for a picture whose heads exceed the limits even after they were raised to the maximum."""

ROOMS: Final = (1, 2, 4)
"""Factors on the limits, tried in order on a device that runs asynchronously until the heads fit;
after the last one, it synchronises instead. 800 proposals become 3200, only in crowds."""
IN_FLIGHT: Final = 2
"""Batches at once on a GPU: while it computes one, threads prepare the next and read the last."""
PATIENCE: Final = 32
"""Batches after which a smaller factor is tried again."""

NetworkT = TypeVar("NetworkT", bound=DetectorNetwork)


class Engine(Protocol):
    """Runs a detector on batches.

    Attributes:
        name: one of ``ENGINES``.
        device: where it runs.
        precision: the type it multiplies in, never ``auto``.
        batch_size: pictures per batch that suit the device.
    """

    name: str
    device: str
    precision: str
    batch_size: int

    @property
    def concurrency(self) -> int:
        """Return how many threads may detect at the same time and suit the device."""
        ...

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) in network pixels that each view of a picture is padded to.

        In a batch of pictures with equal padded sizes, each gives the same result as alone.
        """
        ...

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the smallest (height, width) to decode a picture at without loss."""
        ...

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        Raises:
            DeviceMemoryError: the device's memory does not hold one of them.
        """
        ...


class Backend(DetectorNetwork, Protocol):
    """A network that a particular library runs, in place of the PyTorch module.

    Attributes:
        name: one of ``ENGINES``.
        device: device of its input pictures and output maps.
        precision: the type it multiplies in, never ``auto``.
        batch_size: pictures per batch that suit it.
        takes_threads: whether several threads may run it at the same time, on a CPU.
        survives_fork: whether it works in a process forked from the one that built it.
        can_be_recorded: whether it only launches work on a GPU, on PyTorch's current stream.
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
    """Return a copy of the detector with another network, for inference only.

    Args:
        model: not changed; the copy shares its other parts.
        network: for example a backend for the model's network.
        decoder: None is the model's.
    """
    decoder = model.decoder if decoder is None else decoder
    parts = (model.transform, network, decoder, model.views)
    detector = FasterRCNN(*parts, largest_head=model.largest_head)
    detector.eval()
    return detector


class TwoStageEngine:
    """A detector whose network is a backend; PyTorch runs everything between its two parts.

    Args:
        model: with the backend as its network.
    """

    def __init__(self, model: FasterRCNN[Backend]) -> None:
        model.eval()
        self.model, backend = model, model.network
        self.name, self.device = backend.name, str(backend.device)
        self.precision, self.batch_size = backend.precision, backend.batch_size
        self._concurrency = suitable_workers() if backend.takes_threads else 1
        if backend.device.type == "cuda":
            self._concurrency = IN_FLIGHT
        self._upload, self._process = Upload(backend.device), os.getpid()
        self._room: dict[tuple[tuple[int, int], ...], int] = {}
        self._freed = FreedMemory()
        self._is_waited_for = model.decoder.may_wait_for(backend.device)
        self._graphs = self._record() if backend.can_be_recorded else {}
        self._launching = threading.Lock() if backend.device.type != "cpu" else nullcontext()
        self._step = self._batches = 0

    @property
    def concurrency(self) -> int:
        """Return how many threads may detect at the same time.

        On a GPU, their batches are computed one after the other. It is one if the host changed
        torch's global settings, which are swapped for each call, or if the process was forked,
        where one thread does all the work.
        """
        return self._concurrency if has_own_settings() and not is_forked() else 1

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) in network pixels that each view of a picture is padded to."""
        return tuple(transform.padded_size(*image_size) for transform in self.model.transforms)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the smallest (height, width) to decode a picture at without loss."""
        transforms: list[GeneralizedRCNNTransform] = self.model.transforms
        return max(transform.enough_size(*image_size) for transform in transforms)

    @isolated
    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        If a batch does not fit in a GPU's memory, half of it is tried; later batches of the same
        padded sizes are limited to that number.

        Raises:
            DeviceMemoryError: a single picture does not fit in the device's memory.
            ForkError: the process was forked from the one that built the engine, which the backend
                does not support. One line.
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
                with self._launching:
                    had_graphs = sum(graphs.clear() for graphs in self._graphs.values())
                if had_graphs:
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
        with on_default_stream(self.model.network.device):
            rows, is_cut = self._heads(images)
        found = []
        for own, image, lacks in zip(rows, images, is_cut, strict=True):
            count = int((own[:, 4] > EMPTY).sum())
            size = (image.shape[1], image.shape[2])
            detections = Detections.from_arrays(own[:count, :4], own[:count, 4], size)
            found.append(replace(detections, note=CUT) if lacks else detections)
        return found

    def _heads(self, images: Sequence[Tensor]) -> tuple[np.ndarray, list[bool]]:
        """Return boxes and scores ``(B, K, 5)``, and which pictures exceed the limits."""
        steps = range(self._step, 0 if self._is_waited_for else len(ROOMS))
        with self._launching:
            there = self._upload(images)
        for step in steps:
            with self._launching:  # a graph's memory serves one batch at a time
                table = Download(self._table(there, ROOMS[step]))
            fetched = _settled(table.values())
            if fetched is not None:
                self._begin_at(step)
                return fetched, [False] * len(images)
        if steps:
            self._begin_at(len(ROOMS) - 1)
        with self._launching:
            heads = self.model.detect(there, waits=True if steps else None)
            fetched = _settled(_as_table(heads).cpu().numpy())
        if fetched is None:
            raise RuntimeError("heads: expected them settled, since the device was waited for")
        return fetched, [False] * len(images) if heads.is_cut is None else heads.is_cut.tolist()

    def _begin_at(self, step: int) -> None:
        """Start the next batch with the factor that was enough; now and then try a smaller one."""
        self._batches += 1
        self._step = max(step - (self._batches % PATIENCE == 0), 0)

    def _table(self, images: list[Tensor], room: int) -> Tensor:
        if room not in self._graphs or is_observed():
            return _as_table(self.model.detect(images, room=room))
        return self._graphs[room](images)

    def _record(self) -> dict[int, CudaGraphs]:
        """Return the graphs for each factor of the limits; they share their memory."""
        recorder, model = CudaRecorder(self.model.network.device), self.model

        def work(images: Sequence[Tensor], room: int) -> Tensor:
            return _as_table(model.detect(images, room=room))

        return {room: CudaGraphs(partial(work, room=room), recorder) for room in ROOMS}


def _as_table(heads: Heads) -> Tensor:
    """Return ``(B, K + 1, 5)`` float32: boxes and scores; the last row tells if they are settled.

    It is one tensor because each copy from a device synchronises with it.
    """
    table = torch.cat((heads.boxes, heads.scores[..., None]), dim=2).float()
    mark = table.new_ones(()) if heads.is_settled is None else heads.is_settled.to(table)
    return torch.cat((table, mark.expand(len(table), 1, 5)), dim=1)


def _settled(values: np.ndarray) -> np.ndarray | None:
    """Return boxes and scores ``(B, K, 5)`` of a table; None if they are not settled."""
    return values[:, :-1] if values[0, -1, 0] else None
