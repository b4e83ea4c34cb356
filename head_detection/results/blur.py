"""``blur/``: each picture with its heads made unrecognisable."""

from pathlib import Path

from head_detection.images.hiding import Hiding, hide_heads
from head_detection.images.reading import Picture
from head_detection.results.images import DrawnSink
from head_detection.results.record import Origin
from head_detection.structures import Detections


class BlurSink(DrawnSink):
    """``blur/``: each picture with its heads made unrecognisable, and nothing drawn.

    The files are made anew from the pixels: no metadata of the picture comes along, and nothing is
    transparent. A picture whose heads are still to be seen afterwards is not written: it fails.

    Args:
        folder: as ``FolderSink``.
        origin: as ``FolderSink``.
        hiding: None is solid black.
    """

    folder_name = "blur"

    def __init__(self, folder: Path, origin: Origin, hiding: Hiding | None = None) -> None:
        super().__init__(folder, origin)
        self._hiding = hiding

    def _change(self, pixels: Picture, detections: Detections) -> Picture:
        return hide_heads(pixels, detections, self._hiding)
