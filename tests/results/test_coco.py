import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    LabelClass,
    build_truth,
)
from head_detection.data.formats.coco import read_coco
from head_detection.errors import DetectionFileError
from head_detection.evaluation.evaluator import measure
from head_detection.results.coco import CocoIds, CocoSink
from head_detection.results.formats import read_detection_file
from head_detection.results.record import Origin, Record
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


def test_two_pictures_do_not_share_an_id_of_the_labels(
    tmp_path: Path, record: Callable[..., Record]
) -> None:
    """Which of them is the labelled one, nothing tells."""
    labels = {
        "images": [{"id": 7, "file_name": "1.jpg"}, {"id": 8, "file_name": "b/2.jpg"}],
        "categories": [{"id": 1, "name": "head"}],
    }
    ids = CocoIds(write(tmp_path / "l.json", labels))
    sink = CocoSink(tmp_path / "out", Origin({}, 0.4), ids)
    for index, name in enumerate(["train/1.jpg", "val/1.jpg", "b/2.jpg", "b/2.jpg"]):
        sink.write(record(file=name, index=index))
    reasons = [failure.reason for failure in sink.take_failures()]
    sink.close()
    assert reasons == [
        "coco.json: no id in l.json: 7 is that of train/1.jpg already",
        "coco.json: no id in l.json: 8 is that of b/2.jpg already",
    ]
    images = json.loads((tmp_path / "out/coco-images.json").read_text())["images"]
    assert [image["id"] for image in images] == [7, 8]
    assert len(json.loads((tmp_path / "out/coco.json").read_text())) == 2


def test_two_pictures_are_not_taken_for_one_of_the_set(tmp_path: Path, labelled: Label) -> None:
    rows = [coco_row(1, 5), coco_row(2, 6)]
    rows = [row | {"file_name": f"{name}/1.jpg"} for row, name in zip(rows, "ab", strict=True)]
    path = write(tmp_path / "d.json", rows)
    with pytest.raises(
        DetectionFileError,
        match=r"\[1\]: expected each picture once; got b/1.jpg after a/1.jpg, .* labelled 1.jpg$",
    ):
        read_detection_file(path, labelled("1.jpg"))


def test_ids_of_named_pictures_do_not_matter(tmp_path: Path, labelled: Label, lefts: Lefts) -> None:
    """Not even where a number is the name of several pictures of the set, which has no ids."""
    rows = [coco_row(1, 5), coco_row(2, 6)]
    rows = [row | {"file_name": f"{name}/1.jpg"} for row, name in zip(rows, "ba", strict=True)]
    path = write(tmp_path / "d.json", rows)
    read = read_detection_file(path, labelled("a/1.jpg", "b/1.jpg"))
    assert lefts(read.detections) == [[6.0], [5.0]]


def coco_row(key: Any, left: float, score: float = 0.5) -> dict[str, Any]:
    return {"image_id": key, "category_id": 1, "bbox": [left, 1, 2, 3], "score": score}


def test_coco_results_by_the_ids_of_the_labels(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    content = [coco_row(40, 7), coco_row(12, 5), coco_row(40, 8, 0.9)]
    path = write(tmp_path / "results.json", content)
    # Picture 12 of the labels is not the picture 12.jpg.
    read = read_detection_file(path, labelled("12.jpg", "b.jpg", "40.jpg", ids=[40, 12, 3]))
    assert lefts(read.detections) == [[8, 7], [5], []]
    assert read.detections[1].boxes.tolist() == [[5, 1, 7, 4]]
    assert read.without == ("40.jpg",)
    assert read.score_threshold is None


@pytest.mark.parametrize("ids", [[], [1, 2]])
def test_coco_results_by_file_names_without_extension(
    tmp_path: Path, ids: list[int], labelled: Label, lefts: Lefts
) -> None:
    path = write(tmp_path / "results.json", [coco_row("b", 7), coco_row(12, 5)])
    read = read_detection_file(path, labelled("x/000012.jpg", "x/b.jpg", ids=ids))
    assert lefts(read.detections) == [[5], [7]]


def test_coco_results_of_ours_name_their_pictures(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    content = [coco_row(1, 5) | {"file_name": "b.jpg"}, coco_row(2, 7) | {"file_name": "a.jpg"}]
    path = write(tmp_path / "coco.json", content)
    read = read_detection_file(path, labelled("a.jpg", "b.jpg", ids=[1, 2]))
    assert lefts(read.detections) == [[7], [5]]


def test_an_id_that_the_labels_do_not_have_is_counted(tmp_path: Path, labelled: Label) -> None:
    path = write(tmp_path / "results.json", [coco_row(1, 5), coco_row(9, 5), coco_row(9, 5)])
    with pytest.raises(DetectionFileError, match=r"1 of its pictures are not labelled.*: 9"):
        read_detection_file(path, labelled("a.jpg", "b.jpg", ids=[1, 2]))


def test_no_detections_at_all(tmp_path: Path, labelled: Label) -> None:
    read = read_detection_file(write(tmp_path / "r.json", []), labelled("a.jpg"))
    assert read.without == ("a.jpg",)
    assert read.detections[0].boxes.shape == (0, 4)


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
        "category_name": "head",
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


PERSON, HEAD = LabelClass("coco", 1, "person", False), LabelClass("coco", 7, "head", True)
CLASSES = [PERSON, HEAD]


def of_category(category: Any, left: float, **more: Any) -> dict[str, Any]:
    return coco_row(1, left) | {"category_id": category} | more


def test_categories_that_are_no_heads_are_left_out_and_counted(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    rows = [of_category(1, 3), of_category(7.0, 5), of_category("1", 6), of_category(77, 7)]
    path = write(tmp_path / "r.json", rows)
    read = read_detection_file(path, labelled("a.jpg", ids=[1], classes=CLASSES))
    assert lefts(read.detections) == [[5]]
    assert read.notes == (
        "detections of the category 'person', no heads, left out: 2",
        "detections of the category 77, which the labels do not name, no heads, left out: 1",
    )


def test_persons_alone_are_no_heads(tmp_path: Path, labelled: Label, lefts: Lefts) -> None:
    path = write(tmp_path / "r.json", [of_category(1, 3)])
    read = read_detection_file(path, labelled("a.jpg", ids=[1], classes=CLASSES))
    assert lefts(read.detections) == [[]]
    assert read.notes == ("detections of the category 'person', no heads, left out: 1",)


@pytest.mark.parametrize(
    ("rows", "classes", "message"),
    [
        (
            [of_category(2, 3), of_category("x", 3)],
            CLASSES,
            r"the head in the labels, 7 \('head'\); got 2, 'x', which the labels do not have",
        ),
        ([of_category(1, 3), of_category(2, 3)], [], "which category is the head; got 1, 2"),
        ([of_category(7, 3), coco_row(1, 3) | {"category_id": None}], CLASSES, r"\[1\]: expected"),
        ([of_category({}, 3)], CLASSES, r"\[0\]: expected a number or text as category_id; got {}"),
        ([of_category(True, 3)], [], r"\[0\]: expected a number or text as category_id; got True"),
        ([of_category(float("nan"), 3)], [], "as category_id; got nan"),
    ],
)
def test_categories_that_nobody_knows_are_refused_in_one_line(
    tmp_path: Path, rows: list[Any], classes: list[LabelClass], message: str, labelled: Label
) -> None:
    path = write(tmp_path / "r.json", rows)
    with pytest.raises(DetectionFileError, match=message) as error:
        read_detection_file(path, labelled("a.jpg", ids=[1], classes=classes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("classes", [[], [LabelClass("yolo", 1, "person", False)]])
def test_one_category_that_no_coco_labels_name_is_that_of_heads(
    tmp_path: Path, classes: list[LabelClass], labelled: Label, lefts: Lefts
) -> None:
    path = write(tmp_path / "r.json", [of_category(1, 3), of_category(1, 5)])
    read = read_detection_file(path, labelled("a.jpg", ids=[1], classes=classes))
    assert (lefts(read.detections), read.notes) == ([[3, 5]], ())


@pytest.mark.parametrize("name", [None, "head"])
def test_ours_are_heads_whatever_the_labels_number_so(
    tmp_path: Path, name: str | None, labelled: Label, lefts: Lefts
) -> None:
    """``test`` writes the name of the category; before that, 1 where the labels have no 1."""
    rows = [of_category(1, 3, file_name="a.jpg", category_name=name)]
    path = write(tmp_path / "coco.json", rows)
    classes = CLASSES if name else [LabelClass("coco", 0, "person", False), HEAD]
    read = read_detection_file(path, labelled("a.jpg", ids=[4], classes=classes))
    assert (lefts(read.detections), read.notes) == ([[3]], ())


def test_names_of_categories_come_before_their_numbers(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    rows = [of_category(7, 3, category_name="person"), of_category(1, 5, category_name="Head")]
    path = write(tmp_path / "r.json", rows)
    read = read_detection_file(path, labelled("a.jpg", ids=[1], classes=CLASSES))
    assert lefts(read.detections) == [[5]]


def test_average_precision_is_that_of_coco_s_own_tool(tmp_path: Path) -> None:
    """Persons among the results, ids as floats: AP50 of the head's category as COCOeval has it."""
    generator = np.random.default_rng(5)
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 200, "height": 100} for n in (3, 5, 9)]
    boxes = [[10 + 40 * column, 10 + 45 * row, 20, 24] for row in (0, 1) for column in range(4)]
    truth, results = [], []
    for image in images:
        for left, top, width, height in boxes:
            for category in (1, 7):
                box = [left, top, width * (1 + 0.5 * (category == 1)), height]
                entry = {"image_id": image["id"], "category_id": category, "bbox": box}
                area = box[2] * box[3]
                truth.append({"id": len(truth) + 1, "area": area, "iscrowd": 0, **entry})
                moved = (np.array(box) + generator.normal(0, 3, 4)).clip(1).tolist()
                score = float(generator.random())
                results.append({**entry, "bbox": moved, "score": round(score, 6)})
    categories = [{"id": 1, "name": "person"}, {"id": 7, "name": "head"}]
    labels = write(
        tmp_path / "labels.json",
        {"images": images, "annotations": truth, "categories": categories},
    )
    path = write(tmp_path / "results.json", results)
    annotated = read_coco(labels)
    read = read_detection_file(path, annotated)
    assert sum(map(len, read.detections)) == 3 * 8
    measured = measure(
        list(read.detections), [image.truth for image in annotated.images], protocols=("coco",)
    )
    coco = COCO(str(labels))
    judge = COCOeval(coco, coco.loadRes(str(path)), "bbox")
    judge.params.catIds = [7]
    judge.evaluate()
    judge.accumulate()
    ap50 = judge.eval["precision"][0, :, 0, 0, -1].mean()
    assert 0.5 < ap50 < 1
    assert measured.metrics["coco"]["ap50"] == pytest.approx(ap50, abs=1e-9)


def test_frames_have_numbers_and_names_of_their_own(
    tmp_path: Path, record: Callable[..., Record], put: Put
) -> None:
    outcomes = [
        record([], "a.png", 0),
        *(
            record(file=name, index=n, seconds=n / 10)
            for n in (0, 7)
            for name in ("b.mp4", "c.mp4")
        ),
        record(file="d.png", index=9),
    ]
    put(CocoSink, tmp_path, outcomes)
    images = json.loads((tmp_path / "coco-images.json").read_text())["images"]
    assert {image["id"]: image["file_name"] for image in images} == {
        1: "a.png",
        2: "b.mp4/000000.jpg",
        3: "c.mp4/000000.jpg",
        4: "b.mp4/000007.jpg",
        5: "c.mp4/000007.jpg",
        10: "d.png",
    }
    heads = json.loads((tmp_path / "coco.json").read_text())
    assert [head["image_id"] for head in heads] == [2, 3, 4, 5, 10]
