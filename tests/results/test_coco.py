import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.errors import DetectionFileError
from head_detection.results.coco import CocoSink, read_image_ids
from head_detection.results.formats import read_detection_file
from head_detection.results.record import Record
from head_detection.structures import Detections

Label = Callable[..., AnnotatedSet]
Lefts = Callable[[tuple[Detections, ...]], list[list[float]]]
Put = Callable[..., None]


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 1}], r"\[0\]: expected image_id, bbox and score"),
        ([{"bbox": [0, 0, 1, 1], "score": 0.5}], "number or text as image_id; got None"),
        ([{"image_id": "a", "bbox": [0, 0, -1, 1], "score": 0.5}], "width and height of 0 or"),
        ([{"image_id": "b", "bbox": [0, 0, 1, 1], "score": 0.5}], "1 of its pictures .*: b"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(
    tmp_path: Path, content: Any, message: str, labelled: Label
) -> None:
    path = write(tmp_path / "d.json", content)
    with pytest.raises(DetectionFileError, match=message) as error:
        read_detection_file(path, labelled("a.jpg"))
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


def coco_row(key: Any, left: float, score: float = 0.5) -> dict[str, Any]:
    return {"image_id": key, "category_id": 1, "bbox": [left, 1, 2, 3], "score": score}


def test_coco_results_by_the_ids_of_the_labels(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    content = [coco_row(40, 7), coco_row(12, 5), coco_row(40, 8, 0.9)]
    path = write(tmp_path / "results.json", content)
    # Picture 12 of the labels is not the picture 12.jpg.
    read = read_detection_file(path, labelled("12.jpg", "b.jpg", "40.jpg"), [40, 12, 3])
    assert lefts(read.detections) == [[8, 7], [5], []]
    assert read.detections[1].boxes.tolist() == [[5, 1, 7, 4]]
    assert read.without == ("40.jpg",)
    assert read.score_threshold is None


@pytest.mark.parametrize("ids", [[], [1, 2]])
def test_coco_results_by_file_names_without_extension(
    tmp_path: Path, ids: list[int], labelled: Label, lefts: Lefts
) -> None:
    path = write(tmp_path / "results.json", [coco_row("b", 7), coco_row(12, 5)])
    read = read_detection_file(path, labelled("x/000012.jpg", "x/b.jpg"), ids)
    assert lefts(read.detections) == [[5], [7]]


def test_coco_results_of_ours_name_their_pictures(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    content = [coco_row(1, 5) | {"file_name": "b.jpg"}, coco_row(2, 7) | {"file_name": "a.jpg"}]
    path = write(tmp_path / "coco.json", content)
    read = read_detection_file(path, labelled("a.jpg", "b.jpg"), [1, 2])
    assert lefts(read.detections) == [[7], [5]]


def test_an_id_that_the_labels_do_not_have_is_counted(tmp_path: Path, labelled: Label) -> None:
    path = write(tmp_path / "results.json", [coco_row(1, 5), coco_row(9, 5), coco_row(9, 5)])
    with pytest.raises(DetectionFileError, match=r"1 of its pictures are not labelled.*: 9"):
        read_detection_file(path, labelled("a.jpg", "b.jpg"), [1, 2])


def test_no_detections_at_all(tmp_path: Path, labelled: Label) -> None:
    read = read_detection_file(write(tmp_path / "r.json", []), labelled("a.jpg"))
    assert read.without == ("a.jpg",)
    assert read.detections[0].boxes.shape == (0, 4)


def test_ids_of_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.json", {"images": [{"id": 3}, {"id": "x"}]})
    assert read_image_ids(path) == [3, "x"]
    with pytest.raises(DetectionFileError, match="expected COCO labels"):
        read_image_ids(write(path, {"images": [{}]}))


def test_the_size_comes_from_the_picture_where_the_labels_have_none(
    tmp_path: Path, labelled: Label
) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    image = AnnotatedImage(tmp_path / "a.png", "a.png", build_truth([]))
    path = write(tmp_path / "r.json", [coco_row("a", 1)])
    read = read_detection_file(path, AnnotatedSet("set", (image,)))
    assert read.detections[0].image_size == (20, 30)
    with pytest.raises(DetectionFileError, match="its size in the labels or the picture"):
        read_detection_file(path, labelled("a.png", size=None))


def test_values_are_float32(tmp_path: Path, labelled: Label) -> None:
    path = write(tmp_path / "r.json", [coco_row("a", 1)])
    (found,) = read_detection_file(path, labelled("a.png")).detections
    assert found.boxes.dtype == found.scores.dtype == np.float32


def test_boxes_are_left_top_width_height(
    tmp_path: Path, record: Callable[..., Record], put: Put
) -> None:
    put(CocoSink, tmp_path, [record([], "a.png", 0), record([(10, 5, 30, 45)] * 2, "b.png", 1)])
    head = {
        "image_id": 2,
        "file_name": "b.png",
        "category_id": 1,
        "bbox": [10, 5, 20, 40],
        "score": 0.5,
    }
    assert json.loads((tmp_path / "coco.json").read_text()) == [head, head]
    put(CocoSink, tmp_path, [])
    assert json.loads((tmp_path / "coco.json").read_text()) == []


def test_results_are_read_by_its_own_tool(
    tmp_path: Path, record: Callable[..., Record], put: Put
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    put(CocoSink, tmp_path, [record()])
    truth = coco.COCO()
    truth.dataset = {"images": [{"id": 1}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    results = truth.loadRes(str(tmp_path / "coco.json"))
    assert results.anns[1]["area"] == 20 * 40


def test_what_was_written_is_read(
    tmp_path: Path, record: Callable[..., Record], put: Put, labelled: Label
) -> None:
    put(CocoSink, tmp_path, [record([(10, 5, 30, 45)], "b.png")])
    read = read_detection_file(tmp_path / "coco.json", labelled("a.png", "b.png"))
    assert read.detections[1].boxes.tolist() == [[10, 5, 30, 45]]
    assert read.without == ("a.png",)
