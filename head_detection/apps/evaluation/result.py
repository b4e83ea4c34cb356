"""The result of one evaluation, with what was measured and on which pictures."""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from head_detection.apps.evaluation.predictions import Predictions, counted
from head_detection.data.annotations import AnnotatedSet
from head_detection.evaluation.evaluator import Measurement, measure
from head_detection.files import real_path

SHARED_NAMES: Final = frozenset({"best", "last", "detections", "coco", "mot"})
"""File names that training and ``test`` use in every run."""


@dataclass(frozen=True)
class EvaluationResult:
    """A measurement and what it was made of.

    Attributes:
        labelled: the pictures and their truth.
        data: path, format and split as the user gave them.
        split: name of the split in tables.
        predictions: the detections that were measured.
        measurement: the metrics.
        notes: what a reader of the metrics must know, one line each.
    """

    labelled: AnnotatedSet
    data: dict[str, str | None]
    split: str
    predictions: Predictions
    measurement: Measurement
    notes: tuple[str, ...]

    @property
    def num_ignored(self) -> int:
        """Return the number of labelled regions to ignore."""
        return sum(len(image.truth.ignore_boxes) for image in self.labelled.images)


def evaluate_predictions(
    arguments: argparse.Namespace,
    labelled: AnnotatedSet,
    predictions: Predictions,
    protocols: tuple[str, ...],
) -> EvaluationResult:
    """Measure predictions on their labelled pictures."""
    measurement = measure(
        predictions.detections,
        [image.truth for image in labelled.images],
        protocols=protocols,
        score_threshold=predictions.score_threshold,
        num_resamples=arguments.num_resamples,
        seed=arguments.seed,
    )
    return EvaluationResult(
        labelled=labelled,
        data={"path": arguments.data, "format": arguments.format, "split": arguments.split},
        split=arguments.split or labelled.name.rpartition("/")[2],
        predictions=predictions,
        measurement=measurement,
        notes=(*labelled.notes, *predictions.notes, *_label_notes(predictions, labelled)),
    )


def short_name(path: Path) -> str:
    """Return the name of a file, with its folder's name if many files have that name.

    Example:
        >>> short_name(Path("runs/train/scut/best.safetensors"))
        'scut-best'
        >>> short_name(Path("weights/fast.safetensors"))
        'fast'
    """
    folder = real_path(path).parent.name
    return f"{folder}-{path.stem}" if path.stem in SHARED_NAMES else path.stem


def _label_notes(predictions: Predictions, labelled: AnnotatedSet) -> list[str]:
    """Return what may be wrong with the labels, one line each."""
    notes = [] if labelled.num_heads else [f"{labelled.name} has no labelled heads to find"]
    other = [
        image.file_name
        for image, found in zip(labelled.images, predictions.detections, strict=True)
        if image.image_size not in (None, found.image_size)
    ]
    if other:
        notes.append(counted("pictures of another size than their labels say", other))
    return notes


def without_nan(value: Any) -> Any:
    """Replace numbers that JSON cannot hold (NaN, infinity) by None, at any depth.

    Example:
        >>> without_nan({"recall": [float("nan"), 0.5]})
        {'recall': [None, 0.5]}
    """
    if isinstance(value, dict):
        return {key: without_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
