import json

import pytest

from head_detection.apps.main import run
from head_detection.errors import AnnotationError


def main(arguments: list[str]) -> int:
    return run(["convert", *arguments])


@pytest.fixture
def files(tmp_path):
    """Labels of two pictures; in the first a head that was found 10 pixels taller."""
    images = [{"id": k, "file_name": f"{k}.jpg", "width": 100, "height": 90} for k in (1, 2)]
    heads = [
        {
            "id": k,
            "image_id": k,
            "category_id": 1,
            "bbox": [0, 0, 10, 10],
            "area": 100,
            "iscrowd": 0,
        }
        for k in (1, 2)
    ]
    labels = {"images": images, "annotations": heads, "categories": [{"id": 1, "name": "head"}]}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    entry = {"width": 100, "height": 90, "count": 1, "boxes": [[0, 0, 10, 20]], "scores": [0.9]}
    found = {
        "schema": "head-detection/detections/2",
        "model": {},
        "score_threshold": 0.02,
        "images": [{"file": "1.jpg", **entry}],
        "failed": [],
    }
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path


def relabel(folder, *options, output="new.json"):
    places = ["--input", str(folder / "labels.json"), "--output", str(folder / output)]
    return main(["relabel", *places, "--detections", str(folder / "found.json"), *options])


def test_labels_are_written_and_what_changed_is_told(files, capsys):
    assert relabel(files) == 0
    told = capsys.readouterr().out
    assert "nothing of 1 pictures, 2.jpg first" in told
    assert "placed anew 1, kept 1" in told
    written = json.loads((files / "new.json").read_text())["annotations"]
    assert [row["bbox"] for row in written] == [[0, 0, 10, 16.5], [0, 0, 10, 10]]


def test_rules_are_options(files, capsys):
    relabel(files, "--detected-share", "1")
    written = json.loads((files / "new.json").read_text())["annotations"]
    assert written[0]["bbox"] == [0, 0, 10, 20]


def test_the_labels_themselves_are_not_written_over(files):
    with pytest.raises(AnnotationError, match="expected another file than the input"):
        relabel(files, output="labels.json")
