"""Whole and truncated files, told apart mostly without decoding."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.data import integrity
from head_detection.data.integrity import check_picture
from head_detection.errors import PictureError

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
def test_truncated_files(tmp_path: Path, file_format: str) -> None:
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

    monkeypatch.setattr(integrity, "read_picture", fail)
    assert check_picture(write(tmp_path / "a", file_format)) == (32, 48)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no such file"):
        check_picture(tmp_path / "a.png")
