"""Pictures decoded no larger than needed."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from head_detection.images.reading import read_reduced


@pytest.fixture
def jpeg(encode: Callable[..., bytes]):
    """A function from (width, height) to the file of a picture that goes from dark to light."""

    def draw(size, orientation=None):
        width, height = size
        gradient = np.linspace(0, 255, width, dtype=np.uint8)[None].repeat(height, axis=0)
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        return encode(Image.fromarray(gradient).convert("RGB"), "JPEG", exif=exif)

    return draw


@pytest.mark.parametrize(
    ("enough", "sides"),
    [
        ((100, 200), (100, 200)),
        ((101, 200), (200, 400)),
        ((30, 60), (50, 100)),
        ((1, 1), (50, 100)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed_by_hand(enough, sides, jpeg):
    asked = []

    def note(size):
        asked.append(size)
        return enough

    picture = read_reduced(jpeg((800, 400)), note)
    assert asked == [(400, 800)]
    assert (picture.pixels.shape[:2], picture.image_size) == (sides, (400, 800))


def test_a_reduced_jpeg_stands_upright(jpeg):
    picture = read_reduced(
        jpeg((800, 400), orientation=6), lambda size: (size[0] // 4, size[1] // 4)
    )
    assert (picture.pixels.shape[:2], picture.image_size) == ((200, 100), (800, 400))
    whole = read_reduced(jpeg((800, 400), orientation=6), None).pixels
    assert abs(float(picture.pixels[:50].mean()) - float(whole[:200].mean())) < 1.5


def test_other_formats_are_read_in_full(encode):
    picture = read_reduced(encode(Image.new("RGB", (80, 40))), lambda size: (1, 1))
    assert (picture.pixels.shape[:2], picture.image_size) == ((40, 80), (40, 80))
