"""Every kind of picture file, and everything that can be wrong with one."""

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.data.picture import (
    PictureError,
    convert_picture,
    read_picture,
    read_picture_size,
    read_reduced,
)

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
"""Two rows of three pixels, all different."""


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that states its size and then ends."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


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
def test_lossless_formats_keep_every_pixel(file_format: str, options: dict[str, object]) -> None:
    picture = read_picture(encode(Image.fromarray(PIXELS), file_format, **options))
    npt.assert_array_equal(picture, PIXELS)
    assert picture.dtype == np.uint8
    assert picture.flags.writeable


def test_paths_bytes_and_open_files_give_the_same(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
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
def test_exif_rotation(file_format: str, orientation: int, left_top: tuple[int, int]) -> None:
    stored = np.zeros((16, 32, 3), np.uint8)
    rows = slice(0, 8) if left_top[0] == 0 else slice(8, 16)
    columns = slice(0, 16) if left_top[1] == 0 else slice(16, 32)
    stored[rows, columns] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(stored), file_format, exif=exif)

    picture = read_picture(content)

    assert picture.shape == ((32, 16, 3) if orientation >= 5 else (16, 32, 3))
    assert read_picture_size(content) == picture.shape[:2]
    height, width = picture.shape[:2]
    quarters = picture[height // 4 :: height // 2, width // 4 :: width // 2, 0]
    npt.assert_array_equal(quarters > 127, [[True, False], [False, False]])


def test_broken_exif_is_no_reason_to_refuse() -> None:
    content = encode(Image.fromarray(PIXELS), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert read_picture(content).shape == (2, 3, 3)
    assert read_picture_size(content) == (2, 3)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(file_format: str) -> None:
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
def test_floating_pixels(values: list[float], expected: list[int]) -> None:
    content = encode(Image.fromarray(np.array([values], np.float32)), "TIFF")
    npt.assert_array_equal(read_picture(content)[0, :, 1], expected)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_beyond_sixteen_bits_are_refused(dtype: type) -> None:
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


def test_half_transparent_black_is_grey() -> None:
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
def test_transparent_colour_of_png(image: Image.Image, transparent: object) -> None:
    if transparent is None:
        transparent = image.getpixel((0, 0))
    picture = read_picture(encode(image, "PNG", transparency=transparent))
    npt.assert_array_equal(picture[0, 0], [255, 255, 255])
    assert picture[0, 1].max() < 255


def test_cmyk_jpeg_is_not_inverted() -> None:
    red = Image.new("RGB", (16, 16), (255, 0, 0)).convert("CMYK")
    picture = read_picture(encode(red, "JPEG", quality=95)).astype(int)
    assert picture[8, 8, 0] > 240
    assert picture[8, 8, 1:].max() < 15


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in ("blue", "red"))
    options = {"lossless": True} if file_format == "WEBP" else {}
    content = encode(first, file_format, save_all=True, append_images=[second], **options)
    npt.assert_array_equal(read_picture(content)[0, 0], [0, 0, 255])


@pytest.mark.parametrize(
    "content",
    [
        b"hello",
        bytes(1000),
        b"\xff\xd8\xff" + bytes(50),
        b"GIF89a" + b"\xff" * 50,
        b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(40),
        b"<svg/>",
    ],
)
def test_what_is_no_picture(content: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        read_picture(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000"])
def test_truncated(tmp_path: Path, file_format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    content = encode(Image.fromarray(noise), file_format)
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(PictureError, match=r"cut: .*(corrupt|known format)"):
        read_picture(path)


def test_missing_empty_and_a_folder(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for path, reason in [
        (tmp_path / "no.jpg", "no such file"),
        (empty, "empty"),
        (tmp_path, "expected a picture file"),
    ]:
        for read in (read_picture, read_picture_size):
            with pytest.raises(PictureError, match=reason) as caught:
                read(path)
            assert str(caught.value).startswith(str(path))
    with pytest.raises(PictureError, match="picture: the file is empty"):
        read_picture(b"")


def test_size_is_refused_before_anything_is_decoded() -> None:
    for size in ((60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        for read in (read_picture, read_picture_size):
            with pytest.raises(PictureError, match="pixels"):
                read(png_header(*size))
    with pytest.raises(PictureError, match="3x2 pixels; at most 5 pixels"):
        read_picture(encode(Image.fromarray(PIXELS)), max_pixels=5)
    assert read_picture(encode(Image.fromarray(PIXELS)), max_pixels=6).shape == (2, 3, 3)


def test_header_alone_gives_the_size() -> None:
    assert read_picture_size(png_header(300, 200)) == (200, 300)


def test_pillow_does_not_warn_the_user() -> None:
    """A hundred megapixels are above Pillow's warning and below its error."""
    code = (
        "import sys\n"
        "from head_detection.data.picture import read_picture_size\n"
        "print(read_picture_size(sys.stdin.buffer))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=png_header(10_000, 10_000),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == [b"(10000,", b"10000)"]
    assert done.stderr == b""


def test_threads_read_the_same_as_one() -> None:
    contents = [encode(Image.fromarray(PIXELS + number)) for number in range(20)]
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(read_picture, contents * 5))
    for number, picture in enumerate(pictures):
        npt.assert_array_equal(picture, PIXELS + number % 20)


def test_a_file_that_goes_away_while_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "gone.png"
    Image.new("L", (4, 4)).save(path)

    def open_too_late(source):
        path.unlink()
        return source.open("rb")

    monkeypatch.setattr(Image, "open", open_too_late)
    with pytest.raises(PictureError, match=r"gone\.png: no such file$"):
        read_picture(path)


def jpeg(size, orientation=None):
    width, height = size
    gradient = np.linspace(0, 255, width, dtype=np.uint8)[None].repeat(height, axis=0)
    file = io.BytesIO()
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    Image.fromarray(gradient).convert("RGB").save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize(
    ("enough", "sides"),
    [
        ((100, 200), (100, 200)),
        ((101, 200), (200, 400)),
        ((30, 60), (50, 100)),
        ((1, 1), (50, 100)),
    ],
)
def test_a_jpeg_is_decoded_no_larger_than_needed_by_hand(enough, sides):
    asked = []

    def note(size):
        asked.append(size)
        return enough

    picture = read_reduced(jpeg((800, 400)), note)
    assert asked == [(400, 800)]
    assert (picture.pixels.shape[:2], picture.image_size) == (sides, (400, 800))


def test_a_reduced_jpeg_stands_upright():
    picture = read_reduced(
        jpeg((800, 400), orientation=6), lambda size: (size[0] // 4, size[1] // 4)
    )
    assert (picture.pixels.shape[:2], picture.image_size) == ((200, 100), (800, 400))
    whole = read_reduced(jpeg((800, 400), orientation=6), None).pixels
    assert abs(float(picture.pixels[:50].mean()) - float(whole[:200].mean())) < 1.5


def test_other_formats_are_read_in_full():
    file = io.BytesIO()
    Image.new("RGB", (80, 40)).save(file, "PNG")
    picture = read_reduced(file.getvalue(), lambda size: (1, 1))
    assert (picture.pixels.shape[:2], picture.image_size) == ((40, 80), (40, 80))
