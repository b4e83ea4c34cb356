import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.errors import DetectionFileError
from head_detection.results.detection_files import read_detection_file, read_image_ids
from head_detection.structures import Detections

Label = Callable[..., AnnotatedSet]
Lefts = Callable[[tuple[Detections, ...]], list[list[float]]]
SCHEMA = "head-detection/detections/1"


def write(path: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def picture(name: str, boxes: list[Any], scores: list[Any]) -> dict[str, Any]:
    return {"file": name, "width": 20, "height": 10, "boxes": boxes, "scores": scores}


def own(*images: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"schema": SCHEMA, "model": {"weights": "w"}, "score_threshold": 0.3}
    return {**head, "images": list(images), "failed": [], **more}


def rows(found: Detections) -> list[tuple[list[float], float]]:
    return [(b, round(s, 4)) for b, s in zip(found.boxes.tolist(), found.scores.tolist())]  # noqa: B905


def test_our_json_by_name_in_the_order_of_the_labels(tmp_path: Path, labelled: Label) -> None:
    content = own(
        picture("images/b.jpg", [[0, 0, 2, 2], [1, 1, 4, 5.5]], [0.5, 0.75]),
        picture("images/a.jpg", [], []),
    )
    path = write(tmp_path / "detections.json", content)
    read = read_detection_file(path, labelled("a.jpg", "b.jpg"))
    empty, found = read.detections
    assert len(empty) == 0
    assert rows(found) == [([1, 1, 4, 5.5], 0.75), ([0, 0, 2, 2], 0.5)]  # best first
    assert found.image_size == (10, 20)
    assert read.score_threshold == 0.3
    assert read.model == {"weights": "w"}
    assert (read.without, read.failed) == ((), ())


def test_pictures_that_failed_or_are_not_in_the_file_are_named(
    tmp_path: Path, labelled: Label
) -> None:
    content = own(
        picture("a.jpg", [], []),
        failed=[{"file": "b.jpg", "error": "empty"}, {"file": "unlabelled.jpg", "error": "empty"}],
    )
    path = write(tmp_path / "d.json", content)
    read = read_detection_file(path, labelled("a.jpg", "b.jpg", "c.jpg"))
    assert read.failed == ("b.jpg",)
    assert read.without == ("c.jpg",)
    assert [len(found) for found in read.detections] == [0, 0, 0]
    assert read.detections[1].image_size == (100, 200)  # as the labels say


def test_pictures_that_are_not_labelled_are_counted(tmp_path: Path, labelled: Label) -> None:
    content = own(picture("x.jpg", [], []), picture("a.jpg", [], []), picture("y.jpg", [], []))
    path = write(tmp_path / "d.json", content)
    with pytest.raises(DetectionFileError, match=r"2 of its pictures are not labelled.*x.jpg"):
        read_detection_file(path, labelled("a.jpg"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (own(picture("a.jpg", [[0, 0, 1]], [0.5])), r"images\[0\]: boxes\[0\]: .*four finite"),
        (own(picture("a.jpg", [[0, 0, 1, 1], [0, 0, 1, "x"]], [0.5, 0.5])), r"boxes\[1\]"),
        (own(picture("a.jpg", [[0, 0, 1, float("nan")]], [0.5])), "four finite numbers"),
        (own(picture("a.jpg", [[0, 0, 1e300, 1]], [0.5])), "four finite numbers"),
        (own(picture("a.jpg", [[5, 0, 1, 1]], [0.5])), "x1 <= x2 and y1 <= y2"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [float("nan")])), r"score from 0 to 1; got nan"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [87.5])), "score from 0 to 1; got 87.5"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [None])), "score from 0 to 1; got None"),
        (own(picture("a.jpg", [[0, 0, 1, 1]], [])), "0 scores for 1 boxes"),
        (own(picture("a.jpg", [], []) | {"boxes": 3}), "expected file, boxes and scores"),
        (own(picture("a.jpg", [], []) | {"width": 0}), "expected height and width"),
        (own(picture("a.jpg", [], []), picture("a.jpg", [], [])), "names the picture a.jpg again"),
        (own(picture("a.jpg", [], []), failed=[{"file": "a.jpg"}]), "among the images too"),
        (own(score_threshold=None), "score_threshold from 0 to 1; got None"),
        (own(images=[3]), "list of objects under 'images'"),
        ({"images": [], "annotations": []}, "got COCO labels"),
        ({"schema": "head-detection/detections/9"}, "got JSON of schema"),
        ("{", "not JSON"),
        ("3", "got JSON of schema None"),
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


def test_no_such_file(tmp_path: Path, labelled: Label) -> None:
    with pytest.raises(DetectionFileError, match="No such file"):
        read_detection_file(tmp_path / "none.json", labelled("a.jpg"))


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
