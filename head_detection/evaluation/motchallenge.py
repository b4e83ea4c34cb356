"""MODA and MODP: accuracy and precision of the boxes in each frame at one score threshold."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from head_detection.evaluation.matching import (
    IGNORED_SHARE,
    Overlap,
    Pairs,
    choose_in_turn,
    heaviest_pairs,
    most_pairs,
)
from head_detection.structures import BoolArray

IOU_THRESHOLD = 0.5
DISTRACTOR_IOU = 0.4
"""IoU from which a detection may match a distractor, an object of another class."""
HEADHUNTER_IOU = 0.2


@dataclass(frozen=True)
class FrameCounts:
    """The counts of one image, over all given detections.

    Attributes:
        num_heads: heads to find.
        num_missed: heads that were missed.
        num_false: detections that match no head.
        matched_iou: sum of the IoU over matched pairs.
        num_removed: detections that match a distractor.
        num_ignored: unmatched detections inside an ignore region.
    """

    num_heads: int
    num_missed: int
    num_false: int
    matched_iou: float
    num_removed: int = 0
    num_ignored: int = 0

    @property
    def num_found(self) -> int:
        """Return the number of matched pairs."""
        return self.num_heads - self.num_missed


def frame_as_motchallenge(overlap: Overlap) -> FrameCounts:
    """Count one frame by MOTChallenge's rule for detection.

    Detections that match a distractor rather than a head (largest sum of IoU, from 0.4 on) are
    removed first. Then as many pairs with an IoU of 0.5 as possible are matched, with the least sum
    of 1 - IoU. MOTChallenge has no ignore regions; here, an unmatched detection that lies more than
    half inside one that is not a distractor does not count.

    Args:
        overlap: overlaps of the detections at the operating threshold.

    Source:
        Bernardin and Stiefelhagen, CLEAR MOT, 2008; Stiefelhagen et al., CLEAR 2006, for MODA and
        MODP; TrackEval's head tracking challenge for distractors.
    """
    on_distractor = on_distractors(overlap)
    pairs = overlap.pairs
    pairs = pairs.take((pairs.iou >= IOU_THRESHOLD) & ~on_distractor[pairs.detection])
    pairs = pairs.take(most_pairs(pairs))
    is_left = ~on_distractor
    is_left[pairs.detection] = False
    is_ignored = is_left & (overlap.region_share > IGNORED_SHARE)
    num_heads = len(overlap.truth.head_boxes)
    return FrameCounts(
        num_heads,
        num_missed=num_heads - len(pairs.iou),
        num_false=int((is_left & ~is_ignored).sum()),
        matched_iou=float(pairs.iou.sum()),
        num_removed=int(on_distractor.sum()),
        num_ignored=int(is_ignored.sum()),
    )


def on_distractors(overlap: Overlap) -> BoolArray:
    """Return ``(N,)``: the detections that match a distractor."""
    removed = np.zeros(len(overlap.detections), np.bool_)
    truth = overlap.truth
    if truth.distractor.any():
        # Heads take part, because one that overlaps more keeps its detection.
        competing = ~truth.ignore | truth.distractor
        boxes, is_distractor = truth.boxes[competing], truth.distractor[competing]
        pairs = Pairs.between(overlap.detections.boxes, boxes, DISTRACTOR_IOU)
        pairs = pairs.take(heaviest_pairs(pairs))
        removed[pairs.detection[is_distractor[pairs.box]]] = True
    return removed


def frame_as_headhunter(overlap: Overlap) -> FrameCounts:
    """Count one image as HeadHunter did: greedy by score, IoU 0.2, ignore regions respected."""
    pairs = overlap.pairs
    pairs = pairs.take(pairs.iou >= HEADHUNTER_IOU)
    num_heads = len(overlap.truth.head_boxes)
    found = choose_in_turn(pairs, len(overlap.detections), num_heads)
    is_left = found < 0
    is_ignored = is_left & (overlap.ignored_share > IGNORED_SHARE)
    matched = found[pairs.detection] == pairs.box
    return FrameCounts(
        num_heads,
        num_missed=int(num_heads - (~is_left).sum()),
        num_false=int((is_left & ~is_ignored).sum()),
        matched_iou=float(pairs.iou[matched].sum()),
        num_ignored=int(is_ignored.sum()),
    )


def pooled_accuracy(frames: Sequence[FrameCounts]) -> tuple[float, float]:
    """Return MODA and MODP from the sums of misses, false alarms and matches over all frames.

    Returns:
        MODA, 1 - (missed + false) / heads, at most 1 and below 0 if mistakes outnumber heads; NaN
        without heads. MODP, the mean IoU of matched pairs; NaN without a match.

    Example:
        >>> moda, modp = pooled_accuracy([FrameCounts(4, 1, 1, 2.4), FrameCounts(1, 1, 0, 0.0)])
        >>> round(moda, 3), round(modp, 3)  # 1 - 3/5, 2.4 / 3
        (0.4, 0.8)
    """
    num_heads = sum(frame.num_heads for frame in frames)
    mistakes = sum(frame.num_missed + frame.num_false for frame in frames)
    num_found = sum(frame.num_found for frame in frames)
    moda = 1 - mistakes / num_heads if num_heads else float("nan")
    modp = sum(frame.matched_iou for frame in frames) / num_found if num_found else float("nan")
    return moda, modp


def mean_accuracy(frames: Sequence[FrameCounts]) -> tuple[float, float]:
    """Return MODA and MODP as HeadHunter did: the means of their values for each image.

    An image without heads has no MODA and one without a match no MODP; the means leave them out.

    Example:
        >>> moda, modp = mean_accuracy([FrameCounts(4, 1, 1, 2.4), FrameCounts(1, 1, 0, 0.0)])
        >>> round(moda, 3), round(modp, 3)  # (0.5 + 0) / 2, 2.4 / 3
        (0.25, 0.8)
    """
    pairs = [pooled_accuracy([frame]) for frame in frames]
    modas = [moda for moda, _ in pairs if not math.isnan(moda)]
    modps = [modp for _, modp in pairs if not math.isnan(modp)]
    return _mean(modas), _mean(modps)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
