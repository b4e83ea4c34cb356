"""Dividing a large picture into full-scale tiles, and merging the heads found in them.

Each tile is detected in as a separate picture, so that memory holds only the pixels of one batch of
tiles.
"""

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from head_detection.boxes import areas
from head_detection.models.nms import keep_boxes

CUT: Final = 2.0
"""Pixels. A box that ends this close to an inner edge of its tile may be cut off there."""

FloatArray = npt.NDArray[np.float32]


class Tile(NamedTuple):
    """A part of a picture, in its pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class ScoredBoxes(NamedTuple):
    """The heads of a tile or a picture.

    Attributes:
        boxes: ``(N, 4)`` float32 xyxy.
        scores: ``(N,)`` float32.
    """

    boxes: Annotated[FloatArray, "n 4"]
    scores: Annotated[FloatArray, "n"]


def tile_views(height: int, width: int, tile: int, overlap: float) -> tuple[Tile, ...]:
    """Return tiles that cover a picture, row by row: as few as possible, evenly spaced.

    Args:
        height: height of the picture in its pixels.
        width: width of the picture.
        tile: side of a tile; along an axis where the picture is shorter, the tile is as long as it.
        overlap: minimum overlap of neighbours as a share of a tile, 0 to under 1; heads up to this
            size are whole in some tile.

    Raises:
        ValueError: a tile without pixels, or an overlap out of range.

    Example:
        >>> [tile[0::2] for tile in tile_views(100, 260, 100, 0.2)]
        [(0, 100), (80, 180), (160, 260)]
    """
    if tile < 1 or not 0 <= overlap < 1:
        raise ValueError(
            "tile: expected 1 pixel or more and an overlap of 0 to under 1; "
            f"got {tile} and {overlap:g}"
        )
    return tuple(
        Tile(left, top, min(left + tile, width), min(top + tile, height))
        for top in _starts(height, tile, overlap)
        for left in _starts(width, tile, overlap)
    )


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Return the starts of tiles along an axis of at least one pixel."""
    if length <= tile:
        return [0]
    step = max(1, int(tile * (1 - overlap)))
    count = -(-(length - tile) // step) + 1
    return [round(place * (length - tile) / (count - 1)) for place in range(count)]


def merge_tiles(
    tiles: Sequence[tuple[Tile, ScoredBoxes]],
    image_size: tuple[int, int],
    iou_threshold: float,
    whole: ScoredBoxes | None = None,
) -> ScoredBoxes:
    """Return the heads of the picture, by descending score, each once.

    A box cut off by its tile's edge is dropped if another tile contains it whole. Suppression uses
    IoU, because the overlap relative to the smaller box would suppress neighbouring heads.

    Args:
        tiles: each tile with its heads, in the tile's pixels.
        image_size: ``(height, width)`` of the picture.
        iou_threshold: if two boxes overlap by more, the one scored higher is kept.
        whole: large heads found in the whole picture, in its pixels.

    Example:
        >>> left, right = Tile(0, 0, 100, 50), Tile(80, 0, 180, 50)
        >>> cut = ScoredBoxes(np.array([[85, 9, 100, 30]], "f4"), np.array([0.9], "f4"))
        >>> same = ScoredBoxes(np.array([[5, 9, 25, 30]], "f4"), np.array([0.8], "f4"))
        >>> merge_tiles([(left, cut), (right, same)], (50, 180), 0.5).boxes.tolist()
        [[85.0, 9.0, 105.0, 30.0]]
    """
    edges = np.array([tile for tile, _ in tiles], np.float32).reshape(-1, 4)
    parts = [_place(number, found, edges, image_size) for number, (_, found) in enumerate(tiles)]
    parts += [] if whole is None else [whole]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)])
    scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
    has_area = areas(boxes) > 0
    boxes, scores = boxes[has_area], scores[has_area]
    kept = keep_boxes(boxes.astype(np.float64), scores.astype(np.float64), iou_threshold)
    return ScoredBoxes(boxes[kept], scores[kept])


def _place(
    number: int, found: ScoredBoxes, edges: FloatArray, image_size: tuple[int, int]
) -> ScoredBoxes:
    """Return a tile's heads in picture pixels, without cut ones that another tile has whole."""
    own = edges[number]
    boxes = found.boxes + np.concatenate((own[:2], own[:2]))
    is_cut = ~_lie_whole(boxes, own[None], image_size)[:, 0]
    # Few boxes are cut, so the table of boxes and tiles is small.
    is_elsewhere = np.zeros(len(boxes), np.bool_)
    is_elsewhere[is_cut] = _lie_whole(boxes[is_cut], edges, image_size).any(axis=1)
    return ScoredBoxes(boxes[~is_elsewhere], found.scores[~is_elsewhere])


def _lie_whole(
    boxes: FloatArray, edges: FloatArray, image_size: tuple[int, int]
) -> npt.NDArray[np.bool_]:
    """Return ``(N, T)`` bool: whether each box lies in each tile, away from its inner edges."""
    height, width = image_size
    # A box at the picture's edge cannot continue in another tile.
    first = np.where(edges[:, :2] > 0, edges[:, :2] + CUT, -np.inf)
    last = np.where(edges[:, 2:] < (width, height), edges[:, 2:] - CUT, np.inf)
    is_inside = (boxes[:, None, :2] >= first) & (boxes[:, None, 2:] <= last)
    return np.asarray(is_inside.all(axis=2))
