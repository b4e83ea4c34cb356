"""Boxes by hand: one of 20x40 at (10, 5) in a picture of 200x100, and a picture without any."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from head_detection.errors import DetectionFileError
from head_detection.results.prelabels import (
    PRELABELS,
    as_coco_data_set,
    as_cvat,
    as_fiftyone,
    as_label_studio,
)
from head_detection.structures import Detections

FOUND = Detections(
    np.array([[10, 5, 30, 45]], np.float32), np.array([0.75], np.float32), (100, 200)
)
PICTURES = [("a/<b>.jpg", FOUND), ("none.jpg", Detections.empty((10, 20)))]


def test_coco() -> None:
    content = json.loads(as_coco_data_set(PICTURES))
    assert content["images"] == [
        {"id": 1, "file_name": "a/<b>.jpg", "width": 200, "height": 100},
        {"id": 2, "file_name": "none.jpg", "width": 20, "height": 10},
    ]
    assert content["annotations"] == [
        {
            "id": 1, "image_id": 1, "category_id": 1, "bbox": [10.0, 5.0, 20.0, 40.0],
            "area": 800.0, "iscrowd": 0, "score": 0.75,
        }
    ]  # fmt: skip
    assert content["categories"] == [{"id": 1, "name": "head"}]


def test_cvat() -> None:
    root = ET.fromstring(as_cvat(PICTURES))  # noqa: S314 - written above
    assert root.findtext("version") == "1.1"
    first, second = root.findall("image")
    assert (first.get("name"), first.get("width"), first.get("height")) == (
        "a/<b>.jpg", "200", "100",
    )  # fmt: skip
    (box,) = first.findall("box")
    assert [box.get(key) for key in ("label", "xtl", "ytl", "xbr", "ybr")] == [
        "head", "10.0", "5.0", "30.0", "45.0",
    ]  # fmt: skip
    assert second.findall("box") == []


def test_label_studio_counts_in_percent() -> None:
    first, second = json.loads(as_label_studio(PICTURES, "/data/local-files/?d="))
    assert first["data"] == {"image": "/data/local-files/?d=a/<b>.jpg"}
    (result,) = first["predictions"][0]["result"]
    assert result["value"] == {
        "x": 5.0, "y": 5.0, "width": 10.0, "height": 40.0, "rotation": 0,
        "rectanglelabels": ["head"],
    }  # fmt: skip
    assert (result["original_width"], result["original_height"]) == (200, 100)
    assert second["predictions"] == [{"result": []}]


def test_fiftyone_counts_in_shares() -> None:
    content = json.loads(as_fiftyone(PICTURES))
    assert content["classes"] == ["head"]
    assert content["labels"] == {
        "a/<b>": [{"label": 0, "bounding_box": [0.05, 0.05, 0.1, 0.4], "confidence": 0.75}],
        "none": [],
    }
    with pytest.raises(DetectionFileError, match="differ in more than their extension"):
        as_fiftyone([("a.jpg", FOUND), ("a.png", FOUND)])


@pytest.mark.parametrize("tool", PRELABELS)
def test_names_of_any_bytes_are_written(tool: str) -> None:
    content = PRELABELS[tool]([("caf\udce9\x01 \U0001f600.jpg", FOUND)])
    content.decode("utf-8")
    if tool == "cvat":
        ET.fromstring(content)  # noqa: S314 - written above
    else:
        json.loads(content)


@pytest.mark.parametrize("tool", PRELABELS)
def test_no_pictures_at_all(tool: str) -> None:
    assert PRELABELS[tool]([]).endswith((b"\n", b">"))
