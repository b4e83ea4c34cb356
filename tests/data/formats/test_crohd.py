"""CroHD's sequences, as MOTChallenge lays them out."""

from collections.abc import Callable
from pathlib import Path

import numpy.testing as npt
import pytest

from head_detection.data.annotations import find_problems
from head_detection.data.formats.crohd import read_crohd, write_crohd
from head_detection.errors import AnnotationError

Write = Callable[..., Path]
INFO = """[Sequence]
name={name}
imDir=img1
frameRate=25
seqLength={length}
imWidth=40
imHeight=30
imExt=.jpg
"""


@pytest.fixture
def sequence(tmp_path: Path, text: Write, picture: Write) -> Callable[..., Path]:
    def write(name: str, lines: str, length: int = 2) -> Path:
        for frame in range(1, length + 1):
            picture(f"{name}/img1/{frame:06d}.jpg")
        text(f"{name}/seqinfo.ini", INFO.format(name=name, length=length))
        text(f"{name}/gt/gt.txt", lines)
        return tmp_path / name

    return write


def test_heads_and_distractors(sequence: Callable[..., Path]) -> None:
    lines = [
        "1,1,11,6,4,5,1,1,0.8",  # a head: pixels 11..14 of 1.. are 10..14 of 0..
        "1,2,1,1,4,5,1,1,0.0",  # not visible
        "1,3,1,1,4,5,1,2,1.0",  # static
        "1,4,1,1,4,5,0,1,1.0",  # flag 0
        "1,5,20.5,1,4,5,1,1,0.01",
    ]
    folder = sequence("HT21-01", "\r\n".join(lines))
    annotated = read_crohd(folder)
    first, second = annotated.images
    assert first.file_name == "img1/000001.jpg"
    assert first.image_size == (30, 40)
    npt.assert_array_equal(first.truth.boxes[0], [10, 5, 14, 10])
    npt.assert_array_equal(first.truth.boxes[4], [19.5, 0, 23.5, 5])
    npt.assert_array_equal(first.truth.ignore, [False, True, True, True, False])
    npt.assert_array_equal(first.truth.distractor, first.truth.ignore)
    assert second.truth.boxes.shape == (0, 4)
    assert annotated.notes == (
        "boxes ignored as distractors (not visible, or flag 0): 2",
        "boxes ignored as distractors (class 2): 1",
    )
    assert find_problems([annotated]) == []


def test_a_folder_of_sequences(tmp_path: Path, text: Write, sequence: Callable[..., Path]) -> None:
    sequence("train/HT21-02", "1 1 2 2 4 5 1 1 1")
    sequence("train/HT21-01", "2,1,2,2,4,5,1,1,1\n1,1,2,2,4,5,1,1,1")
    text("train/HT21-11/seqinfo.ini", INFO.format(name="HT21-11", length=2))
    annotated = read_crohd(tmp_path, "train")
    assert [image.file_name for image in annotated.images] == [
        f"HT21-0{number}/img1/00000{frame}.jpg" for number in (1, 2) for frame in (1, 2)
    ]
    assert [len(image.truth.boxes) for image in annotated.images] == [1, 1, 1, 0]
    assert annotated.notes == ("sequences without gt/gt.txt, left out: 1",)
    elsewhere = read_crohd(tmp_path / "train", images=tmp_path / "other")
    assert elsewhere.images[0].path == tmp_path / "other" / "HT21-01" / "000001.jpg"
    with pytest.raises(AnnotationError, match=r"expected gt/gt\.txt here"):
        read_crohd(tmp_path)


def test_without_seqinfo_and_with_frames_missing(
    tmp_path: Path, text: Write, picture: Write
) -> None:
    text("gt/gt.txt", "7,1,-3,2,90,5,1,1,1\n", encoding="utf-8-sig")
    picture("img1/000002.JPG")
    annotated = read_crohd(tmp_path)
    assert [image.path.name for image in annotated.images] == ["000002.JPG", "000007.jpg"]
    assert annotated.notes == ("frames without a picture, kept: 1",)
    (problem,) = find_problems([annotated])
    assert "000007.jpg: no such file" in problem


def test_boxes_outside_are_counted_and_no_problem(sequence: Callable[..., Path]) -> None:
    annotated = read_crohd(sequence("s", "1,1,-3,2,90,5,1,1,1\n1,2,3,3,0,5,1,1,1"))
    assert annotated.notes == (
        "boxes without area, left out: 1",
        "boxes that reach outside their picture, kept: 1",
    )
    assert find_problems([annotated]) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("1,1,2,2,4,5,1", "expected frame,id,left"),
        ("1,1,2,2,4,5,1,-1,-1,-1", "expected frame,id,left"),
        ("x,1,2,2,4,5,1,1,1", "expected a frame as a whole number"),
        ("1.5,1,2,2,4,5,1,1,1", "expected a frame as a whole number"),
        ("0,1,2,2,4,5,1,1,1", "expected a frame from 1 to 2, got 0"),
        ("3,1,2,2,4,5,1,1,1", "expected a frame from 1 to 2, got 3"),
        ("1,1,2,x,4,5,1,1,1", "expected a box of four numbers"),
        ("1,1,2,2,4,5,1,1,nan", "expected a box of four numbers"),
        ("1,1,2,2,4,5,1,a,1", "expected a class as a whole number"),
    ],
)
def test_bad_lines(sequence: Callable[..., Path], bad: str, reason: str) -> None:
    folder = sequence("s", "1,1,2,2,4,5,1,1,1\n" + bad)
    with pytest.raises(AnnotationError, match=reason) as caught:
        read_crohd(folder)
    assert str(caught.value).startswith(f"{folder / 'gt' / 'gt.txt'}: line 2: ")


@pytest.mark.parametrize(
    "info",
    [
        "no section",
        "[Other]\n",
        "[Sequence]\nseqLength=x\n",
        "[Sequence]\nseqLength=99999999999\n",
        "[Sequence]\nimDir=../..\n",
        "[Sequence]\nimDir=..\n",
        "[Sequence]\nimExt=.jpg/../../x\n",
    ],
)
def test_bad_seqinfo(sequence: Callable[..., Path], text: Write, info: str) -> None:
    folder = sequence("s", "")
    text("s/seqinfo.ini", info)
    with pytest.raises(AnnotationError, match=r"seqinfo\.ini: ") as caught:
        read_crohd(folder)
    assert "\n" not in str(caught.value)


def test_ids_are_read_and_written(sequence: Callable[..., Path], tmp_path: Path) -> None:
    folder = sequence(
        "s", "1,7,2,2,4,5,1,1,1\n1,8,12,2,0,5,1,1,1\n2,9,2,2,4,5,1,1,1\n2,7,9,2,4,5,1,1,1"
    )
    annotated = read_crohd(folder)
    ids = [image.truth.ids for image in annotated.images]
    assert [one.tolist() for one in ids if one is not None] == [[7], [9, 7]]  # 8 has no area
    write_crohd(tmp_path / "again", annotated)
    again = (tmp_path / "again" / "gt" / "gt.txt").read_text().splitlines()
    assert [line.split(",")[:2] for line in again] == [["1", "7"], ["2", "9"], ["2", "7"]]
