"""Precision, recall and F1 over score thresholds, recall by size of head, errors of the count."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from head_detection.boxes import areas
from head_detection.evaluation.matching import Float64Array, IntArray, Matching
from head_detection.evaluation.ranking import rank
from head_detection.structures import GroundTruth

NO_THRESHOLD = 0.5
"""Returned if no threshold finds a head, so that any is as good."""
SIZE_LIMITS = (8.0, 16.0, 32.0, 96.0)
"""Limits of the size classes of recall: square roots of area in original pixels."""
SIZE_NAMES = ("under_8", "8_to_16", "16_to_32", "32_to_96", "from_96")


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall at every score that occurs, over all images together.

    Attributes:
        thresholds: ``(K,)`` falling; a detection counts if ``score >= threshold``.
        precision: ``(K,)``.
        recall: ``(K,)``, zeros without any head.
    """

    thresholds: Annotated[Float64Array, "k"]
    precision: Annotated[Float64Array, "k"]
    recall: Annotated[Float64Array, "k"]

    @property
    def f1(self) -> Float64Array:
        """Return the harmonic means of precision and recall, 0 if both are 0."""
        total = self.precision + self.recall
        return np.asarray(2 * self.precision * self.recall / np.where(total > 0, total, 1.0))


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision, recall and F1 at one score threshold; NaN if the denominator is 0.

    Attributes:
        precision: share of right detections among those that count.
        recall: share of heads that were found.
        f1: their harmonic mean; NaN only without any head and detection.
    """

    precision: float
    recall: float
    f1: float


def precision_recall_curve(matchings: Sequence[Matching]) -> PrecisionRecallCurve:
    """Return the curve over the matchings of all images; ignored detections do not count."""
    ranking = rank(matchings)
    scores = ranking.scores
    # A threshold keeps or drops all detections of equal score together.
    is_last = np.append(scores[1:] != scores[:-1], True)[: len(scores)]
    true_positives, num_kept = ranking.true_positives[is_last], np.flatnonzero(is_last) + 1
    num_heads = int(ranking.num_heads.sum())
    return PrecisionRecallCurve(
        scores[is_last], true_positives / num_kept, true_positives / max(1, num_heads)
    )


def best_f1(curve: PrecisionRecallCurve) -> tuple[float, float]:
    """Return the best F1 and the highest score threshold that has it.

    Example:
        >>> heads = [Matching(np.array([0, -1, 1]), np.array([0.9, 0.8, 0.7], np.float32), 2)]
        >>> [round(value, 3) for value in best_f1(precision_recall_curve(heads))]  # P 2/3, R 1
        [0.8, 0.7]
    """
    f1 = curve.f1
    if not f1.any():
        return 0.0, NO_THRESHOLD
    best = int(f1.argmax())
    return float(f1[best]), float(curve.thresholds[best])


def precision_recall(matchings: Sequence[Matching]) -> PrecisionRecall:
    """Return precision, recall and F1 of all given detections; apply a threshold beforehand.

    Example:
        >>> precision_recall([Matching(np.array([0, -1, -2]), np.array([0.9, 0.8, 0.7]), 4)])
        PrecisionRecall(precision=0.5, recall=0.25, f1=0.3333333333333333)
    """
    num_found = sum(matching.num_found for matching in matchings)
    num_counted = sum(matching.num_counted for matching in matchings)
    num_heads = sum(matching.num_heads for matching in matchings)
    return PrecisionRecall(
        precision=_ratio(num_found, num_counted),
        recall=_ratio(num_found, num_heads),
        f1=_ratio(2 * num_found, num_counted + num_heads),
    )


def recall_by_size(
    matchings: Sequence[Matching], truths: Sequence[GroundTruth]
) -> dict[str, float]:
    """Return recall by size of the head, with all given detections.

    Args:
        matchings: one per image.
        truths: ground truth of the same images.

    Returns:
        ``recall_under_8`` ... ``recall_from_96``; NaN if there is no head of a size.

    Example:
        >>> truth = GroundTruth(np.array([[0, 0, 4, 4], [0, 0, 9, 9]]), np.zeros(2, bool))
        >>> recall = recall_by_size([Matching(np.array([1]), np.array([0.9]), 2)], [truth])
        >>> recall["recall_under_8"], recall["recall_8_to_16"]
        (0.0, 1.0)
    """
    num_found, num_heads = np.zeros(len(SIZE_NAMES)), np.zeros(len(SIZE_NAMES))
    for matching, truth in zip(matchings, truths, strict=True):
        sizes = np.searchsorted(SIZE_LIMITS, np.sqrt(areas(truth.head_boxes)), side="right")
        num_heads += np.bincount(sizes, minlength=len(SIZE_NAMES))
        hits = sizes[matching.found[matching.found >= 0]]
        num_found += np.bincount(hits, minlength=len(SIZE_NAMES))
    return {
        f"recall_{name}": float(found / heads) if heads else float("nan")
        for name, found, heads in zip(SIZE_NAMES, num_found, num_heads, strict=True)
    }


@dataclass(frozen=True)
class CountingError:
    """Errors of the count per image, in heads; NaN without images.

    Attributes:
        mae: mean absolute error.
        rmse: root mean squared error.
        bias: mean of predicted minus true, above 0 if too many are counted.
    """

    mae: float
    rmse: float
    bias: float


def head_counts(matchings: Sequence[Matching]) -> Annotated[IntArray, "k 2"]:
    """Return ``(K, 2)``: true and predicted count of each image, with all given detections.

    Unmatched detections in ignore regions are left out.

    Example:
        >>> head_counts([Matching(np.array([0, -1, -2]), np.array([0.9, 0.8, 0.7]), 1)])
        array([[1, 2]])
    """
    counts = [(matching.num_heads, matching.num_counted) for matching in matchings]
    return np.array(counts, np.int64).reshape(-1, 2)


def counting_error(counts: Annotated[IntArray, "k 2"]) -> CountingError:
    """Return the errors of ``(K, 2)`` true and predicted counts, including counts of 0.

    Example:
        >>> counting_error(np.array([[3, 7], [5, 2]]))  # 4 too many, 3 too few
        CountingError(mae=3.5, rmse=3.5355339059327378, bias=0.5)
    """
    if not len(counts):
        return CountingError(float("nan"), float("nan"), float("nan"))
    errors = (counts[:, 1] - counts[:, 0]).astype(np.float64)
    return CountingError(
        mae=float(np.abs(errors).mean()),
        rmse=float(np.sqrt((errors**2).mean())),
        bias=float(errors.mean()),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
