"""Every kind of picture file, whole and reduced."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.errors import PictureError
from head_detection.images.reading import (
    convert_picture,
    read_picture,
    read_picture_size,
    read_reduced,
)

Encode = Callable[..., bytes]
ANIMATED = ("TIFF", "GIF", "PNG", "WEBP")
PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
"""Two rows of three pixels, all different."""


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("PPM", {}),
        ("TGA", {}),
        ("WEBP", {"lossless": True}),
        ("JPEG2000", {}),
    ],
)
def test_lossless_formats_keep_every_pixel(
    file_format: str, options: dict[str, object], encode: Encode
) -> None:
    picture = read_picture(encode(Image.fromarray(PIXELS), file_format, **options))
    npt.assert_array_equal(picture, PIXELS)
    assert picture.dtype == np.uint8
    assert picture.flags.writeable


def test_paths_bytes_and_open_files_give_the_same(tmp_path: Path, encode: Encode) -> None:
    content = encode(Image.fromarray(PIXELS))
    path = tmp_path / "ünïcode name.PNG"
    path.write_bytes(content)
    with path.open("rb") as file:
        sources = [
            path,
            content,
            bytearray(content),
            memoryview(content),
            io.BytesIO(content),
            file,
        ]
        for source in sources:
            npt.assert_array_equal(read_picture(source), PIXELS)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "MPO"])
@pytest.mark.parametrize(("width", "height"), [(32, 16), (16, 32)])
@pytest.mark.parametrize(
    ("orientation", "left_top"),
    [
        # EXIF 2.32, tag 0x0112: which corner of the stored picture is the visual top left one
        (1, (0, 0)),
        (2, (0, -1)),
        (3, (-1, -1)),
        (4, (-1, 0)),
        (5, (0, 0)),
        (6, (-1, 0)),
        (7, (-1, -1)),
        (8, (0, -1)),
    ],
)
def test_exif_rotation(
    file_format: str,
    width: int,
    height: int,
    orientation: int,
    left_top: tuple[int, int],
    encode: Encode,
) -> None:
    """What is stored lies or stands: once it is upright, it is the other way round."""
    stored = np.zeros((height, width, 3), np.uint8)
    rows = slice(0, height // 2) if left_top[0] == 0 else slice(height // 2, height)
    columns = slice(0, width // 2) if left_top[1] == 0 else slice(width // 2, width)
    stored[rows, columns] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(stored), file_format, exif=exif)

    reduced = read_reduced(content, lambda size: size)
    picture = reduced.pixels

    assert picture.shape == ((width, height, 3) if orientation >= 5 else (height, width, 3))
    assert read_picture_size(content) == picture.shape[:2]
    assert reduced.image_size == picture.shape[:2]
    height, width = picture.shape[:2]
    quarters = picture[height // 4 :: height // 2, width // 4 :: width // 2, 0]
    npt.assert_array_equal(quarters > 127, [[True, False], [False, False]])


@pytest.mark.parametrize("late", ["exif", "text"])
def test_a_png_that_says_after_its_pixels_how_to_turn_it(
    late: str, encode: Encode, chunk: Encode
) -> None:
    """ImageMagick puts texts there; the header alone knows nothing of it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(Image.fromarray(PIXELS), "PNG")
    body = (
        exif.tobytes()[6:]
        if late == "exif"
        else (b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    )
    at = content.index(b"IEND") - 4
    content = content[:at] + chunk(b"eXIf" if late == "exif" else b"iTXt", body) + content[at:]
    assert read_picture(content).shape == (3, 2, 3)
    assert read_picture_size(content) == (3, 2)
    npt.assert_array_equal(read_picture(content)[0, 0], PIXELS[1, 0])


@pytest.mark.filterwarnings("ignore:Image was not the expected size")
def test_an_icon_has_the_size_of_its_pixels(encode: Encode) -> None:
    """The directory of an icon states a size of its own."""
    content = bytearray(encode(Image.new("RGB", (48, 32)), "ICO", sizes=[(48, 32)]))
    assert content[6:8] == bytes((48, 32))
    content[6:8] = 40, 40
    assert read_picture(bytes(content)).shape == (32, 48, 3)
    assert read_picture_size(bytes(content)) == (32, 48)


def test_broken_exif_is_no_reason_to_refuse(encode: Encode) -> None:
    content = encode(Image.fromarray(PIXELS), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read_picture(content).shape == (2, 3, 3)
    assert read_picture_size(content) == (2, 3)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(file_format: str, encode: Encode) -> None:
    grey = np.array([[0, 100 * 257, 65535]], np.uint16)
    picture = read_picture(encode(Image.fromarray(grey), file_format))
    npt.assert_array_equal(picture, np.array([[[0] * 3, [100] * 3, [255] * 3]]))


def test_sixteen_bit_pgm() -> None:
    content = b"P5 3 1 65535\n" + np.array([0, 100 * 257, 65535], ">u2").tobytes()
    npt.assert_array_equal(read_picture(content)[0, :, 0], [0, 100, 255])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.2, 1.0], [0, 51, 255]),
        ([0.0, 51.0, 255.0], [0, 51, 255]),
        ([0.0, 13107.0, 65535.0], [0, 51, 255]),
        ([np.nan, -3.0, 1.0], [0, 0, 255]),
    ],
)
def test_floating_pixels(values: list[float], expected: list[int], encode: Encode) -> None:
    content = encode(Image.fromarray(np.array([values], np.float32)), "TIFF")
    npt.assert_array_equal(read_picture(content)[0, :, 1], expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_beyond_sixteen_bits_are_refused(dtype: type, encode: Encode) -> None:
    content = encode(Image.fromarray(np.array([[0, 70000]], dtype)), "TIFF")
    with pytest.raises(PictureError, match="above 65535"):
        read_picture(content)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "RGBX", "I;16", "I", "F"])
def test_black_is_black_in_every_mode(mode: str) -> None:
    black = Image.new("RGB", (3, 2)).convert(mode) if ";" not in mode else Image.new(mode, (3, 2))
    picture = convert_picture(black, "test")
    assert picture.shape == (2, 3, 3)
    assert picture.max() == 0


@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa"])
def test_transparency_becomes_white(mode: str) -> None:
    assert convert_picture(Image.new(mode, (3, 2)), "test").min() == 255


def test_half_transparent_black_is_grey(encode: Encode) -> None:
    content = encode(Image.new("RGBA", (1, 1), (0, 0, 0, 51)))
    # white * (1 - 51/255) = 204
    npt.assert_array_equal(read_picture(content), [[[204, 204, 204]]])


@pytest.mark.parametrize(
    ("image", "transparent"),
    [
        (Image.fromarray(PIXELS).quantize(6), None),
        (Image.fromarray(PIXELS[:, :, 0]), int(PIXELS[0, 0, 0])),
        (Image.fromarray(PIXELS), tuple(PIXELS[0, 0].tolist())),
    ],
)
def test_transparent_colour_of_png(image: Image.Image, transparent: object, encode: Encode) -> None:
    if transparent is None:
        transparent = image.getpixel((0, 0))
    picture = read_picture(encode(image, "PNG", transparency=transparent))
    npt.assert_array_equal(picture[0, 0], [255, 255, 255])
    assert picture[0, 1].max() < 255


def test_cmyk_jpeg_is_not_inverted(encode: Encode) -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    picture = read_picture(encode(red, "JPEG", quality=95)).astype(int)
    assert picture[8, 8, 0] > 240
    assert picture[8, 8, 1:].max() < 15


def test_cmyk_jpegs_look_alike_whatever_their_marker(encode: Encode) -> None:
    """Adobe's marker with transform 0, none, and with 2: luminance and colour differences in place
    of cyan, magenta, yellow. All three store the inks upside down, as Adobe's programs do."""
    ink = (0, 200, 100, 50)
    red, green, blue = (255 - amount for amount in ink[:3])
    unlike = Image.new("RGB", (16, 16), ink[:3]).convert("YCbCr").getpixel((0, 0))
    plain = encode(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100, subsampling=0)
    other = Image.new("CMYK", (16, 16), (*(255 - part for part in unlike), ink[3]))
    turned = encode(other, "JPEG", quality=100, subsampling=0)
    start = plain.index(b"\xff\xee\x00\x0eAdobe")
    assert plain[start + 15] == 0
    without = plain[:start] + plain[start + 16 :]
    ycck = turned[: start + 15] + b"\x02" + turned[start + 16 :]
    pictures = [read_picture(content).astype(int) for content in (plain, without, ycck)]
    expected = [round(part * (255 - ink[3]) / 255) for part in (red, green, blue)]
    for picture in pictures:
        npt.assert_allclose(picture[8, 8], expected, atol=3)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(file_format: str, encode: Encode) -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("blue", "red"))
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = encode(first, file_format, save_all=True, append_images=[second], **options)
    npt.assert_array_equal(read_picture(content)[0, 0], [0, 0, 255])


def textured(height: int, width: int) -> Image.Image:
    """Return noise on a ramp, which leaves a lossy codec much to round."""
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3)
    noise = np.random.default_rng(0).normal(0, 40, ramp.shape)
    return Image.fromarray(np.clip(ramp + noise, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (16, 16), (17, 33), (64, 95)])
@pytest.mark.parametrize(
    "options",
    [{"quality": 80}, {"quality": 5}, {"lossless": True}, {"exif": Image.Exif()}, {"xmp": b"<x/>"}],
)
def test_opencv_and_pillow_decode_a_webp_to_the_same_pixels(
    size: tuple[int, int], options: dict[str, object], tmp_path: Path, encode: Encode
) -> None:
    content = encode(textured(*size), "WEBP", **options)
    (tmp_path / "a").write_bytes(content)
    expected = convert_picture(Image.open(io.BytesIO(content)), "a")  # Pillow's
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("head_detection.images.reading.decode_picture", None)  # not called
        for source in (tmp_path / "a", content, bytearray(content), memoryview(content)):
            found = read_reduced(source, None)
            npt.assert_array_equal(found.pixels, expected)
            assert (found.image_size, found.note) == (size, None)
            assert found.pixels.flags.writeable
            assert found.pixels.flags.c_contiguous


def test_pillow_decodes_a_webp_that_is_not_plain(
    encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("head_detection.images.reading.cv2.imdecode", None)  # not called
    turned = Image.Exif()
    turned[0x0112] = 6
    assert read_picture(encode(textured(4, 9), "WEBP", exif=turned)).shape == (9, 4, 3)
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    npt.assert_array_equal(read_picture(encode(clear, "WEBP")), np.full((2, 2, 3), 255))
    more = {"save_all": True, "append_images": [Image.new("RGB", (9, 4))]}
    found = read_reduced(encode(textured(4, 9), "WEBP", **more), None)
    assert found.note == "the first of several pages or frames alone was read"


def test_pillow_decodes_a_webp_that_opencv_refuses(
    encode: Encode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise cv2.error("too large")

    content = encode(Image.fromarray(PIXELS), "WEBP", lossless=True)
    monkeypatch.setattr("head_detection.images.reading.cv2.imdecode", refuse)
    npt.assert_array_equal(read_picture(content), PIXELS)
    monkeypatch.setattr("head_detection.images.reading.cv2.imdecode", lambda *_: None)
    npt.assert_array_equal(read_picture(content), PIXELS)


def test_threads_read_the_same_as_one(encode: Encode) -> None:
    contents = [encode(Image.fromarray(PIXELS + number)) for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(read_picture, contents * 5))
    for number, picture in enumerate(pictures):
        npt.assert_array_equal(picture, PIXELS + number % 20)


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


@pytest.mark.parametrize(
    ("file_format", "note"),
    [
        *((name, "the first of several pages or frames alone was read") for name in ANIMATED),
        ("MPO", None),  # a phone's photo with what it was computed from
    ],
)
def test_further_pages_and_frames_are_noted(
    encode: Encode, file_format: str, note: str | None
) -> None:
    first, second = Image.new("RGB", (4, 3), "red"), Image.new("RGB", (4, 3), "blue")
    content = encode(first, file_format, save_all=True, append_images=[second])
    reduced = read_reduced(content, None)
    assert reduced.note == note
    assert reduced.pixels[0, 0, 0] > 200
    assert read_reduced(encode(first, file_format), None).note is None
