"""A file for each picture: drawn, pixelated, or its heads as YOLO labels."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

import cv2
import numpy as np

from head_detection.errors import OutputError
from head_detection.files import write_bytes
from head_detection.images.drawing import draw_heads, pixelate_heads
from head_detection.images.finding import OUTPUT_MARKER
from head_detection.images.reading import Picture
from head_detection.results.record import Origin, Record
from head_detection.structures import Detections

JPEG_QUALITY: Final = 92
LARGEST_JPEG_SIDE: Final = 65_535  # pixels, of the format
YOLO_CLASS: Final = 0
NUM_THREADS: Final = 2
MAX_WAITING: Final = 4
"""Pictures that may wait to be written; their pixels are in memory."""
MARKER_TEXT: Final = "Results of head-detection: a folder of pictures to search leaves this out.\n"


class FolderSink:
    """Writes one file a picture, in threads, under the picture's own relative path.

    Args:
        folder: the folder of all results; this sink makes its own in it.
        origin: not used: the files hold nothing but their picture.

    Raises:
        OutputError: its folder holds files that are no earlier results.
    """

    folder_name: ClassVar[str]
    needs_pixels: ClassVar[bool] = False

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as every sink is made
        self._folder = folder / self.folder_name
        self._claim_folder()
        self._taken: set[str] = set()
        self._waiting: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix=self.folder_name)

    @property
    def output(self) -> str:
        """What is written, for the summary."""
        return f"{self.folder_name}/"

    def write(self, record: Record) -> None:
        """Write the picture's file soon.

        Raises:
            OutputError: the file would replace the picture that it was made from.
            OSError: an earlier file could not be written.
        """
        target = self._folder / self._free_name(record.name, self._suffix(record))
        if target.exists() and target.resolve() == record.path.resolve():
            raise OutputError(f"{target}: would replace its own source; give another --output")
        while len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._write, record, target))

    def fail(self, name: str, error: str) -> None:
        """Write nothing."""

    def close(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: a file could not be written.
        """
        self._pool.shutdown()
        for future in self._waiting:
            future.result()

    def _suffix(self, record: Record) -> str:
        raise NotImplementedError

    def _content(self, record: Record, suffix: str) -> bytes:
        raise NotImplementedError

    def _write(self, record: Record, target: Path) -> None:
        write_bytes(target, self._content(record, target.suffix.lower()))

    def _claim_folder(self) -> None:
        """Mark the folder as results: no source later, and its files may be replaced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        marker = self._folder / OUTPUT_MARKER
        if not marker.exists() and any(self._folder.iterdir()):
            raise OutputError(
                f"{self._folder}: expected a new folder or one of earlier results; "
                "it holds other files, which might be replaced: give another --output"
            )
        marker.write_text(MARKER_TEXT, encoding="utf-8")

    def _free_name(self, name: str, suffix: str) -> PurePosixPath:
        """Return a path inside the folder that no other picture has, alike in letter case."""
        inside = [part for part in PurePosixPath(name).parts if part not in ("..", "/")]
        path = PurePosixPath(*inside)
        candidate = path.with_suffix(suffix)
        number = 1
        while str(candidate).casefold() in self._taken:
            more = "" if number == 1 else f"~{number}"
            candidate = path.with_name(f"{path.name}{more}{suffix}")
            number += 1
        self._taken.add(str(candidate).casefold())
        return candidate


class LabelSink(FolderSink):
    """``labels/*.txt``: YOLO, ``0 x y width height`` a head, centre and size over the picture's.

    A picture without heads gives an empty file, as YOLO's tools expect.
    """

    folder_name = "labels"

    def _suffix(self, record: Record) -> str:  # noqa: ARG002 - the same for all
        return ".txt"

    def _content(self, record: Record, suffix: str) -> bytes:  # noqa: ARG002 - text only
        height, width = record.detections.image_size
        sizes = np.array((width, height, width, height), dtype=np.float32)
        boxes = record.detections.boxes / sizes
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows = np.clip(np.concatenate([centres, sides], axis=1), 0.0, 1.0)
        lines = [f"{YOLO_CLASS} " + " ".join(f"{value:.6f}" for value in row) for row in rows]
        return "".join(f"{line}\n" for line in lines).encode()


class DrawnSink(FolderSink):
    """``images/``: each picture with its heads in boxes and their number.

    JPEG and PNG stay what they are; any other format becomes JPEG.
    """

    folder_name = "images"
    needs_pixels = True

    def _suffix(self, record: Record) -> str:
        suffix = record.path.suffix
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


class PixelatedSink(DrawnSink):
    """``images/``: each picture with its heads pixelated, in place of boxes."""

    def _change(self, pixels: Picture, detections: Detections) -> Picture:
        return pixelate_heads(pixels, detections)
