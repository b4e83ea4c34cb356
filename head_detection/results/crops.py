"""``crops/``: each head as a picture of its own."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from head_detection.boxes import clipped
from head_detection.images.reading import Picture
from head_detection.results.images import PictureSink
from head_detection.results.record import Record

NUM_DIGITS: Final = 4
"""Least digits of a head's number; more if a picture has more heads, so that names sort."""


class CropSink(PictureSink):
    """``crops/<picture>/0001.jpg``: the pixels of each head's box, with nothing drawn.

    Heads are numbered from 1 in the order of ``detections.json``. A box outside the picture has no
    file.
    """

    folder_name = "crops"

    def _suffix(self, record: Record) -> str:  # noqa: ARG002 - a folder has none
        return ""

    def _names_of(self, record: Record, name: PurePosixPath) -> Sequence[PurePosixPath]:
        digits = max(NUM_DIGITS, len(str(len(record.detections))))
        suffix = super()._suffix(record).lower()
        corners = _whole_pixels(record)
        return [
            name / f"{number:0{digits}d}{suffix}"
            for number, (x1, y1, x2, y2) in enumerate(corners, start=1)
            if x1 < x2 and y1 < y2
        ]

    def _pictures(self, record: Record, pixels: Picture) -> Iterator[Picture]:
        for x1, y1, x2, y2 in _whole_pixels(record):
            if x1 < x2 and y1 < y2:
                yield pixels[y1:y2, x1:x2]


def _whole_pixels(record: Record) -> list[list[int]]:
    """Return the boxes rounded outwards and clipped to the picture."""
    boxes = record.detections.boxes
    outwards = np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1)
    corners: list[list[int]] = clipped(outwards, record.detections.image_size).astype(int).tolist()
    return corners
