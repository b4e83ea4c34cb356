"""Names that stay in their folder, files under another spelling, and pictures meant by a name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.data.formats.names import FolderIndex, PictureNames, inner_name
from head_detection.errors import AmbiguousNameError, AnnotationError


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


@pytest.mark.parametrize("extension", [".jfif", ".avif", ".jp2", ".mpo", ".gif", ".JPEG"])
def test_every_kind_of_picture_counts(tmp_path: Path, extension: str) -> None:
    (tmp_path / f"a{extension}").touch()
    index = FolderIndex(tmp_path)
    assert index.find_stem("a") == f"a{extension}"
    assert list(index.names()) == [f"a{extension}"]


@pytest.fixture
def names() -> PictureNames:
    return PictureNames(["a/1.jpg", "b/1.jpg", "c/d/7.png", "x,y.v2.jpg", "000012.jpg"])


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("a/1.jpg", 0),
        ("/data/b/1.jpg", 1),
        (r"data\b\1.jpg", 1),
        ("7.png", 2),
        ("d/7.png", 2),
        ("./c/d/7.png", 2),
        ("e/7.png", None),
        ("7.jpg", None),
        ("2.jpg", None),
        ("", None),
        ("/", None),
    ],
)
def test_a_name_means_a_picture_where_one_path_ends_with_the_other(
    names: PictureNames, name: str, index: int | None
) -> None:
    assert names.find(name) == index


@pytest.mark.parametrize(
    ("stem", "index"),
    [("x,y.v2", 3), ("x,y", None), ("000012", 4), ("12", 4), ("13", None), ("b/1", 1)],
)
def test_names_without_extension(names: PictureNames, stem: str, index: int | None) -> None:
    assert names.find_stem(stem) == index


def test_a_name_that_fits_several_is_refused(names: PictureNames) -> None:
    with pytest.raises(AmbiguousNameError, match=r"fits 2, such as a/1.jpg and b/1.jpg"):
        names.find("1.jpg")


def test_the_very_name_comes_before_those_that_end_with_it() -> None:
    assert PictureNames(["a/1.jpg", "1.jpg"]).find("1.jpg") == 1


def test_a_number_that_is_two_names_is_none() -> None:
    assert PictureNames(["01.jpg", "001.jpg"]).find_stem("1") is None


def test_no_pictures() -> None:
    assert PictureNames([]).find("a.jpg") is None
