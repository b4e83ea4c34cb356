"""Recall for small and large heads apart."""

from collections.abc import Sequence

import numpy as np

from head_detection.evaluation.matching import Matching
from head_detection.structures import GroundTruth

SIZE_LIMITS = (8.0, 16.0, 32.0, 96.0)
"""Square roots of area in original pixels, between which recall is given apart."""
SIZE_NAMES = ("under_8", "8_to_16", "16_to_32", "32_to_96", "from_96")


def recall_by_size(
    matchings: Sequence[Matching], truths: Sequence[GroundTruth]
) -> dict[str, float]:
    """Return recall by size of the head, of all detections given.

    Args:
        matchings: one a picture.
        truths: of the same pictures.

    Returns:
        ``recall_under_8`` ... ``recall_from_96``; NaN where there is no head of a size.

    Example:
        >>> truth = GroundTruth(np.array([[0, 0, 4, 4], [0, 0, 9, 9]]), np.zeros(2, bool))
        >>> recall = recall_by_size([Matching(np.array([1]), np.array([0.9]), 2)], [truth])
        >>> recall["recall_under_8"], recall["recall_8_to_16"]
        (0.0, 1.0)
    """
    num_found, num_heads = np.zeros(len(SIZE_NAMES)), np.zeros(len(SIZE_NAMES))
    for matching, truth in zip(matchings, truths, strict=True):
        boxes = truth.head_boxes
        sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
        sizes = np.searchsorted(SIZE_LIMITS, np.sqrt(sides.prod(axis=1)), side="right")
        num_heads += np.bincount(sizes, minlength=len(SIZE_NAMES))
        hits = sizes[matching.found[matching.found >= 0]]
        num_found += np.bincount(hits, minlength=len(SIZE_NAMES))
    return {
        f"recall_{name}": float(found / heads) if heads else float("nan")
        for name, found, heads in zip(SIZE_NAMES, num_found, num_heads, strict=True)
    }
