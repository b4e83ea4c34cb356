"""Confidence intervals of measures, and of differences between two detectors, by resampling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np

from head_detection.evaluation.matching import Float64Array, IntArray, Matching
from head_detection.evaluation.ranking import Ranking, interpolated_precision, rank

CONFIDENCE = 0.95
METRICS = ("ap50", "f1", "mae")
"""In the order of ``Sample.metrics``."""
LOWER_IS_BETTER = frozenset({"mae"})


@dataclass(frozen=True)
class Sample:
    """Matched images, prepared to be resampled without matching again.

    Attributes:
        ranking: all detections, for AP.
        hit_indices: ``(T,)`` indices in the ranking of detections that found a head.
        sums: ``(P, 5)`` for each image at the operating threshold: heads found, detections that
            count, heads, absolute error of the count, and 1.
    """

    ranking: Ranking
    hit_indices: Annotated[IntArray, "t"]
    sums: Annotated[Float64Array, "p 5"]

    @classmethod
    def of(
        cls,
        ranked: Sequence[Matching],
        matchings: Sequence[Matching],
        score_threshold: float,
    ) -> "Sample":
        """Build from ``ranked`` for AP, and ``matchings`` of the same images for F1 and MAE."""
        ranking = rank(ranked)
        kept = [matching.above(score_threshold) for matching in matchings]
        rows = [
            (m.num_found, m.num_counted, m.num_heads, abs(m.num_counted - m.num_heads), 1)
            for m in kept
        ]
        sums = np.array(rows, np.float64).reshape(-1, 5)
        return cls(ranking, np.flatnonzero(ranking.hits), sums)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.sums)

    def metrics(self, repeats: Annotated[IntArray, "p"]) -> Annotated[Float64Array, "3"]:
        """Return AP, F1 and MAE with each image repeated ``repeats``, ``(P,)``, times.

        AP is exact: the copies of a detection are consecutive, so precision is highest after the
        last copy of a hit.
        """
        num_found, num_counted, num_heads, errors, num_images = repeats @ self.sums
        f1 = _ratio(2 * num_found, num_counted + num_heads)
        return np.array([self._average_precision(repeats), f1, _ratio(errors, num_images)])

    def _average_precision(self, repeats: IntArray) -> float:
        num_heads = int(repeats @ self.ranking.num_heads)
        if not num_heads:
            return float("nan")
        copies = repeats.astype(np.int32)[self.ranking.images]
        positives = np.cumsum(copies, dtype=np.int64)[self.hit_indices]
        true_positives = np.cumsum(copies[self.hit_indices], dtype=np.int64)
        return float(interpolated_precision(true_positives, positives, num_heads).mean())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def resample(
    statistic: Callable[[IntArray], Float64Array],
    num_images: int,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Return the 95 % percentile interval of each value that ``statistic`` returns.

    Args:
        statistic: maps ``(P,)``, how often each image is drawn, to ``(V,)`` values; NaN is left
            out.
        num_images: P.
        num_resamples: number of draws, each of P images.
        seed: the same seed draws the same images.

    Returns:
        V pairs of low and high, NaN if no draw has a value.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.

    Example:
        >>> heads = np.array([2.0, 4.0])
        >>> resample(lambda repeats: np.array([repeats @ heads / 2]), 2, num_resamples=100)
        [(2.0, 4.0)]
    """
    generator = np.random.default_rng(seed)
    num_values = len(statistic(np.ones(num_images, np.int64)))
    values = np.full((num_resamples, num_values), np.nan)
    for row in range(num_resamples if num_images else 0):
        drawn = generator.integers(num_images, size=num_images)
        values[row] = statistic(np.bincount(drawn, minlength=num_images))
    return [_interval(column[~np.isnan(column)]) for column in values.T]


def _interval(values: Float64Array) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Difference:
    """One measure of two detectors, and the interval of the difference.

    Attributes:
        name: ``ap50``, ``f1`` or ``mae``.
        first: value of the first detector.
        second: value of the second.
        difference: second minus first.
        low: lower end of the 95 % interval of the difference.
        high: upper end; an interval without 0 is a difference that other images would show too.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float
    high: float

    @property
    def better(self) -> Literal["first", "second"] | None:
        """Return the better detector, or None if the interval contains 0.

        Example:
            >>> Difference("mae", 3.0, 2.0, -1.0, -1.5, -0.5).better  # fewer heads miscounted
            'second'
            >>> Difference("f1", 0.6, 0.7, 0.1, -0.1, 0.3).better
        """
        sign = -1 if self.name in LOWER_IS_BETTER else 1
        if sign * self.low > 0 and sign * self.high > 0:
            return "second"
        return "first" if sign * self.low < 0 and sign * self.high < 0 else None


def compare(
    first: Sequence[Matching],
    second: Sequence[Matching],
    thresholds: tuple[float, float],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Difference, ...]:
    """Compare AP50, F1 and counting MAE, with the same images drawn for both detectors.

    Args:
        first: the first detector's matchings, one per image, of all detections.
        second: the second detector's, for the same images in the same order.
        thresholds: each detector's operating threshold, for F1 and MAE.
        num_resamples: draws of the bootstrap.
        seed: seed of the draws.

    Raises:
        ValueError: the images differ in number or in their numbers of heads.

    Example:
        >>> found, missed = (Matching(np.array([n]), np.array([0.9]), 1) for n in (0, -1))
        >>> compare([missed] * 3, [found] * 3, (0.5, 0.5))[1]
        Difference(name='f1', first=0.0, second=1.0, difference=1.0, low=1.0, high=1.0)
    """
    _check_same_images(first, second)
    samples = [
        Sample.of(matchings, matchings, threshold)
        for matchings, threshold in zip((first, second), thresholds, strict=True)
    ]

    def difference(repeats: IntArray) -> Float64Array:
        return np.asarray(samples[1].metrics(repeats) - samples[0].metrics(repeats))

    intervals = resample(difference, len(first), num_resamples=num_resamples, seed=seed)
    once = np.ones(len(first), np.int64)
    before, after = (sample.metrics(once).tolist() for sample in samples)
    return tuple(
        Difference(name, before[index], after[index], after[index] - before[index], *interval)
        for index, (name, interval) in enumerate(zip(METRICS, intervals, strict=True))
    )


def _check_same_images(first: Sequence[Matching], second: Sequence[Matching]) -> None:
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
