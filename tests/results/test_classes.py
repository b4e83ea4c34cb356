"""Which of several classes in a file of detections is the head."""

from pathlib import Path

import pytest

from head_detection.data.annotations import LabelClass
from head_detection.errors import DetectionFileError
from head_detection.results.classes import HeadClasses, StatedClass


def test_no_classes_at_all() -> None:
    classes = HeadClasses(Path("a"), "class", [], [])
    assert classes.is_head(StatedClass(), "a")
    assert classes.notes == ()


def test_the_labels_own_name_of_heads_is_one() -> None:
    known = [LabelClass("coco", 3, "face", True)]
    stated = [StatedClass(None, "face"), StatedClass(None, "hat"), StatedClass(9, "heads")]
    classes = HeadClasses(Path("a"), "category", known, stated)
    assert [classes.is_head(one, "a") for one in stated] == [True, False, True]
    assert classes.notes == ("detections of the category 'hat', no heads, left out: 1",)


def test_a_detection_without_a_class_among_others() -> None:
    classes = HeadClasses(Path("a"), "class", [], [StatedClass(1), StatedClass()])
    with pytest.raises(DetectionFileError, match="b: expected its class, as others have one"):
        classes.is_head(StatedClass(), "b")


def test_hostile_names_are_cut_and_on_one_line() -> None:
    stated = StatedClass(None, "\n\ud800" * 5000)
    classes = HeadClasses(Path("a"), "class", [], [stated])
    assert not classes.is_head(stated, "a")
    (note,) = classes.notes
    assert note.isprintable()
    assert len(note) < 400
