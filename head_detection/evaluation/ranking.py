"""The detections of all images ranked by score, and interpolated precision along the ranking."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from head_detection.evaluation.matching import IGNORED, Float64Array, IntArray, Matching
from head_detection.structures import BoolArray

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
"""Recalls at which COCO samples precision."""


@dataclass(frozen=True)
class Ranking:
    """The detections that count, best first; equal scores in the order of images.

    Attributes:
        hits: ``(N,)`` whether each found a head.
        scores: ``(N,)`` falling.
        images: ``(N,)`` index of each detection's image.
        num_heads: ``(P,)`` heads to find in each image.
    """

    hits: Annotated[BoolArray, "n"]
    scores: Annotated[Float64Array, "n"]
    images: Annotated[IntArray, "n"]
    num_heads: Annotated[IntArray, "p"]

    @property
    def true_positives(self) -> IntArray:
        """Return ``(N,)``: heads found up to each detection."""
        return np.cumsum(self.hits)

    @property
    def false_positives(self) -> IntArray:
        """Return ``(N,)``: false alarms up to each detection."""
        return np.cumsum(~self.hits)


def rank(matchings: Sequence[Matching]) -> Ranking:
    """Rank the detections of all images together, without the ignored ones.

    Example:
        >>> matchings = [Matching(np.array([0, -1]), np.array([0.9, 0.5]), 2)]
        >>> matchings += [Matching(np.array([-2, 0]), np.array([0.8, 0.7]), 1)]
        >>> ranking = rank(matchings)
        >>> ranking.hits, ranking.images
        (array([ True,  True, False]), array([0, 1, 0]))
    """
    scores = np.concatenate([np.zeros(0), *(matching.scores for matching in matchings)])
    found = np.concatenate([np.zeros(0), *(matching.found for matching in matchings)])
    lengths = [len(matching.scores) for matching in matchings]
    images = np.repeat(np.arange(len(matchings)), lengths)
    counted = np.flatnonzero(found != IGNORED)
    # Stable as in pycocotools: equal scores keep their order.
    order = counted[np.argsort(-scores[counted], kind="stable")]
    num_heads = np.array([matching.num_heads for matching in matchings], np.int64)
    return Ranking(found[order] >= 0, scores[order], images[order], num_heads)


def interpolated_precision(
    true_positives: Annotated[IntArray, "k"], positives: Annotated[IntArray, "k"], num_heads: int
) -> Annotated[Float64Array, "101"]:
    """Return precision at the 101 recalls of COCO, each the best at that or a higher recall.

    Args:
        true_positives: ``(K,)`` heads found up to each point of the ranking.
        positives: ``(K,)`` detections up to the same points.
        num_heads: above 0.

    Example:
        >>> precision = interpolated_precision(np.array([1, 1, 2]), np.array([1, 2, 3]), 4)
        >>> precision[[0, 25, 26, 50, 51]].round(3)
        array([1.   , 1.   , 0.667, 0.667, 0.   ])
    """
    start = np.searchsorted(true_positives, _heads_for_recall(num_heads))
    reached = start < len(true_positives)
    best = np.zeros(len(RECALL_POINTS))
    if reached.any():
        precision = true_positives / (positives + np.spacing(1.0))
        # The best in each interval between two recall points, then in all later ones.
        stretches = np.maximum.reduceat(precision, start[reached])
        best[reached] = np.maximum.accumulate(stretches[::-1])[::-1]
    return best


def _heads_for_recall(num_heads: int) -> IntArray:
    """Return the fewest heads that reach each recall point, with pycocotools' rounding."""
    guess = np.floor(RECALL_POINTS * num_heads).astype(np.int64)
    candidates = guess[:, None] + np.array([-1, 0, 1])
    enough = candidates / num_heads >= RECALL_POINTS[:, None]
    return np.asarray(guess - 1 + enough.argmax(axis=1))
