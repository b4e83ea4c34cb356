import pytest

from head_detection.data.picture_names import PictureNames
from head_detection.errors import AmbiguousNameError


@pytest.fixture
def names() -> PictureNames:
    return PictureNames(["a/1.jpg", "b/1.jpg", "c/d/7.png", "x,y.v2.jpg", "000012.jpg"])


@pytest.mark.parametrize(
    ("name", "place"),
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
    names: PictureNames, name: str, place: int | None
) -> None:
    assert names.find(name) == place


@pytest.mark.parametrize(
    ("stem", "place"),
    [("x,y.v2", 3), ("x,y", None), ("000012", 4), ("12", 4), ("13", None), ("b/1", 1)],
)
def test_names_without_extension(names: PictureNames, stem: str, place: int | None) -> None:
    assert names.find_stem(stem) == place


def test_a_name_that_fits_several_is_refused(names: PictureNames) -> None:
    with pytest.raises(AmbiguousNameError, match=r"fits 2, such as a/1.jpg and b/1.jpg"):
        names.find("1.jpg")


def test_the_very_name_comes_before_those_that_end_with_it() -> None:
    assert PictureNames(["a/1.jpg", "1.jpg"]).find("1.jpg") == 1


def test_a_number_that_is_two_names_is_none() -> None:
    assert PictureNames(["01.jpg", "001.jpg"]).find_stem("1") is None


def test_no_pictures() -> None:
    assert PictureNames([]).find("a.jpg") is None
