"""What a machine can multiply, by a large matrix product, and what a network needs of it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from head_detection.benchmark.stopwatch import Clock
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.stages import observed

SIDES: Final = {"cpu": 2048, "mps": 4096, "cuda": 8192}
"""Of the square matrices: large enough that a device is busy, small enough for a fraction of a
second."""
NUM_PRODUCTS: Final = 3
"""The fastest of so many in a row is the machine at its best."""
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class MatrixProduct:
    """A product of two square matrices in a precision, on a device.

    Args:
        precision: fp32, bf16 or fp16.
        device: where it is done, in as many threads as anything else.
        clock: of seconds.
    """

    def __init__(
        self, precision: str, device: torch.device, clock: Clock = time.perf_counter
    ) -> None:
        self._device, self._clock, self._side = device, clock, SIDES[device.type]
        shape, dtype = (self._side, self._side), DTYPES[precision]
        generator = torch.Generator().manual_seed(0)
        self._left = torch.rand(shape, generator=generator).to(device, dtype)
        self._right = torch.rand(shape, generator=generator).to(device, dtype)

    @torch.inference_mode()
    def operations_per_second(self) -> float:
        """Return the rate of the fastest of a few products; a multiply-add is two operations."""
        seconds = []
        for _ in range(NUM_PRODUCTS):
            synchronise(self._device)
            start = self._clock()
            torch.mm(self._left, self._right)
            synchronise(self._device)
            seconds.append(self._clock() - start)
        return 2.0 * self._side**3 / min(seconds)


def synchronise(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


@torch.inference_mode()
def count_operations(model: FasterRCNN, images: Sequence[Tensor]) -> dict[str, float]:
    """Return the operations of convolutions and matrix products by stage, a picture on average.

    A multiply-add is two. Additions, activations and pooling are not counted.

    Args:
        model: as it was trained, not as an engine rewrites it: what is fused is not counted.
        images: ``(3, H, W)`` each, at least one.
    """
    counts: dict[str, float] = {}

    @contextmanager
    def count(name: str) -> Iterator[None]:
        with FlopCounterMode(display=False) as counter:
            yield
        counts[name] = counts.get(name, 0.0) + counter.get_total_flops() / len(images)

    with observed(count):
        for image in images:
            model.detect([image])
    return {name: operations for name, operations in counts.items() if operations}
