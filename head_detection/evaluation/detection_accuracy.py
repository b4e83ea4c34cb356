"""Precision, recall and F1 over score thresholds, and the threshold of the best F1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from head_detection.evaluation.matching import Matching
from head_detection.evaluation.overlap import FloatSeries
from head_detection.evaluation.ranking import rank

NO_THRESHOLD = 0.5
"""Where no threshold finds a head, any is as good."""


@dataclass(frozen=True)
class AccuracyCurve:
    """Precision and recall at every score that occurs, all pictures together.

    Attributes:
        thresholds: ``(K,)`` falling; a detection counts from ``score >= threshold`` on.
        precision: ``(K,)``.
        recall: ``(K,)``, zeros where there is no head to find.
    """

    thresholds: FloatSeries
    precision: FloatSeries
    recall: FloatSeries

    @property
    def f1(self) -> FloatSeries:
        """Return the harmonic means of precision and recall, 0 where both are."""
        total = self.precision + self.recall
        return np.asarray(2 * self.precision * self.recall / np.where(total > 0, total, 1.0))


@dataclass(frozen=True)
class Accuracy:
    """Precision, recall and F1 at one score threshold; NaN where nothing stands below the line.

    Attributes:
        precision: right detections of those that count.
        recall: found heads of all.
        f1: their harmonic mean; NaN only where there is neither a head nor a detection.
    """

    precision: float
    recall: float
    f1: float


def accuracy_curve(matchings: Sequence[Matching]) -> AccuracyCurve:
    """Pool the pictures' matchings; detections in ignore regions count neither way."""
    ranking = rank(matchings)
    scores = ranking.scores
    # Detections of one score stand or fall together.
    is_last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    true_positives, num_kept = ranking.true_positives[is_last], np.flatnonzero(is_last) + 1
    num_heads = int(ranking.num_heads.sum())
    return AccuracyCurve(
        scores[is_last], true_positives / num_kept, true_positives / max(1, num_heads)
    )


def best_f1(curve: AccuracyCurve) -> tuple[float, float]:
    """Return the best F1 and its score threshold, the highest of equal ones.

    Example:
        >>> heads = [Matching(np.array([0, -1, 1]), np.array([0.9, 0.8, 0.7], np.float32), 2)]
        >>> [round(value, 3) for value in best_f1(accuracy_curve(heads))]  # P 2/3, R 1
        [0.8, 0.7]
    """
    f1 = curve.f1
    if not f1.any():
        return 0.0, NO_THRESHOLD
    best = int(f1.argmax())
    return float(f1[best]), float(curve.thresholds[best])


def accuracy(matchings: Sequence[Matching]) -> Accuracy:
    """Return precision, recall and F1 of all detections given; cut them at a threshold before.

    Example:
        >>> accuracy([Matching(np.array([0, -1, -2]), np.array([0.9, 0.8, 0.7]), 4)])
        Accuracy(precision=0.5, recall=0.25, f1=0.3333333333333333)
    """
    num_found = sum(matching.num_found for matching in matchings)
    num_counted = sum(matching.num_counted for matching in matchings)
    num_heads = sum(matching.num_heads for matching in matchings)
    return Accuracy(
        precision=_ratio(num_found, num_counted),
        recall=_ratio(num_found, num_heads),
        f1=_ratio(2 * num_found, num_counted + num_heads),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
