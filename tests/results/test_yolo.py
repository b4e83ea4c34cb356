from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet, LabelClass
from head_detection.data.formats import load_annotations
from head_detection.errors import DetectionFileError
from head_detection.results.formats import SinkOptions, Sinks, read_detection_file
from head_detection.results.record import Origin, Record
from head_detection.results.yolo import LabelSink
from head_detection.structures import Detections

Label = Callable[..., AnnotatedSet]
Put = Callable[..., None]
Lefts = Callable[[tuple[Detections, ...]], list[list[float]]]
Make = Callable[..., Record]


def write(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_labels_are_centres_and_sizes_over_the_pictures(
    tmp_path: Path, record: Make, frames: list[Record], put: Put
) -> None:
    boxes = [(10, 5, 30, 45), (90, 0, 110, 50)]
    put(LabelSink, tmp_path, [record(boxes, "sub/a.png"), record([], "b.jpg"), frames[1]])
    assert (tmp_path / "labels/sub/a.txt").read_text() == (
        "0 0.200000 0.500000 0.200000 0.800000\n0 1.000000 0.500000 0.200000 1.000000\n"
    )
    assert (tmp_path / "labels/b.txt").read_text() == ""
    assert (tmp_path / "labels/a.mp4/000002.txt").read_text() == ""


def test_confidences_are_scores_and_pictures_go_by_their_folders(
    tmp_path: Path, labelled: Label
) -> None:
    # Of a picture of 200 x 100, centred at (100, 25), 20 wide and 10 high.
    folder = write(tmp_path, b__1="0 0.5 0.25 0.1 0.1 0.75\n\n0 0.5 0.25 0.1 0.1 1\n", b__2="")
    read = read_detection_file(folder, labelled("a/1.jpg", "b/1.jpg", "b/2.jpg"))
    assert [found.boxes.tolist() for found in read.detections] == [[], [[90, 20, 110, 30]] * 2, []]
    assert read.detections[1].scores.tolist() == [1.0, 0.75]
    assert (read.form, read.without, read.notes) == ("YOLO labels", ("a/1.jpg",), ())


def test_what_was_written_is_read_as_sure_and_that_is_noted(
    tmp_path: Path, record: Make, put: Put, labelled: Label
) -> None:
    names = ["a.png", "b.png", "a.b.png"]
    put(LabelSink, tmp_path, [record(file=name) for name in names])
    read = read_detection_file(tmp_path / "labels", labelled(*names, size=(50, 100)))
    for found in read.detections:
        assert found.boxes.tolist() == [pytest.approx([10, 5, 30, 45], abs=1e-4)]
        assert found.scores.tolist() == [1.0]
    assert read.notes == ("3 boxes have no confidence and count as sure: AP says nothing of them",)


def test_scores_are_a_sixth_number_where_they_are_asked_for(
    tmp_path: Path, record: Make, labelled: Label
) -> None:
    options = SinkOptions(has_yolo_scores=True)
    with Sinks(["yolo"], tmp_path, Origin({}, 0.4), options) as sinks:
        sinks.take(record())
    text = (tmp_path / "labels/a.txt").read_text()
    assert text == "0 0.200000 0.500000 0.200000 0.800000 0.500000\n"
    read = read_detection_file(tmp_path / "labels", labelled("a.png", size=(50, 100)))
    assert [found.scores.tolist() for found in read.detections] == [[0.5]]
    assert read.notes == ()


def test_with_the_pictures_beside_them_labels_are_a_set(tmp_path: Path, record: Make) -> None:
    with Sinks(["yolo", "yolo-data"], tmp_path, Origin({}, 0.4)) as sinks:
        sinks.take(record(file="sub/a.png"))
        sinks.take(record([], "b.png"))
    for name in ("sub/a.png", "b.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50)).save(tmp_path / "images" / name)
    read = load_annotations(DatasetConfig(path=str(tmp_path / "data.yaml"), format="yolo"))
    boxes = {image.file_name: image.truth.boxes.tolist() for image in read.images}
    assert boxes == {"b.png": [], "sub/a.png": [[10, 5, 30, 45]]}


def test_labels_of_folders_called_images_are_where_trainers_look(
    tmp_path: Path, record: Make, frames: list[Record], labelled: Label
) -> None:
    """They look for what the last ``/images/`` of a picture's path is to them: ``/labels/``."""
    names = ["images/train/1.png", "a/images/1.png", "b/images/1.png", "Images/2.png"]
    clips = [replace(frames[1], file=name) for name in ("images/a.mp4", "a.mp4")]
    with Sinks(["yolo", "yolo-data"], tmp_path, Origin({}, 0.4)) as sinks:
        for each in [*(record(file=name) for name in names), *clips]:
            sinks.take(each)
    places = ["train/1", "a/1", "b/1", "Images/2", "a.mp4/000002", "a.mp4/000002~3"]
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.txt")}
    assert written == {f"labels/{place}.txt" for place in places}
    for place in written:
        picture = tmp_path / f"images/{place.removeprefix('labels/').removesuffix('.txt')}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 50)).save(picture)
        assert str(picture.with_suffix(".txt")).replace("/images/", "/labels/") == str(
            tmp_path / place
        )
    read = load_annotations(DatasetConfig(path=str(tmp_path / "data.yaml"), format="yolo"))
    assert [len(image.truth.boxes) for image in read.images].count(1) == len(names)


def test_labels_of_folders_called_images_are_read_for_their_pictures(
    tmp_path: Path, record: Make, put: Put, labelled: Label
) -> None:
    names = ["a/images/1.png", "b/images/1.png", "1.png"]
    put(LabelSink, tmp_path, [record([(0, 0, n, n)], name) for n, name in enumerate(names, 1)])
    read = read_detection_file(tmp_path / "labels", labelled(*names, size=(50, 100)))
    assert [found.boxes[0, 2].round(3) for found in read.detections] == [1, 2, 3]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": "0 0.5 0.5 0.1 0.1 0.5 7\n0 1 1 1 1"}, r"a\.txt: line 1: expected a frame's number"),
        ({"a": "0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1"}, r"a\.txt: line 2: expected class, x, y"),
        ({"a": "0 0.5 0.5 0.1 x"}, r"a\.txt: line 1: expected class, x, y"),
        ({"a": "0 0.5 0.5 0.1 nan"}, r"line 1: expected a box of four finite numbers"),
        ({"a": "0 0.5 0.5 0.1 -0.1"}, r"line 1: expected a box with x1 <= x2"),
        ({"a": "0 0.5 0.5 0.1 0.1 2"}, r"line 1: expected a score from 0 to 1; got 2"),
        ({"c": "0 0.5 0.5 0.1 0.1"}, "1 of its pictures are not labelled, the first: c"),
        (
            {"a": "0 0.5 0.5 0.1 0.1", "x__a": ""},
            r"x/a\.txt: expected each picture once; got x/a after a,",
        ),
    ],
)
def test_bad_labels_are_named(
    tmp_path: Path, texts: dict[str, str], message: str, labelled: Label
) -> None:
    with pytest.raises(DetectionFileError, match=message):
        read_detection_file(write(tmp_path, **texts), labelled("a.jpg", "b.jpg"))


CLASSES = [LabelClass("yolo", 0, "person", False), LabelClass("yolo", 1, "head", True)]
TWO = "0 0.25 0.5 0.1 0.1 0.5\n1 0.5 0.5 0.1 0.1 0.5\n"  # of 200 x 100: lefts 40 and 90
LEFT_OUT = ("detections of the class 'person', no heads, left out: 1",)


def test_classes_that_the_labels_call_no_heads_are_left_out(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    folder = write(tmp_path, a=TWO)
    read = read_detection_file(folder, labelled("a.jpg", classes=CLASSES))
    assert (lefts(read.detections), read.notes) == ([[90]], LEFT_OUT)
    with pytest.raises(DetectionFileError, match="which class is the head; got 0, 1, none of"):
        read_detection_file(folder, labelled("a.jpg"))
    write(tmp_path, a="4 0.5 0.5 0.1 0.1 0.5")
    with pytest.raises(DetectionFileError, match=r"the head in the labels, 1 \('head'\); got 4"):
        read_detection_file(folder, labelled("a.jpg", classes=CLASSES))
    write(tmp_path, a="0.5 0.5 0.5 0.1 0.1 0.5")
    with pytest.raises(DetectionFileError, match=r"a class as a whole number; got '0\.5'"):
        read_detection_file(folder, labelled("a.jpg"))


def test_a_list_of_classes_beside_the_labels_names_them(
    tmp_path: Path, labelled: Label, lefts: Lefts
) -> None:
    folder = write(tmp_path, a=TWO, classes="head\nperson\n")
    coco = [LabelClass("coco", 0, "person", False), LabelClass("coco", 1, "head", True)]
    read = read_detection_file(folder, labelled("a.jpg", classes=coco))
    assert (lefts(read.detections), read.notes) == ([[40]], LEFT_OUT)


def test_ours_are_heads_whatever_the_labels_number_so(
    tmp_path: Path, record: Make, put: Put, labelled: Label, lefts: Lefts
) -> None:
    put(LabelSink, tmp_path, [record(file="a.png")])
    labels = labelled("a.png", size=(50, 100), classes=CLASSES)
    assert lefts(read_detection_file(tmp_path / "labels", labels).detections) == [[10]]


def test_a_picture_called_classes_has_labels_and_no_list_of_classes(
    tmp_path: Path, record: Make, put: Put, labelled: Label, lefts: Lefts
) -> None:
    names = ["a.png", "classes.png"]
    put(LabelSink, tmp_path, [record(file=name) for name in names])
    read = read_detection_file(tmp_path / "labels", labelled(*names, size=(50, 100)))
    assert (lefts(read.detections), read.without) == ([[10], [10]], ())
