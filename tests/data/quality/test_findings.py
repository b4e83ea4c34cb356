from pathlib import Path

import numpy as np
import pytest

from head_detection.data.annotations import AnnotatedImage, build_truth
from head_detection.data.quality.findings import (
    BoxLimits,
    Finding,
    count_kinds,
    duplicated_boxes,
    find_in_pictures,
    find_unlabelled,
)
from head_detection.data.quality.survey import SurveyedPicture

Row = tuple[list[float], bool]
CONTRAST = np.tile(np.arange(64, dtype=np.uint8) * 3, (64, 1))


def surveyed(*rows: Row, stated: tuple[int, int] | None = None) -> SurveyedPicture:
    """Return a picture of 100 x 200 pixels."""
    image = AnnotatedImage(Path("a.jpg"), "a.jpg", build_truth(rows), stated)
    return SurveyedPicture("set", image, image_size=(100, 200), thumbnail=CONTRAST)


def kinds(*rows: Row) -> dict[str, tuple[int, ...]]:
    return {finding.kind: finding.boxes for finding in find_in_pictures([surveyed(*rows)])}


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ([0, 0, 10, 10], None),
        ([-1, -1, 9, 9], None),  # one-based formats and rounding give as much
        ([-1.5, 0, 9, 9], "outside"),
        ([0, -2, 9, 9], "outside"),
        ([190, 90, 201, 101], None),
        ([190, 90, 201.5, 99], "outside"),
        ([190, 90, 199, 102], "outside"),
        ([500, 500, 510, 510], "outside"),
        ([5, 5, 5, 9], "no_area"),
        ([9, 9, 5, 5], "no_area"),
        ([5, 5, 7, 9], "tiny"),  # 8 pixels: 2.8 a side
        ([5, 5, 8, 8], None),
        ([0, 0, 200, 50], None),  # half of the picture, not more
        ([0, 0, 200, 51], "huge"),
    ],
)
def test_one_box(box: list[float], kind: str | None) -> None:
    assert kinds((box, False)) == ({} if kind is None else {kind: (0,)})


def test_regions_to_ignore_may_have_any_size_and_overlap_but_not_leave_the_picture() -> None:
    fine: list[Row] = [([0, 0, 200, 100], True), ([0, 0, 200, 100], True), ([5, 5, 6, 6], True)]
    assert kinds(*fine) == {}
    assert kinds(*fine, ([0, 0, 300, 9], True)) == {"outside": (3,)}


def test_indices_count_ignored_boxes_too() -> None:
    head: Row = ([10, 10, 20, 20], False)
    assert kinds(([0, 0, 9, 9], True), head, ([50, 50, 60, 60], False), head) == {
        "duplicated": (3,)
    }


def test_overlap_of_given_twice() -> None:
    """19 / 20 = 0.95 and 18 / 20 = 0.9 count, 17 / 20 does not."""
    boxes = np.array([[0, 0, 20, 10], [0, 0, 19, 10], [0, 0, 18, 10], [0, 0, 17, 10]], np.float32)
    assert duplicated_boxes(boxes[[0, 1]], 0.9).tolist() == [1]
    assert duplicated_boxes(boxes[[0, 2]], 0.9).tolist() == [1]
    assert duplicated_boxes(boxes[[0, 3]], 0.9).tolist() == []
    assert duplicated_boxes(boxes[:0], 0.9).tolist() == []


def test_given_twice_among_very_many() -> None:
    """More than are compared at once."""
    left = np.arange(3000, dtype=np.float32)[:, None] * 20
    boxes = np.hstack([left, 0 * left, left + 10, 0 * left + 10])
    assert duplicated_boxes(np.concatenate([boxes, boxes[[7]]]), 0.9).tolist() == [3000]


def test_limits_are_the_callers() -> None:
    picture = surveyed(([0, 0, 30, 30], False))
    (tiny,) = find_in_pictures([picture], BoxLimits(tiny=31))
    (huge,) = find_in_pictures([picture], BoxLimits(huge=0.04))
    assert (tiny.kind, huge.kind) == ("tiny", "huge")
    assert tiny.message == "box 0 (0, 0, 30, 30) in 200x100 pixels"


def test_size_other_than_stated() -> None:
    assert not list(find_in_pictures([surveyed(stated=(100, 200))]))
    (turned,) = find_in_pictures([surveyed(stated=(200, 100))])
    assert turned.kind == "wrong_size"
    assert "say 100x200, it is 200x100; perhaps it was turned" in turned.message


def test_missing_unreadable_and_blank(tmp_path: Path) -> None:
    there = tmp_path / "b.jpg"
    there.write_bytes(b"no picture")
    images = [AnnotatedImage(path, path.name, build_truth([])) for path in (Path("a.jpg"), there)]
    pictures = [SurveyedPicture("set", image, error="why") for image in images]
    pictures.append(SurveyedPicture("set", images[0], thumbnail=np.zeros((64, 64), np.uint8)))
    kinds = [finding.kind for finding in find_in_pictures(pictures)]
    assert kinds == ["missing", "unreadable", "blank"]


def test_pictures_that_no_label_names(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPG", "c.png", "d.gif", "e.jfif", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).touch()
    found = find_unlabelled("set", [tmp_path / "a.jpg"], [tmp_path / "a.jpg", tmp_path / "c.png"])
    assert [Path(finding.file_name).name for finding in found] == ["b.JPG", "d.gif", "e.jfif"]
    assert find_unlabelled("set", [tmp_path / "gone" / "a.jpg"], []) == []


def test_counts_are_of_boxes() -> None:
    findings = [Finding("tiny", "s", "a", "m", (1, 2)), Finding("missing", "s", "b", "m")]
    assert list(count_kinds(findings).items()) == [("missing", 1), ("tiny", 2)]
