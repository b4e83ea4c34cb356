"""Everything that can be wrong with a picture file."""

import io
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
from head_detection.images import reading
from head_detection.images.reading import check_picture, read_picture, read_picture_size

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


def test_what_the_system_refuses_is_not_called_corrupt(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    with pytest.raises(PictureError, match=r"loop\.png: Too many levels of symbolic links"):
        read_picture(loop)


def test_a_higher_limit_is_asked_for(encode: Encode) -> None:
    """Three hundred megapixels are above Pillow's error, in a process that has read none yet."""
    code = (
        "import sys\n"
        "from head_detection.images.reading import read_picture_size\n"
        "print(read_picture_size(sys.stdin.buffer, max_pixels=600_000_000))"
    )
    for size, allowed in (((30_000, 20_000), True), ((30_000, 20_001), False)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=png_header(*size),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode == 0) == allowed
        assert done.stderr == b"" if allowed else b"at most 600,000,000 are read" in done.stderr


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


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8))
FORMATS = ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]


def write(path: Path, file_format: str, cut: int = 0, extra: bytes = b"") -> Path:
    file = io.BytesIO()
    NOISE.save(file, file_format)
    content = file.getvalue()
    path.write_bytes(content[: len(content) - cut] + extra)
    return path


@pytest.mark.parametrize("file_format", FORMATS)
def test_whole_files(tmp_path: Path, file_format: str) -> None:
    assert check_picture(write(tmp_path / "a", file_format)) == (32, 48)


@pytest.mark.parametrize("file_format", FORMATS)
def test_truncated_files_are_not_whole(tmp_path: Path, file_format: str) -> None:
    with pytest.raises(PictureError, match="corrupt or truncated"):
        check_picture(write(tmp_path / "a", file_format, cut=500))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_what_follows_the_picture_does_not_matter(tmp_path: Path, file_format: str) -> None:
    """Phones append films to their pictures."""
    path = write(tmp_path / "a", file_format, extra=b"a film" * 100)
    assert check_picture(path) == (32, 48)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "WEBP"])
def test_whole_files_are_not_decoded(
    tmp_path: Path, file_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise AssertionError(f"{path} was decoded")

    monkeypatch.setattr(reading, "read_picture", fail)
    assert check_picture(write(tmp_path / "a", file_format)) == (32, 48)


def test_a_missing_file_is_not_whole(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no such file"):
        check_picture(tmp_path / "a.png")
