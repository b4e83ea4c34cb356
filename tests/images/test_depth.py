"""More than 8 bits a channel to 8. Expected numbers are value x 255 / the largest one."""

import io
from collections.abc import Callable

import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.errors import PictureError
from head_detection.images.reading import convert_picture, read_picture, read_reduced

Make = Callable[..., bytes]
STEPS = np.array([0, 51, 102, 153, 204, 255])
"""Of 8 bits: fifths."""
BITS = [8, 10, 12, 14, 16]


def fifths(bits: int) -> np.ndarray:
    """0, 1/5 ... 5/5 of the largest value of so many bits, in a row."""
    return np.rint(STEPS / 255 * (2**bits - 1)).astype(np.uint16).reshape(1, 6, 1)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("order", ["<", ">"])
def test_grey_tiff_by_its_values(bits: int, order: str, tiff: Make) -> None:
    picture = read_reduced(tiff(fifths(bits), order=order), None)
    npt.assert_allclose(picture.pixels[0, :, 1], STEPS, atol=1)
    assert (picture.note is None) == (bits == 16)
    if picture.note:
        assert f"0 to {2**bits - 1:g}" in picture.note


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_png_by_its_values(bits: int, channels: int, deep_png: Make) -> None:
    values = fifths(bits).repeat(channels, axis=2)
    if channels in (2, 4):
        values[:, :, -1] = 65535
    picture = read_reduced(deep_png(values), None)
    npt.assert_allclose(picture.pixels[0], STEPS[:, None].repeat(3, axis=1), atol=1)
    assert (picture.note is None) == (bits == 16)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("kind", "channels"), [(2, 3), (2, 4), (5, 4)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_in_colour_by_its_values(
    bits: int, kind: int, channels: int, order: str, tiff: Make
) -> None:
    values = fifths(bits).repeat(channels, axis=2)
    expected = STEPS
    if kind == 5:  # ink: only black, so that 255 - K is the grey
        values[:, :, :3] = 0
        expected = 255 - STEPS
    elif channels == 4:
        values[:, :, 3] = 2**bits - 1  # as deep as the colours
    picture = read_picture(tiff(values, kind, order))
    npt.assert_allclose(picture[0], expected[:, None].repeat(3, axis=1), atol=1)


def test_compressed_tiff_in_colour() -> None:
    """OpenCV writes 16 bits in LZW; blue, green, red."""
    cv2 = pytest.importorskip("cv2")
    values = np.zeros((2, 6, 3), np.uint16)
    values[:, :, 2] = fifths(12)[:, :, 0]
    picture = read_picture(cv2.imencode(".tiff", values)[1].tobytes())
    npt.assert_allclose(picture[0, :, 0], STEPS, atol=1)
    assert picture[:, :, 1:].max() == 0


def test_a_file_and_an_image_that_the_user_opened(tmp_path, tiff: Make) -> None:
    content = tiff(fifths(10).repeat(3, axis=2), 2)
    (tmp_path / "a.tif").write_bytes(content)
    for source in (tmp_path / "a.tif", io.BytesIO(content)):
        with Image.open(source) as image:
            npt.assert_allclose(convert_picture(image, "a")[0, :, 0], STEPS, atol=1)
    npt.assert_allclose(read_picture(tmp_path / "a.tif")[0, :, 0], STEPS, atol=1)


def test_twelve_bits_that_the_file_states(tiff: Make) -> None:
    """Two values in three bytes: 819 (333h) and 1638 (666h) of 4095 are 51 and 102."""
    content = tiff(np.array([[[0x33], [0x36], [0x66]]], np.uint8), bits=12)
    content = content.replace(
        b"\x00\x01\x03\x00\x01\x00\x00\x00\x03", b"\x00\x01\x03\x00\x01\x00\x00\x00\x02"
    )
    npt.assert_array_equal(read_picture(content)[0, :, 0], [51, 102])


@pytest.mark.parametrize(
    ("tags", "white"),
    [
        ([(281, 3, [4000])], 4000),
        ([(341, 3, [4000])], 4000),
        ([(341, 11, [4000.0])], 4000),
        ([(280, 3, [0]), (281, 3, [5000])], 5000),
        ([(281, 3, [100])], 4095),  # the values do not keep to it
        ([(341, 12, [float("nan")])], 4095),
        ([(281, 2, [b"x"])], 4095),
    ],
)
def test_the_range_that_tiff_states(tags: list, white: float, tiff: Make) -> None:
    values = np.array([[[0], [1000], [2000], [3900]]], np.uint16)
    picture = read_reduced(tiff(values, tags=tags), None)
    npt.assert_array_equal(picture.pixels[0, :, 0], np.rint(values[0, :, 0] * (255 / white)))
    assert picture.note is not None
    assert f"0 to {white:g}" in picture.note


def test_the_lowest_value_that_tiff_states_is_black(tiff: Make) -> None:
    values = np.array([[[7000], [8000], [9000]]], np.uint16)
    picture = read_picture(tiff(values, tags=[(280, 3, [6000]), (281, 3, [10_000])]))
    npt.assert_array_equal(picture[0, :, 0], [64, 128, 191])  # 255 x 1/4, 2/4 and 3/4


def test_significant_bits_of_png(deep_png: Make, chunk: Make) -> None:
    """12 bits: as they are they take 4095 for white, though no value comes above 900; moved up by
    4 bits, as the PNG specification has it, they take 65535."""
    values = np.array([[[1], [300], [899]]], np.uint16)
    before = chunk(b"sBIT", b"\x0c")
    npt.assert_array_equal(read_picture(deep_png(values, before))[0, :, 0], [0, 19, 56])
    npt.assert_array_equal(read_picture(deep_png(values))[0, :, 0], [0, 75, 224])
    moved = np.array([[[0], [2048 << 4], [4095 << 4]]], np.uint16)
    picture = read_reduced(deep_png(moved, before), None)
    npt.assert_array_equal(picture.pixels[0, :, 0], [0, 128, 255])
    assert picture.note is None


def test_a_dark_picture_of_sixteen_bits_is_brightened_and_noted(deep_png: Make) -> None:
    """5000 needs 13 bits; 14 is what cameras have."""
    ramp = np.arange(5001, dtype=np.uint16).reshape(1, -1, 1)
    picture = read_reduced(deep_png(ramp), None)
    assert picture.pixels.max() == round(5000 / 16383 * 255)
    assert (
        picture.note == "pixel values 0 to 16383 are shown as black to white (they are 5 to 4995)"
    )


def test_a_ramp_of_all_values_keeps_all_levels(deep_png: Make) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    picture = read_reduced(deep_png(ramp), None)
    npt.assert_array_equal(picture.pixels[:, :, 0], np.rint(ramp[:, :, 0] / 257))
    assert picture.note is None


def test_heat_far_from_zero_has_contrast(tiff: Make) -> None:
    """Hundredths of a kelvin: 288 to 311 K."""
    ramp = np.linspace(28_800, 31_100, 1001).astype(np.uint16).reshape(1, -1, 1)
    picture = read_reduced(tiff(ramp), None)
    assert picture.pixels.min() == 0
    assert picture.pixels.max() == 255
    assert picture.note is not None


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_degrees_below_zero(dtype: type, tiff: Make) -> None:
    picture = read_picture(tiff(np.array([[[-40], [0], [40]]], dtype)))
    npt.assert_array_equal(picture[0, :, 0], [0, 128, 255])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 819.0, 4095.0], [0, 51, 255]),
        ([15.0, 26.5, 38.0], [0, 128, 255]),  # degrees: 9 hundredths of 0 to 255
        ([0.0, 0.02, 0.05], [0, 102, 255]),
        ([np.nan, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 1.0, np.inf], [0, 255, 255]),
    ],
)
def test_floats(values: list[float], expected: list[int], tiff: Make) -> None:
    picture = read_picture(tiff(np.array(values, np.float32).reshape(1, -1, 1)))
    npt.assert_array_equal(picture[0, :, 0], expected)


def test_a_picture_of_no_numbers_is_none(tiff: Make) -> None:
    with pytest.raises(PictureError, match="no pixel's value is a number"):
        read_picture(tiff(np.full((1, 3, 1), np.nan, np.float32)))


def test_white_may_be_zero(tiff: Make) -> None:
    """Photometric interpretation 0."""
    npt.assert_array_equal(read_picture(tiff(fifths(16), 0))[0, :, 0], 255 - STEPS)
    npt.assert_allclose(read_picture(tiff(fifths(12), 0))[0, :, 0], 255 - STEPS, atol=1)


def test_dead_pixels_do_not_count(deep_png: Make) -> None:
    """Two of 5000 are stuck at the end."""
    values = np.tile(np.arange(0, 4096, 4096 / 2500).astype(np.uint16), 2).reshape(50, 100, 1)
    values[10, 10] = values[40, 3] = 65535
    picture = read_picture(deep_png(values))
    assert np.median(picture) == pytest.approx(127, abs=1)


@pytest.mark.parametrize("level", [0, 200, 4000, 40_000, 65_535])
def test_one_value_alone_has_no_contrast_to_stretch(level: int, deep_png: Make) -> None:
    picture = read_picture(deep_png(np.full((3, 3, 1), level, np.uint16)))
    assert len(np.unique(picture)) == 1
    assert (picture.max() == 0) == (level == 0)


def test_alpha_as_deep_as_the_colours_is_not_transparent(deep_png: Make) -> None:
    values = fifths(12).repeat(4, axis=2)
    values[:, :, 3] = 4095
    npt.assert_allclose(read_picture(deep_png(values))[0, :, 0], STEPS, atol=1)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_images_of_pillow(mode: str) -> None:
    image = Image.new(mode, (6, 1))
    for x, value in enumerate(fifths(10).ravel().tolist()):
        image.putpixel((x, 0), value)
    npt.assert_allclose(convert_picture(image, "a")[0, :, 0], STEPS, atol=1)


def test_pgm_that_states_its_largest_value() -> None:
    content = b"P5 3 1 1023\n" + np.array([0, 512, 1023], ">u2").tobytes()
    npt.assert_array_equal(read_picture(content)[0, :, 0], [0, 128, 255])


def test_beyond_sixteen_bits(tiff: Make) -> None:
    for dtype in (np.int32, np.float32):
        with pytest.raises(PictureError, match="pixels above 65535"):
            read_picture(tiff(np.array([[[0], [70_000]]], dtype)))
