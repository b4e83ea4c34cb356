"""``images/``: each picture with its heads drawn."""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from head_detection.images.encoding import LARGEST_SIDES, encode_picture
from head_detection.images.heads import draw_heads
from head_detection.images.reading import Picture
from head_detection.images.styles import Drawing
from head_detection.images.traces import Traces
from head_detection.results.record import Origin, Record
from head_detection.results.sink import FolderSink
from head_detection.structures import FloatArray

JPEG_QUALITY: Final = 92
MOST_SOURCES: Final = 64
"""Videos and cameras at the same time whose heads leave traces."""


class PictureSink(FolderSink):
    """Writes pictures: JPEG and PNG keep their format; others, and frames, become JPEG."""

    needs_pixels = True

    def _suffix(self, record: Record) -> str:
        suffix = "" if record.path is None else record.path.suffix
        if max(record.detections.image_size) > LARGEST_SIDES[".jpg"]:
            return suffix if suffix.lower() == ".png" else ".png"
        return suffix if suffix.lower() in (".jpg", ".jpeg", ".png") else ".jpg"

    def _contents(self, record: Record, targets: Sequence[Path]) -> Iterator[bytes]:
        if record.pixels is None:
            raise ValueError("pixels: expected in the record; got none")
        pictures = self._pictures(record, record.pixels)
        for target, picture in zip(targets, pictures, strict=True):
            yield encode_picture(picture, target.suffix.lower(), JPEG_QUALITY)

    @abstractmethod
    def _pictures(self, record: Record, pixels: Picture) -> Iterator[Picture]:
        """Yield the pictures to write for one picture."""


class DrawnSink(PictureSink):
    """``images/``: each picture with boxes around its heads and their number; frames with ids too.

    Args:
        folder: as in ``FolderSink``.
        origin: as in ``FolderSink``.
        drawing: how heads are marked; None is the default.
        has_frames: also write the frames of videos; False if another sink writes them.
    """

    folder_name = "images"

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        drawing: Drawing | None = None,
        *,
        has_frames: bool = True,
    ) -> None:
        super().__init__(folder, origin)
        self._drawing, self._has_frames = drawing, has_frames
        self._traces: OrderedDict[str, Traces] = OrderedDict()
        self._ways: dict[tuple[str, int], dict[int, FloatArray]] = {}

    def write(self, record: Record) -> None:
        """Queue the picture's files to be written, with the traces of its heads so far.

        Raises:
            OutputError: as in ``FolderSink``.
            OSError: as in ``FolderSink``.
        """
        if record.seconds is not None and not self._has_frames:
            return
        if record.seconds is not None:
            traces = self._traces.setdefault(record.file, Traces())
            self._traces.move_to_end(record.file)
            if len(self._traces) > MOST_SOURCES:
                self._traces.popitem(last=False)
            ways = traces.add(record.seconds, record.detections)
            self._ways[record.file, record.index] = ways
        super().write(record)

    def _pictures(self, record: Record, pixels: Picture) -> Iterator[Picture]:
        yield draw_heads(
            pixels,
            record.detections,
            self._drawing,
            traces=self._ways.pop((record.file, record.index), None),
            regions=record.regions or (),
        )
