"""Brainwash's .idl, with lines as the published files have them."""

from collections.abc import Callable
from pathlib import Path

import numpy.testing as npt
import pytest

from head_detection.data.annotations import find_problems
from head_detection.data.formats.brainwash import read_brainwash
from head_detection.errors import AnnotationError

Write = Callable[..., Path]
FOLDER = "brainwash_10_27_2014_images"
GOOD = f'''"{FOLDER}/00153000_640x480.png": (389.0, 112.0, 407.0, 138), (508.0, 134.0, 527.0, 159);
"{FOLDER}/00158000_640x480.png";
"other/00153000_640x480.png": (407.0, 138.0, 389.0, 112.0):0.5/3, (5, 5, 5, 9).
'''


def test_lines_with_and_without_boxes(text: Write, picture: Write) -> None:
    names = [
        f"{FOLDER}/00153000_640x480.png",
        f"{FOLDER}/00158000_640x480.png",
        "other/00153000_640x480.png",
    ]
    for name in names:
        picture(name, (640, 480))
    annotated = read_brainwash(text("brainwash_val.idl", GOOD))
    assert [image.file_name for image in annotated.images] == names
    first, second, third = (image.truth.boxes for image in annotated.images)
    npt.assert_array_equal(first, [[389, 112, 407, 138], [508, 134, 527, 159]])
    assert second.shape == (0, 4)
    npt.assert_array_equal(third, [[389, 112, 407, 138]])
    assert annotated.notes == (
        "boxes with corners in the wrong order, put right: 1",
        "boxes without area, left out: 1",
    )
    assert find_problems([annotated]) == []


def test_a_folder_of_splits(tmp_path: Path, text: Write) -> None:
    text("brainwash_train.idl", '"a/1.png";\r\n"a/2.png": ;', encoding="utf-8-sig")
    text("brainwash_val.idl", '"a/3.png": (1,2,3,4)')
    text("brainwash_test.idl", '"a/4.png";')
    assert [len(read_brainwash(tmp_path, s)) for s in (None, "train", "val", "test")] == [
        3, 2, 1, 1,
    ]  # fmt: skip
    assert read_brainwash(tmp_path, "val").num_heads == 1
    assert read_brainwash(tmp_path, "val").images[0].path == tmp_path / "a" / "3.png"
    with pytest.raises(AnnotationError, match="leave split out"):
        read_brainwash(tmp_path / "brainwash_val.idl", "val")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("a.png;", 'expected \'"name": '),
        ('"a.png" (1, 2, 3, 4);', 'expected \'"name": '),
        ('"a.png": 1, 2, 3, 4;', r"expected a box \(x1, y1, x2, y2\), got '1, 2"),
        ('"a.png": (1, 2, 3, 4) (1, 2, 3, 4);', "expected a box"),
        ('"a.png": (1, 2, 3);', "expected a box of four numbers"),
        ('"a.png": (1, 2, 3, x);', "expected a box of four numbers"),
        ('"../a.png": (1, 2, 3, 4);', "inside its folder"),
        ('"/a.png": (1, 2, 3, 4);', "inside its folder"),
    ],
)
def test_bad_lines(text: Write, bad: str, reason: str) -> None:
    path = text("x.idl", f'"b.png";\n{bad}')
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_brainwash(path)
    assert str(caught.value).startswith(f"{path}: line 2: ")
