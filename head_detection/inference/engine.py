"""What runs a detector on a device: pictures in, heads in original pixels out."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from head_detection.errors import DeviceMemoryError, ForkError
from head_detection.inference.cuda_graphs import CudaGraphs
from head_detection.inference.isolation import is_forked, isolated
from head_detection.inference.memory import FreedMemory
from head_detection.inference.upload import Upload
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
        survives_fork: whether it goes on in a process forked from the one that built it.
        can_be_recorded: whether all it does is launch work on a GPU, by PyTorch's own stream.
    """

    name: str
    device: torch.device
    precision: str
    batch_size: int
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
        self._upload, self._process = Upload(backend.device), os.getpid()
        self._room: dict[tuple[tuple[int, int], ...], int] = {}
        self._freed = FreedMemory()
        self._graphs = CudaGraphs(self._table) if backend.can_be_recorded else None

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
                if self._graphs is not None and self._graphs.clear():
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
        batch = self._upload(images)
        heads: Heads | None = None
        if self._graphs is None or is_observed():
            heads = self.model.detect(batch)
            fetched = _fetch(_as_table(heads))
        else:
            fetched = _fetch(self._graphs(batch))
        if fetched is None:
            heads = self.model.detect(batch, waits=True)
            fetched = _fetch(_as_table(heads))
        if fetched is None:
            raise RuntimeError("heads: expected them settled, since the device was waited for")
        is_cut = heads is not None and heads.is_cut is not None and heads.is_cut.tolist()
        found = []
        for index, (rows, image) in enumerate(zip(fetched, images, strict=True)):
            count = int((rows[:, 4] > EMPTY).sum())
            size = (image.shape[1], image.shape[2])
            own = Detections.from_arrays(rows[:count, :4], rows[:count, 4], size)
            found.append(replace(own, note=CUT) if is_cut and is_cut[index] else own)
        return found

    def _table(self, images: Sequence[Tensor]) -> Tensor:
        return _as_table(self.model.detect(images))


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
