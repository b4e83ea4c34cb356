"""CrowdHuman's .odgt, as crowdhuman.org describes it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.testing as npt
import pytest

from head_detection.data.annotations import find_problems
from head_detection.data.formats.crowdhuman import read_crowdhuman
from head_detection.errors import AnnotationError

Write = Callable[..., Path]
ID = "273271,1a0d6000b9e1f5b7"


def person(hbox: Any = (10, 5, 4, 6), **more: Any) -> dict[str, Any]:
    return {
        "tag": "person",
        "hbox": hbox,
        "head_attr": {"ignore": 0, "occ": 0, "unsure": 0},
        "fbox": [1, 2, 30, 20],
        "vbox": [1, 2, 30, 20],
        "extra": {"box_id": 0, "occ": 1},
        **more,
    }


def line(*boxes: Any, name: Any = ID) -> str:
    return json.dumps({"ID": name, "gtboxes": list(boxes)})


def test_heads_and_what_is_ignored(text: Write, picture: Write) -> None:
    picture(f"Images/{ID}.jpg")
    path = text(
        "annotation_val.odgt",
        line(
            person(),
            person(extra={"ignore": 1}),
            person(head_attr={"ignore": 1}),
            person(tag="mask", head_attr={}, extra={"ignore": 1}),
        ),
    )
    annotated = read_crowdhuman(path)
    (image,) = annotated.images
    assert image.file_name == f"{ID}.jpg"
    npt.assert_array_equal(image.truth.boxes[0], [10, 5, 14, 11])
    npt.assert_array_equal(image.truth.ignore, [False, True, True, True])
    assert not image.truth.distractor.any()
    assert annotated.notes == ("boxes with the tag 'mask', ignored: 1", "regions to ignore: 3")
    assert find_problems([annotated]) == []


def test_a_folder_with_both_files(tmp_path: Path, text: Write, picture: Write) -> None:
    text("annotation_train.odgt", line(name="a") + "\r\n" + line(name="b"))
    text("annotation_val.odgt", line(name="c"), encoding="utf-8-sig")
    for name in ("CrowdHuman_train01/Images/a.JPG", "CrowdHuman_val/Images/c.jpg"):
        picture(name)
    annotated = read_crowdhuman(tmp_path)
    assert [image.file_name for image in annotated.images] == ["a.JPG", "b.jpg", "c.jpg"]
    assert [len(read_crowdhuman(tmp_path, split)) for split in ("train", "val")] == [2, 1]
    (problem,) = find_problems([annotated])
    assert "b.jpg: no such file" in problem
    with pytest.raises(AnnotationError, match=r"test\.odgt: no such list .* annotation_train"):
        read_crowdhuman(tmp_path, "test")
    with pytest.raises(AnnotationError, match="split: expected train"):
        read_crowdhuman(tmp_path, "dev")
    with pytest.raises(AnnotationError, match="leave split out"):
        read_crowdhuman(tmp_path / "annotation_val.odgt", "val")


def test_a_mask_without_a_head_is_its_whole_box(text: Write) -> None:
    mask = {"tag": "mask", "fbox": [1, 2, 3, 4]}
    (image,) = read_crowdhuman(text("x.odgt", line(mask, name="a"))).images
    npt.assert_array_equal(image.truth.ignore_boxes, [[1, 2, 4, 6]])


def test_heads_outside_and_without_area(text: Write, picture: Write) -> None:
    images = picture("else/a.jpg").parent
    path = text("x.odgt", line(person((-9, -9, 20, 20)), person((0, 0, 0, 0)), name="a"))
    annotated = read_crowdhuman(path, images=images)
    assert annotated.notes == ("boxes without area, left out: 1",)
    npt.assert_array_equal(annotated.images[0].truth.boxes, [[-9, -9, 11, 11]])
    assert find_problems([annotated]) == [], "heads are drawn whole; training clips them"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "expected an object of JSON"),
        ("[" * 100_000, "expected an object of JSON"),
        ("[]", "expected an object with an ID"),
        ('{"ID": 3}', "expected an object with an ID"),
        ('{"ID": "b"}', "expected a list under 'gtboxes'"),
        (line(name="../b"), "inside its folder"),
        (line(name="/b"), "inside its folder"),
        (line(name="a"), "the ID 'a' is there already"),
        (line(person([1, 2, 3]), name="b"), r"gtboxes\[0\]: expected a box of four numbers"),
        (line({"hbox": [1, 2, 3, 4]}, name="b"), r"gtboxes\[0\]: expected an object with a tag"),
        (line(person(), person(extra={"ignore": "x"}), name="b"), r"\[1\]: expected extra.ignore"),
        (line(person(extra=[1]), name="b"), "expected extra.ignore as 0 or 1"),
    ],
)
def test_bad_lines(text: Write, bad: str, reason: str) -> None:
    path = text("x.odgt", line(name="a") + "\n\n" + bad)
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_crowdhuman(path)
    assert str(caught.value).startswith(f"{path}: line 3: ")
    assert "\n" not in str(caught.value)
