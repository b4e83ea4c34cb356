from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.quality.survey import (
    SetStatistics,
    is_blank,
    join_statistics,
    make_thumbnail,
    measure_set,
    pixel_statistics,
    spread,
    survey_pictures,
)


def write(path: Path, picture: object) -> AnnotatedImage:
    Image.fromarray(np.asarray(picture, np.uint8)).save(path)
    return AnnotatedImage(path, path.name, build_truth([]))


def test_every_pixel_counts_the_same(tmp_path: Path) -> None:
    """Three black pixels and one of red 255: mean .25, deviation sqrt(.25 - .0625) = .433."""
    black = write(tmp_path / "a.png", np.zeros((1, 3, 3)))
    red = write(tmp_path / "b.png", [[[255, 0, 51]]])
    pictures = survey_pictures([AnnotatedSet("s", (black,)), AnnotatedSet("t", (red,))])
    assert [picture.set_name for picture in pictures] == ["s", "t"]
    assert [picture.image_size for picture in pictures] == [(1, 3), (1, 1)]
    statistics = pixel_statistics(pictures)
    assert statistics is not None
    assert statistics[0] == (0.25, 0.0, 0.05)
    assert statistics[1] == (pytest.approx(0.433), 0.0, pytest.approx(0.0866))


def test_a_picture_that_cannot_be_read_stops_nothing(tmp_path: Path) -> None:
    fine = write(tmp_path / "a.png", np.zeros((2, 2, 3)))
    gone = AnnotatedImage(tmp_path / "gone.png", "gone.png", build_truth([]))
    first, second = survey_pictures([AnnotatedSet("s", (gone, fine))])
    assert first.error is not None
    assert "no such file" in first.error
    assert second.error is None
    assert pixel_statistics([first]) is None


def test_no_sets() -> None:
    assert survey_pictures([]) == []
    assert pixel_statistics([]) is None


def test_a_thumbnail_is_the_mean_of_what_it_covers() -> None:
    picture = np.zeros((128, 256, 3), np.uint8)
    picture[:, ::4] = 200  # one column of four: 50
    thumbnail = make_thumbnail(picture)
    assert thumbnail.shape == (64, 64)
    assert (thumbnail == 50).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3, 2)])
def test_tiny_pictures_have_a_thumbnail(size: tuple[int, int]) -> None:
    assert make_thumbnail(np.full((*size, 3), 9, np.uint8)).shape == (64, 64)


def test_blank() -> None:
    noise = np.random.default_rng(0).integers(14, 19, (64, 64)).astype(np.uint8)
    assert is_blank(noise)
    noise[:, :32] += 10
    assert not is_blank(noise)


def measured(name: str, *counts: int) -> SetStatistics:
    rows = [[([0, 0, 4, 9], False)] * count + [([0, 0, 9, 9], True)] for count in counts]
    images = [AnnotatedImage(Path("a"), "a", build_truth(boxes)) for boxes in rows]
    return measure_set(AnnotatedSet(name, tuple(images)))


def test_figures_by_hand() -> None:
    both = join_statistics("both", [measured("a", 0, 2), measured("b", 4)])
    assert both.heads_per_image.tolist() == [0, 2, 4]
    assert both.num_ignored == 3
    assert both.head_sizes.tolist() == [6.0] * 6
    assert spread(both.heads_per_image) == {
        "min": 0, "p05": 0.2, "median": 2, "p95": 3.8, "max": 4, "mean": 2
    }  # fmt: skip
    assert spread(np.zeros(0)) == {}


def test_boxes_without_area_have_no_size() -> None:
    image = AnnotatedImage(Path("a"), "a", build_truth([([5, 5, 5, 9], False)]))
    statistics = measure_set(AnnotatedSet("a", (image,)))
    assert statistics.heads_per_image.tolist() == [1]
    assert statistics.head_sizes.tolist() == []
