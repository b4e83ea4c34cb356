from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth
from head_detection.data.quality.survey import pixel_statistics, survey_pictures


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
