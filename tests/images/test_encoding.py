"""Pictures as the bytes of a file."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from head_detection.errors import PictureError
from head_detection.images.encoding import encode_picture

RED_THEN_BLUE = np.array([[[255, 0, 0]] * 8 + [[0, 0, 255]] * 8] * 8, np.uint8)


@pytest.mark.parametrize(
    ("suffix", "kind"), [(".jpg", "JPEG"), (".jpeg", "JPEG"), (".png", "PNG"), (".webp", "WEBP")]
)
def test_colours_and_sides_stay(suffix: str, kind: str) -> None:
    with Image.open(BytesIO(encode_picture(RED_THEN_BLUE, suffix))) as image:
        assert (image.format, image.size) == (kind, (16, 8))
        pixels = np.asarray(image.convert("RGB")).astype(int)
    difference = abs(pixels - RED_THEN_BLUE)[:, [0, -1]]  # a JPEG's colours are coarse at edges
    assert difference.max() <= (6 if kind == "JPEG" else 0)


def test_quality_is_that_of_a_jpeg() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    sizes = [len(encode_picture(noise, ".jpg", quality)) for quality in (30, 95)]
    assert sizes[0] < sizes[1] == len(encode_picture(noise, ".jpg"))


@pytest.mark.parametrize(
    ("suffix", "most"), [(".jpg", 65_500), (".png", 1_000_000), (".webp", 16_383)]
)
@pytest.mark.parametrize("is_tall", [False, True])
def test_sides_as_long_as_the_format_allows(
    suffix: str, most: int, is_tall: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    def black(side: int) -> np.ndarray:
        return np.zeros((side, 1, 3) if is_tall else (1, side, 3), np.uint8)

    assert encode_picture(black(most), suffix)
    with pytest.raises(PictureError, match=f"at most {most:,} pixels to write {suffix}; got "):
        encode_picture(black(most + 1), suffix)
    assert capfd.readouterr().err == ""
