"""Everything that can be wrong with a picture file."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.errors import PictureError
from head_detection.images.reading import read_picture, read_picture_size

Encode = Callable[..., bytes]


def png_header(width: int, height: int) -> bytes:
    """A PNG that states its size and then ends."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


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
def test_truncated(tmp_path: Path, file_format: str, encode: Encode) -> None:
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


def test_size_is_refused_before_anything_is_decoded(encode: Encode) -> None:
    for size in ((60_000, 60_000), (2**31 - 1, 2**31 - 1)):
        for read in (read_picture, read_picture_size):
            with pytest.raises(PictureError, match="pixels"):
                read(png_header(*size))
    with pytest.raises(PictureError, match="3x2 pixels; at most 5 pixels"):
        read_picture(encode(Image.new("RGB", (3, 2))), max_pixels=5)
    assert read_picture(encode(Image.new("RGB", (3, 2))), max_pixels=6).shape == (2, 3, 3)


def test_header_alone_gives_the_size() -> None:
    assert read_picture_size(png_header(300, 200)) == (200, 300)


def test_pillow_does_not_warn_the_user() -> None:
    """A hundred megapixels are above Pillow's warning and below its error."""
    code = (
        "import sys\n"
        "from head_detection.images.reading import read_picture_size\n"
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


def test_a_file_that_goes_away_while_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "gone.png"
    Image.new("L", (4, 4)).save(path)

    def open_too_late(source):
        path.unlink()
        return source.open("rb")

    monkeypatch.setattr(Image, "open", open_too_late)
    with pytest.raises(PictureError, match=r"gone\.png: no such file$"):
        read_picture(path)
