"""What a network multiplies, over what the machine can multiply."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from head_detection.benchmark.timing import (
    DENSE,
    Clock,
    Measurement,
    observe_stages,
    paired_ratio,
    synchronise,
)
from head_detection.models.faster_rcnn import FasterRCNN

SIDES: Final = {"cpu": 2048, "mps": 4096, "cuda": 8192}
"""Of the square matrices: large enough that a device is busy, small enough for a fraction of a
second."""
NUM_PRODUCTS: Final = 3
"""The fastest of so many in a row is the machine at its best."""
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """What the network multiplies over what a large matrix product does in the same run.

    Attributes:
        operations: of each stage that multiplies, a picture; a multiply-add is two.
        peak: 10^9 operations a second of the matrix product.
        dense: share of it in the dense part.
        network: share of it in all these stages, which also pool and suppress.
    """

    operations: dict[str, float]
    peak: Measurement
    dense: Measurement
    network: Measurement

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        measured = {"peak": self.peak, "dense_share": self.dense, "network_share": self.network}
        return {
            "operations_per_picture": self.operations,
            **{name: measurement.as_dict() for name, measurement in measured.items()},
        }


def arithmetic_of(
    operations: Mapping[str, float], stages: Mapping[str, Measurement], peaks: Sequence[float]
) -> Arithmetic:
    """Return operations over time over peak, run by run.

    Args:
        operations: of each stage that multiplies, a picture; one of them is the dense part.
        stages: milliseconds a picture that these took.
        peaks: operations a second of the matrix product in each run.

    Example:
        8e9 operations in 2 s are half of a peak of 8e9 a second.

        >>> arithmetic_of({"dense": 8e9}, {"dense": Measurement("ms", (2e3,))}, [8e9]).dense.samples
        (0.5,)
    """

    def share(names: Sequence[str]) -> Measurement:
        needed = sum(operations[name] for name in names)
        runs = zip(*(stages[name].samples for name in names), strict=True)
        rates = [needed / (sum(milliseconds) / 1e3) for milliseconds in runs]
        return paired_ratio("of the peak", rates, peaks)

    peak = Measurement("10^9 operations/s", tuple(peak / 1e9 for peak in peaks))
    return Arithmetic(dict(operations), peak, share([DENSE]), share(list(operations)))


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

    with observe_stages(count):
        for image in images:
            model.detect([image])
    return {name: operations for name, operations in counts.items() if operations}
