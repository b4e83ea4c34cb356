"""What every format's writer is made of: takes results one by one."""

import errno
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from head_detection.errors import PictureError
from head_detection.files import sync_all, write_bytes
from head_detection.results.growing import GrowingFile
from head_detection.results.naming import ResultFolder, inside
from head_detection.results.record import Failure, Origin, Record

NUM_THREADS: Final = 2
MAX_WAITING: Final = 4
"""Pictures that may wait to be written; their pixels are in memory."""
_OF_ONE_FILE: Final = frozenset(
    {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}
    | {errno.EILSEQ, errno.EINVAL, errno.ELOOP}
)
"""What the system refuses of one name, and not of the next one, as it does on a full disk."""


class Sink(ABC):
    """Takes results one by one; from one thread at a time.

    Attributes:
        needs_pixels: whether records must hold their picture.
    """

    needs_pixels: ClassVar[bool] = False

    @property
    @abstractmethod
    def output(self) -> str:
        """What is written, for a summary; empty for nothing."""

    @abstractmethod
    def write(self, record: Record) -> None:
        """Take a picture or a frame that went through the network."""

    def fail(self, failure: Failure) -> None:  # noqa: B027 - nothing is what most do
        """Take one that could not be read; most formats have no place for it."""

    def take_failures(self) -> list[Failure]:
        """Return, once each, the pictures whose own file could not be written."""
        return []

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of what was written, a line each; complete once it is closed."""
        return ()

    def break_off(self) -> None:  # noqa: B027 - most formats cannot say it
        """Take note, before ``close``, that the run ends before its source does."""

    @abstractmethod
    def close(self) -> None:
        """Finish what is written."""


class FileSink(Sink):
    """A text file that grows picture by picture, whole after each, also where a kill ends it.

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
        self._file = GrowingFile(folder / self.file_name)
        with self._stack:
            self._stack.callback(self._file.close)
            try:
                self._add(self._head())
            except OSError:
                self._file.path.unlink(missing_ok=True)  # without its beginning it is none
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
        """End the file."""
        self._stack.close()

    def _add(self, text: str) -> None:
        content, end = (part.encode("utf-8", self.encoding_errors) for part in (text, self._end()))
        self._file.add(content, end)

    def _head(self) -> str:
        return ""

    @abstractmethod
    def _lines(self, record: Record) -> str: ...

    def _end(self) -> str:
        """Return what ends the file, were nothing more to come."""
        return ""


class FolderSink(Sink):
    """Writes one file a picture, or some, in threads, under the picture's own relative path.

    Frames are numbered in a folder that is called after their video.

    Args:
        folder: the folder of all results; this sink makes its own in it.
        origin: not used: the files hold nothing but their picture.

    Raises:
        OutputError: its folder holds files that are no earlier results.
    """

    folder_name: ClassVar[str]

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as every sink is made
        self._files = ResultFolder(folder / self.folder_name)
        self._folder = self._files.path
        self._waiting: deque[Future[Failure | None]] = deque()
        self._failures: list[Failure] = []
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix=self.folder_name)

    @property
    def output(self) -> str:
        """The folder's name; nothing where it is empty."""
        return "" if self._files.is_empty else f"{self.folder_name}/"

    def write(self, record: Record) -> None:
        """Write the picture's files soon.

        Raises:
            OutputError: the file would replace the picture that it was made from.
            OSError: an earlier file could not be written, and no other one could.
        """
        names = self._names_of(record, self._name_for(record))
        targets = self._files.note(names, record.path)
        while len(self._waiting) >= MAX_WAITING:
            self._finish_oldest()
        self._waiting.append(self._pool.submit(self._write, record, targets))

    def take_failures(self) -> list[Failure]:
        """Return, once each, the pictures whose own file could not be written."""
        failures, self._failures = self._failures, []
        return failures

    def close(self) -> None:
        """Wait until all is written.

        Raises:
            OSError: a file could not be written, and no other one could.
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
        """Return the files of a picture, whose own name is free: most have one."""
        return [name]

    @abstractmethod
    def _contents(self, record: Record, targets: Sequence[Path]) -> Iterator[bytes]:
        """Yield what the files hold, in their order."""

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

    def _finish_oldest(self) -> None:
        failure = self._waiting.popleft().result()
        if failure is not None:
            self._failures.append(failure)

    def _name_for(self, record: Record) -> PurePosixPath:
        """Return a path inside the folder that no other picture of the run has."""
        suffix = self._suffix(record)
        if record.frame is not None:
            return inside(record.file) / f"{record.frame:06d}{suffix}"
        return self._files.free_name(record.file, suffix, record.index)
