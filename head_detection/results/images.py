"""``images/``: each picture with its heads drawn."""

from typing import Final

import cv2

from head_detection.images.drawing import draw_heads
from head_detection.images.reading import Picture
from head_detection.results.record import Record
from head_detection.results.sink import FolderSink
from head_detection.structures import Detections

JPEG_QUALITY: Final = 92
LARGEST_JPEG_SIDE: Final = 65_535  # pixels, of the format


class DrawnSink(FolderSink):
    """``images/``: each picture with its heads in boxes and their number.

    JPEG and PNG stay what they are; any other format becomes JPEG, as do frames.
    """

    folder_name = "images"
    needs_pixels = True

    def _suffix(self, record: Record) -> str:
        suffix = "" if record.path is None else record.path.suffix
        if max(record.detections.image_size) > LARGEST_JPEG_SIDE:
            return suffix if suffix.lower() == ".png" else ".png"
        return suffix if suffix.lower() in (".jpg", ".jpeg", ".png") else ".jpg"

    def _content(self, record: Record, suffix: str) -> bytes:
        if record.pixels is None:
            raise ValueError("pixels: expected in the record; got none")
        changed = self._change(record.pixels, record.detections)
        bgr = cv2.cvtColor(changed, cv2.COLOR_RGB2BGR)
        options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
        _, encoded = cv2.imencode(suffix, bgr, options)
        return encoded.tobytes()

    def _change(self, pixels: Picture, detections: Detections) -> Picture:
        return draw_heads(pixels, detections)
