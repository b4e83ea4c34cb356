"""Pictures with the heads marked, for people to look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from head_detection.errors import PictureError
from head_detection.files import replacing
from head_detection.images.reading import Picture, read_picture
from head_detection.images.styles import HEAD_COLOR, Color
from head_detection.structures import FloatArray, GroundTruth

CELL_SIZE: Final = (480, 640)
"""Height and width of a picture on a contact sheet."""
BLACK: Final[Color] = (0, 0, 0)
WHITE: Final[Color] = (255, 255, 255)
IGNORED_COLOR: Final[Color] = (255, 150, 0)
FLAGGED_COLOR: Final[Color] = (255, 40, 40)
_IGNORED_SHARE: Final = 0.35
_GAP: Final = 6
_CAPTION_HEIGHT: Final = 26
_CAPTION_SIZE: Final = 16
_SHEET_COLOR: Final[Color] = (32, 32, 32)
_JPEG_QUALITY: Final = 90
DRAWN_SIDE: Final = 1600
"""Pixels: a smaller picture with outcomes is enlarged to this longer side."""
LARGEST_ZOOM: Final = 4.0
SMALLEST_LEGEND: Final = 480
"""Its width in pixels."""
_LEGEND_MARGIN: Final = 10
_LEGEND_TEXT: Final = 20
_LEGEND_LINE: Final = 30
_LEGEND_GAP: Final = 28
_LEGEND_SAMPLE: Final = 44
_LEGEND_COLOR: Final[Color] = (20, 20, 20)
_SCORE_SIZE: Final = 15
_SCORE_COLOR: Final[Color] = (255, 170, 215)


class Stroke(NamedTuple):
    """How one kind of box is drawn; kinds differ in colour, thickness and dashes."""

    color: Color
    width: int
    dash: int
    """Pixels on and off; 0 is an unbroken line."""


# Okabe and Ito's colours, which colour-blind people can tell apart; in grey, the dashes differ.
FOUND: Final = Stroke((86, 180, 233), 2, 0)
MISSED: Final = Stroke((255, 200, 0), 3, 7)
FALSE_ALARM: Final = Stroke((230, 70, 160), 4, 0)
NOT_COUNTED: Final = Stroke((200, 200, 200), 1, 3)


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

    The cell of a picture that cannot be read has only the caption.

    Args:
        path: the file.
        cells: at least one.
        num_columns: pictures per row.
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
        corner = (
            left + (CELL_SIZE[1] - width) // 2,
            top + _CAPTION_HEIGHT + (CELL_SIZE[0] - height) // 2,
        )
        sheet.paste(Image.fromarray(draw_labels(small, cell, scale)), corner)
    with replacing(path) as temporary:
        sheet.save(temporary, "JPEG", quality=_JPEG_QUALITY)


def draw_labels(pixels: Picture, cell: Cell, scale: float) -> Picture:
    """Return the picture with boxes; ``scale`` converts the boxes to its pixels."""
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


@dataclass(frozen=True)
class OutcomeBoxes:
    """The boxes of one picture by outcome, ``(N, 4)`` xyxy in original pixels.

    Attributes:
        found: detections that found a head.
        missed: labelled heads that no detection found.
        false_alarms: detections without a head.
        false_scores: ``(N,)`` of the false alarms.
        not_counted: ignore regions, and detections in them.
    """

    found: FloatArray
    missed: FloatArray
    false_alarms: FloatArray
    false_scores: FloatArray
    not_counted: FloatArray


def draw_outcome(pixels: Picture, outcome: OutcomeBoxes, title: Sequence[str]) -> Picture:
    """Return the picture with its boxes and, below it, a legend with their numbers.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed. A small picture is enlarged, and widened if
            the legend needs it.
        outcome: boxes in its pixels.
        title: parts of the legend's first lines.
    """
    zoom = min(LARGEST_ZOOM, max(1.0, DRAWN_SIDE / max(pixels.shape[:2])))
    size = (round(pixels.shape[1] * zoom), round(pixels.shape[0] * zoom))
    scene = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    pen = _Pen(scene, max(1.0, max(size) / DRAWN_SIDE))
    for boxes, stroke in (
        (outcome.not_counted, NOT_COUNTED),
        (outcome.found, FOUND),
        (outcome.false_alarms, FALSE_ALARM),
        (outcome.missed, MISSED),
    ):
        for box in (boxes * zoom).tolist():
            pen.draw_box(box, stroke)
    for box, score in zip(
        (outcome.false_alarms * zoom).tolist(), outcome.false_scores, strict=True
    ):
        pen.draw_score(box, float(score))
    legend = _draw_legend(outcome, title, max(scene.width, SMALLEST_LEGEND), pen.scale)
    whole = Image.new("RGB", (legend.width, scene.height + legend.height), _LEGEND_COLOR)
    whole.paste(scene, (0, 0))
    whole.paste(legend, (0, scene.height))
    return np.asarray(whole)


def write_text(
    canvas: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    size: float,
    ink: Color = WHITE,
) -> None:
    """Write a line of text with its top left corner at ``corner``; ``size`` is that of the font."""
    canvas.text(corner, text, fill=ink, font=_font(size))


def text_size(text: str, size: float) -> tuple[int, int]:
    """Return the width and height in pixels that ``write_text`` takes, including descenders.

    Example:
        >>> text_size("", 16)[0], text_size("88", 16)[0] == 2 * text_size("8", 16)[0]
        (0, True)
    """
    return round(_font(size).getlength(text)), round(size * 1.2)


@lru_cache(maxsize=64)
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font, cached: loading it takes as long as writing a line."""
    return ImageFont.load_default(size)


def _fit(pixels: Picture) -> tuple[Picture, float]:
    height, width = pixels.shape[:2]
    scale = min(CELL_SIZE[0] / height, CELL_SIZE[1] / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8), scale


class _Pen:
    """Draws on one picture, with thicker lines on a large one."""

    def __init__(self, scene: Image.Image, scale: float) -> None:
        self._canvas = ImageDraw.Draw(scene)
        self._scene_width = scene.width
        self.scale = scale

    def draw_box(self, box: list[float], stroke: Stroke) -> None:
        """Draw a rectangle with a dark rim, so that it is visible on any background."""
        x1, y1, x2, y2 = box
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)]
        thickness = round(stroke.width * self.scale)
        for color, width in ((BLACK, thickness + 2), (stroke.color, thickness)):
            if not stroke.dash:
                self._canvas.line(corners, fill=color, width=width, joint="curve")
                continue
            for start, end in pairwise(corners):
                for dash in _dashes(start, end, stroke.dash * self.scale):
                    self._canvas.line(dash, fill=color, width=width)

    def draw_score(self, box: list[float], score: float) -> None:
        """Write a score above a box, or below it at the top edge of the picture."""
        size = round(_SCORE_SIZE * self.scale)
        text = f"{score:.2f}".removeprefix("0")
        top = box[1] - size - FALSE_ALARM.width * self.scale
        left = min(max(0.0, box[0]), self._scene_width - text_size(text, size)[0])
        corner = (left, top if top >= 0 else box[3] + 2)
        ground = self._canvas.textbbox(corner, text, _font(size))
        rim = (ground[0] - 2, ground[1] - 2, ground[2] + 1, ground[3] + 1)
        self._canvas.rectangle(rim, fill=BLACK)
        write_text(self._canvas, corner, text, size, _SCORE_COLOR)


def _dashes(
    start: tuple[float, float], end: tuple[float, float], length: float
) -> list[tuple[float, float, float, float]]:
    """Return the dashes of a line: as long as the gaps, with one at each end.

    Example:
        >>> _dashes((0, 0), (30, 0), 10)
        [(0.0, 0.0, 10.0, 0.0), (20.0, 0.0, 30.0, 0.0)]
    """
    first, last = np.array(start, np.float64), np.array(end, np.float64)
    num_off = max(1, round((float(np.abs(last - first).sum()) / length - 1) / 2))
    marks = [first + (last - first) * part for part in np.linspace(0, 1, 2 * num_off + 2)]
    pieces = zip(marks[::2], marks[1::2], strict=True)
    return [(float(a[0]), float(a[1]), float(b[0]), float(b[1])) for a, b in pieces]


def _draw_legend(
    outcome: OutcomeBoxes, title: Sequence[str], width: int, scale: float
) -> Image.Image:
    sizes = (_LEGEND_TEXT, _LEGEND_MARGIN, _LEGEND_SAMPLE, _LEGEND_LINE, _LEGEND_GAP)
    letters, margin, sample, line, gap = (round(size * scale) for size in sizes)
    items: list[tuple[Stroke | None, str]] = [(None, part) for part in title]
    items += [
        (FOUND, f"found: {len(outcome.found)}"),
        (MISSED, f"missed: {len(outcome.missed)}"),
        (FALSE_ALARM, f"false alarm, with its score: {len(outcome.false_alarms)}"),
    ]
    if len(outcome.not_counted):
        items.append((NOT_COUNTED, f"not counted: {len(outcome.not_counted)}"))
    corners: list[tuple[int, int]] = []
    x, y = margin, margin // 2
    for number, (stroke, text) in enumerate(items):
        needed = text_size(text, letters)[0] + (sample if stroke else 0)
        if number == len(title) or (x > margin and x + needed > width):
            x, y = margin, y + line
        corners.append((x, y))
        x += needed + gap
    legend = Image.new("RGB", (width, y + line), _LEGEND_COLOR)
    pen, canvas = _Pen(legend, scale), ImageDraw.Draw(legend)
    for (stroke, text), (x, y) in zip(items, corners, strict=True):
        if stroke:
            pen.draw_box([x + 2, y + 4 * scale, x + 30 * scale, y + letters], stroke)
        write_text(canvas, (x + (sample if stroke else 0), y), text, letters)
    return legend
