"""How the scores of small and of large heads are made to mean the same, fitted to labels."""

from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from head_detection.evaluation.matching import Float64Array
from head_detection.structures import BoolArray

KEPT_SIZE: Final = 24.0
"""Pixels, where nothing is added: that of ``models.calibration``."""
SURE: Final = 1e-6
"""Scores nearer to 0 or 1 are taken for so near, as there."""
SHARES: Final = (1, 99)
"""Percent of the true heads that are smaller than the range that is fitted, and its end."""
MIN_EACH: Final = 50
"""True and false detections that must be there: two numbers are fitted, and two beside them."""
RIDGE: Final = 0.01
"""Keeps what hardly matters at nothing."""


class SizeFit(NamedTuple):
    """What ``models.calibration.SizeCalibration`` takes.

    Attributes:
        linear: of the octaves from 24 pixels.
        quadratic: of their square.
        smallest_head: root of area in network pixels, where the fit begins.
        largest_head: where it ends.
    """

    linear: float
    quadratic: float
    smallest_head: float
    largest_head: float


def fit_sizes(
    scores: Annotated[npt.NDArray[np.floating], "n"],
    sizes: Annotated[npt.NDArray[np.floating], "n"],
    is_head: Annotated[BoolArray, "n"],
) -> SizeFit:
    """Fit by logistic regression how likely a detection is a head, by its score and its size.

    Args:
        scores: ``(N,)`` in 0..1, down to low ones: how seldom these are right tells the most.
        sizes: ``(N,)`` roots of area in network pixels, of the same detections.
        is_head: ``(N,)`` right or not.

    Raises:
        ValueError: too few of either to fit anything to.

    Source:
        Platt, Probabilistic outputs for support vector machines, 1999; Kueppers et al.,
        Multivariate confidence calibration for object detection, CVPR workshops 2020.
    """
    num_right = int(is_head.sum())
    if min(num_right, len(is_head) - num_right) < MIN_EACH:
        raise ValueError(
            f"expected {MIN_EACH} right detections and {MIN_EACH} false ones at least; got "
            f"{num_right} and {len(is_head) - num_right}"
        )
    smallest, largest = np.percentile(sizes[is_head], SHARES).astype(float)
    octaves = np.log2(np.clip(sizes, smallest, largest) / KEPT_SIZE)
    likely = logit(np.clip(scores.astype(np.float64), SURE, 1 - SURE))
    columns = np.stack([np.ones_like(octaves), likely, octaves, octaves**2], axis=1)

    def loss(weights: Float64Array) -> tuple[float, Float64Array]:
        outputs = columns @ weights
        value = np.logaddexp(0, outputs).sum() - outputs[is_head].sum()
        slope = columns.T @ (expit(outputs) - is_head)
        return float(value + RIDGE * weights @ weights), slope + 2 * RIDGE * weights

    _, slope, linear, quadratic = minimize(loss, np.array([0, 1.0, 0, 0]), jac=True).x
    if slope <= 0:
        raise ValueError("expected higher scores to be right more often; here they are not")
    return SizeFit(float(linear / slope), float(quadratic / slope), float(smallest), float(largest))
