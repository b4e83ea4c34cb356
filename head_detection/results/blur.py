"""``blur/``: each picture with its heads made unrecognisable."""

from head_detection.images.drawing import pixelate_heads
from head_detection.images.reading import Picture
from head_detection.results.images import DrawnSink
from head_detection.structures import Detections


class BlurSink(DrawnSink):
    """``blur/``: each picture with its heads in a few squares of one colour, and nothing drawn.

    The files are made anew from the pixels: no metadata of the picture comes along.
    """

    folder_name = "blur"

    def _change(self, pixels: Picture, detections: Detections) -> Picture:
        return pixelate_heads(pixels, detections)
