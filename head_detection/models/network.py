"""What an engine runs of a detector: the two parts that multiply, and the stages around them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

from torch import Tensor

Stage = Callable[[str], AbstractContextManager[object]]
"""Gives what surrounds a stage of the work, by its name: a stopwatch, say."""
STAGES = ("resize", "dense", "proposals", "roi", "more looks", "nms", "coarse look")
"""From pixels to heads, in order."""


class DenseMaps(NamedTuple):
    """What the network says of every place of a picture, finest level first, float32.

    Attributes:
        features: ``(B, C, H_i, W_i)`` to pool from.
        objectness: ``(B, A, H_i, W_i)`` logits of each anchor.
        deltas: ``(B, 4A, H_i, W_i)`` that move it.
    """

    features: tuple[Tensor, ...]
    objectness: tuple[Tensor, ...]
    deltas: tuple[Tensor, ...]


class Network(Protocol):
    """The parts of a detector that multiply: a runtime may run them its own way."""

    def dense(self, images: Tensor) -> DenseMaps:
        """Return the maps of ``(B, 3, H, W)`` normalised pictures."""
        ...

    def score(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features."""
        ...


def untimed(_name: str) -> AbstractContextManager[object]:
    """Surround a stage with nothing."""
    return nullcontext()
