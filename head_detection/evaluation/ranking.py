"""The detections of all images by falling score, and how far down the list what is found."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from head_detection.evaluation.matching import IGNORED, Float64Array, IntArray, Matching
from head_detection.structures import BoolArray

RECALL_POINTS = np.linspace(0.0, 1.0, 101)
"""Where COCO reads precision."""


@dataclass(frozen=True)
class Ranking:
    """The detections that count, best first; equal scores in the order of images.

    Attributes:
        hits: ``(N,)`` whether each found a head.
        scores: ``(N,)`` falling.
        images: ``(N,)`` index of the image of each.
        num_heads: ``(P,)`` heads to find in each image.
    """

    hits: Annotated[BoolArray, "n"]
    scores: Annotated[Float64Array, "n"]
    images: Annotated[IntArray, "n"]
    num_heads: Annotated[IntArray, "p"]

    @property
    def true_positives(self) -> IntArray:
        """Return ``(N,)``: heads found down to each detection."""
        return np.cumsum(self.hits)

    @property
    def false_positives(self) -> IntArray:
        """Return ``(N,)``: false alarms down to each detection."""
        return np.cumsum(~self.hits)


def rank(matchings: Sequence[Matching]) -> Ranking:
    """Put the images' detections into one order; the ignored ones are left out.

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
    # Stable, as pycocotools has it: equal scores keep their order.
    order = counted[np.argsort(-scores[counted], kind="stable")]
    num_heads = np.array([matching.num_heads for matching in matchings], np.int64)
    return Ranking(found[order] >= 0, scores[order], images[order], num_heads)


def interpolated_precision(
    true_positives: Annotated[IntArray, "k"], positives: Annotated[IntArray, "k"], num_heads: int
) -> Annotated[Float64Array, "101"]:
    """Return precision at the 101 recalls of COCO, each the best at that recall or beyond.

    Args:
        true_positives: ``(K,)`` heads found down to each point of the ranking.
        positives: ``(K,)`` detections down to the same points.
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
        # The best of each stretch between two recall points, then of all that follow.
        stretches = np.maximum.reduceat(precision, start[reached])
        best[reached] = np.maximum.accumulate(stretches[::-1])[::-1]
    return best


def _heads_for_recall(num_heads: int) -> IntArray:
    """Return the fewest heads whose share reaches each recall point, in pycocotools' rounding."""
    guess = np.floor(RECALL_POINTS * num_heads).astype(np.int64)
    candidates = guess[:, None] + np.array([-1, 0, 1])
    enough = candidates / num_heads >= RECALL_POINTS[:, None]
    return np.asarray(guess - 1 + enough.argmax(axis=1))
