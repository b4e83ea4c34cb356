"""What every format's writer is made of: takes results one by one."""

import sqlite3
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from head_detection.errors import OutputError
from head_detection.files import replacing, write_bytes
from head_detection.images.finding import OUTPUT_MARKER
from head_detection.results.record import Failure, Origin, Record

NUM_THREADS: Final = 2
MAX_WAITING: Final = 4
"""Pictures that may wait to be written; their pixels are in memory."""
MARKER_TEXT: Final = "Results of head-detection: a folder of pictures to search leaves this out.\n"


class Sink(ABC):
    """Takes results one by one; from one thread at a time.

    Attributes:
        needs_pixels: whether records must hold their picture.
    """

    needs_pixels: ClassVar[bool] = False

    @property
    @abstractmethod
    def output(self) -> str:
        """What is written, for a summary."""

    @abstractmethod
    def write(self, record: Record) -> None:
        """Take a picture or a frame that went through the network."""

    def fail(self, failure: Failure) -> None:  # noqa: B027 - nothing is what most do
        """Take one that could not be read; most formats have no place for it."""

    @abstractmethod
    def close(self) -> None:
        """Finish what is written."""


class FileSink(Sink):
    """A text file that grows picture by picture under a temporary name.

    Args:
        folder: of the file; made if need be.
        origin: what made the results.
    """

    file_name: ClassVar[str]
    encoding_errors: ClassVar[str] = "surrogateescape"
    """File names that are not valid Unicode keep their bytes."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._origin = origin
        self._stack = ExitStack()
        with self._stack:
            temporary = self._stack.enter_context(replacing(folder / self.file_name))
            self._file = self._stack.enter_context(
                temporary.open("w", encoding="utf-8", errors=self.encoding_errors, newline="")
            )
            self._file.write(self._head())
            self._stack = self._stack.pop_all()

    @property
    def output(self) -> str:
        """The file's name."""
        return self.file_name

    def write(self, record: Record) -> None:
        """Add a picture."""
        self._file.write(self._lines(record))

    def close(self) -> None:
        """End the file and put it in its place."""
        with self._stack:
            self._file.writelines(self._tail())

    def _head(self) -> str:
        return ""

    @abstractmethod
    def _lines(self, record: Record) -> str: ...

    def _tail(self) -> Iterator[str]:
        """Yield the end of the file, in parts that memory holds."""
        yield from ()


class FolderSink(Sink):
    """Writes one file a picture, in threads, under the picture's own relative path.

    Frames are numbered in a folder that is called after their video.

    Args:
        folder: the folder of all results; this sink makes its own in it.
        origin: not used: the files hold nothing but their picture.

    Raises:
        OutputError: its folder holds files that are no earlier results.
    """

    folder_name: ClassVar[str]

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as every sink is made
        self._folder = folder / self.folder_name
        self._claim_folder()
        # A table and no set: it lies on the disk, however many pictures there are.
        self._taken = sqlite3.connect("", isolation_level=None)
        self._taken.execute("CREATE TABLE taken (name BLOB PRIMARY KEY) WITHOUT ROWID")
        self._waiting: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix=self.folder_name)

    @property
    def output(self) -> str:
        """The folder's name."""
        return f"{self.folder_name}/"

    def write(self, record: Record) -> None:
        """Write the picture's file soon.

        Raises:
            OutputError: the file would replace the picture that it was made from.
            OSError: an earlier file could not be written.
        """
        target = self._folder / self._name_for(record)
        if record.path and target.exists() and target.resolve() == record.path.resolve():
            raise OutputError(f"{target}: would replace its own source; choose another folder")
        while len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._write, record, target))

    def close(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: a file could not be written.
        """
        self._pool.shutdown()
        self._taken.close()
        for future in self._waiting:
            future.result()

    @abstractmethod
    def _suffix(self, record: Record) -> str: ...

    @abstractmethod
    def _content(self, record: Record, suffix: str) -> bytes: ...

    def _write(self, record: Record, target: Path) -> None:
        write_bytes(target, self._content(record, target.suffix.lower()))

    def _claim_folder(self) -> None:
        """Mark the folder as results: no source later, and its files may be replaced."""
        self._folder.mkdir(parents=True, exist_ok=True)
        marker = self._folder / OUTPUT_MARKER
        if not marker.exists() and any(self._folder.iterdir()):
            raise OutputError(
                f"{self._folder}: expected a new folder or one of earlier results; "
                "it holds other files, which might be replaced: choose another folder"
            )
        marker.write_text(MARKER_TEXT, encoding="utf-8")

    def _name_for(self, record: Record) -> PurePosixPath:
        """Return a path inside the folder that no other picture of the run has."""
        inside = [part for part in PurePosixPath(record.file).parts if part not in ("..", "/")]
        path, suffix = PurePosixPath(*inside), self._suffix(record)
        if record.frame is not None:
            return path / f"{record.frame:06d}{suffix}"
        candidates = chain(
            [path.with_suffix(suffix), path.with_name(f"{path.name}{suffix}")],
            (path.with_name(f"{path.name}~{n}{suffix}") for n in count(record.index + 1)),
        )
        return next(candidate for candidate in candidates if self._take(candidate))

    def _take(self, name: PurePosixPath) -> bool:
        """Take a name for a picture, in any letter case; tell whether it was free."""
        key = str(name).casefold().encode("utf-8", "surrogatepass")
        return self._taken.execute("INSERT OR IGNORE INTO taken VALUES (?)", [key]).rowcount == 1
