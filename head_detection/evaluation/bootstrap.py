"""How far a figure would move with other pictures: intervals by drawing pictures with repeats."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from head_detection.evaluation.matching import Matching
from head_detection.evaluation.overlap import FloatSeries, IntArray
from head_detection.evaluation.ranking import Ranking, interpolated_precision, rank

CONFIDENCE = 0.95
FIGURES = ("ap50", "f1", "mae")
"""In the order of ``Sample.figures``."""


@dataclass(frozen=True)
class Sample:
    """Matched pictures, ready to be drawn again and again without a new matching.

    Attributes:
        ranking: all detections, for AP.
        hit_places: ``(T,)`` indices in the ranking of those that found a head.
        sums: ``(P, 5)`` of each picture at the operating threshold: heads found, detections that
            count, heads, absolute error of the count, and 1.
    """

    ranking: Ranking
    hit_places: IntArray
    sums: FloatSeries

    @classmethod
    def of(
        cls,
        ranked: Sequence[Matching],
        matchings: Sequence[Matching],
        score_threshold: float,
    ) -> "Sample":
        """Take ``ranked`` for AP, and ``matchings`` of the same pictures at the threshold."""
        ranking = rank(ranked)
        kept = [matching.above(score_threshold) for matching in matchings]
        rows = [
            (m.num_found, m.num_counted, m.num_heads, abs(m.num_counted - m.num_heads), 1)
            for m in kept
        ]
        sums = np.array(rows, np.float64).reshape(-1, 5)
        return cls(ranking, np.flatnonzero(ranking.hits), sums)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.sums)

    def figures(self, repeats: IntArray) -> FloatSeries:
        """Return AP, F1 and MAE with each picture taken as often as ``repeats``, ``(P,)``, says.

        AP is exactly that of the repeated pictures: copies of a detection follow each other, and
        precision is best behind the last copy of a hit.
        """
        num_found, num_counted, num_heads, errors, num_pictures = repeats @ self.sums
        f1 = _ratio(2 * num_found, num_counted + num_heads)
        return np.array([self._average_precision(repeats), f1, _ratio(errors, num_pictures)])

    def _average_precision(self, repeats: IntArray) -> float:
        num_heads = int(repeats @ self.ranking.num_heads)
        if not num_heads:
            return float("nan")
        copies = repeats.astype(np.int32)[self.ranking.pictures]
        positives = np.cumsum(copies, dtype=np.int64)[self.hit_places]
        true_positives = np.cumsum(copies[self.hit_places], dtype=np.int64)
        return float(interpolated_precision(true_positives, positives, num_heads).mean())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def resample(
    statistic: Callable[[IntArray], FloatSeries],
    num_pictures: int,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Return the 95 % percentile interval of each value that ``statistic`` returns.

    Args:
        statistic: from ``(P,)``, how often each picture is drawn, to ``(V,)`` values; NaN is left
            out.
        num_pictures: P.
        num_resamples: draws of P pictures each.
        seed: the same seed draws the same pictures.

    Returns:
        V pairs of low and high, NaN where no draw has a value.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.

    Example:
        >>> heads = np.array([2.0, 4.0])
        >>> resample(lambda repeats: np.array([repeats @ heads / 2]), 2, num_resamples=100)
        [(2.0, 4.0)]
    """
    generator = np.random.default_rng(seed)
    num_values = len(statistic(np.ones(num_pictures, np.int64)))
    values = np.full((num_resamples, num_values), np.nan)
    for row in range(num_resamples if num_pictures else 0):
        drawn = generator.integers(num_pictures, size=num_pictures)
        values[row] = statistic(np.bincount(drawn, minlength=num_pictures))
    return [_interval(column[~np.isnan(column)]) for column in values.T]


def _interval(values: FloatSeries) -> tuple[float, float]:
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
