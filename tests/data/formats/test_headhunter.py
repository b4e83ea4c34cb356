"""HeadHunter's text format, good and bad."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest

from head_detection.data.formats.collector import NO_HEADS
from head_detection.data.formats.headhunter import read_headhunter
from head_detection.errors import AnnotationError

GOOD = """# part a/one.jpg
1 2 11 22 1
5.5 6 7 8 -1
# two.jpg

# three.jpg
1 2 3 4
1 2 3 4 0
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "train.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_pictures_and_boxes(tmp_path: Path) -> None:
    annotated = read_headhunter(write(tmp_path, GOOD))
    one, two, three = annotated.images
    assert (one.file_name, one.path) == ("part a/one.jpg", tmp_path / "part a" / "one.jpg")
    npt.assert_array_equal(one.truth.boxes, np.array([[1, 2, 11, 22], [5.5, 6, 7, 8]], np.float32))
    assert two.truth.boxes.shape == (0, 4), "no box of its own making, as [1, 2, 3, 4] once was"
    assert len(three.truth.head_boxes) == 2
    assert one.image_size is None


def test_flag_one_is_a_head_and_only_below_zero_is_ignored(tmp_path: Path) -> None:
    """SCUT-HEAD's flags are 1, which made the original's evaluation ignore every head."""
    annotated = read_headhunter(write(tmp_path, GOOD))
    npt.assert_array_equal(annotated.images[0].truth.ignore, [False, True])
    assert annotated.num_heads == 3


def test_pictures_elsewhere(tmp_path: Path) -> None:
    annotated = read_headhunter(write(tmp_path, GOOD), Path("elsewhere"))
    assert annotated.images[1].path == Path("elsewhere/two.jpg")


def test_empty_file(tmp_path: Path) -> None:
    assert len(read_headhunter(write(tmp_path, ""))) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 2 3 4 1", "line 1: expected '# picture' before the first box"),
        ("# a.jpg\n1 2 3", "line 2: expected 'x1 y1 x2 y2 flag', got '1 2 3'"),
        ("# a.jpg\n1 2 3 4 1 1", "line 2: expected 'x1 y1 x2 y2 flag'"),
        ("# a.jpg\n1,2,3,4,1", "line 2: expected 'x1 y1 x2 y2 flag'"),
        ("# a.jpg\n1 2 3 x 1", "line 2: expected a box of four numbers"),
        ("# a.jpg\n1 2 3 nan 1", "line 2: expected a box of four numbers"),
        ("# a.jpg\n1 2 3 4 x", "line 2: expected a number as flag, got 'x'"),
        ("# a.jpg\n#", "line 2: names no picture"),
        ("# a.jpg\n# a.jpg", "line 2: names this picture again"),
        ("# a.jpg\n# ../b.jpg", "line 2: expected the name of a picture inside its folder"),
        ("# a.jpg\n# /b.jpg", "line 2: expected the name of a picture inside its folder"),
    ],
)
def test_bad_lines(tmp_path: Path, text: str, reason: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(AnnotationError) as caught:
        read_headhunter(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(caught.value)


def test_no_file_a_folder_and_no_text(tmp_path: Path) -> None:
    binary = tmp_path / "a.txt"
    binary.write_bytes(b"\xff\xd8\xff")
    for path in (tmp_path / "no.txt", tmp_path, binary):
        with pytest.raises(AnnotationError, match="expected a text file of boxes"):
            read_headhunter(path)


def test_windows_line_ends_mark_and_letter_case(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf# a/1.jpg\r\n1 2 3 4 -1\r\n# b/1.jpg\r\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.JPG").touch()
    annotated = read_headhunter(path)
    assert [image.file_name for image in annotated.images] == ["a/1.jpg", "b/1.jpg"]
    assert annotated.images[1].path.name == "1.JPG"
    assert annotated.notes == (f"{NO_HEADS}: 2", "regions to ignore: 1")
