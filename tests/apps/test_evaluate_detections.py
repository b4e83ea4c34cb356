"""``evaluate`` on detections of a file in place of weights."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from head_detection.apps.main import run
from head_detection.data.annotations import AnnotatedSet
from head_detection.errors import DetectionFileError


def main(arguments: list[str]) -> int:
    return run(["evaluate", *arguments])


ReadMetrics = Callable[[Path], dict[str, Any]]
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def write_detections(path: Path, labelled: AnnotatedSet, **changes: Any) -> Path:
    images = [
        {
            "file": image.file_name,
            "width": image.image_size[1],
            "height": image.image_size[0],
            "boxes": image.truth.boxes.tolist(),
            "scores": [0.75] * len(image.truth.boxes),
        }
        for image in labelled.images
    ]
    content = {"schema": "head-detection/detections/2", "model": {}, "score_threshold": 0.02}
    path.write_text(json.dumps(content | {"images": images, "failed": []} | changes))
    return path


def test_detections_of_a_file_in_place_of_weights(
    data: Path,
    labelled: AnnotatedSet,
    capsys: pytest.CaptureFixture[str],
    read_metrics: ReadMetrics,
) -> None:
    path = write_detections(Path("found.json"), labelled)
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    report = read_metrics(Path("out"))
    assert report["metrics"]["coco"]["ap50"] == 1.0
    assert report["score_threshold"] == 0.75  # a file cut at 0.02 has no operating point
    assert report["score_threshold_chosen_here"] is True
    assert "note:" not in capsys.readouterr().out


def test_what_a_file_of_detections_lacks_is_said(
    data: Path,
    labelled: AnnotatedSet,
    capsys: pytest.CaptureFixture[str],
    read_metrics: ReadMetrics,
) -> None:
    names = [image.file_name for image in labelled.images]
    failed = [{"file": names[1], "error": "empty"}]
    path = write_detections(Path("found.json"), labelled, score_threshold=0.5)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"images": content["images"][:1], "failed": failed}))
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    printed = capsys.readouterr().out
    assert f"could not read, counted as without heads: 1, the first: {names[1]}" in printed
    assert f"without detections in found.json, counted as such: 1, the first: {names[2]}" in printed
    assert "found.json holds no scores under 0.5" in printed
    report = read_metrics(Path("out"))
    assert report["score_threshold"] == 0.5
    assert len(report["notes"]) == 3
    assert report["images"][1]["missed"] == report["images"][1]["heads"]


def test_pictures_of_another_size_than_the_labels_say_are_noted(
    data: Path, labelled: AnnotatedSet, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_detections(Path("found.json"), labelled)
    path.write_text(path.read_text().replace('"width": 80', '"width": 160', 1))
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    assert "of another size than their labels say: 1, the first: " in capsys.readouterr().out


def test_labels_without_heads_are_noted(
    data: Path,
    labelled: AnnotatedSet,
    capsys: pytest.CaptureFixture[str],
    read_metrics: ReadMetrics,
) -> None:
    data.write_text(json.dumps(json.loads(data.read_text()) | {"annotations": []}))
    path = write_detections(Path("found.json"), labelled)
    main(["--detections", str(path), "--data", str(data), "--output", "out"])
    assert "note: set/annotations has no labelled heads to find" in capsys.readouterr().out
    metrics = read_metrics(Path("out"))["metrics"]
    assert metrics["coco"]["ap50"] is None
    assert metrics["counting"]["bias"] > 0


def test_coco_results_of_several_categories_are_measured_on_heads(
    data: Path,
    labelled: AnnotatedSet,
    capsys: pytest.CaptureFixture[str],
    read_metrics: ReadMetrics,
) -> None:
    """Persons that a detector found too are no false heads: the labels say which category is."""
    content = json.loads(data.read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] = 2
    content["categories"] = [{"id": 1, "name": "person"}, {"id": 2, "name": "head"}]
    data.write_text(json.dumps(content))
    rows = [
        {"image_id": a["image_id"], "category_id": 2, "bbox": a["bbox"], "score": 0.5}
        for a in content["annotations"]
    ]
    persons = [row | {"category_id": 1, "bbox": [1, 1, 60, 60], "score": 0.9} for row in rows]
    path = Path("results.json")
    path.write_text(json.dumps(persons + rows))
    arguments = ["--detections", str(path), "--data", str(data), "--output", "out"]
    assert main(arguments) == 0
    note = f"detections of the category 'person', no heads, left out: {labelled.num_heads}"
    assert f"note: {note}" in capsys.readouterr().out
    report = read_metrics(Path("out"))
    assert report["metrics"]["coco"]["ap50"] == 1.0
    assert note in report["notes"]
    path.write_text(json.dumps([row | {"category_id": 5} for row in rows]))
    with pytest.raises(DetectionFileError, match=r"the head in the labels, 2 \('head'\); got 5"):
        main(arguments)
