"""Many labelled pictures on one sheet, small, with their boxes drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from head_detection.data.annotations import AnnotatedImage
from head_detection.errors import PictureError
from head_detection.files import replacing
from head_detection.images.reading import Picture, read_picture
from head_detection.structures import FloatArray

CELL_SIZE: Final = (480, 640)
"""Height and width of a picture on the sheet."""
_GAP: Final = 6
_CAPTION_HEIGHT: Final = 26
_BACKGROUND: Final = 32
_HEAD_COLOR: Final = (57, 255, 20)
_IGNORED_COLOR: Final = (255, 150, 0)
_FLAGGED_COLOR: Final = (255, 40, 40)
_IGNORED_SHARE: Final = 0.35
_JPEG_QUALITY: Final = 90


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet.

    Attributes:
        image: the labelled picture.
        caption: printable ASCII, drawn above it.
        flagged: indices of boxes to draw in red.
    """

    image: AnnotatedImage
    caption: str
    flagged: tuple[int, ...] = ()


def write_sheet(path: Path, cells: Sequence[Cell], num_columns: int) -> None:
    """Write a JPEG of the pictures in rows: heads in green, ignored regions filled with orange.

    A picture that cannot be read leaves its cell empty but for the caption.

    Args:
        path: the file.
        cells: at least one.
        num_columns: pictures a row.
    """
    num_columns = min(num_columns, len(cells))
    num_rows = -(-len(cells) // num_columns)
    row_height = CELL_SIZE[0] + _CAPTION_HEIGHT + _GAP
    column_width = CELL_SIZE[1] + _GAP
    size = (num_rows * row_height + _GAP, num_columns * column_width + _GAP, 3)
    sheet = np.full(size, _BACKGROUND, np.uint8)
    for number, cell in enumerate(cells):
        row, column = divmod(number, num_columns)
        top, left = _GAP + row * row_height, _GAP + column * column_width
        _paste(sheet, cell, top, left)
    with replacing(path) as temporary:
        Image.fromarray(sheet).save(temporary, "JPEG", quality=_JPEG_QUALITY)


def draw_boxes(pixels: Picture, cell: Cell, scale: float) -> Picture:
    """Return the picture with boxes; ``scale`` takes the boxes' pixels to its own."""
    drawn = pixels.copy()
    truth = cell.image.truth
    with np.errstate(over="ignore"):
        limit = 2 * max(drawn.shape)
        boxes = np.rint(np.clip(truth.boxes * scale, -limit, limit)).astype(int)
    for box, is_ignored in zip(boxes.tolist(), truth.ignore.tolist(), strict=True):
        if is_ignored:
            _tint(drawn, box)
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        color = _IGNORED_COLOR if truth.ignore[index] else _HEAD_COLOR
        is_flagged = index in cell.flagged
        cv2.rectangle(
            drawn,
            (x1, y1),
            (x2, y2),
            _FLAGGED_COLOR if is_flagged else color,
            2 if is_flagged else 1,
        )
    return drawn


def _paste(sheet: Picture, cell: Cell, top: int, left: int) -> None:
    origin = (left + 4, top + _CAPTION_HEIGHT - 8)
    cv2.putText(sheet, cell.caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255,) * 3, 1)
    try:
        pixels = read_picture(cell.image.path)
    except PictureError:
        return
    small, scale = _fit(pixels)
    height, width = small.shape[:2]
    y = top + _CAPTION_HEIGHT + (CELL_SIZE[0] - height) // 2
    x = left + (CELL_SIZE[1] - width) // 2
    sheet[y : y + height, x : x + width] = draw_boxes(small, cell, scale)


def _fit(pixels: Picture) -> tuple[Picture, float]:
    height, width = pixels.shape[:2]
    scale = min(CELL_SIZE[0] / height, CELL_SIZE[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8), scale


def _tint(pixels: Picture, box: Sequence[int]) -> None:
    x1, y1, x2, y2 = (max(0, value) for value in box)
    part: FloatArray = pixels[y1:y2, x1:x2].astype(np.float32)
    tinted = part * (1 - _IGNORED_SHARE) + np.array(_IGNORED_COLOR) * _IGNORED_SHARE
    pixels[y1:y2, x1:x2] = tinted.astype(np.uint8)
