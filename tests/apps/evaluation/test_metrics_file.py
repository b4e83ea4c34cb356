import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from head_detection.apps.evaluation.metrics_file import SCHEMA, read_metrics, write_metrics
from head_detection.apps.evaluation.predictions import Predictions
from head_detection.apps.evaluation.result import EvaluationResult, without_nan
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.errors import EvaluationError
from head_detection.evaluation.evaluator import measure
from head_detection.structures import Detections

SIZE = (100, 100)


def evaluated(*names: str) -> EvaluationResult:
    """Measure one head of two, a detection in an ignore region and a false alarm, in each."""
    rows = [([0, 0, 10, 10], False), ([50, 0, 60, 10], False), ([20, 50, 90, 90], True)]
    truth = build_truth(rows)
    boxes = [[50, 0, 60, 10], [30, 55, 40, 65], [0, 80, 9, 89]]
    found = Detections.from_arrays(boxes, [0.9, 0.1 + 0.2, 0.1], SIZE)
    images = tuple(AnnotatedImage(Path(name), name, truth, SIZE) for name in names)
    measurement = measure(
        [found] * len(names), [truth] * len(names), score_threshold=0.25, num_resamples=0
    )
    return EvaluationResult(
        labelled=AnnotatedSet("set/val", images),
        data={"path": "val.json", "format": "coco", "split": None},
        split="val",
        predictions=Predictions(Path("w"), "w.safetensors", {}, [found], 0.25, "given", 0.02),
        measurement=measurement,
        notes=("a note",),
    )


def test_what_is_written_reads_back_for_a_comparison(tmp_path: Path) -> None:
    result = evaluated("a.jpg", "b\udcff.jpg")
    path = write_metrics(tmp_path / "new", result, 0, 7)
    assert path == tmp_path / "new" / "metrics.json"
    report = read_metrics(path)
    assert report.files == ("a.jpg", "b\udcff.jpg")
    assert report.score_threshold == 0.25
    assert (report.title, report.split, report.threshold_origin) == (
        "w.safetensors",
        "val",
        "given",
    )
    for matching in report.matchings:
        assert matching.found.tolist() == [1, -2, -1]
        assert matching.num_heads == 2
        # The very float32 values, else a threshold between them would cut elsewhere.
        assert matching.scores.dtype == np.float32
        assert matching.scores.tolist() == result.predictions.detections[0].scores.tolist()


def test_the_file_is_json_that_says_what_was_measured(tmp_path: Path) -> None:
    text = write_metrics(tmp_path, evaluated("a.jpg"), 0, 7).read_text()
    assert "NaN" not in text
    content = json.loads(text)
    assert content["intervals"]["ap50"] == [None, None]  # without draws
    assert content["metrics"]["coco"]["recall_16_to_32"] is None
    assert content["resamples"] == {"number": 0, "seed": 7}
    assert content["data"]["name"] == "set/val"
    assert (content["num_images"], content["num_heads"], content["num_ignore_regions"]) == (1, 2, 1)
    assert content["ignored"]["detections in ignore regions"] == 1
    (picture,) = content["images"]
    assert picture == {
        "file": "a.jpg",
        "heads": 2,
        "predicted": 1,
        "missed": 1,
        "false": 0,
        "scores": [0.9, 0.3, 0.1],
        "found": [1, -2, -1],
    }


def test_metrics_of_no_detections(tmp_path: Path) -> None:
    entry = {"file": "a.jpg", "heads": 0, "scores": [], "found": []}
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"schema": SCHEMA, "score_threshold": 0.5, "images": [entry]}))
    assert read_metrics(path).matchings[0].scores.shape == (0,)


SOUND = {"file": "a.jpg", "heads": 2, "scores": [0.9, 0.8], "found": [1, -1]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not JSON"),
        ([], "expected metrics.json of schema 'head-detection/metrics/2'; got 'list'"),
        ({"schema": "head-detection/metrics/1"}, "got 'head-detection/metrics/1'"),
        ({"schema": SCHEMA}, "expected images and a score_threshold"),
        ([3], r"images\[0\]: expected file, heads, scores and found"),
        ([{**SOUND, "heads": 1}], r"images\[0\]: expected falling scores"),
        ([{**SOUND, "scores": [0.8, 0.9]}], "falling scores"),
        ([{**SOUND, "scores": [0.8, None]}], "falling scores"),
        ([{**SOUND, "scores": [[0.8], [0.7]]}], "falling scores"),
        ([{**SOUND, "scores": [0.8, "0.7"]}], "falling scores"),
        ([{**SOUND, "scores": [0.8, [0.7]]}], "expected file, heads, scores and found"),
        ([{**SOUND, "found": [-3, -1]}], "falling scores"),
        ([{**SOUND, "found": [0.5, -1]}], "falling scores"),
        ([{**SOUND, "found": [1]}], "falling scores"),
        ([SOUND, {**SOUND, "heads": -1, "found": [-1, -1]}], r"images\[1\]"),
    ],
)
def test_files_of_others(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "metrics.json"
    if isinstance(content, list) and content:
        content = {"schema": SCHEMA, "score_threshold": 0.5, "images": content}
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(EvaluationError, match=message) as error:
        read_metrics(path)
    assert "\n" not in str(error.value)


def test_numbers_that_json_lacks() -> None:
    values = {"a": (float("inf"), 1), "b": [{"c": float("nan")}], "d": "nan"}
    assert without_nan(values) == {"a": [None, 1], "b": [{"c": None}], "d": "nan"}
