"""``blur/``: each picture with its heads made unrecognisable."""

from collections.abc import Iterator
from pathlib import Path

from head_detection.images.hiding import hide_heads
from head_detection.images.reading import Picture
from head_detection.images.styles import Hiding
from head_detection.results.images import PictureSink
from head_detection.results.record import Origin, Record


class BlurSink(PictureSink):
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

    def _pictures(self, record: Record, pixels: Picture) -> Iterator[Picture]:
        found = record.detections if record.to_hide is None else record.to_hide
        yield hide_heads(pixels, found, self._hiding)
