"""Picture names in labels and in files of other tools: checked, and matched if spelt differently.

One order everywhere: by folder, numbers by value, as ``images.finding`` gives pictures to ``test``.
"""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from head_detection.errors import AmbiguousNameError, AnnotationError
from head_detection.files import real_path
from head_detection.images.finding import natural_key, picture_extensions

Parts = tuple[str, ...]
_DRIVE: Final = re.compile(r"^[A-Za-z]:")
_LONGEST_NAME: Final = 255
"""Bytes of a name in a folder, on every common file system."""
_LONGEST_PATH: Final = 4096


def inner_name(name: str, where: str, root: Path | None = None) -> str:
    r"""Check that a name stays inside its folder and write it with ``/``.

    Args:
        name: as the labels have it; Windows' ``\`` separates folders too.
        where: file and line or entry, for the error.
        root: absolute names in this folder become relative to it; None allows no absolute names.

    Raises:
        AnnotationError: empty, absolute elsewhere, with ``..``, or impossible as a file name.

    Example:
        >>> inner_name("./part a\\1.jpg", "labels.txt: line 1")
        'part a/1.jpg'
        >>> inner_name("/data/set/a/1.jpg", "labels.txt: line 1", Path("/data/set"))
        'a/1.jpg'
    """
    path = PurePosixPath(_within(name.replace("\\", "/"), root))
    if not path.name or path.is_absolute() or ".." in path.parts or "\0" in name:
        inside = "" if root is None else f", relative to {root}"
        problem = f"expected the name of a picture inside its folder{inside}"
        raise AnnotationError(f"{where}: {problem}, got {name[:80]!r}")
    try:
        longest = max(len(part.encode()) for part in path.parts)
    except UnicodeEncodeError as error:
        raise AnnotationError(f"{where}: expected a name in Unicode, got {name[:80]!a}") from error
    if longest > _LONGEST_NAME or len(str(path)) > _LONGEST_PATH:
        raise AnnotationError(f"{where}: expected a name that a file can have, got {name[:80]!r}")
    if _DRIVE.match(str(path)):
        raise AnnotationError(f"{where}: expected a name without a drive, got {name[:80]!r}")
    return str(path)


def natural_order(name: str) -> list[tuple[tuple[int, int, str], ...]]:
    """Return a key that sorts pictures as ``test`` finds and counts them in a folder.

    Example:
        >>> sorted(["frame10.jpg", "b/1.jpg", "frame2.jpg"], key=natural_order)
        ['b/1.jpg', 'frame2.jpg', 'frame10.jpg']
    """
    return [natural_key(part) for part in PurePosixPath(name).parts]


def find_folder(root: Path, *names: str) -> Path | None:
    """Return the first folder that exists, preferring the exact spelling to other letter case.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     Path(place, "annotations").mkdir()
        ...     find_folder(Path(place), "Annotations").name
        'annotations'
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    try:
        there = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    except OSError:
        return None
    for name in names:
        same = [other for other in there if _folded(other) == _folded(name)]
        if same:
            return root / same[0]
    return None


class FolderIndex:
    """Finds files by inexact names; reads each folder once.

    Letter case may differ, in folders too, and how letters with marks are composed: a Mac writes
    ``é`` as two characters.

    Args:
        root: the folder that names start from.
        extensions: those that count, lower case with the dot; None is those of pictures.
    """

    def __init__(self, root: Path, extensions: Collection[str] | None = None) -> None:
        self.root = root
        self._extensions = picture_extensions() if extensions is None else extensions
        self._listings: dict[str, dict[str, list[str]]] = {}
        self._folders: dict[str, str] = {"": ""}

    def find(self, name: str) -> str:
        """Return the name of the file as it is on disk, or the name itself if there is none."""
        return self._find(name) or name

    def has(self, name: str) -> bool:
        """Tell whether ``find`` finds a file."""
        return self._find(name) is not None

    def find_stem(self, stem: str) -> str | None:
        """Return the name of the file with this name without extension; None if there is none."""
        folder, _, last = stem.rpartition("/")
        folder = self.find_folder(folder)
        names = [n for n in self._listing(folder).get(_folded(last), []) if self._counts(n)]
        exact = [name for name in names if PurePosixPath(name).stem == last]
        chosen = exact or names
        return _join(folder, chosen[0]) if chosen else None

    def find_folder(self, name: str) -> str:
        """Return a folder's name as it is on disk, or the name itself if there is none."""
        if name not in self._folders:
            parent, _, last = name.rpartition("/")
            parent = self.find_folder(parent)
            own = _join(parent, last)
            found = None if (self.root / own).is_dir() else find_folder(self.root / parent, last)
            self._folders[name] = own if found is None else _join(parent, found.name)
        return self._folders[name]

    def names(self) -> Iterator[str]:
        """Yield every matching file under the root, in natural order, except hidden ones.

        Links are followed, each folder once.

        Raises:
            AnnotationError: a folder cannot be read.
        """
        if self.root.is_dir():
            yield from self._below("", {os.path.realpath(self.root)})

    def _below(self, folder: str, seen: set[str]) -> Iterator[str]:
        place = self.root / folder
        try:
            with os.scandir(place) as scan:
                entries = sorted(scan, key=lambda entry: natural_key(entry.name))
        except OSError as error:
            raise AnnotationError(f"{place}: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = _join(folder, entry.name)
            if not entry.is_dir():
                if self._counts(entry.name):
                    yield name
            elif (real := os.path.realpath(entry.path)) not in seen:
                seen.add(real)
                yield from self._below(name, seen)

    def _find(self, name: str) -> str | None:
        folder, _, last = name.rpartition("/")
        folder = self.find_folder(folder)
        stem = _folded(PurePosixPath(last).stem)
        same = [n for n in self._listing(folder).get(stem, []) if _folded(n) == _folded(last)]
        if not same:
            return None
        return _join(folder, last if last in same else same[0])

    def _counts(self, name: str) -> bool:
        return PurePosixPath(name).suffix.lower() in self._extensions

    def _listing(self, folder: str) -> dict[str, list[str]]:
        """Return the names in a folder, in order, by their folded names without extension."""
        if folder not in self._listings:
            names: dict[str, list[str]] = defaultdict(list)
            try:
                entries = sorted(entry.name for entry in (self.root / folder).iterdir())
            except OSError:  # what is missing is reported picture by picture
                entries = []
            for name in entries:
                names[_folded(PurePosixPath(name).stem)].append(name)
            self._listings[folder] = names
        return self._listings[folder]


def choose_place(folders: Sequence[Path], names: Sequence[str]) -> tuple[FolderIndex, str]:
    """Find the folder of the pictures of a labels file.

    Tools put folders before names that others leave out: ``images/1.jpg`` in ``images``. What all
    names begin with may be left out, as a whole, where more pictures are found without it.

    Args:
        folders: where names may start from, the likeliest first; at least one.
        names: of all pictures, inside their folder.

    Returns:
        The folder, and what to leave out at the beginning of each name: empty or ending with ``/``.
    """
    shared: list[str] = []
    for parts in zip(*(PurePosixPath(name).parts[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    best, most = (FolderIndex(folders[0]), ""), 0
    for folder in dict.fromkeys(folders):
        if not folder.is_dir():
            continue
        index = FolderIndex(folder)
        for length in range(len(shared) + 1):
            prefix = "".join(f"{part}/" for part in shared[:length])
            found = sum(index.has(name.removeprefix(prefix)) for name in names)
            if found > most:
                best, most = (index, prefix), found
            if found == len(names):
                return best
    return best


class PictureNames:
    """Finds pictures by name even if the two sides' paths start at different folders.

    A name means a picture where one of both paths ends with all of the other:
    ``images/a.jpg``, ``a.jpg`` and ``/data/images/a.jpg`` are one picture, ``b/a.jpg`` is another.
    How letters with marks are composed makes no difference.

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
        self._by_name: dict[str, list[tuple[Parts, int]]] = defaultdict(list)
        self._by_stem: dict[str, list[tuple[Parts, int]]] = defaultdict(list)
        self._by_number: dict[int, list[int]] = defaultdict(list)
        for index, name in enumerate(names):
            parts = _parts(name)
            stem = PurePosixPath(parts[-1]).stem
            self._by_name[_composed(parts[-1])].append((parts, index))
            self._by_stem[_composed(stem)].append(((*parts[:-1], stem), index))
            if _is_number(stem):
                self._by_number[int(stem)].append(index)

    def find(self, name: str) -> int | None:
        """Return the index of the picture in the list, or None if there is none.

        Raises:
            AmbiguousNameError: several pictures match, and none exactly.
        """
        return _choose(self._by_name, name)

    def find_stem(self, name: str) -> int | None:
        """Return what ``find`` returns, for a name without its extension.

        A number also means the one picture that has it for a name, whatever the zeros before it.

        Raises:
            AmbiguousNameError: as ``find``.
        """
        found = _choose(self._by_stem, name)
        if found is None and _is_number(name):
            numbered = self._by_number.get(int(name), [])
            if len(numbered) == 1:
                return numbered[0]
        return found


def _choose(table: dict[str, list[tuple[Parts, int]]], name: str) -> int | None:
    wanted = _parts(name)
    folded = tuple(map(_composed, wanted))
    fitting = []
    for parts, index in table.get(folded[-1], []):
        other = tuple(map(_composed, parts))
        if other[-len(folded) :] == folded[-len(other) :]:
            fitting.append((parts, other, index))
    very = [index for parts, _, index in fitting if parts == wanted]
    exact = very or [index for _, other, index in fitting if other == folded]
    chosen = exact or [index for _, _, index in fitting]
    if len(chosen) > 1:
        example = " and ".join("/".join(parts) for parts, _, _ in fitting[:2])
        raise AmbiguousNameError(
            f"{name}: expected the name of one picture; it fits {len(chosen)}, such as {example}"
        )
    return chosen[0] if chosen else None


def _parts(name: str) -> Parts:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return tuple(part for part in parts if part != "/") or ("",)


def _within(name: str, root: Path | None) -> str:
    """Return an absolute name inside a folder relative to it, any other as it is."""
    for place in () if root is None else (root.absolute(), real_path(root)):
        start = f"{place.as_posix().rstrip('/')}/"
        if name.startswith(start):
            return name.removeprefix(start)
    return name


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _LONGEST_NAME  # Python converts no endless numbers


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    """Return what two spellings of a name have in common; Python's case folding changes ``ß``."""
    return _composed(text).lower()


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
