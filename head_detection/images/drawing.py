"""Pictures with the heads marked, or made unrecognisable, for people to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import supervision as sv
from PIL import Image, ImageDraw, ImageFont

from head_detection.errors import PictureError
from head_detection.files import replacing
from head_detection.images.reading import Picture, read_picture
from head_detection.structures import Detections, FloatArray, GroundTruth

Color = tuple[int, int, int]

SMALLEST_DRAWN_SIDE: Final = 240
"""Pixels; a smaller picture is enlarged, else the count would cover it."""
HEADS_PER_LINE: Final = 12
"""The typical head is so many lines wide: thinner than that and it stays visible inside its box."""
PIXELS_PER_LINE: Final = 300
"""A picture's short side in lines, so that they are seen when a large picture is shown small."""
TEXT_SIZE: Final = 0.04
"""Of the short side, for the count."""
SMALLEST_TEXT: Final = 16
PIXELATED_MARGIN: Final = 0.1
"""Of a head's size, added on each side: ears and hair tell who it is."""
SQUARES_PER_HEAD: Final = 4
"""Across the shorter side of a pixelated head: no face is known from so few."""
CELL_SIZE: Final = (480, 640)
"""Height and width of a picture on a contact sheet."""
BLACK: Final[Color] = (0, 0, 0)
WHITE: Final[Color] = (255, 255, 255)
HEAD_COLOR: Final[Color] = (57, 255, 20)
IGNORED_COLOR: Final[Color] = (255, 150, 0)
FLAGGED_COLOR: Final[Color] = (255, 40, 40)
_IGNORED_SHARE: Final = 0.35
_GAP: Final = 6
_CAPTION_HEIGHT: Final = 26
_CAPTION_SIZE: Final = 16
_SHEET_COLOR: Final[Color] = (32, 32, 32)
_JPEG_QUALITY: Final = 90


def draw_heads(pixels: Picture, detections: Detections) -> Picture:
    """Return the picture with a box around each head and their number in the corner.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        detections: boxes in its pixels.

    Returns:
        The same size; a picture with a side under 240 pixels is enlarged by a whole number.
    """
    scale = max(1, -(-SMALLEST_DRAWN_SIDE // max(pixels.shape[:2])))
    scene = pixels.copy() if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)
    boxes = detections.boxes * scale
    thickness = _line_thickness(scene.shape[:2], boxes)
    marked = sv.Detections(xyxy=boxes, class_id=np.zeros(len(boxes), dtype=int))
    # supervision takes its colours for blue, green, red.
    color = sv.Color(*reversed(HEAD_COLOR))
    scene = sv.BoxAnnotator(color=color, thickness=thickness).annotate(scene, marked)
    _write_count(scene, len(boxes))
    return scene


def pixelate_heads(pixels: Picture, detections: Detections) -> Picture:
    """Return the picture with each head turned into a few squares of one colour.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        detections: boxes in its pixels.
    """
    scene = pixels.copy()
    boxes = _whole_pixels(detections.boxes, pixels.shape[:2])
    shorter_sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    squares = np.ceil(shorter_sides / SQUARES_PER_HEAD).astype(int)
    for square in np.unique(squares):
        annotator = sv.PixelateAnnotator(pixel_size=int(square))
        scene = annotator.annotate(scene, sv.Detections(xyxy=boxes[squares == square]))
    return scene


@dataclass(frozen=True)
class Cell:
    """One labelled picture of a contact sheet.

    Attributes:
        path: the picture file.
        truth: in its pixels.
        caption: printable ASCII, written above it.
        flagged: indices of boxes to draw in red.
    """

    path: Path
    truth: GroundTruth
    caption: str
    flagged: tuple[int, ...] = ()


def write_contact_sheet(path: Path, cells: Sequence[Cell], num_columns: int) -> None:
    """Write a JPEG of the pictures in rows: heads in green, ignored regions filled with orange.

    A picture that cannot be read leaves its cell empty but for the caption.

    Args:
        path: the file.
        cells: at least one.
        num_columns: pictures a row.
    """
    num_columns = min(num_columns, len(cells))
    num_rows = -(-len(cells) // num_columns)
    row_height, column_width = CELL_SIZE[0] + _CAPTION_HEIGHT + _GAP, CELL_SIZE[1] + _GAP
    size = (num_columns * column_width + _GAP, num_rows * row_height + _GAP)
    sheet = Image.new("RGB", size, _SHEET_COLOR)
    for number, cell in enumerate(cells):
        row, column = divmod(number, num_columns)
        left, top = _GAP + column * column_width, _GAP + row * row_height
        write_text(ImageDraw.Draw(sheet), (left + 4, top + 4), cell.caption, _CAPTION_SIZE)
        try:
            pixels = read_picture(cell.path)
        except PictureError:
            continue
        small, scale = _fit(pixels)
        height, width = small.shape[:2]
        place = (
            left + (CELL_SIZE[1] - width) // 2,
            top + _CAPTION_HEIGHT + (CELL_SIZE[0] - height) // 2,
        )
        sheet.paste(Image.fromarray(draw_labels(small, cell, scale)), place)
    with replacing(path) as temporary:
        sheet.save(temporary, "JPEG", quality=_JPEG_QUALITY)


def draw_labels(pixels: Picture, cell: Cell, scale: float) -> Picture:
    """Return the picture with boxes; ``scale`` takes the boxes' pixels to its own."""
    with np.errstate(over="ignore"):
        limit = 2 * max(pixels.shape)
        boxes = np.rint(np.clip(cell.truth.boxes * scale, -limit, limit)).astype(int)
    scene = Image.fromarray(pixels)  # a copy
    ignored = Image.new("RGB", scene.size, IGNORED_COLOR)
    mask = Image.new("L", scene.size)
    for x1, y1, x2, y2 in boxes[cell.truth.ignore].tolist():
        if x2 > x1 and y2 > y1:
            ImageDraw.Draw(mask).rectangle((x1, y1, x2 - 1, y2 - 1), round(255 * _IGNORED_SHARE))
    scene.paste(ignored, mask=mask)
    canvas = ImageDraw.Draw(scene)
    for index, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        color = IGNORED_COLOR if cell.truth.ignore[index] else HEAD_COLOR
        is_flagged = index in cell.flagged
        corners = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
        canvas.rectangle(
            corners, outline=FLAGGED_COLOR if is_flagged else color, width=2 if is_flagged else 1
        )
    return np.asarray(scene)


def write_text(
    canvas: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: float,
    ink: Color = WHITE,
) -> None:
    """Write a line of text, its left top corner at a place; the size is that of the font."""
    canvas.text(place, text, fill=ink, font=ImageFont.load_default(size))


def text_size(text: str, size: float) -> tuple[int, int]:
    """Return the width and height in pixels that ``write_text`` takes, what hangs below included.

    Example:
        >>> text_size("", 16)[0], text_size("88", 16)[0] == 2 * text_size("8", 16)[0]
        (0, True)
    """
    font = ImageFont.load_default(size)
    return round(font.getlength(text)), round(size * 1.2)


def _whole_pixels(boxes: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """Return the boxes with a margin, rounded outwards, inside the picture; empty ones left out."""
    sides = boxes[:, 2:] - boxes[:, :2]
    margins = PIXELATED_MARGIN * np.concatenate([-sides, sides], axis=1)
    grown = boxes + margins
    grown = np.concatenate([np.floor(grown[:, :2]), np.ceil(grown[:, 2:])], axis=1)
    height, width = size
    inside: FloatArray = np.clip(grown, 0, (width, height, width, height)).astype(np.float32)
    return inside[(inside[:, 2:] > inside[:, :2]).all(axis=1)]


def _line_thickness(size: tuple[int, ...], boxes: FloatArray) -> int:
    """Return pixels: thick for a large picture, thin for small heads."""
    thickness = min(size) / PIXELS_PER_LINE
    if len(boxes):
        head_sizes = np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))
        thickness = min(thickness, float(np.median(head_sizes)) / HEADS_PER_LINE)
    return max(1, round(thickness))


def _write_count(scene: Picture, count: int) -> None:
    """Write how many heads there are into the corner, white on black, in place."""
    text = "1 head" if count == 1 else f"{count} heads"
    size = max(SMALLEST_TEXT, round(min(scene.shape[:2]) * TEXT_SIZE))
    width, height = text_size(text, size)
    padding = size // 3
    label = Image.new("RGB", (width + 2 * padding, height + padding), BLACK)
    write_text(ImageDraw.Draw(label), (padding, padding // 2), text, size)
    corner = scene[: label.height, : label.width]
    corner[:] = np.asarray(label)[: corner.shape[0], : corner.shape[1]]


def _fit(pixels: Picture) -> tuple[Picture, float]:
    height, width = pixels.shape[:2]
    scale = min(CELL_SIZE[0] / height, CELL_SIZE[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8), scale
