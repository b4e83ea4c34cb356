"""Names of pictures in labels and in others' files: inside their folder, and found if off."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.errors import AmbiguousNameError, AnnotationError
from head_detection.images.finding import picture_extensions

Entry = tuple[tuple[str, ...], int]
_DRIVE: Final = re.compile(r"^[A-Za-z]:")


def inner_name(name: str, where: str) -> str:
    r"""Check that a name stays inside its folder and write it with ``/``.

    Args:
        name: as the labels have it; Windows' ``\`` separates folders too.
        where: file and line or entry, for the error.

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


class FolderIndex:
    """Finds files by names whose letter case or extension is not quite theirs; reads folders once.

    Args:
        root: the folder that names start from.
        extensions: those that count, lower case with the dot; None is those of pictures.
    """

    def __init__(self, root: Path, extensions: Collection[str] | None = None) -> None:
        self.root = root
        self._extensions = picture_extensions() if extensions is None else extensions
        self._listings: dict[str, dict[str, list[str]]] = {}

    def find(self, name: str) -> str:
        """Return the name of the file as it is on disk; the name itself where there is none."""
        folder, _, last = name.rpartition("/")
        stem = PurePosixPath(last).stem.lower()
        same = [n for n in self._listing(folder).get(stem, []) if n.lower() == last.lower()]
        return name if last in same or not same else _join(folder, same[0])

    def find_stem(self, stem: str) -> str | None:
        """Return the name of the file with this name without extension; None if there is none."""
        folder, _, last = stem.rpartition("/")
        names = [n for n in self._listing(folder).get(last.lower(), []) if self._counts(n)]
        exact = [name for name in names if PurePosixPath(name).stem == last]
        chosen = exact or names
        return _join(folder, chosen[0]) if chosen else None

    def names(self) -> Iterator[str]:
        """Yield every file under the root that counts, in order, hidden ones out.

        Raises:
            AnnotationError: the folder cannot be read.
        """
        try:
            found = sorted(path.relative_to(self.root) for path in self.root.rglob("*"))
        except OSError as error:
            raise AnnotationError(f"{self.root}: {error.strerror}") from error
        for path in found:
            is_hidden = any(part.startswith(".") for part in path.parts)
            if self._counts(path.name) and not is_hidden:
                yield path.as_posix()

    def _counts(self, name: str) -> bool:
        return PurePosixPath(name).suffix.lower() in self._extensions

    def _listing(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder, sorted, by their names without extension in lower case."""
        if folder not in self._listings:
            names: dict[str, list[str]] = defaultdict(list)
            try:
                entries = sorted(entry.name for entry in (self.root / folder).iterdir())
            except OSError:  # what is missing is reported picture by picture
                entries = []
            for name in entries:
                names[PurePosixPath(name).stem.lower()].append(name)
            self._listings[folder] = names
        return self._listings[folder]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


class PictureNames:
    """Finds pictures by name where the two sides start their paths at different folders.

    A name means a picture where one of both paths ends with all of the other:
    ``images/a.jpg``, ``a.jpg`` and ``/data/images/a.jpg`` are one picture, ``b/a.jpg`` is another.

    Args:
        names: of the pictures, with ``/`` or backslashes.

    Example:
        >>> names = PictureNames(["a/1.jpg", "b/1.jpg", "b/002.png"])
        >>> names.find("/data/b/1.jpg"), names.find("002.png"), names.find("c/1.jpg")
        (1, 2, None)
        >>> names.find_stem("b/1"), names.find_stem("2")
        (1, 2)
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._by_name: dict[str, list[Entry]] = defaultdict(list)
        self._by_stem: dict[str, list[Entry]] = defaultdict(list)
        self._by_number: dict[int, list[int]] = defaultdict(list)
        for index, name in enumerate(names):
            parts = _parts(name)
            stem = PurePosixPath(parts[-1]).stem
            self._by_name[parts[-1]].append((parts, index))
            self._by_stem[stem].append(((*parts[:-1], stem), index))
            if stem.isdecimal():
                self._by_number[int(stem)].append(index)

    def find(self, name: str) -> int | None:
        """Return the index of the picture in the list, None where there is no such.

        Raises:
            AmbiguousNameError: several pictures fit, and none is of this very name.
        """
        return _choose(self._by_name, name)

    def find_stem(self, name: str) -> int | None:
        """Return what ``find`` returns, for a name without its extension.

        A number also means the one picture that has it for a name, whatever the zeros before it.

        Raises:
            AmbiguousNameError: as ``find``.
        """
        found = _choose(self._by_stem, name)
        if found is None and name.isdecimal():
            numbered = self._by_number.get(int(name), [])
            if len(numbered) == 1:
                return numbered[0]
        return found


def _choose(table: dict[str, list[Entry]], name: str) -> int | None:
    wanted = _parts(name)
    fitting = [
        (parts, index)
        for parts, index in table.get(wanted[-1], [])
        if parts[-len(wanted) :] == wanted[-len(parts) :]
    ]
    exact = [index for parts, index in fitting if parts == wanted]
    chosen = exact or [index for _, index in fitting]
    if len(chosen) > 1:
        example = " and ".join("/".join(parts) for parts, _ in fitting[:2])
        raise AmbiguousNameError(
            f"{name}: expected the name of one picture; it fits {len(chosen)}, such as {example}"
        )
    return chosen[0] if chosen else None


def _parts(name: str) -> tuple[str, ...]:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(part for part in parts if part != "/") or ("",)
