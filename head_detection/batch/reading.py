"""Reads the picture of an item: a local file's path, or bytes from a store, archive or table."""

import threading
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from head_detection.batch.items import Item
from head_detection.batch.places import (
    open_place,
    protocol_of,
    read_at_most,
    read_range,
    reason_of,
)
from head_detection.errors import HeadDetectionError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import MAX_PIXELS
from head_detection.images.video_start import MOTION_JPEG_EXTENSIONS

if TYPE_CHECKING:
    from head_detection.batch.tables import TableCursor

MAX_BYTES: Final = 3 * MAX_PIXELS
"""Larger files are refused: the largest accepted picture has so many bytes when uncompressed."""


class ItemReader:
    """Reads the pictures of items; callable from several threads, fastest in the items' order.

    It keeps one Parquet file open, at the last row that was read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: TableCursor | None = None

    def read(self, item: Item) -> PictureFile | bytes:
        """Return a local file unread, for the detector to decode as much as it needs; else bytes.

        Raises:
            PictureError: the bytes cannot be read, or are too many; one line that begins with the
                name.
        """
        if item.problem:
            raise PictureError(f"{item.name}: {item.problem}")
        if item.offset < 0 and PurePath(item.location).suffix.lower() in MOTION_JPEG_EXTENSIONS:
            raise PictureError(f"{item.name}: expected a picture; got a video, by its name")
        if item.offset < 0 and not protocol_of(item.location):
            return PictureFile(Path(item.location), item.name)
        try:
            content = self._row(item) if _is_row(item) else _bytes(item)
        except HeadDetectionError as error:
            reason = str(error).removeprefix(f"{item.name}: ")  # a URL in a list is its own name
            raise PictureError(f"{item.name}: {reason}") from error
        except Exception as error:  # file systems fail in every way there is
            raise PictureError(f"{item.name}: {reason_of(error, item.location)}") from error
        return content

    def close(self) -> None:
        """Close the open file, if any; reading may go on afterwards."""
        with self._lock:
            if self._cursor is not None:
                self._cursor.close()
            self._cursor = None

    def _row(self, item: Item) -> bytes:
        with self._lock:
            cursor = self._cursor
            if cursor is None or (cursor.location, cursor.column) != (item.location, item.column):
                # Importing Arrow's functions slows a worker's start, and few sources are tables.
                from head_detection.batch.tables import TableCursor  # noqa: PLC0415

                self._cursor = None
                if cursor is not None:
                    cursor.close()
                cursor = self._cursor = TableCursor(item.location, item.column)
            content = cursor.read(item.offset)
        _check_size(len(content))
        return content


def _is_row(item: Item) -> bool:
    return item.offset >= 0 and item.size < 0


def _bytes(item: Item) -> bytes:
    """Return a member of an archive, or a whole file, up to the size limit."""
    if item.offset < 0:
        with open_place(item.location) as file:
            content = read_at_most(file, MAX_BYTES + 1)
        _check_size(len(content))
        return content
    _check_size(item.size)
    content = read_range(item.location, item.offset, item.size)
    if len(content) < item.size:
        raise PictureError(
            f"expected {item.size:,} bytes in the archive; got {len(content):,} before its end"
        )
    return content


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_BYTES:
        raise PictureError(f"expected at most {MAX_BYTES:,} bytes; got more: make it smaller")
