"""Two detectors on the same pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from head_detection.evaluation.bootstrap import FIGURES, Sample, resample
from head_detection.evaluation.matching import Matching
from head_detection.evaluation.overlap import FloatSeries, IntArray


@dataclass(frozen=True)
class Difference:
    """One figure of both, and how much of the difference may be chance.

    Attributes:
        name: ``ap50``, ``f1`` or ``mae``.
        first: of the first detector.
        second: of the second.
        difference: second minus first.
        low: lower end of the 95 % interval of the difference.
        high: upper end; an interval without 0 is a difference that other pictures would show too.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float


def compare(
    first: Sequence[Matching],
    second: Sequence[Matching],
    thresholds: tuple[float, float],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Difference, ...]:
    """Compare AP50, F1 and counting MAE, drawing the same pictures for both each time.

    Args:
        first: the first detector's matchings, one a picture, all detections.
        second: of the same pictures in the same order.
        thresholds: each detector's operating threshold, for F1 and MAE.
        num_resamples: draws of the bootstrap.
        seed: of the draws.

    Raises:
        ValueError: not the same pictures: their number or their numbers of heads differ.

    Example:
        >>> found, missed = (Matching(np.array([n]), np.array([0.9]), 1) for n in (0, -1))
        >>> compare([missed] * 3, [found] * 3, (0.5, 0.5))[1]
        Difference(name='f1', first=0.0, second=1.0, difference=1.0, low=1.0, high=1.0)
    """
    _check_same_pictures(first, second)
    samples = [
        Sample.of(matchings, matchings, threshold)
        for matchings, threshold in zip((first, second), thresholds, strict=True)
    ]

    def difference(repeats: IntArray) -> FloatSeries:
        return np.asarray(samples[1].figures(repeats) - samples[0].figures(repeats))

    intervals = resample(difference, len(first), num_resamples=num_resamples, seed=seed)
    once = np.ones(len(first), np.int64)
    before, after = (sample.figures(once).tolist() for sample in samples)
    return tuple(
        Difference(name, before[index], after[index], after[index] - before[index], *interval)
        for index, (name, interval) in enumerate(zip(FIGURES, intervals, strict=True))
    )


def _check_same_pictures(first: Sequence[Matching], second: Sequence[Matching]) -> None:
    if len(first) != len(second):
        raise ValueError(
            f"expected the same pictures twice: {len(first)} and {len(second)} of them"
        )
    for number, (one, other) in enumerate(zip(first, second, strict=True), 1):
        if one.num_heads != other.num_heads:
            raise ValueError(
                f"expected the same pictures twice: picture {number} has {one.num_heads} heads "
                f"the first time and {other.num_heads} the second"
            )
