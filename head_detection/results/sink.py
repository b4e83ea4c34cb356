"""The base classes of the writers of all formats, which take results one by one."""

import errno
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from head_detection.cores import num_cores
from head_detection.errors import PictureError
from head_detection.files import sync_all, write_bytes
from head_detection.results.file_names import ResultFolder, inside
from head_detection.results.growing_file import GrowingFile
from head_detection.results.record import Failure, Origin, Record

MIN_THREADS: Final = 2
MAX_THREADS: Final = 8
CORES_PER_THREAD: Final = 4
"""Drawing on a picture and encoding it takes a third as long as decoding it, for which the other
cores are needed if a GPU detects."""
WAITING_PER_THREAD: Final = 2
"""Most pictures that are being written or wait for it."""
WAITING_BYTES: Final = 256 * 1024**2
"""Limit on their pixels in memory; one picture may be larger."""
_OF_ONE_FILE: Final = frozenset(
    {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}
    | {errno.EILSEQ, errno.EINVAL, errno.ELOOP}
)
"""Errors that concern a single file name; others, such as a full disk, affect all files."""


class Sink(ABC):
    """Takes results one by one. Not thread-safe.

    Attributes:
        needs_pixels: whether records must hold their pixels.
    """

    needs_pixels: ClassVar[bool] = False

    @property
    @abstractmethod
    def output(self) -> str:
        """What is written, for a summary; empty if nothing is."""

    @abstractmethod
    def write(self, record: Record) -> None:
        """Write the result for a picture or frame."""

    def fail(self, failure: Failure) -> None:  # noqa: B027 - most formats do nothing
        """Write a picture or frame that failed; most formats have no place for it."""

    def take_failures(self) -> list[Failure]:
        """Return the pictures whose own file could not be written, since the last call."""
        return []

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know about the files, one line each; complete after closing."""
        return ()

    def break_off(self) -> None:  # noqa: B027 - most formats do not show it
        """Mark the results as unfinished, before ``close``: the run ends before its source."""

    @abstractmethod
    def close(self) -> None:
        """Finish writing."""


class FileSink(Sink):
    """A text file that grows picture by picture and is valid after each, even after a kill.

    Args:
        folder: folder of the file, created if missing.
        origin: what made the results.
    """

    file_name: ClassVar[str]
    encoding_errors: ClassVar[str] = "surrogateescape"
    """File names that are not valid Unicode keep their bytes."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        self._origin = origin
        self._stack = ExitStack()
        self._file = GrowingFile(folder / self.file_name)
        with self._stack:
            self._stack.callback(self._file.close)
            try:
                self._add(self._head())
            except OSError:
                self._file.path.unlink(missing_ok=True)  # invalid without its beginning
                raise
            self._stack = self._stack.pop_all()

    @property
    def output(self) -> str:
        """The file's name."""
        return self.file_name

    def write(self, record: Record) -> None:
        """Add a picture.

        Raises:
            OSError: it cannot be written; names the file.
        """
        self._add(self._lines(record))

    def close(self) -> None:
        """Close the file."""
        self._stack.close()

    def _add(self, text: str) -> None:
        content, end = (part.encode("utf-8", self.encoding_errors) for part in (text, self._end()))
        self._file.add(content, end)

    def _head(self) -> str:
        return ""

    @abstractmethod
    def _lines(self, record: Record) -> str: ...

    def _end(self) -> str:
        """Return the end of the file as if nothing more were to come."""
        return ""


class FolderSink(Sink):
    """Writes one or more files per picture, in threads, under the picture's own relative path.

    Frames are numbered in a folder that is named after their video.

    Args:
        folder: the folder of all results; this sink creates its own in it.
        origin: not used: the files describe only their picture.

    Raises:
        OutputError: its folder holds files that are not earlier results.
    """

    folder_name: ClassVar[str]

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as in every sink
        self._files = ResultFolder(folder / self.folder_name)
        self._folder = self._files.path
        self._waiting: deque[tuple[Future[Failure | None], int]] = deque()
        self._waiting_bytes = 0
        self._failures: list[Failure] = []
        num_threads = min(MAX_THREADS, max(MIN_THREADS, num_cores() // CORES_PER_THREAD))
        self._max_waiting = WAITING_PER_THREAD * num_threads
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix=self.folder_name)

    @property
    def output(self) -> str:
        """The folder's name, or nothing if it is empty."""
        return "" if self._files.is_empty else f"{self.folder_name}/"

    def write(self, record: Record) -> None:
        """Queue the picture's files to be written.

        Raises:
            OutputError: the file would replace the picture that it was made from.
            OSError: an earlier file could not be written, for a reason that affects all files.
        """
        names = self._names_of(record, self._name_for(record))
        targets = self._files.note(names, record.path)
        size = 0 if record.pixels is None else record.pixels.nbytes
        while self._waiting and not self._has_room(size):
            self._finish_oldest()
        self._waiting_bytes += size
        self._waiting.append((self._pool.submit(self._write, record, targets), size))

    def take_failures(self) -> list[Failure]:
        """Return the pictures whose own file could not be written, since the last call."""
        failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """Wait until everything is written.

        Raises:
            OSError: a file could not be written, for a reason that affects all files.
        """
        self._pool.shutdown()
        if not self._files.is_empty:
            sync_all()
        self._files.close()
        while self._waiting:
            self._finish_oldest()

    @abstractmethod
    def _suffix(self, record: Record) -> str: ...

    def _names_of(self, record: Record, name: PurePosixPath) -> Sequence[PurePosixPath]:  # noqa: ARG002
        """Return the files of a picture, given a unique name; most formats have one file."""
        return [name]

    @abstractmethod
    def _contents(self, record: Record, targets: Sequence[Path]) -> Iterator[bytes]:
        """Yield the contents of the files, in their order."""

    def _write(self, record: Record, targets: Sequence[Path]) -> Failure | None:
        target = self._folder
        try:
            contents = self._contents(record, targets)
            for target in targets:
                write_bytes(target, next(contents), is_one_of_many=True)
        except PictureError as error:
            reason = str(error)
        except OSError as error:
            if error.errno not in _OF_ONE_FILE:
                raise
            reason = error.strerror or str(error)
        else:
            return None
        name = (self.folder_name / target.relative_to(self._folder)).as_posix()
        mistake = PictureError(f"{name}: {reason}")
        return Failure(record.index, record.file, str(mistake), mistake, record.seconds)

    def _has_room(self, size: int) -> bool:
        is_small = self._waiting_bytes + size <= WAITING_BYTES
        return len(self._waiting) < self._max_waiting and is_small

    def _finish_oldest(self) -> None:
        writing, size = self._waiting.popleft()
        self._waiting_bytes -= size
        failure = writing.result()
        if failure is not None:
            self._failures.append(failure)

    def _name_for(self, record: Record) -> PurePosixPath:
        """Return a path inside the folder that no other picture of the run uses."""
        suffix = self._suffix(record)
        if record.frame is not None:
            return inside(record.file) / f"{record.frame:06d}{suffix}"
        return self._files.free_name(record.file, suffix, record.index)
