"""The pictures of a job: one as an ``Item``, millions as rows of Arrow."""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ROWS: Final = 65_536
"""Most items in a batch of rows: about 10 MB."""
ITEM_SCHEMA: Final = pa.schema(
    [
        ("name", pa.string()),
        ("location", pa.binary()),  # as bytes: a file system's names need not be text
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("column", pa.string()),
        ("problem", pa.string()),
    ]
)
"""Schema of the batches; the columns are an item's attributes, and none is null."""
_SALT: Final = "\0"
"""Appended to a name, which cannot contain it, for a second hash of it."""
_LONE: Final = "\\udc"
"""Start of the escape for a byte of a name that is not valid text."""
_BACKSLASH: Final = "\\u005c"
"""Escape for a backslash in a name that contains one of these two escapes."""
_ESCAPED: Final = re.compile(r"\\u(dc[0-9a-f]{2})")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_Keys = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Two halves of each key, sorted by the first."""


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to process.

    Attributes:
        name: its name in results: its path relative to the source, with ``/``; unique in a job.
        location: local path or URL of the picture, or of the archive or table that holds it.
        offset: its first byte in an archive, or its row in a table; -1 if the file is the picture.
        size: its number of bytes in an archive; -1 otherwise.
        column: the table's column with the picture; empty otherwise.
        problem: why it cannot be read, if that is known already; empty otherwise.
    """

    name: str
    location: str
    offset: int = -1
    size: int = -1
    column: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a Parquet file to read; an empty one is found by type and name.

    Attributes:
        path: column with paths or URLs of pictures.
        content: column with the picture files themselves, as bytes.
        name: column with the names for results; if empty, they are named by where they lie.
    """

    path: str = ""
    content: str = ""
    name: str = ""

    @property
    def asked(self) -> str:
        """The first column that is given; empty if none is."""
        return self.content or self.path or self.name


def batch_of(
    names: Sequence[str],
    locations: Sequence[str] | str,
    offsets: Iterable[int] | None = None,
    sizes: Iterable[int] | None = None,
    column: str = "",
    problems: Sequence[str] | None = None,
) -> pa.RecordBatch:
    """Return a batch of ``ITEM_SCHEMA``.

    Args:
        names: one per item; bytes that are not valid text are escaped, see ``texts_of``.
        locations: one per item, or one for all.
        offsets: one per item; None for -1 for all.
        sizes: as ``offsets``.
        column: the same for all.
        problems: one per item; None for no problems.

    Example:
        >>> batch_of(["a.jpg", "b.jpg"], "tar", [512, 2048], [10, 20]).column("offset").to_pylist()
        [512, 2048]
    """
    count = len(names)

    def repeated(value: object, kind: Any) -> Any:
        return pa.repeat(pa.scalar(value, kind), count)

    def numbers(values: Iterable[int] | None) -> Any:
        return repeated(-1, pa.int64()) if values is None else pa.array(values, pa.int64())

    if isinstance(locations, str):
        places = repeated(os.fsencode(locations), pa.binary())
    else:
        places = _paths(locations)
    columns = [
        texts_of(names),
        places,
        numbers(offsets),
        numbers(sizes),
        repeated(column, pa.string()),
        repeated("", pa.string()) if problems is None else texts_of(problems),
    ]
    return pa.record_batch(columns, ITEM_SCHEMA)


def items_of(rows: pa.RecordBatch | pa.Table) -> Iterator[Item]:
    """Yield the items of a batch or a table of ``ITEM_SCHEMA``; other columns are ignored."""
    columns = [rows.column(name).to_pylist() for name in ITEM_SCHEMA.names]
    for name, location, *rest in zip(*columns, strict=True):
        yield Item(name_of(name), os.fsdecode(location), *rest)


def name_of(spelt: str) -> str:
    """Undo the escapes of ``texts_of``: return a name as the operating system spells it."""
    if _LONE not in spelt and _BACKSLASH not in spelt:
        return spelt
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), spelt)
    return plain.replace(_BACKSLASH, "\\")


class NameSet:
    """Remembers names by 128-bit hashes (16 MB for a million), to find repeated ones.

    Python's hash has a new key in each process, so nobody can craft a list with collisions.

    Example:
        >>> names = NameSet()
        >>> names.add(["a", "b", "a"]).tolist(), names.add(["c", "b"]).tolist()
        ([True, True, False], [True, False])
        >>> names.has(["b", "d"]).tolist()
        [True, False]
    """

    def __init__(self) -> None:
        self._runs: list[_Keys] = []

    def add(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Add names; return for each whether it is new, ``(N,)`` bool."""
        keys, order = _keys_of(names)
        is_new = np.ones(len(names), np.bool_)
        is_new[1:] = ~_are_alike((keys[0][1:], keys[1][1:]), (keys[0][:-1], keys[1][:-1]))
        for run in self._runs:
            is_new &= ~_are_in(keys, run)
        self._merge((keys[0][is_new], keys[1][is_new]))
        answer = np.empty(len(names), np.bool_)
        answer[order] = is_new
        return answer

    def has(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return for each name whether it was added, ``(N,)`` bool."""
        keys, order = _keys_of(names)
        is_known = np.zeros(len(names), np.bool_)
        for run in self._runs:
            is_known |= _are_in(keys, run)
        answer = np.empty(len(names), np.bool_)
        answer[order] = is_known
        return answer

    def _merge(self, keys: _Keys) -> None:
        """Keep few sorted runs, each longer than the next, so that long ones are seldom merged."""
        if not len(keys[0]):
            return
        while self._runs and len(self._runs[-1][0]) <= len(keys[0]):
            longer = self._runs.pop()
            first = np.concatenate([longer[0], keys[0]])
            order = np.argsort(first, kind="stable")  # linear time for two sorted runs
            keys = (first[order], np.concatenate([longer[1], keys[1]])[order])
        self._runs.append(keys)


def _keys_of(names: Sequence[str]) -> tuple[_Keys, npt.NDArray[np.intp]]:
    """Return the keys of names, and the place of each key's name."""
    count = len(names)
    first = np.fromiter(map(hash, names), np.int64, count)
    second = np.fromiter([hash(name + _SALT) for name in names], np.int64, count)
    # Sorted, so that the search through millions accesses memory in order.
    order = np.argsort(first, kind="stable")
    return (first[order], second[order]), order


def _are_in(keys: _Keys, run: _Keys) -> npt.NDArray[np.bool_]:
    """Return which keys are in a run; of two with the same first half only one is found."""
    places = np.minimum(np.searchsorted(run[0], keys[0]), len(run[0]) - 1)
    return _are_alike(keys, (run[0][places], run[1][places]))


def _are_alike(keys: _Keys, others: _Keys) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = (keys[0] == others[0]) & (keys[1] == others[1])
    return same


def _paths(values: Sequence[str]) -> pa.Array:
    """Return paths as bytes, as the operating system spells them."""
    if sys.getfilesystemencoding() == "utf-8":
        with suppress(UnicodeEncodeError):  # a byte that is not valid text
            return pa.array(values, pa.binary())
    return pa.array(map(os.fsencode, values), pa.binary(), size=len(values))


def texts_of(values: Sequence[str | None]) -> pa.Array:
    r"""Return texts as an Arrow array; bytes that are not valid text are escaped as in JSON.

    ``name_of`` undoes it. In a name that has such an escape, or looks as if it had one, each
    backslash is escaped too.

    Example:
        >>> texts_of(["a.jpg", "\udce9.jpg"]).to_pylist()
        ['a.jpg', '\\udce9.jpg']
    """
    joined = "\0".join(filter(None, values))
    with suppress(UnicodeEncodeError):
        if _LONE not in joined and _BACKSLASH not in joined:
            return pa.array(values, pa.string())
    return pa.array([value and _spelt(value) for value in values], pa.string())


def _spelt(name: str) -> str:
    is_plain = name.isascii() or not _SURROGATES.search(name)
    if is_plain and _LONE not in name and _BACKSLASH not in name:
        return name
    return name.replace("\\", _BACKSLASH).encode("utf-8", "backslashreplace").decode()
