"""All measures, intervals and curves of a set of images, and the few for validation in training."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

import numpy as np

from head_detection.evaluation.average_precision import (
    COCO_IOU_THRESHOLDS,
    MAX_DETECTIONS,
    average_precision,
    match_as_coco,
    ranked_average_precision,
)
from head_detection.evaluation.bootstrap import METRICS, Sample, resample
from head_detection.evaluation.crowdhuman import (
    jaccard_counts,
    jaccard_index,
    log_average_miss_rate,
    match_as_crowdhuman,
    miss_rate_curve,
    trapezoid_average_precision,
)
from head_detection.evaluation.matching import (
    Float64Array,
    IntArray,
    Matching,
    Overlap,
    match_detections,
    match_overlap,
)
from head_detection.evaluation.motchallenge import (
    FrameCounts,
    frame_as_headhunter,
    frame_as_motchallenge,
    mean_accuracy,
    pooled_accuracy,
)
from head_detection.evaluation.precision_recall import (
    best_f1,
    counting_error,
    head_counts,
    precision_recall,
    precision_recall_curve,
    recall_by_size,
)
from head_detection.structures import Detections, GroundTruth

PROTOCOLS = ("coco", "crowdhuman", "mot", "scut", "headhunter")
AP50 = 0
"""Index of 0.5 in ``COCO_IOU_THRESHOLDS``."""
AP75 = 5


@dataclass(frozen=True)
class Curve:
    """A curve to plot.

    Attributes:
        name: name of the curve.
        x: ``(K,)``.
        y: ``(K,)``, empty if there is nothing to measure.
        x_label: what ``x`` is.
        y_label: what ``y`` is.
    """

    name: str
    x: Annotated[Float64Array, "k"]
    y: Annotated[Float64Array, "k"]
    x_label: str
    y_label: str


@dataclass(frozen=True)
class ImageOutcome:
    """The result for one image: greedy matching at IoU 0.5, counts at the operating threshold.

    Attributes:
        num_heads: heads to find.
        num_predicted: detections that count.
        num_missed: heads that no detection found.
        num_false: detections that found no head.
        matching: matching of all detections, at any score.
    """

    num_heads: int
    num_predicted: int
    num_missed: int
    num_false: int
    matching: Matching


@dataclass(frozen=True)
class Measurement:
    """The result of ``measure``.

    Attributes:
        score_threshold: operating point of all metrics that need one.
        metrics: values by protocol (or ``counting``) and name; NaN if there is nothing to measure.
        intervals: ``ap50``, ``f1``, ``mae``: 95 % intervals by resampling images.
        curves: ``precision_recall``, ``miss_rate_fppi``, ``f1_threshold``.
        counts: ``(K, 2)`` true and predicted count of each image.
        images: one outcome per image.
        ignored: number of things that did not count, by reason.
    """

    score_threshold: float
    metrics: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]]
    curves: dict[str, Curve]
    counts: Annotated[IntArray, "k 2"]
    images: tuple[ImageOutcome, ...]
    ignored: dict[str, int]


def evaluate(detections: Sequence[Detections], truths: Sequence[GroundTruth]) -> dict[str, float]:
    """Return the validation metrics of training, all at IoU 0.5.

    Args:
        detections: one per image, including low scores, which the curves need.
        truths: ground truth of the same images, in the same order; images without heads count too.

    Returns:
        ``ap50`` (COCO); ``best_f1`` and its ``best_threshold``; at that threshold ``precision``,
        ``recall``, ``recall_under_8`` ... ``recall_from_96`` by head size, and ``count_mae``: the
        mean absolute error of the count per image, without detections in ignore regions. NaN if
        there is nothing to measure: no image, or no head of a size.

    Raises:
        ValueError: the two sequences differ in length.
    """
    ap50 = average_precision(detections, truths)
    matchings = [match_detections(d, t) for d, t in zip(detections, truths, strict=True)]
    f1, threshold = best_f1(precision_recall_curve(matchings))
    kept = [matching.above(threshold) for matching in matchings]
    at_threshold = precision_recall(kept)
    return {
        "ap50": ap50,
        "best_f1": f1,
        "best_threshold": threshold,
        "precision": at_threshold.precision,
        "recall": at_threshold.recall,
        "count_mae": counting_error(head_counts(kept)).mae,
        **recall_by_size(kept, truths),
    }


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
        detections: one per image, including low scores, which the curves need. Boxes and scores in
            float64 are not rounded.
        truths: ground truth of the same images, in the same order; images without heads count too.
        protocols: some of ``PROTOCOLS``; counting is always measured.
        score_threshold: operating point; None is that of the best F1 on the same images, which has
            to be reported with the results.
        num_resamples: draws of the bootstrap; with 0, the intervals are NaN.
        seed: seed of the draws.

    Raises:
        ValueError: lengths that differ, scores not in falling order, an unknown protocol.

    Example:
        >>> heads = GroundTruth(np.array([[0, 0, 9, 9], [20, 0, 29, 9]]), np.zeros(2, bool))
        >>> found = Detections.from_arrays(heads.boxes[:1], [0.9], (50, 50))
        >>> measure([found], [heads], num_resamples=0).metrics["counting"]
        {'mae': 1.0, 'rmse': 1.0, 'bias': -1.0}
    """
    _check(detections, truths, protocols)
    matched = _match_by_each_rule(detections, truths, protocols)
    if score_threshold is None:
        score_threshold = best_f1(precision_recall_curve(matched.greedy))[1]
    kept = [matching.above(score_threshold) for matching in matched.greedy]
    at_threshold = [found.above(score_threshold) for found in detections]
    counts = head_counts(kept)
    metrics = _ranked_metrics(matched, kept, truths, protocols)
    ignored = _ignored(truths, matched.greedy)
    for protocol, (values, num_left_out) in _frame_metrics(at_threshold, truths, protocols).items():
        metrics[protocol] = values
        ignored |= num_left_out
    sample = Sample.of(matched.coco[AP50], matched.greedy, score_threshold)
    intervals = resample(sample.metrics, len(sample), num_resamples=num_resamples, seed=seed)
    return Measurement(
        score_threshold=score_threshold,
        metrics={name: metrics[name] for name in PROTOCOLS if name in metrics}
        | {"counting": asdict(counting_error(counts))},
        intervals=dict(zip(METRICS, intervals, strict=True)),
        curves=_curves(matched),
        counts=counts,
        images=tuple(map(_outcome, kept, matched.greedy)),
        ignored=ignored,
    )


def _check(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], protocols: Collection[str]
) -> None:
    if len(detections) != len(truths):
        raise ValueError(f"expected as many detections as truths: {len(detections)}, {len(truths)}")
    unknown = sorted(set(protocols) - set(PROTOCOLS))
    if unknown:
        raise ValueError(f"protocols: expected some of {', '.join(PROTOCOLS)}, got {unknown[0]!r}")


@dataclass(frozen=True)
class _Matchings:
    """All images matched, with one list per rule.

    Attributes:
        greedy: by ``match_detections``: SCUT-HEAD's rule, also used for counts and outcomes.
        coco: one list per IoU threshold; only for 0.5 without the ``coco`` protocol.
        crowdhuman: by the toolkit's rule.
        jaccard: counts for JI; empty without the ``crowdhuman`` protocol.
    """

    greedy: list[Matching] = field(default_factory=list)
    coco: list[list[Matching]] = field(default_factory=list)
    crowdhuman: list[Matching] = field(default_factory=list)
    jaccard: list[IntArray] = field(default_factory=list)


def _match_by_each_rule(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], protocols: Collection[str]
) -> _Matchings:
    """Match every image by every rule, with the overlaps of one image in memory at a time."""
    iou_thresholds = COCO_IOU_THRESHOLDS if "coco" in protocols else COCO_IOU_THRESHOLDS[:1]
    # Everything that the model's own limit let through counts.
    max_detections = max([MAX_DETECTIONS, *map(len, detections)])
    matched = _Matchings(coco=[[] for _ in iou_thresholds])
    for found, truth in zip(detections, truths, strict=True):
        overlap = Overlap(found, truth)
        matched.greedy.append(match_overlap(overlap))
        columns = match_as_coco(overlap, iou_thresholds, max_detections)
        for column, matching in zip(matched.coco, columns, strict=True):
            column.append(matching)
        matched.crowdhuman.append(match_as_crowdhuman(overlap))
        if "crowdhuman" in protocols:
            matched.jaccard.append(jaccard_counts(overlap))
    return matched


def _ranked_metrics(
    matched: _Matchings,
    kept: Sequence[Matching],
    truths: Sequence[GroundTruth],
    protocols: Collection[str],
) -> dict[str, dict[str, float]]:
    """Return the metrics of the ranking protocols; ``kept`` is what the threshold keeps."""
    metrics: dict[str, dict[str, float]] = {}
    if "coco" in protocols:
        values = [ranked_average_precision(column) for column in matched.coco]
        metrics["coco"] = {
            "ap": float(np.mean(values)),
            "ap50": values[AP50],
            "ap75": values[AP75],
            # Includes all detections, whatever their score.
            "recall": precision_recall(matched.coco[AP50]).recall,
            **recall_by_size(matched.coco[AP50], truths),
        }
    if "crowdhuman" in protocols:
        curve = miss_rate_curve(matched.crowdhuman)
        index, threshold = jaccard_index(matched.jaccard)
        metrics["crowdhuman"] = {
            "ap": trapezoid_average_precision(curve),
            "log_average_miss_rate": log_average_miss_rate(curve),
            "ji": index,
            "ji_threshold": threshold,
        }
    if "scut" in protocols:
        f1, threshold = best_f1(precision_recall_curve(matched.greedy))
        metrics["scut"] = {
            **asdict(precision_recall(kept)),
            "best_f1": f1,
            "best_threshold": threshold,
            **recall_by_size(kept, truths),
        }
    return metrics


def _frame_metrics(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], protocols: Collection[str]
) -> dict[str, tuple[dict[str, float], dict[str, int]]]:
    """Return MODA and MODP of all given detections by protocol, and what was left out."""

    def frames(count: Callable[[Overlap], FrameCounts]) -> list[FrameCounts]:
        return [count(Overlap(*pair)) for pair in zip(detections, truths, strict=True)]

    metrics = {}
    if "mot" in protocols:
        counted = frames(frame_as_motchallenge)
        num_removed = sum(frame.num_removed for frame in counted)
        values = dict(zip(("moda", "modp"), pooled_accuracy(counted), strict=True))
        metrics["mot"] = values, {"mot: detections on distractors, removed": num_removed}
    if "headhunter" in protocols:
        num_empty = sum(int(truth.ignore.all()) for truth in truths)
        values = dict(
            zip(("moda", "modp"), mean_accuracy(frames(frame_as_headhunter)), strict=True)
        )
        left_out = {"headhunter: pictures without heads, not in its means": num_empty}
        metrics["headhunter"] = values, left_out
    return metrics


def _outcome(kept: Matching, matching: Matching) -> ImageOutcome:
    return ImageOutcome(
        num_heads=kept.num_heads,
        num_predicted=kept.num_counted,
        num_missed=kept.num_heads - kept.num_found,
        num_false=kept.num_counted - kept.num_found,
        matching=matching,
    )


def _curves(matched: _Matchings) -> dict[str, Curve]:
    scores = precision_recall_curve(matched.greedy)
    missed = miss_rate_curve(matched.crowdhuman)
    nothing = np.zeros(0)
    fppi, miss_rate = (missed.fppi, missed.miss_rate) if missed else (nothing, nothing)
    curves = (
        Curve("precision_recall", scores.recall, scores.precision, "recall", "precision"),
        Curve("miss_rate_fppi", fppi, miss_rate, "false positives per image", "miss rate"),
        Curve("f1_threshold", scores.thresholds, scores.f1, "score threshold", "F1"),
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
