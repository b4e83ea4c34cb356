"""A measured quantity with all its samples."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """Samples of one quantity, in the order they were taken.

    Attributes:
        unit: what a sample counts.
        samples: at least one.

    Example:
        >>> figure = Figure("ms", (4.0, 2.0, 9.0))
        >>> figure.median, figure.minimum, figure.maximum
        (4.0, 2.0, 9.0)
    """

    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one, or the mean of the two."""
        return statistics.median(self.samples)

    @property
    def minimum(self) -> float:
        """The smallest."""
        return min(self.samples)

    @property
    def maximum(self) -> float:
        """The largest."""
        return max(self.samples)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "unit": self.unit,
            "median": self.median,
            "min": self.minimum,
            "max": self.maximum,
            "samples": list(self.samples),
        }


def paired_ratio(unit: str, over: Sequence[float], under: Sequence[float]) -> Figure:
    """Return the ratios of samples that were taken in the same runs, run by run.

    Example:
        >>> paired_ratio("times", [30.0, 44.0], [10.0, 11.0]).samples
        (3.0, 4.0)
    """
    return Figure(unit, tuple(a / b for a, b in zip(over, under, strict=True)))
