"""Names that stay in their folder, and files under another spelling of their name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.data.formats.file_names import FolderIndex, inner_name
from head_detection.errors import AnnotationError


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jpg", "a.jpg"),
        ("a/./b.jpg", "a/b.jpg"),
        ("a\\b.jpg", "a/b.jpg"),
        ("..a.jpg", "..a.jpg"),
        ("Größe 1.jpg", "Größe 1.jpg"),
    ],
)
def test_names_inside(name: str, expected: str) -> None:
    assert inner_name(name, "here") == expected


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../a.jpg", "a/../../b.jpg", "/a.jpg", "\\a.jpg", "..\\a", "C:\\a", "a\0b"],
)
def test_names_outside(name: str) -> None:
    with pytest.raises(AnnotationError, match=r"^here: expected"):
        inner_name(name, "here")


def test_names_that_are_no_unicode() -> None:
    with pytest.raises(AnnotationError, match=r"Unicode, got 'a\\udcff'"):
        inner_name("a\udcff", "here")


def test_letter_case_and_extension(tmp_path: Path, picture: Callable[..., Path]) -> None:
    for name in ("a/One.JPG", "a/two.png", "b/One.jpg", "b/one.jpg"):
        picture(name)
    (tmp_path / "a" / "two.txt").touch()
    index = FolderIndex(tmp_path)
    assert index.find("a/one.jpg") == "a/One.JPG"
    assert index.find("b/one.jpg") == "b/one.jpg", "its own spelling wins"
    assert index.find("a/three.jpg") == "a/three.jpg", "what is not there keeps its name"
    assert index.find_stem("a/two") == "a/two.png", "the text is no picture"
    assert index.find_stem("a/ONE") == "a/One.JPG"
    assert index.find_stem("a/three") is None
    assert FolderIndex(tmp_path / "no").find_stem("a") is None


def test_every_picture_in_order(tmp_path: Path, picture: Callable[..., Path]) -> None:
    for name in ("b/1.jpg", "a/1.JPEG", "a/.2.jpg", ".git/3.jpg"):
        picture(name)
    (tmp_path / "a" / "1.txt").touch()
    assert list(FolderIndex(tmp_path).names()) == ["a/1.JPEG", "b/1.jpg"]
