"""Fits the calibration that makes scores mean the same for small and large heads."""

from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from head_detection.evaluation.matching import Float64Array
from head_detection.structures import BoolArray

KEPT_SIZE: Final = 24.0
"""Size in pixels at which scores do not change, as in ``models.calibration``."""
SURE: Final = 1e-6
"""Scores nearer to 0 or 1 are clipped to this distance, as there."""
SHARES: Final = (1, 99)
"""Percentiles of the sizes of true heads that bound the fitted range."""
MIN_EACH: Final = 50
"""Least number of true and of false detections, for the four weights that are fitted."""
RIDGE: Final = 0.01
"""Regularisation, which keeps weights that hardly matter at zero."""


class SizeFit(NamedTuple):
    """The parameters of ``models.calibration.SizeCalibration``.

    Attributes:
        linear: factor of the octaves from 24 pixels.
        quadratic: factor of their square.
        smallest_head: start of the fitted range, square root of area in network pixels.
        largest_head: its end.
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
    """Fit the probability that a detection is a head to its score and size, by logistic regression.

    Args:
        scores: ``(N,)`` in 0..1, including low ones, whose rate of errors is the most informative.
        sizes: ``(N,)`` square roots of area in network pixels, of the same detections.
        is_head: ``(N,)`` whether each is right.

    Raises:
        ValueError: too few right or wrong detections, or scores that do not rise with the
            probability.

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
