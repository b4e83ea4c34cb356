"""SCUT-HEAD's folders, good and bad."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.data.annotations import find_problems
from head_detection.data.formats.scut import read_scut
from head_detection.errors import AnnotationError

OBJECT = """<object><name>person</name><difficult>{difficult}</difficult>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"""
LABEL = """<?xml version="1.0" encoding="utf-8"?>
<annotation><folder>x</folder><filename>wrong name.jpg</filename>
<size><width>40</width><height>30</height><depth>3</depth></size>{objects}</annotation>"""


def make_part(part: Path, **lists: list[str]) -> Path:
    """Write the folders with a head of (1, 2, 11, 22) in each picture."""
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (part / folder).mkdir(parents=True)
    for split, names in lists.items():
        text = "".join(f"{name}\r\n" for name in names) + "\n"
        (part / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
        for name in names:
            write_label(part, name, OBJECT.format(x1=1, y1=2, x2=11, y2=22, difficult=0))
            Image.new("RGB", (40, 30)).save(part / "JPEGImages" / f"{name}.jpg")
    return part


def write_label(part: Path, name: str, objects: str) -> None:
    (part / "Annotations" / f"{name}.xml").write_text(LABEL.format(objects=objects))


def names_in(folder: Path, split: str | None) -> list[str]:
    return [image.path.stem for image in read_scut(folder, split).images]


def test_one_part(tmp_path: Path) -> None:
    part = make_part(tmp_path / "A", train=["b", "a"], test=["c"])
    images = read_scut(part, "train").images
    assert [image.file_name for image in images] == ["JPEGImages/b.jpg", "JPEGImages/a.jpg"]
    npt.assert_array_equal(images[0].truth.boxes, np.array([[1, 2, 11, 22]], np.float32))
    npt.assert_array_equal(images[0].truth.ignore, [False])
    assert images[0].image_size == (30, 40)
    assert find_problems([read_scut(part, "train")]) == []


@pytest.mark.parametrize("between", ["", "SCUT_HEAD"])
def test_both_parts(tmp_path: Path, between: str) -> None:
    for part, names in (("Part_B", ["b"]), ("Part_A", ["a"])):
        make_part(tmp_path / between / part, train=names)
    annotated = read_scut(tmp_path, "train")
    prefix = f"{between}/" if between else ""
    assert [image.file_name for image in annotated.images] == [
        f"{prefix}Part_A/JPEGImages/a.jpg",
        f"{prefix}Part_B/JPEGImages/b.jpg",
    ]
    assert find_problems([annotated]) == []


def test_splits(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a"], val=["b"], test=["c"])
    assert names_in(part, "train") == ["a"]
    assert names_in(part, "val") == ["b"]
    assert names_in(part, "test") == ["c"]
    assert names_in(part, "trainval") == ["a", "b"]
    assert names_in(part, None) == ["a", "b"], "never the test pictures by accident"
    (part / "ImageSets" / "Main" / "trainval.txt").write_text("b")
    assert names_in(part, "trainval") == ["b"]


def test_without_lists_all_labelled_pictures(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["b", "a"])
    (part / "ImageSets" / "Main" / "train.txt").unlink()
    assert names_in(part, None) == ["a", "b"]
    with pytest.raises(AnnotationError, match=r"train\.txt: no such list"):
        read_scut(part, "train")


def test_no_heads_and_difficult_ones(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a", "b"])
    write_label(part, "a", "")
    write_label(part, "b", OBJECT.format(x1=1, y1=2, x2="3.5", y2=4, difficult=1))
    empty, difficult = read_scut(part).images
    assert empty.truth.boxes.shape == (0, 4)
    npt.assert_array_equal(difficult.truth.ignore, [True])
    npt.assert_array_equal(difficult.truth.boxes, [[1, 2, 3.5, 4]])


def test_pictures_of_other_kinds_and_places(tmp_path: Path) -> None:
    part = make_part(tmp_path / "A", train=["a"])
    (part / "JPEGImages" / "a.jpg").rename(part / "JPEGImages" / "a.PNG")
    assert read_scut(part).images[0].path.name == "a.PNG"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert read_scut(part, images=elsewhere).images[0].path == elsewhere / "a.jpg"


def test_a_missing_picture_is_a_problem_not_an_error(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a"])
    (part / "JPEGImages" / "a.jpg").unlink()
    (problem,) = find_problems([read_scut(part)])
    assert "a.jpg: no such file" in problem


def test_missing_folders(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "no"):
        with pytest.raises(AnnotationError, match="expected SCUT-HEAD's folders"):
            read_scut(folder)
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(AnnotationError, match="JPEGImages: expected the folder"):
        read_scut(tmp_path)


def test_unknown_split(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="expected train, val, trainval, test; got 'dev'"):
        read_scut(make_part(tmp_path, train=["a"]), "dev")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not XML"),
        ("<annotation>", "not XML"),
        (LABEL.format(objects="<object><name>head</name></object>"), "expected a box of four"),
        (
            LABEL.format(objects="<object/>\n<!-- <object>\n--><object><name>x</name></object>"),
            "line 5: object 1: expected a box of four",
        ),
        (
            LABEL.format(objects=OBJECT.format(x1=1, y1=2, x2=3, y2=4, difficult="maybe")),
            "expected difficult as 0 or 1, got 'maybe'",
        ),
        (
            LABEL.format(objects=OBJECT.format(x1="x", y1=2, x2=3, y2=4, difficult=0)),
            "expected a box of four",
        ),
        ('<!DOCTYPE a [<!ENTITY b "bb">]><annotation>&b;</annotation>', "declares entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/hostname"><annotation/>', "declares entities"),
    ],
)
def test_bad_labels(tmp_path: Path, text: str, reason: str) -> None:
    part = make_part(tmp_path, train=["a"])
    (part / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_scut(part)
    assert "a.xml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_labels(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a"])
    (part / "Annotations" / "a.xml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AnnotationError, match="not UTF-8 text"):
        read_scut(part)
    (part / "Annotations" / "a.xml").unlink()
    with pytest.raises(AnnotationError, match=r"a\.xml: expected a VOC label; No such file"):
        read_scut(part)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "..", "a\\..\\..\\b", "C:\\a"])
def test_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    part = make_part(tmp_path, train=["a"])
    (part / "ImageSets" / "Main" / "train.txt").write_text(name)
    with pytest.raises(AnnotationError, match=r"train.txt: line 1: expected (the|a) name"):
        read_scut(part)


def test_size_left_out(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a"])
    (part / "Annotations" / "a.xml").write_text("<annotation></annotation>")
    assert read_scut(part).images[0].image_size is None


def test_the_faults_of_the_published_labels(tmp_path: Path) -> None:
    part = make_part(tmp_path / "A", train=["PartA_01006", "PartB_00103"])
    boxes = "".join(
        OBJECT.format(x1=x1, y1=2, x2=11, y2=22, difficult=0) for x1 in (1, 11)
    ).replace("person", "persondddddaaddwwddd", 1)
    write_label(part, "PartA_01006", boxes + "<object/>")
    label = part / "Annotations" / "PartB_00103.xml"
    label.write_text(label.read_text().replace("<width>40", "<width>0").replace(">30<", ">0<"))
    annotated = read_scut(part)
    assert annotated.notes == (
        "objects with nothing in them, left out: 1",
        "objects named 'persondddddaaddwwddd', taken for heads: 1",
        "boxes without area, left out: 1",
        "labels without their picture's size: 1",
    )
    assert [image.image_size for image in annotated.images] == [(30, 40), None]
    assert [len(image.truth.head_boxes) for image in annotated.images] == [1, 1]
    assert find_problems([annotated]) == []


def test_windows_line_ends_and_mark(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a"])
    label = part / "Annotations" / "a.xml"
    label.write_bytes(label.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    label.rename(label.with_suffix(".XML"))
    assert read_scut(part).num_heads == 1


def test_pictures_without_labels_and_labels_without_pictures(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a", "b"])
    (part / "ImageSets" / "Main" / "train.txt").unlink()
    (part / "JPEGImages" / "a.jpg").unlink()
    (part / "Annotations" / "b.xml").unlink()
    annotated = read_scut(part)
    assert [image.path.name for image in annotated.images] == ["a.jpg"]
    assert annotated.notes == (
        "labels without a picture, kept: 1",
        "pictures without a label, left out: 1",
    )


def test_a_list_that_repeats_a_name(tmp_path: Path) -> None:
    part = make_part(tmp_path, train=["a"])
    (part / "ImageSets" / "Main" / "train.txt").write_text("a\n\na.jpg\n", encoding="utf-8-sig")
    annotated = read_scut(part)
    assert len(annotated) == 1
    assert annotated.notes == ("names that a list repeats, read once: 1",)


def test_the_same_name_in_both_parts(tmp_path: Path) -> None:
    for part in ("A", "B"):
        make_part(tmp_path / part, train=["1"])
    annotated = read_scut(tmp_path)
    assert [image.file_name for image in annotated.images] == [
        "A/JPEGImages/1.jpg",
        "B/JPEGImages/1.jpg",
    ]
    assert annotated.notes == ()
