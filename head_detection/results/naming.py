"""The names of result files: of each picture and video its own, whatever the source calls them."""

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
    """A folder of result files, each under the relative path of what it is of, no two alike.

    From one thread at a time.

    Args:
        path: made if need be, and marked as a folder of results. One that is new and stays empty
            is removed at the end.

    Attributes:
        is_empty: no file was noted so far.

    Raises:
        OutputError: it holds files that are no earlier results.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_empty = path, True
        self._is_new = not path.exists()
        self._list = mark_folder(path)
        # A table and no set: it lies on the disk, however many files there are.
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
        """Return a path inside the folder that nothing else of the run has.

        Args:
            file: of the source, with ``/``.
            suffix: of the result, in place of its own.
            index: its number in the source, for the name of one that is there several times.
            source: the file itself; the name of one beside it, which comes later, is left to that.
            is_stream: ``file`` names no file: what stands behind its last dot stays, unless it is a
                video's suffix, for ``192.168.1.20`` and ``192.168.1.21`` have none.
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
        """Note files that are to be written, before they are, and return their paths.

        Args:
            names: inside the folder.
            source: the file that they are made from; None is no file.

        Raises:
            OutputError: one of them would replace it.
        """
        paths = [self.path / name for name in names]
        self.is_empty = self.is_empty and not paths
        for path in paths:
            is_there = os.path.exists(path)  # noqa: PTH110 - Path's own raises for a long name
            if source and is_there and real_path(path) == real_path(source):
                raise OutputError(f"{path}: would replace its own source; choose another folder")
        with naming(self.path / OUTPUT_MARKER):
            # Before the files: of a kill, none is forgotten.
            self._list.writelines(listed_name(str(name)) for name in names)
            self._list.flush()
        return paths

    def close(self) -> None:
        """Close the list of files; a new folder without any is removed."""
        self._taken.close()
        with naming(self.path / OUTPUT_MARKER):
            self._list.close()
        if self.is_empty and self._is_new:
            with suppress(OSError):  # something else is there by now
                (self.path / OUTPUT_MARKER).unlink()
                self.path.rmdir()

    def _free_folder(self, folder: PurePosixPath) -> PurePosixPath:
        """Return the folder; a part of it that is another picture's file gets a ~ behind it."""
        free = PurePosixPath()
        for part in folder.parts:
            names = (free / (part + "~" * n) for n in count())
            free = next(name for name in names if self._take(name, is_folder=True))
        return free

    def _take(self, name: PurePosixPath, *, is_folder: bool) -> bool:
        """Take a name, in any letter case; tell whether it was free, or a folder as is wanted."""
        key = str(name).casefold().encode("utf-8", "surrogatepass")
        row = self._taken.execute("SELECT is_folder FROM taken WHERE name = ?", [key]).fetchone()
        if row is not None:
            return is_folder and bool(row[0])
        self._taken.execute("INSERT INTO taken VALUES (?, ?)", [key, is_folder])
        return True


def inside(file: str) -> PurePosixPath:
    """Return a file's path without what leads out of a folder.

    Example:
        >>> str(inside("../../etc/a.jpg")), str(inside("/etc/b.jpg"))
        ('etc/a.jpg', 'etc/b.jpg')
    """
    return PurePosixPath(*(part for part in PurePosixPath(file).parts if part not in ("..", "/")))


def _has_sibling(source: Path, suffix: str) -> bool:
    """Tell whether a file of the same name but for its suffix lies beside another."""
    return source.suffix.lower() != suffix and source.with_suffix(suffix).exists()
