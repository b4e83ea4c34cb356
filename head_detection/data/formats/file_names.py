"""Names of pictures in labels: kept inside their folder, and found where their spelling is off."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.errors import AnnotationError

PICTURE_SUFFIXES: Final = frozenset(
    {".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_DRIVE: Final = re.compile(r"^[A-Za-z]:")


def inner_name(name: str, where: str) -> str:
    r"""Check that a name stays inside its folder and write it with ``/``.

    Args:
        name: as the labels have it; Windows' ``\`` separates folders too.
        where: file and place, for the error.

    Raises:
        AnnotationError: empty, absolute, with ``..`` or with a character that no name can hold.

    Example:
        >>> inner_name("./part a\\1.jpg", "labels.txt: line 1")
        'part a/1.jpg'
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        problem = "expected the name of a picture inside its folder"
        raise AnnotationError(f"{where}: {problem}, got {name[:80]!r}")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise AnnotationError(f"{where}: expected a name in Unicode, got {name!a}") from error
    if _DRIVE.match(name):
        raise AnnotationError(f"{where}: expected a name without a drive, got {name[:80]!r}")
    return str(path)


def has_picture_suffix(name: str) -> bool:
    """Tell whether a name ends like a picture's, in any case."""
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


class FolderIndex:
    """Finds files by names whose letter case or extension is not quite theirs; reads folders once.

    Args:
        root: the folder that names start from.
        suffixes: extensions that count, lower case with the dot.
    """

    def __init__(self, root: Path, suffixes: Collection[str] = PICTURE_SUFFIXES) -> None:
        self.root = root
        self._suffixes = suffixes
        self._listings: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str:
        """Return the name of the file as it is on disk; the name itself where there is none."""
        folder, _, last = name.rpartition("/")
        same = self._listing(folder).get(last.lower(), [])
        return name if last in same or not same else _join(folder, same[0])

    def find_stem(self, stem: str) -> str | None:
        """Return the name of the file with this name without extension; None if there is none."""
        folder, _, last = stem.rpartition("/")
        names = [n for s in self._suffixes for n in self._listing(folder).get(last.lower() + s, [])]
        exact = [name for name in names if PurePosixPath(name).stem == last]
        found = sorted(exact or names)
        return _join(folder, found[0]) if found else None

    def names(self) -> Iterator[str]:
        """Yield every file under the root that has one of the suffixes, in order, hidden ones out.

        Raises:
            AnnotationError: the folder cannot be read.
        """
        try:
            found = sorted(path.relative_to(self.root) for path in self.root.rglob("*"))
        except OSError as error:
            raise AnnotationError(f"{self.root}: {error.strerror}") from error
        for path in found:
            is_hidden = any(part.startswith(".") for part in path.parts)
            if path.suffix.lower() in self._suffixes and not is_hidden:
                yield path.as_posix()

    def _listing(self, folder: str) -> dict[str, list[str]]:
        if folder not in self._listings:
            names: dict[str, list[str]] = defaultdict(list)
            try:
                entries = sorted(entry.name for entry in (self.root / folder).iterdir())
            except OSError:  # what is missing is reported picture by picture
                entries = []
            for name in entries:
                names[name.lower()].append(name)
            self._listings[folder] = names
        return self._listings[folder]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
