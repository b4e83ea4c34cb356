"""Which picture of a set a name in somebody else's file means."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from head_detection.errors import AmbiguousNameError

Entry = tuple[tuple[str, ...], int]


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
        """Return the place of the picture in the list, None where there is no such.

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
