"""Tiny pictures and text files in the places where the real data sets have theirs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def picture(tmp_path: Path) -> Write:
    """Write a picture of 40 x 30 pixels, or of another (width, height)."""

    def write(name: str, size: tuple[int, int] = (40, 30)) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}[path.suffix.lower()]
        Image.new("RGB", size).save(path, kind)
        return path

    return write


@pytest.fixture
def text(tmp_path: Path) -> Write:
    """Write a text file."""

    def write(name: str, content: str, *, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode(encoding))
        return path

    return write
