"""MODA and MODP: how many boxes of each frame are right at one threshold, and how well they sit."""

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
"""From which a detection may belong to a thing of another class."""
HEADHUNTER_IOU = 0.2


@dataclass(frozen=True)
class FrameCounts:
    """What one image comes to, every detection given counting.

    Attributes:
        num_heads: heads to find.
        num_missed: of them.
        num_false: detections that match no head.
        matched_iou: sum over matched pairs.
        num_removed: detections that belong to a thing of another class.
        num_ignored: detections left over inside an ignore region.
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
    removed first. Then as many pairs of IoU 0.5 as there can be, with the least sum of 1 - IoU.
    MOTChallenge has no ignore regions; here, what is left over and lies more than half inside one
    that is no distractor counts neither way.

    Args:
        overlap: of the detections at the operating threshold.

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
    """Return ``(N,)``: the detections that belong to a thing of another class."""
    removed = np.zeros(len(overlap.detections), np.bool_)
    truth = overlap.truth
    if truth.distractor.any():
        # A head that overlaps more holds its detection, so heads take part.
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
    """Return MODA and MODP with misses, false alarms and matches of all frames added up.

    Returns:
        MODA, 1 - (missed + false) / heads, at most 1 and below 0 where mistakes outnumber heads;
        NaN without heads. MODP, the mean IoU of matched pairs; NaN without a match.

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
    """Return MODA and MODP as HeadHunter did: of each image, then the mean over images.

    An image without heads has no MODA, one without a match no MODP: they leave that mean.

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
