"""What the runtimes of exported graphs have in common."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from head_detection.devices import PRECISIONS
from head_detection.errors import DeviceError
from head_detection.models.network import DenseMaps
from head_detection.models.roi_heads import NUM_CLASSES

Array: TypeAlias = npt.NDArray[np.float32]


class Part(Protocol):
    """One of the two graphs."""

    def __call__(self, values: Array) -> Sequence[npt.NDArray[Any]]:
        """Return the outputs in the order of their names; nobody writes into them later."""
        ...


class GraphRuntime:
    """A network whose two parts another library runs on the CPU, as graphs.

    Pictures go in with channels first, everything else in and out with channels last: that is how
    the libraries compute, and what RoIAlign reads row by row, so that nothing is copied between.

    Args:
        dense: ``(B, 3, H, W)`` to ``(B, H_i, W_i, C)`` features, objectness, deltas, by level.
        score: ``(N, P, P, C)`` to ``(N, 2)`` and ``(N, 8)``.
        precision: what the libraries multiply in.
    """

    name = ""
    device = torch.device("cpu")
    batch_size = 1
    dtype = torch.float32

    def __init__(self, dense: Part, score: Part, precision: str) -> None:
        self._dense, self._score, self.precision = dense, score, precision

    def dense(self, images: Tensor) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures."""
        outputs = self._dense(images.contiguous().numpy())
        maps = [torch.from_numpy(values).permute(0, 3, 1, 2) for values in outputs]
        levels = len(maps) // len(DenseMaps._fields)
        features, objectness, deltas = (
            tuple(maps[first : first + levels]) for first in range(0, len(maps), levels)
        )
        return DenseMaps(features, objectness, deltas)

    def score(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features."""
        if not len(pooled):
            return pooled.new_zeros((0, NUM_CLASSES)), pooled.new_zeros((0, 4 * NUM_CLASSES))
        logits, deltas = self._score(pooled.permute(0, 2, 3, 1).contiguous().numpy())
        return torch.from_numpy(logits), torch.from_numpy(deltas)


def check_device(name: str, device: str) -> None:
    """Raise DeviceError, one line, unless the device is the CPU."""
    if device not in ("auto", "cpu"):
        raise DeviceError(
            f"device: engine {name} runs on cpu; got {device!r}: use cpu or auto, or engine torch"
        )


def check_precision(name: str, precision: str, known: Sequence[str], *, is_int8: bool) -> None:
    """Raise DeviceError, one line, for a precision that the engine or the file has not."""
    if precision not in PRECISIONS:
        raise DeviceError(f"precision: expected {', '.join(PRECISIONS)}; got {precision!r}")
    if is_int8 and precision != "auto":
        raise DeviceError(f"precision: the file is int8; leave it at auto; got {precision!r}")
    if precision not in known:
        raise DeviceError(
            f"precision: engine {name} on cpu has {', '.join(known)}; got {precision!r}"
        )
