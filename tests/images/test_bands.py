"""Pictures as rows from the top down, compared with the same pictures decoded whole."""

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image

from head_detection.errors import PictureError
from head_detection.images.bands import Bands
from head_detection.images.reading import Picture, read_picture

HEIGHT, WIDTH = 600, 133
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]
SMOOTH = np.stack([COLUMNS, ROWS * 255 // HEIGHT, (ROWS + COLUMNS) // 3], axis=2).astype(np.uint8)
NOISY = SMOOTH.copy()
NOISY[::7] = np.random.default_rng(0).integers(0, 256, NOISY[::7].shape)
"""Gradients and noise: PNG's writer uses all of its filters."""
SIXTEEN_BITS = Image.fromarray(NOISY[:, :, 0].astype(np.uint16) * 257)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def read_in_bands(path: Path, step: int, overlap: int = 0) -> Picture:
    """Read all rows, with rows of each band once more in the next."""
    parts = []
    with Bands(path) as bands:
        height, width = bands.image_size
        for top in range(0, height, step):
            first = max(0, top - overlap)
            rows = bands.read(first, min(top + step, height))
            assert rows.shape[1:] == (width, 3)
            parts.append(rows[top - first :])
    return np.concatenate(parts)


def blocks_of(path: Path) -> str:
    with Bands(path) as bands:
        return bands._blocks.__name__.strip("_")


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "LA", "RGBA"])
@pytest.mark.parametrize("step", [1000, 256, 100, 37])
def test_png(tmp_path: Path, mode: str, step: int) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(NOISY).convert(mode).save(path)
    assert blocks_of(path) == "png_blocks"
    npt.assert_array_equal(read_in_bands(path, step, overlap=20), read_picture(path))


def test_png_with_a_transparent_colour(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(SMOOTH).save(path, transparency=tuple(SMOOTH[300, 7].tolist()))
    rows = read_in_bands(path, 100)
    npt.assert_array_equal(rows, read_picture(path))
    assert rows[300, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK", "P"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("big_tiff", [False, True])
def test_tiff(tmp_path: Path, mode: str, compression: str | None, big_tiff: bool) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(NOISY).convert(mode).save(
        path, compression=compression, big_tiff=big_tiff, strip_size=4096
    )
    assert blocks_of(path) == "tiff_blocks"
    npt.assert_array_equal(read_in_bands(path, 100, overlap=9), read_picture(path))


def test_tiff_of_sixteen_bits_and_of_jpegs(tmp_path: Path) -> None:
    SIXTEEN_BITS.save(tmp_path / "16.tif", compression="tiff_lzw")
    Image.fromarray(SMOOTH).save(tmp_path / "jpeg.tif", compression="jpeg")
    for path in tmp_path.iterdir():
        assert blocks_of(path) == "tiff_blocks"
        npt.assert_array_equal(read_in_bands(path, 100), read_picture(path))


def test_tiff_in_tiles(tmp_path: Path) -> None:
    """Tiles of 32 x 16, five across and 38 down, those at the edges filled up with 77."""
    down, across = -(-HEIGHT // 16), -(-WIDTH // 32)
    padded = np.full((down * 16, across * 32, 3), 77, np.uint8)
    padded[:HEIGHT, :WIDTH] = NOISY
    tiles = padded.reshape(down, 16, across, 32, 3).swapaxes(1, 2).reshape(-1, 16 * 32 * 3)
    counts = [16 * 32 * 3] * len(tiles)
    offsets = [8 + 16 * 32 * 3 * number for number in range(len(tiles))]
    end = 8 + tiles.size
    entries = [  # tag, type (3 is 16 bits, 4 is 32), values
        (256, 3, [WIDTH]), (257, 3, [HEIGHT]), (258, 3, [8, 8, 8]), (259, 3, [1]), (262, 3, [2]),
        (277, 3, [3]), (322, 3, [32]), (323, 3, [16]), (324, 4, offsets), (325, 4, counts),
    ]  # fmt: skip
    table, values = struct.pack("<H", len(entries)), b""
    start = end + 2 + 12 * len(entries) + 4
    for tag, kind, numbers in entries:
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        is_short = len(packed) <= 4
        field = packed.ljust(4, b"\0") if is_short else struct.pack("<I", start + len(values))
        values += b"" if is_short else packed
        table += struct.pack("<HHI", tag, kind, len(numbers)) + field
    path = tmp_path / "tiles.tif"
    path.write_bytes(
        b"II*\0" + struct.pack("<I", end) + tiles.tobytes() + table + bytes(4) + values
    )
    assert blocks_of(path) == "tiff_blocks"
    npt.assert_array_equal(read_in_bands(path, 50, overlap=20), NOISY)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("step", [1000, 100, 37])
def test_jpeg_to_a_grey_level(
    tmp_path: Path, subsampling: int, progressive: bool, step: int
) -> None:
    """4:4:4, 4:2:2 and 4:2:0; colours are interpolated in whole numbers, here and in libjpeg."""
    path = tmp_path / "a.jpg"
    Image.fromarray(SMOOTH).save(path, quality=95, subsampling=subsampling, progressive=progressive)
    assert blocks_of(path) == "jpeg_blocks"
    difference = read_in_bands(path, step).astype(int) - read_picture(path)
    assert np.abs(difference).max() <= 2


@pytest.mark.parametrize("name", ["1.png", "16.png", "grey.jpg", "cmyk.jpg", "float.tif", "a.bmp"])
def test_what_is_decoded_whole(tmp_path: Path, name: str) -> None:
    picture = Image.fromarray(NOISY)
    images = {
        "1.png": picture.convert("1"),
        "16.png": SIXTEEN_BITS,
        "grey.jpg": picture.convert("L"),
        "cmyk.jpg": picture.convert("CMYK"),
        "float.tif": Image.fromarray(NOISY[:, :, 0].astype(np.float32)),
        "a.bmp": picture,
    }
    path = tmp_path / name
    images[name].save(path)
    assert blocks_of(path) == "whole_blocks"
    npt.assert_array_equal(read_in_bands(path, 100), read_picture(path))


@pytest.mark.parametrize("name", ["a.jpg", "a.tif", "a.png"])
def test_what_exif_turns_is_upright(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(SMOOTH).save(path, exif=TURNED)
    whole = read_picture(path)
    assert whole.shape == (WIDTH, HEIGHT, 3)
    npt.assert_array_equal(read_in_bands(path, 40), whole)


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    frames = [Image.new("RGB", (4, 300), color) for color in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    npt.assert_array_equal(read_in_bands(path, 100), read_picture(path))


def test_rows_may_be_skipped_but_not_come_again(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(NOISY).save(path)
    with Bands(path) as bands:
        npt.assert_array_equal(bands.read(100, 110), NOISY[100:110])
        npt.assert_array_equal(bands.read(105, 106), NOISY[105:106])
        npt.assert_array_equal(bands.read(590, 600), NOISY[590:])
        assert bands.read(600, 600).shape == (0, WIDTH, 3)
    for top, bottom in ((589, 595), (595, 594), (595, 601)):
        with Bands(path) as bands:
            bands.read(590, 592)
            with pytest.raises(ValueError, match="expected 590 <= top <= bottom <= 600"):
                bands.read(top, bottom)


def test_rows_are_the_callers_to_change(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(NOISY).save(path)
    with Bands(path) as bands:
        bands.read(0, 50)[:] = 0
        npt.assert_array_equal(bands.read(20, 50), NOISY[20:50])


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.bmp"])
def test_cut_files_are_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Image.fromarray(NOISY).save(path)
    content = path.read_bytes()
    # A TIFF's tags lie at its start or its end; with them gone it is no picture to begin with.
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(PictureError, match=rf"{name}: ") as caught:
        read_in_bands(path, 100)
    assert "\n" not in str(caught.value)


def test_pictures_above_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (30, 20)).save(path)
    with pytest.raises(PictureError, match="at most 599 pixels are read"):
        Bands(path, max_pixels=599)
    with pytest.raises(PictureError, match="no such file"):
        Bands(tmp_path / "gone.png")


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_memory_does_not_grow_with_the_rows(tmp_path: Path, name: str) -> None:
    """4,000 x 12,000 pixels are 137 MiB as RGB and 183 as Pillow holds them."""
    path = tmp_path / name
    Image.new("RGB", (4000, 12_000)).save(path, compression="tiff_lzw")
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from head_detection.images.bands import Bands\n"
        "status = Path('/proc/self/status')\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status.read_text())[1]) >> 10\n"
        "before = peak()\n"
        "with Bands(Path(sys.argv[1])) as bands:\n"
        "    for top in range(0, 12_000, 250):\n"
        "        bands.read(top, top + 250)\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, check=True, timeout=120
    )
    assert 0 < int(done.stdout) < 80


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["ramp", "heat", "dark corner"])
def test_all_bands_of_more_than_eight_bits_have_one_range(
    tmp_path: Path, channels: int, kind: str
) -> None:
    """Twelve bits from dark to light down the rows: each strip alone has another range."""
    ramp = np.linspace(0, 4095, HEIGHT)[:, None].repeat(WIDTH, axis=1)
    values = {"ramp": ramp, "heat": 28_000 + ramp / 2, "dark corner": ramp * (ramp > 3000)}[kind]
    pixels = values.astype(np.uint16)
    if channels == 3:
        pixels = np.stack([pixels, pixels | 1, pixels], axis=2)
    path = tmp_path / "a.tif"
    path.write_bytes(cv2.imencode(".tiff", pixels)[1].tobytes())
    assert blocks_of(path) == "tiff_blocks"
    rows = read_in_bands(path, 100, overlap=9)
    npt.assert_array_equal(rows, read_picture(path))
    assert rows.max() >= 250
