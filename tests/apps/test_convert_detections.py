import json
from pathlib import Path

import pytest
from PIL import Image

from head_detection.apps.main import main
from head_detection.config import DatasetConfig
from head_detection.data.formats import load_annotations


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures, and what was found in one of them."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("one.png", "two.png"):
        Image.new("RGB", (200, 100)).save(pictures / name)
    rows = ["one.png,,,,10,5,30,45,0.75", "one.png,,,,50,5,70,45,0.25"]
    header = "file,frame,seconds,id,x1,y1,x2,y2,score"
    (tmp_path / "found.csv").write_text("\n".join([header, *rows, ""]))
    return tmp_path


def convert(folder: Path, *arguments: str) -> int:
    options = ["--input", str(folder / "found.csv"), "--images", str(folder / "pictures")]
    return main(["convert", "detections", *options, *arguments])


def test_what_was_found_becomes_labels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "pictures" / "labels.json"
    options = ["--to", "coco", "--output", str(output), "--score-threshold", "0.5"]
    assert convert(folder, *options) == 0
    assert capsys.readouterr().out.splitlines() == [
        "note: pictures without results in found.csv, left without heads: 1, the first: two.png",
        f"{output}: 2 pictures, 1 heads",
    ]
    labelled = load_annotations(DatasetConfig(path=str(output)))
    boxes = [image.truth.head_boxes.tolist() for image in labelled.images]
    assert boxes == [[[10.0, 5.0, 30.0, 45.0]], []]


def test_a_prefix_is_for_label_studio(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "tasks.json"
    options = ["--output", str(output), "--prefix", "s3://mine/"]
    assert convert(folder, "--to", "labelstudio", *options) == 0
    tasks = json.loads(output.read_text())
    assert [task["data"]["image"] for task in tasks] == ["s3://mine/one.png", "s3://mine/two.png"]
    assert convert(folder, "--to", "cvat", *options) == 2
    assert "error: --prefix: expected --to labelstudio" in capsys.readouterr().err


def test_pictures_that_failed_are_told_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their labels would say that nobody is there."""
    failure = {"file": "one.png", "error": "the file is empty"}
    found = {"file": "two.png", "width": 200, "height": 100, "count": 0, "boxes": [], "scores": []}
    (folder / "found.csv").write_text(f"{json.dumps(failure)}\n{json.dumps(found)}\n")
    assert convert(folder, "--to", "coco", "--output", str(folder / "labels.json")) == 0
    assert capsys.readouterr().out.splitlines() == [
        "note: pictures that failed, left without heads: 1, the first: one.png",
        f"{folder / 'labels.json'}: 2 pictures, 0 heads",
    ]
