"""Pictures without labels."""

from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.data.formats.folder import read_folder
from head_detection.errors import AnnotationError


def test_every_picture_and_no_heads(tmp_path: Path, picture: Callable[..., Path]) -> None:
    for name in ("b/1.JPG", "a/1.jpg", "2.png"):
        picture(name)
    (tmp_path / "readme.txt").touch()
    annotated = read_folder(tmp_path)
    assert [image.file_name for image in annotated.images] == ["2.png", "a/1.jpg", "b/1.JPG"]
    assert annotated.num_heads == 0
    assert annotated.notes == ("pictures without labels, their heads unknown and none assumed: 3",)
    assert len(read_folder(tmp_path, tmp_path / "a")) == 1


def test_no_folder_and_none_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for path in (tmp_path, tmp_path / "a.txt", tmp_path / "no"):
        with pytest.raises(AnnotationError, match="expected a folder of pictures"):
            read_folder(path)
