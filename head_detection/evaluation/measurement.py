"""All figures, intervals and curves of a set of pictures."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from head_detection.evaluation.bootstrap import FIGURES, Sample, resample
from head_detection.evaluation.counting import counting_error, head_counts
from head_detection.evaluation.detection_accuracy import accuracy_curve, best_f1
from head_detection.evaluation.evidence import AP50, Evidence, collect
from head_detection.evaluation.matching import Matching
from head_detection.evaluation.miss_rate import miss_rate_curve
from head_detection.evaluation.overlap import FloatSeries, IntArray
from head_detection.evaluation.protocols import (
    coco_figures,
    crowdhuman_figures,
    headhunter_figures,
    mot_figures,
    scut_figures,
)
from head_detection.structures import Detections, GroundTruth

PROTOCOLS = ("coco", "crowdhuman", "mot", "scut", "headhunter")


@dataclass(frozen=True)
class Curve:
    """A line to draw.

    Attributes:
        name: of the measure.
        x: ``(K,)``.
        y: ``(K,)``, empty where there is nothing to measure.
        x_label: what ``x`` is.
        y_label: what ``y`` is.
    """

    name: str
    x: FloatSeries
    y: FloatSeries
    x_label: str
    y_label: str


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one picture: greedy matching at IoU 0.5, counts at the operating threshold.

    Attributes:
        num_heads: heads to find.
        num_predicted: detections that count.
        num_missed: heads that no detection found.
        num_false: detections that found none.
        matching: of all detections, at any score.
    """

    num_heads: int
    num_predicted: int
    num_missed: int
    num_false: int
    matching: Matching


@dataclass(frozen=True)
class Measurement:
    """What ``measure`` returns.

    Attributes:
        score_threshold: operating point of all figures that need one.
        figures: protocol, and ``counting``, to name to value; NaN where there is nothing to
            measure.
        intervals: ``ap50``, ``f1``, ``mae``: 95 % by drawing pictures.
        curves: ``precision_recall``, ``miss_rate_fppi``, ``f1_threshold``.
        counts: ``(K, 2)`` true and predicted count of each picture.
        images: one outcome a picture.
        ignored: what did not count, why, and how often.
    """

    score_threshold: float
    figures: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    curves: dict[str, Curve]
    counts: IntArray
    images: tuple[ImageOutcome, ...]
    ignored: dict[str, int]


def measure(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    *,
    protocols: Collection[str] = PROTOCOLS,
    score_threshold: float | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Measure detections against truth by several protocols.

    Args:
        detections: one a picture, with low scores too: the curves need them. Boxes and scores in
            float64 are taken as they are.
        truths: of the same pictures, in the same order; a picture without heads counts like any.
        protocols: some of ``PROTOCOLS``; counting is always measured.
        score_threshold: operating point; None is the one of the best F1 on these very pictures,
            to be reported as such.
        num_resamples: draws of the bootstrap; 0 leaves the intervals NaN.
        seed: of the draws.

    Raises:
        ValueError: lengths that differ, scores that rise, a protocol that is none.

    Example:
        >>> heads = GroundTruth(np.array([[0, 0, 9, 9], [20, 0, 29, 9]]), np.zeros(2, bool))
        >>> found = Detections.from_arrays(heads.boxes[:1], [0.9], (50, 50))
        >>> measure([found], [heads], num_resamples=0).figures["counting"]
        {'mae': 1.0, 'rmse': 1.0, 'bias': -1.0}
    """
    _check(detections, truths, protocols)
    evidence = collect(detections, truths, protocols)
    if score_threshold is None:
        score_threshold = best_f1(accuracy_curve(evidence.greedy))[1]
    kept = [matching.above(score_threshold) for matching in evidence.greedy]
    counts = head_counts(kept)
    figures, removed = _figures(detections, truths, protocols, score_threshold, evidence)
    sample = Sample.of(evidence.coco[AP50], evidence.greedy, score_threshold)
    intervals = resample(sample.figures, len(sample), num_resamples=num_resamples, seed=seed)
    return Measurement(
        score_threshold=score_threshold,
        figures=figures | {"counting": asdict(counting_error(counts))},
        intervals=dict(zip(FIGURES, intervals, strict=True)),
        curves=_curves(evidence),
        counts=counts,
        images=tuple(map(_outcome, kept, evidence.greedy)),
        ignored=_ignored(truths, evidence.greedy) | removed,
    )


def _check(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], protocols: Collection[str]
) -> None:
    if len(detections) != len(truths):
        raise ValueError(f"expected as many detections as truths: {len(detections)}, {len(truths)}")
    unknown = sorted(set(protocols) - set(PROTOCOLS))
    if unknown:
        raise ValueError(f"protocols: expected some of {', '.join(PROTOCOLS)}, got {unknown[0]!r}")


def _figures(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    protocols: Collection[str],
    score_threshold: float,
    evidence: Evidence,
) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    figures: dict[str, dict[str, float]] = {}
    removed: dict[str, int] = {}
    if "coco" in protocols:
        figures["coco"] = coco_figures(evidence, truths)
    if "crowdhuman" in protocols:
        figures["crowdhuman"] = crowdhuman_figures(evidence)
    if "mot" in protocols:
        figures["mot"], num_removed = mot_figures(detections, truths, score_threshold)
        removed["mot: detections on distractors, removed"] = num_removed
    if "scut" in protocols:
        figures["scut"] = scut_figures(evidence, truths, score_threshold)
    if "headhunter" in protocols:
        figures["headhunter"] = headhunter_figures(detections, truths, score_threshold)
        num_empty = sum(truth.ignore.all() for truth in truths)
        removed["headhunter: pictures without heads, not in its means"] = int(num_empty)
    return figures, removed


def _outcome(kept: Matching, matching: Matching) -> ImageOutcome:
    return ImageOutcome(
        num_heads=kept.num_heads,
        num_predicted=kept.num_counted,
        num_missed=kept.num_heads - kept.num_found,
        num_false=kept.num_counted - kept.num_found,
        matching=matching,
    )


def _curves(evidence: Evidence) -> dict[str, Curve]:
    accuracy = accuracy_curve(evidence.greedy)
    missed = miss_rate_curve(evidence.crowdhuman)
    nothing = np.zeros(0)
    fppi, miss_rate = (missed.fppi, missed.miss_rate) if missed else (nothing, nothing)
    curves = (
        Curve("precision_recall", accuracy.recall, accuracy.precision, "recall", "precision"),
        Curve("miss_rate_fppi", fppi, miss_rate, "false positives per image", "miss rate"),
        Curve("f1_threshold", accuracy.thresholds, accuracy.f1, "score threshold", "F1"),
    )
    return {curve.name: curve for curve in curves}


def _ignored(truths: Sequence[GroundTruth], matchings: Sequence[Matching]) -> dict[str, int]:
    num_regions = sum(int((truth.ignore & ~truth.distractor).sum()) for truth in truths)
    num_detections = sum(len(matching.scores) - matching.num_counted for matching in matchings)
    return {
        "ignore regions": num_regions,
        "distractors": sum(int(truth.distractor.sum()) for truth in truths),
        "detections in ignore regions": num_detections,
    }
