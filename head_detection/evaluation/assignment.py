"""The best set of pairs in which no detection and no box stands twice."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from head_detection.evaluation.overlap import Pairs
from head_detection.structures import BoolArray

TIE_BREAK = 1e-9
"""Added to each weight: of sets that weigh the same, the larger one."""


def heaviest_pairs(pairs: Pairs) -> BoolArray:
    """Choose the pairs with the largest sum of IoU; a detection or box may stay alone.

    Args:
        pairs: those that may be chosen.

    Returns:
        ``(K,)`` chosen or not.

    Example:
        >>> pairs = Pairs(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.8, 0.7]))
        >>> heaviest_pairs(pairs)  # .8 + .7 instead of .9
        array([False,  True,  True])
    """
    return _choose(pairs, TIE_BREAK)


def most_pairs(pairs: Pairs) -> BoolArray:
    """Choose as many pairs as there can be, among those sets the one of the largest sum of IoU.

    This is the Hungarian method on 1 - IoU where all other pairs are impossible.

    Args:
        pairs: those that may be chosen.

    Returns:
        ``(K,)`` chosen or not.

    Example:
        >>> middle = Pairs(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([0.5, 1.0, 0.5]))
        >>> most_pairs(middle)
        array([ True, False,  True])
    """
    return _choose(pairs, 1.0 + len(pairs.iou))


def _choose(pairs: Pairs, bonus: float) -> BoolArray:
    num_of_detection, num_of_box = np.bincount(pairs.detection), np.bincount(pairs.box)
    # Most are alone with each other and need no choice.
    chosen: BoolArray = (num_of_detection[pairs.detection] == 1) & (num_of_box[pairs.box] == 1)
    open_pairs = np.flatnonzero(~chosen)
    if len(open_pairs):
        rows, row = np.unique(pairs.detection[open_pairs], return_inverse=True)
        columns, column = np.unique(pairs.box[open_pairs], return_inverse=True)
        weights = np.zeros((len(rows), len(columns)))
        weights[row, column] = pairs.iou[open_pairs] + bonus
        numbers = np.full(weights.shape, -1)
        numbers[row, column] = open_pairs
        taken = numbers[linear_sum_assignment(weights, maximize=True)]
        chosen[taken[taken >= 0]] = True
    return chosen
