"""Precision, recall and F1 over score thresholds, and the threshold of the best F1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from head_detection.evaluation.matching import IGNORED, Matching

FloatSeries = npt.NDArray[np.float64]
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


def accuracy_curve(matchings: Sequence[Matching]) -> AccuracyCurve:
    """Pool the pictures' matchings; detections in ignore regions count neither way."""
    scores = np.concatenate([np.zeros(0), *(matching.scores for matching in matchings)])
    found = np.concatenate([np.zeros(0), *(matching.found for matching in matchings)])
    counts = found != IGNORED
    order = np.argsort(-scores[counts], kind="stable")
    scores, hits = scores[counts][order], found[counts][order] >= 0
    # Detections of one score stand or fall together.
    is_last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    true_positives, num_kept = np.cumsum(hits)[is_last], np.flatnonzero(is_last) + 1
    num_heads = sum(matching.num_heads for matching in matchings)
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
