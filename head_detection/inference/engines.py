"""What runs a detector: pictures in, heads in original pixels out."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from head_detection.errors import DeviceMemoryError
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.network import Network, Stage, untimed
from head_detection.models.transform import GeneralizedRCNNTransform
from head_detection.structures import Detections


class Engine(Protocol):
    """Runs a detector on batches.

    Attributes:
        name: as ``--engine`` spells it.
        device: where it runs.
        precision: what it multiplies in, never ``auto``.
        batch_size: pictures at once that suit the device.
    """

    name: str
    device: str
    precision: str
    batch_size: int

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) in network pixels that each look at a picture is padded to.

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


class Runtime(Network, Protocol):
    """Runs the parts of a network that multiply.

    Attributes:
        name: as ``--engine`` spells it.
        device: where pictures go and maps come from.
        precision: what it multiplies in, never ``auto``.
        batch_size: pictures at once that suit it.
    """

    name: str
    device: torch.device
    precision: str
    batch_size: int


class TwoStageEngine:
    """A detector whose network a runtime runs; all between its two parts is PyTorch's.

    Args:
        model: in evaluation mode; its own network is used where the runtime is PyTorch's.
        runtime: of this model.
        score_threshold: heads scored below are not looked at.
    """

    def __init__(
        self, model: FasterRCNN, runtime: Runtime, *, score_threshold: float = 0.0
    ) -> None:
        self.name, self.device = runtime.name, str(runtime.device)
        self.precision, self.batch_size = runtime.precision, runtime.batch_size
        # A lower threshold than the file's own must reach the network; a higher one saves time.
        roi = model.roi_heads.config
        model.roi_heads.config = roi.model_copy(update={"score_threshold": score_threshold})
        self.stage: Stage = untimed
        self._room: dict[tuple[tuple[int, int], ...], int] = {}
        self._model, self._runtime = model.eval().to(runtime.device), runtime

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the (height, width) in network pixels that each look at a picture is padded to."""
        return tuple(look.padded_size(*image_size) for look in self._model.transforms)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that a picture may be read at and lose nothing."""
        looks: list[GeneralizedRCNNTransform] = self._model.transforms
        return max(look.enough_size(*image_size) for look in looks)

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        Where a GPU's memory does not hold a batch, half of it is tried, and no larger one of
        pictures like its first again.

        Raises:
            DeviceMemoryError: the device's memory does not hold one of them.
        """
        found: list[Detections] = []
        while len(found) < len(images):
            height, width = images[len(found)].shape[1:]
            size = self.padded_sizes((height, width))
            batch = images[len(found) :][: self._room.get(size)]
            try:
                found += self._detect(batch)
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise DeviceMemoryError(
                        f"{self.device} has too little memory for a picture of {width}x{height}; "
                        "use cpu or a smaller inference.resize"
                    ) from error
                self._room[size] = len(batch) // 2
        return found

    @torch.inference_mode()
    def _detect(self, images: Sequence[Tensor]) -> list[Detections]:
        batch = [self._to_device(image) for image in images]
        found = self._model.detect(batch, self._runtime, self.stage)
        # One copy a batch: each one waits for the device.
        counts = [len(result["scores"]) for result in found]
        boxes = torch.cat([result["boxes"] for result in found]).float().cpu().split(counts)
        scores = torch.cat([result["scores"] for result in found]).float().cpu().split(counts)
        return [
            Detections.from_arrays(b.numpy(), s.numpy(), (image.shape[1], image.shape[2]))
            for b, s, image in zip(boxes, scores, images, strict=True)
        ]

    def _to_device(self, image: Tensor) -> Tensor:
        if self._runtime.device.type == "cuda" and image.device.type == "cpu":
            return image.pin_memory().to(self._runtime.device, non_blocking=True)
        return image.to(self._runtime.device)
