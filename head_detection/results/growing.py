"""A file that grows in its place, and is whole after each part, whatever ends the writing."""

import os
from contextlib import suppress
from pathlib import Path

from head_detection.files import clear_leftovers, lock_file, naming


class GrowingFile:
    """Takes parts one by one; each is in the file, behind those before it, once ``add`` is done.

    What ends the file, as the brackets of JSON do, is written with each part and over it the next.
    A kill leaves all parts but at most the one that was being written, and so does a full disk. As
    long as it is open its lock says that it is still written.

    Args:
        path: of the file; its folder is made if need be.
        goes_on: behind what is there already, not anew.

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
        """Put a part behind the others, and behind it what ends the file until the next comes.

        Raises:
            OSError: it cannot be written, and the file is as it was; names it.
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
        """Let what is written reach the disk.

        Raises:
            OSError: it does not; names the file.
        """
        try:
            with naming(self.path), self._file:
                os.fsync(self._file.fileno())
        finally:
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _write(self, content: bytes) -> None:
        """Write behind the parts that are there; it is the file's end then."""
        self._file.seek(self._size)
        rest = memoryview(content)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._file.truncate(self._size + len(content))
