"""``metrics.json``: what ``evaluate`` measured, whole enough to be compared without pictures."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from head_detection.apps.evaluation.subject import CHOSEN_HERE, Subject
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.formats.label_files import read_json
from head_detection.errors import EvaluationError
from head_detection.evaluation.matching import IGNORED, Matching
from head_detection.evaluation.measurement import ImageOutcome, Measurement
from head_detection.files import write_bytes
from head_detection.version import __version__

SCHEMA: Final = "head-detection/metrics/2"
FILE_NAME: Final = "metrics.json"


@dataclass(frozen=True)
class Judged:
    """Everything that one measurement is of and gave.

    Attributes:
        labelled: the pictures and their truth.
        data: path, format and split as the user named them.
        split: what tables call the split.
        subject: what was judged.
        measurement: what came out.
        notes: what a reader of the figures must know, a line each.
    """

    labelled: AnnotatedSet
    data: dict[str, str | None]
    split: str
    subject: Subject
    measurement: Measurement
    notes: tuple[str, ...]

    @property
    def num_ignored(self) -> int:
        """Return the number of labelled regions to ignore."""
        return sum(len(image.truth.ignore_boxes) for image in self.labelled.images)


@dataclass(frozen=True)
class Report:
    """What a comparison needs of a ``metrics.json``.

    Attributes:
        path: of the file.
        title: what was judged.
        split: what tables call the split.
        score_threshold: the operating point.
        threshold_origin: where that is from.
        files: names of the pictures.
        matchings: one a picture.
    """

    path: Path
    title: str
    split: str
    score_threshold: float
    threshold_origin: str
    files: tuple[str, ...]
    matchings: tuple[Matching, ...]


def write_report(folder: Path, judged: Judged, num_resamples: int, seed: int) -> Path:
    """Write ``metrics.json``, a line a picture, and return its path."""
    measurement, subject = judged.measurement, judged.subject
    head = {
        "schema": SCHEMA,
        "version": __version__,
        "title": subject.title,
        "model": subject.model,
        "data": {**judged.data, "name": judged.labelled.name, "split_shown": judged.split},
        "num_images": len(judged.labelled),
        "num_heads": judged.labelled.num_heads,
        "num_ignore_regions": judged.num_ignored,
        "score_threshold": measurement.score_threshold,
        "score_threshold_origin": subject.threshold_origin,
        "score_threshold_chosen_here": subject.threshold_origin == CHOSEN_HERE,
        "lowest_score": subject.lowest_score,
        "resamples": {"number": num_resamples, "seed": seed},
        "figures": measurement.figures,
        "intervals": measurement.intervals,
        "ignored": measurement.ignored,
        "notes": judged.notes,
    }
    pictures = [
        _dump(_picture_entry(image.file_name, outcome))
        for image, outcome in zip(judged.labelled.images, measurement.images, strict=True)
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
        # The shortest decimals that read back as the same float32.
        "scores": scores.astype(str).astype(np.float64).tolist(),
        "found": outcome.matching.found.tolist(),
    }


def _dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False, indent=indent)


def without_nan(value: Any) -> Any:
    """Replace numbers that JSON has no word for by None, wherever they stand.

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


def read_report(path: Path) -> Report:
    """Read a ``metrics.json`` for a comparison.

    Raises:
        EvaluationError: no such file, not one of this command's, or entries that do not fit.
    """
    content = read_json(path, FILE_NAME, EvaluationError)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        got = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise EvaluationError(f"{path}: expected {FILE_NAME} of schema {SCHEMA!r}; got {got!r}")
    entries, threshold = content.get("images"), content.get("score_threshold")
    if not isinstance(entries, list) or not isinstance(threshold, int | float):
        raise EvaluationError(f"{path}: expected images and a score_threshold")
    data = content.get("data")
    return Report(
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
        raise EvaluationError(f"{where}: expected file, heads, scores and found") from error
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
