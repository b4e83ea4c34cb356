"""How far the number of detections is from the number of heads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from head_detection.evaluation.matching import Matching
from head_detection.evaluation.overlap import IntArray


@dataclass(frozen=True)
class CountingError:
    """Errors of the count a picture, in heads; NaN without a picture.

    Attributes:
        mae: mean of the absolute errors.
        rmse: root of the mean squared error.
        bias: mean of predicted minus true, above 0 where too many are counted.
    """

    mae: float
    rmse: float
    bias: float


def head_counts(matchings: Sequence[Matching]) -> IntArray:
    """Return ``(K, 2)``: true and predicted count of each picture, of all detections given.

    Detections that matched nothing and lie in an ignore region are left out.

    Example:
        >>> head_counts([Matching(np.array([0, -1, -2]), np.array([0.9, 0.8, 0.7]), 1)])
        array([[1, 2]])
    """
    counts = [(matching.num_heads, matching.num_counted) for matching in matchings]
    return np.array(counts, np.int64).reshape(-1, 2)


def counting_error(counts: IntArray) -> CountingError:
    """Return the errors of ``(K, 2)`` true and predicted counts; a count of 0 is one like any.

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
