"""The pictures of an epoch and their order, as a pure function of the seed and the epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
_SHUFFLE, _MIX, _SAMPLE = range(3)
"""Uses of a seed, which must give independent random streams."""
_WORD: Final = np.uint64


@dataclass(frozen=True)
class EpochOrder:
    """The order of the pictures of several weighted sets.

    Each set is an endless sequence of its own shuffles. An epoch takes the next ``round(weight *
    size)`` pictures of it, at least one: with weight 0.5, every picture is drawn once in two
    epochs, with weight 2 twice in each. Then the sets are mixed.

    Attributes:
        set_sizes: number of pictures in each set; their indices are consecutive.
        weights: draws of each picture per epoch, on average; one per set.
        seed: seed of all random choices.

    Raises:
        ValueError: no pictures, or not one weight above 0 for each set.

    Example:
        >>> order = EpochOrder(set_sizes=(4, 2), weights=(0.5, 2.0), seed=0)
        >>> sorted([*order.indices(0), *order.indices(1)])[:4] == [0, 1, 2, 3]
        True
        >>> len(order)
        6
    """

    set_sizes: tuple[int, ...]
    weights: Sequence[float]
    seed: int

    def __post_init__(self) -> None:
        if sum(self.set_sizes) == 0:
            raise ValueError("training data: expected at least one picture; got none")
        if len(self.weights) != len(self.set_sizes):
            raise ValueError(
                f"weights: expected one a set, {len(self.set_sizes)}; got {len(self.weights)}"
            )
        if not all(weight > 0 for weight in self.weights):
            raise ValueError(f"weights: expected numbers above 0, got {list(self.weights)}")

    def __len__(self) -> int:
        """Return the number of pictures per epoch."""
        return sum(self._draws)

    def indices(self, epoch: int) -> IntArray:
        """Return the epoch's pictures in order: ``(len(self),)``."""
        parts, first = [], 0
        for number, size in enumerate(self.set_sizes):
            parts.append(first + self._drawn(number, epoch))
            first += size
        return self._generator(_MIX, epoch).permutation(np.concatenate(parts))

    def sample_seed(self, epoch: int, position: int) -> int:
        """Return the augmentation seed of the picture at a position in an epoch."""
        sequence = np.random.SeedSequence([self.seed, _SAMPLE, epoch, position])
        return int(sequence.generate_state(1, _WORD)[0])

    @property
    def _draws(self) -> list[int]:
        sizes = zip(self.weights, self.set_sizes, strict=True)
        return [max(1, round(weight * size)) if size else 0 for weight, size in sizes]

    def _drawn(self, number: int, epoch: int) -> IntArray:
        """Return the epoch's part of a set's endless sequence of shuffles."""
        size, draws = self.set_sizes[number], self._draws[number]
        if size == 0:
            return np.zeros(0, np.int64)
        start, stop = epoch * draws, (epoch + 1) * draws
        shuffles = range(start // size, -(-stop // size))
        row = np.concatenate(
            [self._generator(_SHUFFLE, number, shuffle).permutation(size) for shuffle in shuffles]
        )
        first = shuffles.start * size
        return row[start - first : stop - first].astype(np.int64)

    def _generator(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])
