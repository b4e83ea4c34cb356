"""``metrics.json``: a measurement of ``evaluate``, complete enough to compare without pictures."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from head_detection.apps.evaluation.predictions import CHOSEN_HERE
from head_detection.apps.evaluation.result import EvaluationResult, without_nan
from head_detection.data.formats.label_files import read_json
from head_detection.errors import EvaluationError
from head_detection.evaluation.evaluator import ImageOutcome
from head_detection.evaluation.matching import IGNORED, Matching
from head_detection.files import write_bytes
from head_detection.version import __version__

SCHEMA: Final = "head-detection/metrics/2"
FILE_NAME: Final = "metrics.json"


@dataclass(frozen=True)
class SavedMetrics:
    """What a comparison needs from a ``metrics.json``.

    Attributes:
        path: of the file.
        title: what was measured.
        split: name of the split in tables.
        score_threshold: the operating point.
        threshold_origin: where the operating point comes from.
        files: names of the pictures.
        matchings: one per picture.
    """

    path: Path
    title: str
    split: str
    score_threshold: float
    threshold_origin: str
    files: tuple[str, ...]
    matchings: tuple[Matching, ...]


def write_metrics(folder: Path, result: EvaluationResult, num_resamples: int, seed: int) -> Path:
    """Write ``metrics.json``, one line per picture, and return its path."""
    measurement, predictions = result.measurement, result.predictions
    head = {
        "schema": SCHEMA,
        "version": __version__,
        "title": predictions.title,
        "model": predictions.model,
        "data": {**result.data, "name": result.labelled.name, "split_shown": result.split},
        "num_images": len(result.labelled),
        "num_heads": result.labelled.num_heads,
        "num_ignore_regions": result.num_ignored,
        "score_threshold": measurement.score_threshold,
        "score_threshold_origin": predictions.threshold_origin,
        "score_threshold_chosen_here": predictions.threshold_origin == CHOSEN_HERE,
        "lowest_score": predictions.lowest_score,
        "resamples": {"number": num_resamples, "seed": seed},
        "metrics": measurement.metrics,
        "intervals": measurement.intervals,
        "ignored": measurement.ignored,
        "notes": result.notes,
    }
    pictures = [
        _dump(_picture_entry(image.file_name, outcome))
        for image, outcome in zip(result.labelled.images, measurement.images, strict=True)
    ]
    text = _dump(head, indent=1)[:-2] + ',\n "images": [\n  ' + ",\n  ".join(pictures) + "\n ]\n}\n"
    path = folder / FILE_NAME
    # A file name that is not Unicode becomes \udcxx, an escape of JSON.
    write_bytes(path, text.encode(errors="backslashreplace"))
    return path


def _picture_entry(file_name: str, outcome: ImageOutcome) -> dict[str, Any]:
    scores = outcome.matching.scores
    return {
        "file": file_name,
        "heads": outcome.num_heads,
        "predicted": outcome.num_predicted,
        "missed": outcome.num_missed,
        "false": outcome.num_false,
        # The shortest decimals that parse to the same float32.
        "scores": scores.astype(str).astype(np.float64).tolist(),
        "found": outcome.matching.found.tolist(),
    }


def _dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False, indent=indent)


def read_metrics(path: Path) -> SavedMetrics:
    """Read a ``metrics.json`` for a comparison.

    Raises:
        EvaluationError: no such file, not written by this command, or invalid entries.
    """
    content = read_json(path, FILE_NAME, EvaluationError)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        got = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise EvaluationError(f"{path}: expected {FILE_NAME} of schema {SCHEMA!r}; got {got!r}")
    entries, threshold = content.get("images"), content.get("score_threshold")
    if not isinstance(entries, list) or not isinstance(threshold, int | float):
        raise EvaluationError(f"{path}: expected images and a score_threshold; got others")
    data = content.get("data")
    return SavedMetrics(
        path=path,
        title=str(content.get("title")),
        split=str(data.get("split_shown")) if isinstance(data, dict) else "",
        score_threshold=float(threshold),
        threshold_origin=str(content.get("score_threshold_origin")),
        files=tuple(str(e["file"]) if isinstance(e, dict) and "file" in e else "" for e in entries),
        matchings=tuple(
            _read_matching(entry, f"{path}: images[{number}]")
            for number, entry in enumerate(entries)
        ),
    )


def _read_matching(entry: Any, where: str) -> Matching:
    try:
        heads = entry["heads"]
        scores, found = np.array(entry["scores"]), np.array(entry["found"])
    except (TypeError, KeyError, ValueError) as error:
        raise EvaluationError(
            f"{where}: expected file, heads, scores and found; got others"
        ) from error
    are_numbers = not scores.size or (scores.dtype.kind in "iuf" and found.dtype.kind in "iu")
    is_sound = (
        isinstance(heads, int)
        and heads >= 0
        and are_numbers
        and scores.ndim == 1
        and scores.shape == found.shape
        and bool(((found >= IGNORED) & (found < heads)).all())
        and bool((np.diff(scores) <= 0).all() if scores.size else True)
    )
    if not is_sound:
        raise EvaluationError(
            f"{where}: expected falling scores, and for each the number of a head, -1 or -2"
        )
    return Matching(found.astype(np.int64), scores.astype(np.float32), heads)
