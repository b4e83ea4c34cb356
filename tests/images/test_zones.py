"""Zones and lines on pictures."""

import numpy as np
import pytest

from head_detection.images.reading import Picture
from head_detection.images.zones import COLORS, draw_regions
from head_detection.structures import RegionCount

HALL = RegionCount("hall", ((20, 60), (140, 60), (140, 200), (20, 200)), now=3)
DOOR = RegionCount("door", ((200, 40), (200, 200)), num_in=5, num_out=2)


def test_a_zone_is_tinted_inside_and_nothing_else_is_touched() -> None:
    pixels = np.full((240, 320, 3), 90, np.uint8)
    drawn = draw_regions(pixels, [HALL])
    assert (pixels == 90).all()
    tint = [round(0.8 * 90 + 0.2 * channel) for channel in COLORS[0]]
    assert np.abs(drawn[150, 80].astype(int) - tint).max() <= 1
    assert (drawn[:, 150:] == 90).all()
    assert (drawn[210:] == 90).all()


def test_the_arrow_points_left_of_the_way_from_the_first_end_to_the_second() -> None:
    """Down the picture, the left hand is towards larger x; the other order turns it."""
    pixels = np.zeros((240, 320, 3), np.uint8)
    for points, is_right in ((DOOR.points, True), (DOOR.points[::-1], False)):
        drawn = draw_regions(pixels, [RegionCount("door", points)])
        blue = drawn[120, :, 2].astype(int) - drawn[120, :, 0] > 60
        assert bool(blue[214]) == is_right
        assert bool(blue[186]) != is_right


@pytest.mark.parametrize(
    "size", [(180, 320), (240, 320), (2160, 3840), (320, 60), (9, 9), (1, 500)]
)
def test_labels_stay_in_pictures_of_any_size(size: tuple[int, int]) -> None:
    height, width = size
    scale = width / 320
    pixels = np.full((height, width, 3), 90, np.uint8)
    regions = [HALL, DOOR, RegionCount("far", ((-1e9, 5), (1e9, 7), (3, 1e30)), now=0)]
    assert draw_regions(pixels, regions, scale).shape == pixels.shape
    assert (draw_regions(pixels, []) == pixels).all()


def label_height(drawn: Picture, scale: float = 1.0) -> int:
    """Return for how many rows the corner of the hall is dark."""
    column = drawn[round(60 * scale) :, round(25 * scale)]
    return int(np.argmin((column < 60).all(axis=1)))


@pytest.mark.parametrize("height", [240, 2160])
def test_letters_are_a_thirtieth_of_the_picture_and_never_too_small(height: int) -> None:
    pixels = np.full((height, height * 16 // 9, 3), 200, np.uint8)
    scale = height / 240
    assert label_height(draw_regions(pixels, [HALL], scale), scale) >= max(11, height // 30)


def test_labels_of_the_same_corner_lie_below_each_other() -> None:
    pixels = np.full((240, 320, 3), 200, np.uint8)
    twin = RegionCount("hall", HALL.points, now=4)
    one = label_height(draw_regions(pixels, [HALL]))
    assert label_height(draw_regions(pixels, [HALL, twin])) == 2 * one
