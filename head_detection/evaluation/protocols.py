"""The figures of each protocol, by the names that reports give them."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from head_detection.evaluation.average_precision import ranked_average_precision
from head_detection.evaluation.detection_accuracy import accuracy, accuracy_curve, best_f1
from head_detection.evaluation.evidence import AP50, AP75, Evidence, frames_above
from head_detection.evaluation.frame_accuracy import (
    frame_as_headhunter,
    frame_as_motchallenge,
    mean_accuracy,
    pooled_accuracy,
)
from head_detection.evaluation.jaccard_index import jaccard_index
from head_detection.evaluation.miss_rate import (
    log_average_miss_rate,
    miss_rate_curve,
    trapezoid_average_precision,
)
from head_detection.evaluation.recall_by_size import recall_by_size
from head_detection.structures import Detections, GroundTruth


def coco_figures(evidence: Evidence, truths: Sequence[GroundTruth]) -> dict[str, float]:
    """Return AP, AP50, AP75, and recall at IoU 0.5 of all detections, whatever their score."""
    values = [ranked_average_precision(matchings) for matchings in evidence.coco]
    matchings = evidence.coco[AP50]
    return {
        "ap": float(np.mean(values)),
        "ap50": values[AP50],
        "ap75": values[AP75],
        "recall": accuracy(matchings).recall,
        **recall_by_size(matchings, truths),
    }


def crowdhuman_figures(evidence: Evidence) -> dict[str, float]:
    """Return the toolkit's AP, MR^-2, and JI with the threshold that it is best at."""
    curve = miss_rate_curve(evidence.crowdhuman)
    index, threshold = jaccard_index(evidence.jaccard)
    return {
        "ap": trapezoid_average_precision(curve),
        "log_average_miss_rate": log_average_miss_rate(curve),
        "ji": index,
        "ji_threshold": threshold,
    }


def mot_figures(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], score_threshold: float
) -> tuple[dict[str, float], int]:
    """Return MODA and MODP at the threshold, and how many detections were on distractors."""
    frames = frames_above(detections, truths, score_threshold, frame_as_motchallenge)
    moda, modp = pooled_accuracy(frames)
    return {"moda": moda, "modp": modp}, sum(frame.num_removed for frame in frames)


def scut_figures(
    evidence: Evidence, truths: Sequence[GroundTruth], score_threshold: float
) -> dict[str, float]:
    """Return precision, recall, F1 and recall by size at the threshold, and the best F1."""
    kept = [matching.above(score_threshold) for matching in evidence.greedy]
    f1, threshold = best_f1(accuracy_curve(evidence.greedy))
    return {
        **asdict(accuracy(kept)),
        "best_f1": f1,
        "best_threshold": threshold,
        **recall_by_size(kept, truths),
    }


def headhunter_figures(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], score_threshold: float
) -> dict[str, float]:
    """Return MODA and MODP at the threshold, as means over pictures, IoU 0.2."""
    frames = frames_above(detections, truths, score_threshold, frame_as_headhunter)
    moda, modp = mean_accuracy(frames)
    return {"moda": moda, "modp": modp}
