"""What runs the network: pictures in, heads in original pixels out."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, Literal, Protocol, get_args

import torch
from torch import Tensor

from head_detection.inference.folding import fold_batch_norm
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.structures import Detections

Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)
_DTYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}
CPU_DESCRIPTION: Final = Path("/proc/cpuinfo")  # Linux alone has it
_BF16_FLAGS: Final = {"avx512_bf16", "amx_bf16", "bf16"}
"""x86, x86 with tiles, and ARM: the processor multiplies bfloat16 itself."""


class DeviceError(ValueError):
    """A device or precision that this machine does not have; its text is one line."""


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

    def padded_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) in network pixels that a picture fills with its padding.

        In a batch of pictures with equal padded sizes each gives what it gives alone.
        """
        ...

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1."""
        ...


class TorchEngine:
    """The network as PyTorch runs it.

    Args:
        model: taken over: put on the device, folded, laid out for it.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: auto is fp16 with CUDA, bf16 on a processor that multiplies it, else fp32. Boxes
            are float32 always.
        score_threshold: heads scored below are not looked at.

    Raises:
        DeviceError: no such device or precision here.
    """

    name = "torch"

    def __init__(
        self,
        model: FasterRCNN,
        *,
        device: str = "auto",
        precision: str = "auto",
        score_threshold: float = 0.0,
    ) -> None:
        self._device = find_device(device)
        self.device = str(self._device)
        self.precision = find_precision(precision, self._device)
        self.batch_size = 1 if self._device.type == "cpu" else 8
        fold_batch_norm(model.eval().backbone)
        # A lower threshold than the file's own must reach the network; a higher one saves time.
        roi = model.roi_heads.config
        model.roi_heads.config = roi.model_copy(update={"score_threshold": score_threshold})
        self._model = model.to(self._device).to(memory_format=torch.channels_last)

    def padded_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) in network pixels that a picture fills with its padding."""
        transform = self._model.transform
        factor, divisor = transform.scale_factor(*image_size), transform.config.size_divisor
        height, width = (-(-max(1, int(side * factor)) // divisor) * divisor for side in image_size)
        return height, width

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        A batch that does not fit into a GPU's memory is halved.
        """
        try:
            return self._detect(images)
        except torch.OutOfMemoryError as error:
            if len(images) == 1:
                raise DeviceError(
                    f"device: {self.device} has too little memory for one picture; use cpu"
                ) from error
        middle = len(images) // 2
        return self.detect(images[:middle]) + self.detect(images[middle:])

    @torch.inference_mode()
    def _detect(self, images: Sequence[Tensor]) -> list[Detections]:
        batch = [self._to_device(image) for image in images]
        with self._autocast():
            found = self._model(batch)
        # One copy a batch: each one waits for the device.
        counts = [len(result["scores"]) for result in found]
        boxes = torch.cat([result["boxes"] for result in found]).float().cpu().split(counts)
        scores = torch.cat([result["scores"] for result in found]).float().cpu().split(counts)
        return [
            Detections.from_arrays(b.numpy(), s.numpy(), (image.shape[1], image.shape[2]))
            for b, s, image in zip(boxes, scores, images, strict=True)
        ]

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self._device.type, _DTYPES[self.precision])

    def _to_device(self, image: Tensor) -> Tensor:
        if self._device.type == "cuda" and image.device.type == "cpu":
            return image.pin_memory().to(self._device, non_blocking=True)
        return image.to(self._device)


def find_device(name: str) -> torch.device:
    """Return the device; auto is CUDA's first where there is one, else the CPU.

    Raises:
        DeviceError: no such device here.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"device: expected auto, cpu, cuda, cuda:N or mps; got {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device: {name} asked for, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices here; use cpu or auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device: mps asked for, but this machine has none; use cpu or auto")
    return device


def find_precision(name: str, device: torch.device) -> str:
    """Return fp32, bf16 or fp16.

    Raises:
        DeviceError: no such precision, or fp16 on CPU, which is slower than fp32 there.
    """
    if name not in PRECISIONS:
        raise DeviceError(f"precision: expected {', '.join(PRECISIONS)}; got {name!r}")
    if name == "fp16" and device.type == "cpu":
        raise DeviceError("precision: fp16 needs a GPU; on cpu use auto, bf16 or fp32")
    if name != "auto":
        return name
    if device.type == "cpu":
        return "bf16" if cpu_multiplies_bf16() else "fp32"
    return "fp16" if device.type == "cuda" else "fp32"


def cpu_multiplies_bf16() -> bool:
    """Tell whether the processor has bfloat16 products; elsewhere they are emulated, slowly."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.13 or so
    if capabilities is not None:
        return any(capabilities().get(flag, False) for flag in _BF16_FLAGS)
    try:
        described = CPU_DESCRIPTION.read_text(encoding="utf-8")
    except OSError:
        return False
    return not _BF16_FLAGS.isdisjoint(described.split())
