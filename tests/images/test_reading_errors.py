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
from PIL.PngImagePlugin import PngInfo

from head_detection.errors import PictureError
from head_detection.images import reading
from head_detection.images.reading import (
    check_picture,
    convert_picture,
    read_picture,
    read_picture_size,
)

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


def bmp_header(width: int, height: int) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def test_a_bmp_of_a_negative_width_is_damaged_not_large(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(bmp_header(-5, -5) + bytes(75))
    for source in (bmp_header(-5, 5), tmp_path / "a.bmp"):
        with pytest.raises(PictureError, match="a BMP whose header is damaged: its width"):
            read_picture(source)
    with pytest.raises(PictureError, match="too many pixels"):
        read_picture(bmp_header(2**31 - 1, 5))


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


@pytest.mark.parametrize("address", ["http://web/a.jpg", "rtsp://cam/1", "HTTP:/web/a.jpg"])
def test_an_address_is_no_missing_file(address: str) -> None:
    with pytest.raises(PictureError, match="expected a file; got an address: download"):
        read_picture(Path(address))


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

    def open_too_late(source, formats):
        path.unlink()
        return source.open("rb")

    monkeypatch.setattr(Image, "open", open_too_late)
    with pytest.raises(PictureError, match=r"gone\.png: no such file$"):
        read_picture(path)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing start another program."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"started {arguments}")

    for place in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork"):
        monkeypatch.setattr(place, refuse)


@pytest.mark.usefixtures("no_processes")
@pytest.mark.parametrize(
    "start", [b"", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 28, len(EPS)) + bytes(16)]
)
def test_postscript_starts_no_program_whatever_it_is_called(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(start + EPS)
    for read in (read_picture, read_picture_size):
        for source in (path, start + EPS, io.BytesIO(start + EPS)):
            with pytest.raises(PictureError, match=r"PostScript \(EPS\) is not read"):
                read(source)
    with pytest.raises(PictureError, match="PostScript"):
        check_picture(path)


@pytest.mark.usefixtures("no_processes")
def test_an_image_that_the_user_opened_with_another_decoder_is_not_decoded() -> None:
    with pytest.raises(PictureError, match="sent: EPS is not read; make it a JPEG or PNG"):
        convert_picture(Image.open(io.BytesIO(EPS)), "sent")
    cards = (b"SIMPLE  = T", b"BITPIX  = 8", b"NAXIS   = 2", b"NAXIS1  = 2", b"NAXIS2  = 2", b"END")
    fits = b"".join(card.ljust(80) for card in cards).ljust(2880) + bytes(2880)
    with pytest.raises(PictureError, match="FITS is not read"):
        convert_picture(Image.open(io.BytesIO(fits)), "sent")


@pytest.mark.usefixtures("no_processes")
def test_what_a_format_holds_is_not_opened_with_any_decoder() -> None:
    """IPTC/NAA frames carry a picture of whatever kind."""

    def field(record: int, number: int, content: bytes) -> bytes:
        return bytes((0x1C, record, number)) + struct.pack(">H", len(content)) + content

    content = (
        field(3, 60, b"\1\0")
        + field(3, 20, b"\0\x08")
        + field(3, 30, b"\0\x08")
        + field(3, 120, b"\x05")
        + field(8, 10, EPS)
    )
    with pytest.raises(PictureError, match="not a picture in any known format"):
        read_picture(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC is not read"),
        (b"%PDF-1.7" + bytes(40), "PDF is not read"),
        (b"MM\0*\0\0\0\x08" + bytes(40), "a TIFF that is damaged, or holds"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(content: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        read_picture(content)


@pytest.mark.parametrize("what", ["text", "packed text", "profile"])
def test_a_png_may_hold_megabytes_of_text(what: str, encode: Encode) -> None:
    """Made in a process of its own: the limits are Pillow's, of the whole process."""
    info = PngInfo()
    if what != "profile":
        info.add_text("Notes", "x" * (3 << 20), zip=what == "packed text")
    options = {"icc_profile": bytes(3 << 20)} if what == "profile" else {"pnginfo": info}
    code = (
        "import sys\n"
        "from PIL import PngImagePlugin as png\n"
        "before = png.MAX_TEXT_CHUNK\n"
        "from head_detection.images.reading import read_picture\n"
        "assert png.MAX_TEXT_CHUNK == before\n"
        "print(read_picture(sys.stdin.buffer).shape)"
    )
    content = encode(Image.new("RGB", (3, 2)), "PNG", **options)
    done = subprocess.run(
        [sys.executable, "-c", code], input=content, capture_output=True, check=True, timeout=60
    )
    assert done.stdout.strip() == b"(2, 3, 3)"


def test_a_png_with_more_text_than_that_says_so(encode: Encode) -> None:
    info = PngInfo()
    info.add_text("Notes", "x" * (65 << 20), zip=True)
    content = encode(Image.new("RGB", (3, 2)), "PNG", pnginfo=info)
    with pytest.raises(PictureError, match="more than 64 MiB of text or colour profile"):
        read_picture(content)


def test_a_name_whose_accents_are_composed_otherwise_is_told(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "cafe\u0301.png")
    with pytest.raises(PictureError, match="no such file; there is one whose accents"):
        read_picture(tmp_path / "caf\u00e9.png")
    with pytest.raises(PictureError, match=r"no such file$"):
        read_picture(tmp_path / "caff\u00e8.png")


def test_a_link_without_its_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("gone.png")
    with pytest.raises(PictureError, match="a link to a file that is not there"):
        read_picture(tmp_path / "a.png")


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


def test_decoders_do_not_write_to_the_terminal(tmp_path: Path) -> None:
    """In a process of its own: what libtiff and Pillow's log write passes pytest by."""
    damaged, samples = tmp_path / "damaged.tif", tmp_path / "samples.tif"
    Image.effect_noise((64, 64), 50).save(damaged, compression="tiff_lzw")
    content = bytearray(damaged.read_bytes())
    content[20:2000] = bytes(1980)
    damaged.write_bytes(content)
    tags = {256: 8, 257: 8, 262: 1, 273: 8, 277: 9999, 279: 64}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    samples.write_bytes(b"II*\0\x08\0\0\0\x06\0" + entries + bytes(4))
    read = "try: read_picture(Path(path))\n except PictureError as error: print(error)"
    code = "import sys\nfrom head_detection.images.reading import *\n"
    command = [sys.executable, "-c", f"{code}for path in sys.argv[1:]:\n {read}"]
    done = subprocess.run([*command, damaged, samples], capture_output=True, text=True, check=True)
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "corrupt or truncated picture (decoder error -2)",
        "a TIFF that is damaged, or holds its pixels in a way that is not read",
    ]
    assert done.stderr == ""


def test_a_seek_of_a_decoder_out_of_the_file_is_damage(tmp_path: Path) -> None:
    """A PCX is searched for its palette 769 bytes before its end, also where it is shorter."""
    path = tmp_path / "a.dcx"
    Image.new("RGB", (64, 40)).save(path, "PCX")
    content = bytearray(path.read_bytes())
    content[65] = 1  # one plane of colours: a palette follows
    path.write_bytes(struct.pack("<III", 0x3ADE68B1, 12, 0) + content)
    with pytest.raises(PictureError, match=r"corrupt or truncated picture \(.*Invalid argument"):
        read_picture(path)
