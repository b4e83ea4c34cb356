"""The list of what is wrong with labelled pictures."""

from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    build_truth,
    find_problems,
    parse_box,
)
from head_detection.errors import AnnotationError

Box = tuple[float, float, float, float]


def picture(folder: Path, name: str = "a.png") -> Path:
    """A picture of 40 x 30 pixels."""
    path = folder / name
    Image.new("RGB", (40, 30)).save(path)
    return path


def annotated(path: Path, *boxes: Box, image_size: tuple[int, int] | None = None) -> AnnotatedImage:
    return AnnotatedImage(path, path.name, build_truth([(b, False) for b in boxes]), image_size)


def problems_of(*images: AnnotatedImage) -> list[str]:
    return find_problems([AnnotatedSet("mine", images)])


def test_nothing_wrong(tmp_path: Path) -> None:
    path = picture(tmp_path)
    good = annotated(path, (0, 0, 40, 30), (5, 5, 6, 6), image_size=(30, 40))
    assert problems_of(good, annotated(path)) == []


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ((5, 5, 5, 9), "mine: a.png: box 1 (5, 5, 5, 9) has no area"),
        ((9, 9, 5, 20), "mine: a.png: box 1 (9, 9, 5, 20) has no area"),
        ((-2, 0, 9, 9), "mine: a.png: box 1 (-2, 0, 9, 9) reaches outside the 40x30 picture"),
        ((0, 0, 42, 9), "mine: a.png: box 1 (0, 0, 42, 9) reaches outside the 40x30 picture"),
        ((50, 50, 60, 60), "mine: a.png: box 1 (50, 50, 60, 60) reaches outside the 40x30 picture"),
    ],
)
def test_bad_boxes(tmp_path: Path, box: Box, text: str) -> None:
    assert problems_of(annotated(picture(tmp_path), (0, 0, 9, 9), box)) == [text]


def test_a_box_may_reach_one_pixel_outside(tmp_path: Path) -> None:
    assert problems_of(annotated(picture(tmp_path), (-1, 0, 41, 31))) == []


def test_everything_is_listed_at_once_and_in_order(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    cut = tmp_path / "cut.png"
    cut.write_bytes(picture(tmp_path).read_bytes()[:-20])
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    sets = [
        AnnotatedSet("first", (annotated(tmp_path / "gone.png"), annotated(text))),
        AnnotatedSet("none", ()),
        AnnotatedSet(
            "second", (annotated(tmp_path / "cut.jpg"), annotated(tmp_path / "a.png", (1, 1, 1, 1)))
        ),
    ]
    problems = find_problems(sets)
    assert [line.partition(":")[0] for line in problems] == [
        "none",
        *["first"] * 2,
        *["second"] * 2,
    ]
    for line, part in zip(
        problems,
        ["holds no pictures", "gone.png: no such file", "not a picture", "cut.jpg", "no area"],
        strict=True,
    ):
        assert part in line
        assert "\n" not in line


def test_stated_size_must_be_the_picture_s(tmp_path: Path) -> None:
    path = picture(tmp_path)
    assert problems_of(annotated(path, image_size=(31, 40))) == [
        "mine: a.png: the labels say 40x31, the picture is 40x30"
    ]
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    assert problems_of(annotated(path, image_size=(40, 30))) == []
    (problem,) = problems_of(annotated(path, image_size=(30, 40)))
    assert "EXIF rotation" in problem


def test_no_sets() -> None:
    assert find_problems([]) == []


def test_progress_bar_is_drawn_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [AnnotatedSet("mine", (annotated(picture(tmp_path)),))]
    find_problems(sets)
    assert capsys.readouterr().err == ""
    find_problems(sets, show_progress=True)
    assert "1/1" in capsys.readouterr().err


def test_truth_of_no_rows_is_empty() -> None:
    truth = build_truth([])
    assert truth.boxes.shape == (0, 4)
    assert truth.boxes.dtype == np.float32
    assert truth.ignore.shape == (0,)


def test_heads_are_counted_without_ignored_ones() -> None:
    truth = build_truth([((0, 0, 1, 1), False), ((0, 0, 2, 2), True), ((0, 0, 3, 3), False)])
    image = AnnotatedImage(Path("a"), "a", truth)
    assert AnnotatedSet("mine", (image, image)).num_heads == 4
    npt.assert_array_equal(truth.ignore, [False, True, False])


def test_parse_box() -> None:
    assert parse_box([1, 2.5, "3", 4e0], "here") == (1.0, 2.5, 3.0, 4.0)


@pytest.mark.parametrize(
    "values",
    [
        None,
        "1234",
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [1, 2, 3, None],
        [1, 2, 3, True],
        [1, 2, 3, "x"],
        [1, 2, 3, float("nan")],
        [1, 2, 3, float("inf")],
        [1, 2, 3, 10**400],
        [1, 2, 3, 1e30],
        [[1], 2, 3, 4],
        {"x": 1},
    ],
)
def test_parse_box_refuses(values: object) -> None:
    with pytest.raises(AnnotationError, match="here: expected a box of four numbers"):
        parse_box(values, "here")
