"""Tiled detection at full scale of pictures larger than the network's input."""

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
"""Pixels (192 MB as RGB) from which a file is read in bands and never held in memory as a whole."""

SMALL: Final = 16.0
"""Square root of area in network pixels; smaller heads are increasingly missed."""
MANY: Final = 20
"""Number of small heads from which a picture is tiled, if they are also a quarter of all heads:
tiles take several times as long, so they should find many more."""
SHARE: Final = 4
"""One small head in this many: the quarter."""
SURE: Final = 0.5
"""Score from which a head counts for this decision, whatever the score threshold."""
HALF: Final = 0.5
"""A picture that is scaled down below this share without tiles gets a note."""


class TiledEngine:
    """Detects in full-scale tiles of pictures that the engine would scale down.

    It also detects in the whole picture, for heads that are too large for the tiles' overlap.

    Args:
        engine: detects in the tiles, and in pictures that need none.
        tile: side of a tile in original pixels.
        overlap: minimum overlap of neighbouring tiles, as a share of their side. Heads of at least
            half the overlap may also come from the whole picture.
        iou_threshold: if heads of different tiles overlap by more, the one scored higher is kept.
    """

    def __init__(self, engine: Engine, tile: int, overlap: float, iou_threshold: float) -> None:
        self.name, self.device = engine.name, engine.device
        self.precision, self.batch_size = engine.precision, engine.batch_size
        self.concurrency = 1  # tiled pictures are large
        self._engine, self._tile, self._overlap = engine, tile, overlap
        self._iou_threshold = iou_threshold

    def is_tiled(self, image_size: tuple[int, int]) -> bool:
        """Tell whether a picture of (height, width) is detected in tiles."""
        enough = self._engine.enough_size(image_size)
        return max(image_size) > self._tile and max(enough) < max(image_size)

    def padded_sizes(self, image_size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Return the key that pictures of one batch share, as in ``Engine``."""
        return (image_size,) if self.is_tiled(image_size) else self._engine.padded_sizes(image_size)

    def enough_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Return the smallest (height, width) to decode a picture at without loss."""
        return image_size if self.is_tiled(image_size) else self._engine.enough_size(image_size)

    @isolated
    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Return the heads of each ``(3, H, W)`` picture, uint8 or floating in 0..1.

        Raises:
            DeviceMemoryError: a tile, or an untiled picture, does not fit in the device's memory.
        """
        found: list[Detections] = []
        for is_tiled, group in groupby(images, key=lambda image: self.is_tiled(_size_of(image))):
            some = list(group)
            found += map(self.detect_tiles, some) if is_tiled else self._engine.detect(some)
        return found

    def reads_in_bands(self, image_size: tuple[int, int]) -> bool:
        """Tell whether a file of (height, width) is passed to ``detect_file`` without decoding."""
        height, width = image_size
        return height * width >= IN_BANDS and self.is_tiled(image_size)

    @isolated
    def detect_file(self, path: Path, max_pixels: int = MAX_PIXELS) -> Detections:
        """Return the heads of a picture file, without holding the whole picture in memory.

        Args:
            path: the file.
            max_pixels: larger pictures are refused.

        Raises:
            PictureError: the file cannot be read.
            DeviceMemoryError: a tile does not fit in the device's memory.
        """
        with Bands(path, max_pixels) as bands:
            small = _Shrunk(bands.image_size, self._engine.enough_size(bands.image_size))
            tiles = self._tiles_of(bands, small)
            return self._merge(tiles, bands.image_size, lambda: small.picture)

    def needs_tiles(self, found: Detections) -> bool:
        """Tell from the heads found in the whole picture whether tiles would find many more.

        Args:
            found: in original pixels.
        """
        if not self.is_tiled(found.image_size):
            return False
        sure = found.above(SURE)
        small = int((areas(sure.boxes) < (SMALL / self._share(found.image_size)) ** 2).sum())
        return small >= MANY and small * SHARE >= len(sure)

    def with_note(self, found: Detections) -> Detections:
        """Add a note to the heads of a whole picture if it was scaled down by much."""
        share = self._share(found.image_size)
        if share >= HALF:
            return found
        note = (
            f"seen at {share:.0%} of its size, where small heads may be missed; "
            f"inference.tile={self._tile} finds them"
        )
        return replace(found, note=note if found.note is None else f"{found.note}; {note}")

    def _share(self, image_size: tuple[int, int]) -> float:
        """Return the scale at which the network sees a picture, at most 1."""
        return min(1.0, max(self._engine.enough_size(image_size)) / max(image_size))

    def detect_tiles(self, image: Tensor) -> Detections:
        """Return the heads of a ``(3, H, W)`` picture, always in tiles.

        Raises:
            DeviceMemoryError: a tile does not fit in the device's memory.
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
            del pixels  # frees the band before the next one is read

    def _merge(
        self,
        tiles: Iterable[tuple[Tile, Tensor]],
        image_size: tuple[int, int],
        whole: Callable[[], Tensor],
    ) -> Detections:
        """Detect in batches of tiles, then in the whole picture, and merge the heads."""
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
        # A head smaller than half the overlap is whole in some tile, and located better there.
        sides = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(axis=1)
        is_large = sides >= self._tile * self._overlap / 2
        largest = ScoredBoxes(seen.boxes[is_large], seen.scores[is_large])
        merged = merge_tiles(found, image_size, self._iou_threshold, largest)
        joined = Detections.from_arrays(merged.boxes, merged.scores, image_size)
        return replace(joined, note=next((note for note in notes if note is not None), None))


class _Shrunk:
    """Scales a picture down as its rows are read.

    Args:
        image_size: (height, width) of the picture.
        enough: minimum (height, width) of the result.
    """

    def __init__(self, image_size: tuple[int, int], enough: tuple[int, int]) -> None:
        pairs = zip(image_size, enough, strict=True)
        self._factor = max(1, min(side // least for side, least in pairs))
        self._parts: list[Picture] = []
        self._rest: Picture = np.zeros((0, image_size[1], 3), np.uint8)
        self._seen = 0

    def add(self, rows: Picture, top: int) -> None:
        """Add the rows from ``top`` on; rows that were added before are skipped."""
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
        """Scale down rows whose number is a multiple of the factor."""
        if len(rows):
            size = (max(1, rows.shape[1] // self._factor), len(rows) // self._factor)
            shrunk = cv2.resize(rows, size, interpolation=cv2.INTER_AREA)
            self._parts.append(np.asarray(shrunk, np.uint8))

    @property
    def picture(self) -> Tensor:
        """``(3, H, W)`` uint8; last rows that are fewer than the factor are dropped."""
        return torch.from_numpy(np.concatenate(self._parts)).permute(2, 0, 1)


def _size_of(image: Tensor) -> tuple[int, int]:
    return image.shape[1], image.shape[2]
