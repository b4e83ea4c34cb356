"""The rate of a network's arithmetic, as a share of the machine's peak."""

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
"""Sides of the square matrices: large enough to keep a device busy, small enough to take a fraction
of a second."""
NUM_PRODUCTS: Final = 3
"""The fastest of so many consecutive products counts as the machine's peak."""
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Arithmetic:
    """The network's arithmetic rate over that of a large matrix product in the same run.

    Attributes:
        operations: per picture, for each stage that multiplies; a multiply-add counts as two.
        peak: rate of the matrix product, in 10^9 operations per second.
        dense: share of the peak that the dense part reaches.
        network: share of the peak in all these stages, whose time includes pooling and suppression.
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
        operations: per picture, for each stage that multiplies; one of them is the dense part.
        stages: milliseconds per picture of these stages.
        peaks: operations per second of the matrix product in each run.

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
        device: on which it is computed, with PyTorch's current number of threads.
        clock: returns seconds.
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
        """Return the rate of the fastest of a few products; a multiply-add counts as two."""
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
    """Return the operations of convolutions and matrix products by stage, averaged per picture.

    A multiply-add counts as two. Additions, activations and pooling are not counted.

    Args:
        model: as trained, not as an engine rewrites it: fused operations are not counted.
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
