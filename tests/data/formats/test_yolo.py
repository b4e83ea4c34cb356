"""YOLO's text labels, laid out as Ultralytics, Roboflow and CVAT do."""

from collections.abc import Callable
from pathlib import Path

import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth, find_problems
from head_detection.data.formats.yolo import read_yolo, write_yolo
from head_detection.errors import AnnotationError

Write = Callable[..., Path]
HEAD = "0 0.5 0.5 0.25 0.2\n"  # of 40 x 30: (15, 12, 25, 18)


@pytest.fixture
def ultralytics(tmp_path: Path, text: Write, picture: Write) -> Path:
    text("data.yaml", "path: /gone\ntrain: images/train\nval: images/val\nnames: {0: head}\n")
    for name in ("train/1", "train/a/1", "val/2"):
        picture(f"images/{name}.jpg")
        text(f"labels/{name}.txt", HEAD)
    return tmp_path


def test_shares_become_pixels(ultralytics: Path) -> None:
    annotated = read_yolo(ultralytics)
    assert [image.file_name for image in annotated.images] == [
        "train/1.jpg",
        "train/a/1.jpg",
        "val/2.jpg",
    ]
    npt.assert_allclose(annotated.images[0].truth.boxes, [[15, 12, 25, 18]], rtol=1e-6)
    assert annotated.images[0].image_size == (30, 40)
    assert annotated.notes == ()
    assert find_problems([annotated]) == []


def test_splits_and_the_file_itself(ultralytics: Path) -> None:
    assert len(read_yolo(ultralytics / "data.yaml", "train")) == 2
    assert len(read_yolo(ultralytics, "val")) == 1
    with pytest.raises(AnnotationError, match="expected pictures under test; got none"):
        read_yolo(ultralytics, "test")


def test_roboflow_s_places(tmp_path: Path, text: Write, picture: Write) -> None:
    folder = tmp_path / "set"
    text(
        "set/data.yaml",
        "train: ../train/images\nval: ../valid/images\nnc: 3\nnames: [hat, head, person]\n",
    )
    for name in ("train", "valid"):
        picture(f"set/{name}/images/1.jpg")
        text(f"set/{name}/labels/1.txt", "1 .5 .5 .1 .1\n2 .5 .5 .9 .9\r\n")
    annotated = read_yolo(folder)
    assert annotated.num_heads == 2
    assert [i.file_name for i in annotated.images] == ["train/images/1.jpg", "valid/images/1.jpg"]
    assert annotated.notes == ("boxes of the class 'person', no heads, left out: 2",)


def test_lists_of_pictures(tmp_path: Path, text: Write, picture: Write) -> None:
    text("data.yaml", "train: train.txt\nnames: [head]\n", encoding="utf-8-sig")
    text("train.txt", "./images/1.jpg\r\nimages/2.jpg\r\n")
    picture("images/1.JPG")
    text("labels/1.txt", HEAD)
    text("labels/2.txt", HEAD)
    annotated = read_yolo(tmp_path)
    assert [image.path.name for image in annotated.images] == ["1.JPG", "2.jpg"]
    assert annotated.notes == (
        "pictures that cannot be read, kept: 1",
        "boxes in pictures that cannot be read, left out: 1",
    )
    (problem,) = find_problems([annotated])
    assert "2.jpg: no such file" in problem


def test_pictures_elsewhere(ultralytics: Path, tmp_path: Path) -> None:
    (tmp_path / "images").rename(tmp_path / "moved")
    annotated = read_yolo(ultralytics, images=tmp_path / "moved")
    assert annotated.images[2].path == tmp_path / "moved" / "val" / "2.jpg"
    assert annotated.num_heads == 3
    with pytest.raises(AnnotationError, match="expected the folder of the pictures"):
        read_yolo(ultralytics)


def test_without_a_description(tmp_path: Path, text: Write, picture: Write) -> None:
    for place, beside in (("s", False), ("flat", True)):
        picture(f"{place}/{'' if beside else 'images/'}1.jpg")
        text(f"{place}/{'' if beside else 'labels/'}1.txt", "3 .5 .5 .1 .1\n")
        assert read_yolo(tmp_path / place).num_heads == 1, "the only class there is"
    text("s/labels/1.txt", "3 .5 .5 .1 .1\n4 .5 .5 .1 .1\n")
    with pytest.raises(AnnotationError, match=r"data\.yaml to name the classes \[3, 4\]"):
        read_yolo(tmp_path / "s")
    text("s/classes.txt", "a\nb\nc\nd\nHead\n")
    assert read_yolo(tmp_path / "s").num_heads == 1


def test_what_is_repaired_and_left_out(ultralytics: Path, text: Write) -> None:
    text("labels/train/1.txt", "0 .1 .1 .3 .1 .2 .4\n0.0 .5 .5 1.2 .1")
    (ultralytics / "labels" / "val" / "2.txt").unlink()
    text("labels/val/3.txt", HEAD)
    text("labels/val/classes.txt", "head")
    annotated = read_yolo(ultralytics)
    npt.assert_allclose(annotated.images[0].truth.boxes[0], [4, 3, 12, 12], rtol=1e-6)
    assert annotated.notes == (
        "outlines, taken for the boxes around them: 1",
        "boxes that reach outside their picture, kept: 1",
        "pictures without a label file, taken to hold no heads: 1",
        "labels without a picture, left out: 1",
    )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("0 .5 .5 .1", "expected 'class x y width height'"),
        ("0 .5 .5 .1 .1 .9", "expected 'class x y width height'"),
        ("head .5 .5 .1 .1", "expected a class as a whole number"),
        ("1 .5 .5 .1 .1", r"expected a class of data\.yaml, got 1"),
        ("-1 .5 .5 .1 .1", r"expected a class of data\.yaml, got -1"),
        ("0 .5 .5 .1 x", "expected a box of four numbers"),
        ("0 .5 .5 .1 nan", "expected a box of four numbers"),
        ("0 320 240 20 20", "expected shares of the picture"),
        ("0 .1 .1 .3 .1 .2 x", "expected a box of four numbers"),
    ],
)
def test_bad_lines(ultralytics: Path, text: Write, bad: str, reason: str) -> None:
    path = text("labels/train/1.txt", HEAD + bad)
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_yolo(ultralytics)
    assert str(caught.value).startswith(f"{path}: line 2: ")


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("{", "not YAML"),
        ("[" * 5000, "not YAML"),
        ("1", "expected keys and values"),
        ("train: images", "expected the classes under names"),
        ("train: images\nnames: {a: head}", "expected numbers of classes as keys"),
        ("train: images\nnames: [cat, dog]", "expected a class named 'head'; got cat, dog"),
        ("names: [head]", "expected pictures under train or val; got none"),
        ("train: 3\nnames: [head]", "train: expected a folder, a list file or several"),
        ("train: ../../etc\nnames: [head]", "inside its folder"),
        ("train: /etc\nnames: [head]", "inside its folder"),
        ("train: nowhere\nnames: [head]", "expected the folder of the pictures"),
        ("train: list.txt\nnames: [head]", r"list\.txt: line 1: .* inside its folder"),
        ("train: no.txt\nnames: [head]", "expected a list of pictures; No such file"),
    ],
)
def test_bad_descriptions(
    tmp_path: Path, text: Write, picture: Write, description: str, reason: str
) -> None:
    picture("images/1.jpg")
    text("list.txt", "../1.jpg")
    text("data.yaml", description)
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_yolo(tmp_path)
    assert "\n" not in str(caught.value)


def test_several_descriptions(tmp_path: Path, text: Write) -> None:
    text("a.yaml", "")
    text("b.yml", "")
    with pytest.raises(AnnotationError, match=r"got a\.yaml, b\.yml: give the file"):
        read_yolo(tmp_path)


def test_what_is_written(tmp_path: Path) -> None:
    rows = [
        ((15.0, 12.0, 25.0, 18.0), False),
        ((-5.0, 0.0, 5.0, 30.0), False),
        ((50.0, 0.0, 60.0, 30.0), False),
        ((0.0, 0.0, 5.0, 5.0), True),
    ]
    images = (
        AnnotatedImage(Path("x"), "a/1.jpg", build_truth(rows), (30, 40)),
        AnnotatedImage(Path("x"), "2.jpg", build_truth([]), (30, 40)),
    )
    notes = write_yolo(tmp_path / "new", AnnotatedSet("any", images))
    assert notes == (
        "regions to ignore, which YOLO cannot hold, left out: 1",
        "boxes without area in their picture, left out: 1",
        "boxes clipped to their picture: 1",
    )
    new = tmp_path / "new"
    assert [line.split() for line in (new / "labels/a/1.txt").read_text().splitlines()] == [
        ["0", "0.5000000000", "0.5000000000", "0.2500000000", "0.2000000000"],
        ["0", "0.0625000000", "0.5000000000", "0.1250000000", "1.0000000000"],
    ]
    assert (new / "labels/2.txt").read_text() == ""
    assert (new / "train.txt").read_text() == "./images/a/1.jpg\n./images/2.jpg\n"
    assert (
        new / "data.yaml"
    ).read_text() == "train: train.txt\nval: train.txt\nnames:\n  0: head\n"


def test_labels_are_where_trainers_look_for_them(tmp_path: Path) -> None:
    names = ("train/images/a.jpg", "Images/b.jpg", "images.jpg")  # the first as Roboflow's
    rows = [((0.0, 0.0, 10.0, 15.0), False)]
    images = tuple(AnnotatedImage(Path("x"), n, build_truth(rows), (30, 40)) for n in names)
    new = tmp_path / "new"
    write_yolo(new, AnnotatedSet("any", images))
    places = ("images/train/labels/a.txt", "labels/Images/b.txt", "labels/images.txt")
    assert {path.relative_to(new).as_posix() for path in new.rglob("*.txt")} == {
        *places,
        "train.txt",
    }
    for name in names:
        (new / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("1", (40, 30)).save(new / "images" / name)
    again = read_yolo(new)
    assert [i.truth.boxes.tolist() for i in again.images] == [[[0, 0, 10, 15]]] * len(names)


def test_a_size_is_needed_to_write(tmp_path: Path) -> None:
    image = AnnotatedImage(Path("a.png"), "a.png", build_truth([]), None)
    with pytest.raises(AnnotationError, match=r"a\.png: YOLO needs the picture's size"):
        write_yolo(tmp_path / "new", AnnotatedSet("any", (image,)))
    assert list(tmp_path.iterdir()) == []
