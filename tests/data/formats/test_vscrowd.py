"""VSCrowd's text: a file a video, a line a frame, an id a head."""

from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.data.formats.vscrowd import read_vscrowd
from head_detection.errors import AnnotationError

Write = Callable[..., Path]


def test_heads_with_ids_and_frames_without(tmp_path: Path, text: Write, picture: Write) -> None:
    for frame in (0, 1, 3):
        picture(f"videos/train_001/{frame:06d}.jpg")
    lines = "000000 5 1 2 11 12 6 7 9 20 2 31 12 25 7\n000001\n000002,5,2,2,12,12,7,7\n"
    text("annotations/train_001.txt", lines)
    text("annotations/test_001.txt", "0 1 1 1 4 4 2 2\n")
    annotated = read_vscrowd(tmp_path, "train")
    assert [image.file_name for image in annotated.images] == [
        f"train_001/{frame:06d}.jpg" for frame in range(4)
    ]
    first, second, third, last = (image.truth for image in annotated.images)
    assert first.boxes.tolist() == [[1, 2, 11, 12], [20, 2, 31, 12]]
    assert first.ids is not None
    assert first.ids.tolist() == [5, 9]
    assert third.boxes.tolist() == [[2, 2, 12, 12]]
    assert len(second.boxes) == len(last.boxes) == 0
    assert annotated.images[0].path == tmp_path / "videos/train_001/000000.jpg"
    assert annotated.notes == ("frames without a picture, kept: 1",)
    assert len(read_vscrowd(tmp_path / "annotations")) == 5
    assert len(read_vscrowd(tmp_path / "annotations" / "test_001.txt")) == 1


def test_bad_lines_and_nothing_there(tmp_path: Path, text: Write) -> None:
    with pytest.raises(AnnotationError, match="expected a text file a video"):
        read_vscrowd(tmp_path)
    for line, reason in (
        ("0 5 1 2 3", r"line 1: expected FrameID \(HeadID"),
        ("x 5 1 2 3 4 5 6", "line 1: expected a frame as a whole number"),
        ("0 x 1 2 3 4 5 6", "line 1: expected a head's id"),
        ("0 5 1 2 y 4 5 6", "line 1: expected a box of four numbers"),
    ):
        with pytest.raises(AnnotationError, match=reason):
            read_vscrowd(text("a.txt", line))
