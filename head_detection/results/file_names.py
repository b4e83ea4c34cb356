"""Unique names of result files for pictures and videos, whatever the names in the source."""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, count
from pathlib import Path, PurePosixPath

from head_detection.errors import OutputError
from head_detection.files import naming, real_path
from head_detection.images.finding import OUTPUT_MARKER, VIDEO_EXTENSIONS
from head_detection.results.output_folder import listed_name, mark_folder


class ResultFolder:
    """A folder of result files, each under the relative path of its picture or video.

    Names are unique. Not thread-safe.

    Args:
        path: the folder, created if missing, and marked as a folder of results. A new folder that
            stays empty is removed at the end.

    Attributes:
        is_empty: no file was noted so far.

    Raises:
        OutputError: the folder holds files that are not earlier results.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_empty = path, True
        self._is_new = not path.exists()
        self._list = mark_folder(path)
        # A table instead of a set, because it is on the disk, whatever the number of files.
        self._taken = sqlite3.connect("", isolation_level=None)
        self._taken.execute(
            "CREATE TABLE taken (name BLOB PRIMARY KEY, is_folder INTEGER) WITHOUT ROWID"
        )

    def free_name(
        self,
        file: str,
        suffix: str,
        index: int,
        source: Path | None = None,
        *,
        is_stream: bool = False,
    ) -> PurePosixPath:
        """Return a path inside the folder that nothing else in the run uses.

        Args:
            file: path in the source, with ``/``.
            suffix: suffix of the result, which replaces that of the file.
            index: number in the source, to name a file that occurs several times.
            source: the file itself; a later file beside it that has the name already keeps it.
            is_stream: ``file`` is not a file: keep what follows its last dot, unless it is a
                video's suffix, since ``192.168.1.20`` and ``192.168.1.21`` have no suffix.
        """
        path = inside(file)
        path = self._free_folder(path.parent) / path.name
        is_whole = is_stream and path.suffix.lower() not in VIDEO_EXTENSIONS
        is_anothers = is_whole or (source is not None and _has_sibling(source, suffix))
        candidates = chain(
            [] if is_anothers else [path.with_suffix(suffix)],
            [path.with_name(f"{path.name}{suffix}")],
            (path.with_name(f"{path.name}~{n}{suffix}") for n in count(index + 1)),
        )
        return next(name for name in candidates if self._take(name, is_folder=False))

    def note(self, names: Sequence[PurePosixPath], source: Path | None) -> list[Path]:
        """List files in the folder's marker before they are written, and return their paths.

        Args:
            names: paths inside the folder.
            source: the file that they are made from; None is no file.

        Raises:
            OutputError: one of them would replace the source.
        """
        paths = [self.path / name for name in names]
        self.is_empty = self.is_empty and not paths
        for path in paths:
            is_there = os.path.exists(path)  # noqa: PTH110 - Path's own raises for a long name
            if source and is_there and real_path(path) == real_path(source):
                raise OutputError(f"{path}: would replace its own source; choose another folder")
        with naming(self.path / OUTPUT_MARKER):
            # Written before the files, so that a kill leaves no file unlisted.
            self._list.writelines(listed_name(str(name)) for name in names)
            self._list.flush()
        return paths

    def close(self) -> None:
        """Close the list of files, and remove a new folder that has none."""
        self._taken.close()
        with naming(self.path / OUTPUT_MARKER):
            self._list.close()
        if self.is_empty and self._is_new:
            with suppress(OSError):  # someone else has put a file there
                (self.path / OUTPUT_MARKER).unlink()
                self.path.rmdir()

    def _free_folder(self, folder: PurePosixPath) -> PurePosixPath:
        """Return the folder; a part of it that is the name of a result file gets a ~ appended."""
        free = PurePosixPath()
        for part in folder.parts:
            names = (free / (part + "~" * n) for n in count())
            free = next(name for name in names if self._take(name, is_folder=True))
        return free

    def _take(self, name: PurePosixPath, *, is_folder: bool) -> bool:
        """Reserve a name, ignoring case; return whether it was free, or a folder as requested."""
        key = str(name).casefold().encode("utf-8", "surrogatepass")
        row = self._taken.execute("SELECT is_folder FROM taken WHERE name = ?", [key]).fetchone()
        if row is not None:
            return is_folder and bool(row[0])
        self._taken.execute("INSERT INTO taken VALUES (?, ?)", [key, is_folder])
        return True


def inside(file: str, *, is_windows: bool = os.name == "nt") -> PurePosixPath:
    """Return a file's path without the parts that lead out of a folder.

    Args:
        file: path in the source, with ``/``; absolute for a file on another drive of Windows.
        is_windows: leave out a drive, too, which is the name of a folder elsewhere.

    Example:
        >>> str(inside("../../etc/a.jpg")), str(inside("/etc/b.jpg"))
        ('etc/a.jpg', 'etc/b.jpg')
    """
    parts = [part for part in PurePosixPath(file).parts if part != ".." and part.strip("/")]
    return PurePosixPath(*(part for part in parts if not (is_windows and part.endswith(":"))))


def as_unicode(name: str) -> str:
    r"""Return a name with escapes for the bytes that are not Unicode, which no network takes.

    Example:
        >>> print(as_unicode("a.mp4"), as_unicode(f"caf{chr(0xDCE9)}.mp4"))
        a.mp4 caf\udce9.mp4
    """
    return name.encode(errors="backslashreplace").decode()


def _has_sibling(source: Path, suffix: str) -> bool:
    """Tell whether a file of the same name but with the other suffix lies beside a file."""
    return source.suffix.lower() != suffix and source.with_suffix(suffix).exists()
