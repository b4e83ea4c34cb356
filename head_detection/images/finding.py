"""Picture files on disk: in a stable order, each once, with a count of all that is passed over."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Final

from PIL import Image

VIDEO_EXTENSIONS: Final = frozenset(
    {".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"}
)
OUTPUT_MARKER: Final = ".head-detection-output"
"""A file of this name says that a folder's pictures are results: they are no input again."""
_NOT_PICTURES: Final = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
"""Pillow's stubs that cannot decode, and EPS, which starts Ghostscript on a stranger's file."""

_READ_AS_JPEG: Final = frozenset({"MPO"})
"""Several JPEGs in one file, as cameras with two lenses write them: the first is the picture."""


@dataclass(frozen=True)
class PictureFile:
    """A picture to read.

    Attributes:
        path: the file.
        name: its path relative to the source, with ``/``; what the results call it.
        problem: why it cannot be read, where that is known already.
    """

    path: Path
    name: str
    problem: str | None = None


@cache
def picture_extensions() -> frozenset[str]:
    """Return the file name extensions of pictures, lower case with the dot: all that is read.

    The one list: folders of pictures, readers of labels and the check for unlabelled pictures
    all go by it.

    Example:
        >>> {".jpg", ".png", ".webp"} <= picture_extensions(), ".eps" in picture_extensions()
        (True, False)
    """
    readable = Image.registered_extensions()  # loads all of Pillow's plug-ins
    return frozenset(
        extension
        for extension, kind in readable.items()
        if (kind in Image.OPEN or kind in _READ_AS_JPEG) and kind not in _NOT_PICTURES
    )


def is_picture_name(name: str) -> bool:
    """Tell whether a name ends like a picture's, in any case.

    Example:
        >>> is_picture_name("a/1.JFIF"), is_picture_name("a/1.txt"), is_picture_name("1")
        (True, False, False)
    """
    return PurePath(name).suffix.lower() in picture_extensions()


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key that sorts numbers in a name by value and letters without their case.

    Example:
        >>> sorted(["b2", "b10", "A"], key=natural_key)
        ['A', 'b2', 'b10']
    """
    parts = re.split(r"(\d+)", name)
    key = tuple((0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts)
    return (*key, (2, 0, name))


class PictureFinder:
    """Gives each picture file once, and counts what it passes over.

    Attributes:
        skipped: how many were passed over, by reason.
    """

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._seen: set[str] = set()

    def single(self, path: Path) -> Iterator[PictureFile]:
        """Give a file that the user named, whatever its extension."""
        yield from self._once(path, path.parent, _real_path(path))

    def below(self, folder: Path, root: Path) -> Iterator[PictureFile]:
        """Give the pictures of a folder and of all folders in it, links followed."""
        waiting = [(folder, _real_path(folder))]
        while waiting:
            path, real = waiting.pop()
            if not Path(real).is_dir():
                if self._is_picture(path, named=False):
                    yield from self._once(path, root, real)
            elif not os.access(real, os.R_OK | os.X_OK):
                yield PictureFile(path, _relative(path, root), "no permission for this folder")
            elif self._is_to_open(real, is_root=path == folder):
                waiting.extend(reversed(self._children(path, real)))

    def matching(self, pattern: Path, root: Path) -> Iterator[PictureFile]:
        """Give what a glob matches, and the pictures below the folders that it matches."""
        # Under ** the wildcard alone matches the files of its folders too.
        gives_files = "**" in pattern.parts and pattern.name in ("*", "**")
        found = glob.iglob(str(pattern), recursive=True)  # noqa: PTH207 - Path.glob gives hidden files
        matches = map(Path, set(found))
        for path in sorted(matches, key=lambda match: [natural_key(p) for p in match.parts]):
            inner = [p for p in (path, *path.parents) if p != root and p.is_relative_to(root)]
            if any(_is_output(_real_path(folder)) for folder in inner):
                self.skipped["results of an earlier run"] += 1
            elif not path.is_dir():
                if self._is_picture(path, named=True):
                    yield from self._once(path, root, _real_path(path))
            elif not gives_files:
                yield from self.below(path, root)

    def listed(self, lines: Iterable[bytes], bases: Sequence[Path]) -> Iterator[PictureFile]:
        """Give listed pictures, and those of listed folders.

        Args:
            lines: a path each; empty ones do not count.
            bases: where relative paths start: the first that has the file. Names start from the
                first of them.
        """
        for line in lines:
            text = os.fsdecode(line.strip().replace(b"\0", b"?"))  # no file name holds a zero byte
            if not text:
                continue
            paths = [base / Path(text).expanduser() for base in bases]
            path = next((p for p in paths if os.path.lexists(p)), paths[0])
            if path.is_dir():
                yield from self.below(path, bases[0])
            elif self._is_picture(path, named=True):
                yield from self._once(path, bases[0], _real_path(path))

    def _is_to_open(self, real: str, *, is_root: bool) -> bool:
        if real in self._seen:
            self.skipped["folders reached twice"] += 1
            return False
        self._seen.add(real)
        if not is_root and _is_output(real):
            self.skipped["folders of results"] += 1
            return False
        return True

    def _children(self, folder: Path, real: str) -> list[tuple[Path, str]]:
        with os.scandir(real) as scan:
            entries = sorted(scan, key=lambda entry: natural_key(entry.name))
        visible = [entry for entry in entries if not entry.name.startswith(".")]
        if len(visible) < len(entries):
            self.skipped["hidden"] += len(entries) - len(visible)
        return [
            (folder / entry.name, _real_path(entry.path) if entry.is_symlink() else entry.path)
            for entry in visible
        ]

    def _is_picture(self, path: Path, *, named: bool) -> bool:
        """Go by the extension; a file that was named itself may go without one."""
        if is_picture_name(path.name) or (named and not path.suffix):
            return True
        is_video = path.suffix.lower() in VIDEO_EXTENSIONS
        self.skipped["videos (not supported yet)" if is_video else "not pictures"] += 1
        return False

    def _once(self, path: Path, root: Path, real: str) -> Iterator[PictureFile]:
        if real in self._seen:
            self.skipped["reached twice"] += 1
            return
        self._seen.add(real)
        yield PictureFile(path, _relative(path, root))


def _is_output(folder: str) -> bool:
    return Path(folder, OUTPUT_MARKER).exists()


def _real_path(path: str | Path) -> str:
    return os.path.realpath(path)


def _relative(path: Path, root: Path) -> str:
    try:
        relative = os.path.relpath(path, root)
    except ValueError:  # Windows: another drive
        relative = str(path.absolute())
    return relative.replace(os.sep, "/")
