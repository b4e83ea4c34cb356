"""Pictures larger than the network takes, detected in tiles at full scale."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from head_detection.boxes import areas
from head_detection.images.bands import Bands
from head_detection.images.reading import MAX_PIXELS, Picture
from head_detection.inference.engine import Engine
from head_detection.inference.isolation import isolated
from head_detection.models.tiles import ScoredBoxes, Tile, merge_tiles, tile_views
from head_detection.structures import Detections

IN_BANDS: Final = 64 * 1024**2
"""Pixels from which on a file is read band by band, and never held as a whole: 192 MB as RGB."""

SMALL: Final = 16.0
"""Root of area in network pixels: of smaller heads fewer and fewer are found."""
MANY: Final = 20
"""Heads so small that are reason enough to look at a picture in tiles, where they are also a
quarter of all: what takes several times as long shall find many more."""
SHARE: Final = 4
"""The quarter."""
SURE: Final = 0.5
"""The score from which on a head counts for that, whatever the threshold of the answer is."""
HALF: Final = 0.5
"""A picture shrunk by more, without tiles, has a note."""


class TiledEngine:
    """An engine that sees every pixel: what it would shrink goes through it tile by tile.

    Once more it sees such a picture as a whole, for heads larger than a tile.

    Args:
        engine: detects in tiles, and in pictures that need none.
        tile: sides of a tile in original pixels.
        overlap: the least share of a tile that its neighbour has too; heads of more pixels than
            that are left to the whole picture.
        iou_threshold: of two heads of different tiles that overlap by more, the surer stays.
    """

    def __init__(self, engine: Engine, tile: int, overlap: float, iou_threshold: float) -> None:
        self.name, self.device = engine.name, engine.device
        self.precision, self.batch_size = engine.precision, engine.batch_size
        self.concurrency = 1  # pictures that are tiled are large
        self._engine, self._tile, self._overlap = engine, tile, overlap
        self._iou_threshold = iou_threshold

    def is_tiled(self, image_size: tuple[int, int]) -> bool:
        """Tell whether a picture of (height, width) is detected in tiles."""
        enough = self._engine.enough_size(image_size)
        return max(image_size) > self._tile and max(enough) < max(image_size)

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return what pictures of one batch have in common, as ``Engine`` says."""
        return (image_size,) if self.is_tiled(image_size) else self._engine.padded_sizes(image_size)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the (height, width) that a picture may be read at and lose nothing."""
        return image_size if self.is_tiled(image_size) else self._engine.enough_size(image_size)

    @isolated
    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        Raises:
            DeviceMemoryError: the device's memory does not hold a tile, or a picture without.
        """
        found: list[Detections] = []
        for is_tiled, group in groupby(images, key=lambda image: self.is_tiled(_size_of(image))):
            some = list(group)
            found += map(self.detect_tiles, some) if is_tiled else self._engine.detect(some)
        return found

    def reads_in_bands(self, image_size: tuple[int, int]) -> bool:
        """Tell whether a file of (height, width) goes to ``detect_file``, unread."""
        height, width = image_size
        return height * width >= IN_BANDS and self.is_tiled(image_size)

    @isolated
    def detect_file(self, path: Path, max_pixels: int = MAX_PIXELS) -> Detections:
        """Return the heads of a picture file that is never in memory as a whole.

        Args:
            path: the file.
            max_pixels: a larger one is refused.

        Raises:
            PictureError: it cannot be read.
            DeviceMemoryError: the device's memory does not hold a tile.
        """
        with Bands(path, max_pixels) as bands:
            small = _Shrunk(bands.image_size, self._engine.enough_size(bands.image_size))
            tiles = self._tiles_of(bands, small)
            return self._merge(tiles, bands.image_size, lambda: small.picture)

    def needs_tiles(self, found: Detections) -> bool:
        """Tell from the heads of a picture, seen as a whole, whether tiles would find many more.

        Args:
            found: in pixels of the picture, which the first view shrank.
        """
        if not self.is_tiled(found.image_size):
            return False
        sure = found.above(SURE)
        small = int((areas(sure.boxes) < (SMALL / self._share(found.image_size)) ** 2).sum())
        return small >= MANY and small * SHARE >= len(sure)

    def with_note(self, found: Detections) -> Detections:
        """Return the heads of a picture seen as a whole, with a note where it was much shrunk."""
        share = self._share(found.image_size)
        if share >= HALF:
            return found
        note = (
            f"seen at {share:.0%} of its size, where small heads may be missed; "
            f"inference.tile={self._tile} finds them"
        )
        return replace(found, note=note if found.note is None else f"{found.note}; {note}")

    def _share(self, image_size: tuple[int, int]) -> float:
        """Return how long a side is that the network sees, as a share of the picture's."""
        return min(1.0, max(self._engine.enough_size(image_size)) / max(image_size))

    def detect_tiles(self, image: Tensor) -> Detections:
        """Return the heads of a ``(3, H, W)`` picture as ``detect`` does of those that it shrinks.

        Raises:
            DeviceMemoryError: the device's memory does not hold a tile.
        """
        height, width = _size_of(image)
        tiles = (
            (tile, image[:, tile.top : tile.bottom, tile.left : tile.right])
            for tile in tile_views(height, width, self._tile, self._overlap)
        )
        return self._merge(tiles, (height, width), lambda: image)

    def _tiles_of(self, bands: Bands, small: "_Shrunk") -> Iterator[tuple[Tile, Tensor]]:
        views = tile_views(*bands.image_size, self._tile, self._overlap)
        for (top, bottom), row in groupby(views, key=lambda tile: (tile.top, tile.bottom)):
            pixels = bands.read(top, bottom)
            small.add(pixels, top)
            for tile in row:
                part = np.ascontiguousarray(pixels[:, tile.left : tile.right])
                yield tile, torch.from_numpy(part).permute(2, 0, 1)
            del pixels  # before the next band is read

    def _merge(
        self,
        tiles: Iterable[tuple[Tile, Tensor]],
        image_size: tuple[int, int],
        whole: Callable[[], Tensor],
    ) -> Detections:
        """Detect a batch of tiles at a time, then in the whole picture, and join what was found."""
        found: list[tuple[Tile, ScoredBoxes]] = []
        notes: set[str | None] = set()
        rest = iter(tiles)
        while batch := list(islice(rest, self.batch_size)):
            heads = self._engine.detect([pixels for _, pixels in batch])
            notes |= {own.note for own in heads}
            found += [
                (tile, ScoredBoxes(own.boxes, own.scores))
                for (tile, _), own in zip(batch, heads, strict=True)
            ]
        (seen,) = self._engine.detect([whole()])
        seen = seen.scaled_to(image_size)
        # A head well within what two tiles share is whole in one of them, and measured better.
        sides = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(axis=1)
        is_large = sides >= self._tile * self._overlap / 2
        largest = ScoredBoxes(seen.boxes[is_large], seen.scores[is_large])
        merged = merge_tiles(found, image_size, self._iou_threshold, largest)
        joined = Detections.from_arrays(merged.boxes, merged.scores, image_size)
        return replace(joined, note=next((note for note in notes if note is not None), None))


class _Shrunk:
    """A picture made small while its rows go by.

    Args:
        image_size: (height, width) of the picture.
        enough: the (height, width) that it is to have at least.
    """

    def __init__(self, image_size: tuple[int, int], enough: tuple[int, int]) -> None:
        pairs = zip(image_size, enough, strict=True)
        self._factor = max(1, min(side // least for side, least in pairs))
        self._parts: list[Picture] = []
        self._rest: Picture = np.zeros((0, image_size[1], 3), np.uint8)
        self._seen = 0

    def add(self, rows: Picture, top: int) -> None:
        """Take the rows from ``top`` on; those that were taken before are passed over."""
        new = rows[max(0, self._seen - top) :]
        self._seen = max(self._seen, top + len(rows))
        missing = -len(self._rest) % self._factor
        if len(self._rest) and len(new) >= missing:
            self._shrink(np.concatenate([self._rest, new[:missing]]))
            new, self._rest = new[missing:], self._rest[:0]
        whole = 0 if len(self._rest) else len(new) - len(new) % self._factor
        self._shrink(new[:whole])
        self._rest = np.concatenate([self._rest, new[whole:]])

    def _shrink(self, rows: Picture) -> None:
        """Take rows whose number is a multiple of the factor."""
        if len(rows):
            size = (max(1, rows.shape[1] // self._factor), len(rows) // self._factor)
            shrunk = cv2.resize(rows, size, interpolation=cv2.INTER_AREA)
            self._parts.append(np.asarray(shrunk, np.uint8))

    @property
    def picture(self) -> Tensor:
        """``(3, H, W)`` uint8; of the last rows, fewer than a pixel stands for, nothing is left."""
        return torch.from_numpy(np.concatenate(self._parts)).permute(2, 0, 1)


def _size_of(image: Tensor) -> tuple[int, int]:
    return image.shape[1], image.shape[2]
