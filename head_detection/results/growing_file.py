"""A file that grows in place and is complete after each part, however the writing ends."""

import os
from contextlib import suppress
from pathlib import Path

from head_detection.files import clear_leftovers, lock_file, naming


class GrowingFile:
    """Appends parts one by one; each is in the file once ``add`` returns.

    The end of the file, such as the closing brackets of JSON, is written with each part and then
    overwritten by the next. A kill or a full disk loses at most the part that was being written.
    While the file is open, a lock shows that it is still being written.

    Args:
        path: path of the file; its folder is created if missing.
        goes_on: append to an existing file instead of starting anew.

    Raises:
        OSError: it cannot be written; names the file.
    """

    def __init__(self, path: Path, *, goes_on: bool = False) -> None:
        self.path = path
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            clear_leftovers(path.parent)
            self._file = path.open("r+b" if goes_on else "w+b", buffering=0)
        self._lock = lock_file(path)
        self._size = self._file.seek(0, os.SEEK_END)
        self._end = b""

    def add(self, part: bytes, end: bytes = b"") -> None:
        """Append a part, and after it the end of the file until the next part comes.

        Raises:
            OSError: it cannot be written, and the file is as it was; names the file.
        """
        if not part and end == self._end:
            return
        with naming(self.path):
            try:
                self._write(part + end)
            except OSError:
                with suppress(OSError):
                    self._write(self._end)
                raise
        self._size += len(part)
        self._end = end

    def close(self) -> None:
        """Flush to the disk and close.

        Raises:
            OSError: this fails; names the file.
        """
        try:
            with naming(self.path), self._file:
                os.fsync(self._file.fileno())
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _write(self, content: bytes) -> None:
        """Write after the existing parts, and truncate the file there."""
        self._file.seek(self._size)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._file.truncate(self._size + len(content))
