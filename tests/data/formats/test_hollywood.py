"""HollywoodHeads as it is unpacked."""

from collections.abc import Callable
from pathlib import Path

import numpy.testing as npt
import pytest

from head_detection.data.annotations import find_problems
from head_detection.data.formats.hollywood import read_hollywood
from head_detection.errors import AnnotationError

Write = Callable[..., Path]
OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>{x2}</xmax><ymax>26</ymax></bndbox>
\t\t<difficult>{difficult}</difficult>
\t</object>
"""
LABEL = """<annotation>
\t<folder>HollywoodHeads</folder>
\t<filename>{name}.jpeg</filename>
\t<size><width>40</width><height>30</height><depth>3</depth></size>
\t<segmented>0</segmented>
{objects}</annotation>
"""
NAMES = ("mov_001_000001", "mov_002_000001", "mov_003_000001")


@pytest.fixture
def folder(tmp_path: Path, text: Write, picture: Write) -> Path:
    for name, split in zip(NAMES, ("train", "val", "test"), strict=True):
        objects = OBJECT.format(name="head", x2=20, difficult=0)
        objects += OBJECT.format(name="head", x2=9, difficult=1)
        text(f"Annotations/{name}.xml", LABEL.format(name=name, objects=objects))
        text(f"Splits/{split}.txt", f"{name}\n")
        picture(f"JPEGImages/{name}.jpeg")
    return tmp_path


def test_pixels_from_one_and_difficult_heads(folder: Path) -> None:
    annotated = read_hollywood(folder, "val")
    (image,) = annotated.images
    assert image.file_name == "JPEGImages/mov_002_000001.jpeg"
    npt.assert_array_equal(image.truth.boxes, [[0, 0, 20, 26], [0, 0, 9, 26]])
    npt.assert_array_equal(image.truth.ignore, [False, True])
    assert annotated.notes == ("regions to ignore: 1",)
    assert find_problems([annotated]) == []


def test_splits(folder: Path) -> None:
    def names(split: str | None) -> list[str]:
        return [image.path.stem for image in read_hollywood(folder, split).images]

    assert names(None) == names("trainval") == list(NAMES[:2])
    assert names("test") == [NAMES[2]]
    for list_file in (folder / "Splits").iterdir():
        list_file.unlink()
    assert names(None) == list(NAMES)


def test_frames_without_heads_and_other_names(folder: Path, text: Write) -> None:
    objects = "<object></object>\n<object/>" + OBJECT.format(name="hed", x2=1, difficult=0)
    objects += OBJECT.format(name="hed", x2=0, difficult=0)
    text(f"Annotations/{NAMES[0]}.xml", LABEL.format(name=NAMES[0], objects=objects))
    annotated = read_hollywood(folder, "train")
    assert annotated.num_heads == 1
    assert annotated.notes == (
        "objects with nothing in them, left out: 2",
        "objects named 'hed', taken for heads: 2",
        "boxes without area, left out: 1",
    )


def test_mistakes(folder: Path, tmp_path: Path, text: Write) -> None:
    with pytest.raises(AnnotationError, match="split: expected train, val, trainval, test"):
        read_hollywood(folder, "dev")
    with pytest.raises(AnnotationError, match="expected HollywoodHeads' folders"):
        read_hollywood(folder / "Splits")
    bad = LABEL.format(name="x", objects=OBJECT.format(name="head", x2="x", difficult=0))
    text(f"Annotations/{NAMES[0]}.xml", bad)
    with pytest.raises(AnnotationError, match=r"000001\.xml: line 6: object 0: expected a box"):
        read_hollywood(folder, "train")
