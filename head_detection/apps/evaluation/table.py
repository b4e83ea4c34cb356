"""The table of metrics on the terminal; every line says on what and how it was measured."""

import math
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from tabulate import SEPARATING_LINE, tabulate

from head_detection.apps.evaluation.result import EvaluationResult
from head_detection.evaluation.evaluator import Measurement

ALL_SCORES: Final = "all scores"
"""The measure uses detections of all scores."""
OPERATING: Final = "operating point"
"""The measure uses detections from the operating threshold on."""
OPERATING_MARK: Final = "*"
NOTHING: Final = "-"


class Meaning(NamedTuple):
    """The label of a metric and how it is measured.

    Attributes:
        label: its name in the table.
        iou: the overlap from which a detection finds a head.
        scores: ``ALL_SCORES``, ``OPERATING``, or the name of the metric that holds the threshold.
    """

    label: str
    iou: str
    scores: str


_SIZES: Final = {
    "recall_under_8": "recall, heads under 8 px",
    "recall_8_to_16": "recall, heads 8-16 px",
    "recall_16_to_32": "recall, heads 16-32 px",
    "recall_32_to_96": "recall, heads 32-96 px",
    "recall_from_96": "recall, heads over 96 px",
}
MEANINGS: Final[dict[str, dict[str, Meaning]]] = {
    "coco": {
        "ap": Meaning("AP", ".50:.95", ALL_SCORES),
        "ap50": Meaning("AP50", ".50", ALL_SCORES),
        "ap75": Meaning("AP75", ".75", ALL_SCORES),
        "recall": Meaning("recall", ".50", ALL_SCORES),
        **{name: Meaning(label, ".50", ALL_SCORES) for name, label in _SIZES.items()},
    },
    "crowdhuman": {
        "ap": Meaning("AP (trapezoid)", ">.50", ALL_SCORES),
        "log_average_miss_rate": Meaning("MR^-2 (lower is better)", ">.50", ALL_SCORES),
        "ji": Meaning("JI, at its best score", ">.50", "ji_threshold"),
    },
    "mot": {
        "moda": Meaning("MODA", ".50", OPERATING),
        "modp": Meaning("MODP", ".50", OPERATING),
    },
    "scut": {
        "precision": Meaning("precision", ".50", OPERATING),
        "recall": Meaning("recall", ".50", OPERATING),
        "f1": Meaning("F1", ".50", OPERATING),
        "best_f1": Meaning("F1, at its best score", ".50", "best_threshold"),
        **{name: Meaning(label, ".50", OPERATING) for name, label in _SIZES.items()},
    },
    "headhunter": {
        "moda": Meaning("MODA, mean of pictures", ".20", OPERATING),
        "modp": Meaning("MODP, mean of pictures", ".20", OPERATING),
    },
    "counting": {
        "mae": Meaning("MAE, heads a picture", NOTHING, OPERATING),
        "rmse": Meaning("RMSE, heads a picture", NOTHING, OPERATING),
        "bias": Meaning("bias, predicted - true", NOTHING, OPERATING),
    },
}
INTERVALS: Final = {("coco", "ap50"): "ap50", ("scut", "f1"): "f1", ("counting", "mae"): "mae"}
HEADER: Final = ("protocol", "split", "IoU", "score", "measure", "value", "95 % interval")


def print_table(result: EvaluationResult, num_resamples: int) -> None:
    """Print what was measured, the metrics by protocol, and what did not count."""
    labelled, measurement = result.labelled, result.measurement
    operating = f"{OPERATING_MARK} {measurement.score_threshold:.4f}, {OPERATING}"
    print(f"{result.predictions.title} on {labelled.name}")
    print(f"{len(labelled)} pictures, {labelled.num_heads} heads")
    for note in result.notes:
        print(f"note: {note}")
    rows = table_rows(measurement, result.split, result.predictions.lowest_score)
    lines: list[tuple[str, ...] | str] = []
    for _, own in groupby(rows, itemgetter(0)):
        lines += [*own, SEPARATING_LINE]
    sides = ["right" if name == "value" else "left" for name in HEADER]
    print()
    print(tabulate(lines[:-1], HEADER, "simple", disable_numparse=True, colalign=sides))
    print(f"\n{operating}: {result.predictions.threshold_origin}")
    print(f"95 % intervals: {num_resamples} draws of as many pictures")
    print("did not count:")
    for what, count in measurement.ignored.items():
        print(f"  {count:6} {what}")


def table_rows(
    measurement: Measurement, split: str, lowest_score: float | None
) -> Iterator[tuple[str, ...]]:
    """Yield the cells of each line, in the order of ``HEADER``.

    Args:
        measurement: the metrics.
        split: the data that was measured on.
        lowest_score: detections with lower scores are missing; None if that score is not known.
    """
    for protocol, metrics in measurement.metrics.items():
        meanings = MEANINGS[protocol]
        for name, meaning in meanings.items():
            value = metrics[name]
            if meaning.scores == OPERATING:
                score = f">= {measurement.score_threshold:.4f}{OPERATING_MARK}"
            elif meaning.scores == ALL_SCORES:
                score = ">= any" if lowest_score is None else f">= {lowest_score:g}"
            else:
                score = f">= {metrics[meaning.scores]:.4f}"
            interval = measurement.intervals.get(INTERVALS.get((protocol, name), ""))
            yield (
                protocol,
                split,
                meaning.iou,
                score,
                meaning.label,
                _number(value),
                "" if interval is None else f"{_number(interval[0])} to {_number(interval[1])}",
            )


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else NOTHING
