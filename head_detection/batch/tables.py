"""Pictures in Parquet files: as paths, or as bytes in the table itself."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from head_detection.batch.items import ROWS, Columns, NameSet, batch_of
from head_detection.batch.places import MEND, explaining_place, open_place, reason_of, shown
from head_detection.errors import PictureError, SourceError

TABLE_EXTENSIONS: Final = frozenset({".parquet", ".pq"})
_CONTENT_NAMES: Final = ("image", "content", "bytes", "data", "jpg", "jpeg", "png", "picture")
_PATH_NAMES: Final = (
    *("path", "file", "file_name", "filename", "image_path", "image", "picture", "uri", "url"),
    *("key", "location"),
)
"""Usual names of such columns; if several columns have the type, the first of these is taken."""
_ROWS_AT_ONCE: Final = 8
"""Rows decoded at a time: some megabytes."""
_ROWS_KEPT: Final = 16
"""Last rows that are kept, because threads that read ahead ask for rows out of order."""
Placed = Callable[[str], tuple[str, str]]
"""Function from a path as it is written to the picture's name and location."""


def list_table(
    location: str, label: str, columns: Columns, placed: Placed, *, is_alone: bool = True
) -> Iterator[pa.RecordBatch]:
    """Yield the pictures of a Parquet file in order; a row without a picture will fail.

    Args:
        location: path or URL of the file.
        label: its name in results; a row without a name of its own is ``label#row``.
        columns: the columns to read.
        placed: resolves a path, as for the lines of a list.
        is_alone: whether the source has no other files. If it has, a file that is cut off or not a
            Parquet file is listed as a picture that cannot be read, so that the other files are
            still processed.

    Raises:
        SourceError: the file cannot be read, or has no such column; in one line.
    """
    with explaining_place(location, "a Parquet file"), closing(open_place(location)) as file:
        try:
            table = pq.ParquetFile(file)
        except pa.ArrowInvalid as error:
            if is_alone:
                raise
            problem = f"expected a Parquet file; {reason_of(error, location)}: {MEND}"
            yield batch_of([label], location, problems=[problem])
            return
        chosen = _choose(table.schema_arrow, columns, location)
        if chosen.content and not chosen.name:
            for names, rows in _names_of_rows(table, label, chosen.content):
                yield batch_of(names, location, rows, None, chosen.content)
            return
        start = 0
        wanted = [name for name in (chosen.name, "" if chosen.content else chosen.path) if name]
        for batch in table.iter_batches(ROWS, columns=wanted, use_threads=False):
            rows = range(start, start + batch.num_rows)
            start = rows.stop
            own = _texts(batch, chosen.name) or [None] * len(rows)
            if chosen.content:
                names = [name or f"{label}#{row}" for name, row in zip(own, rows, strict=True)]
                yield batch_of(names, location, rows, None, chosen.content)
            else:
                yield _paths_batch(own, _texts(batch, chosen.path), rows, label, placed)


def _names_of_rows(
    table: pq.ParquetFile, label: str, content: str
) -> Iterator[tuple[list[str], range]]:
    """Yield names for pictures without a name column: the paths beside them, or row numbers."""
    beside = _paths_beside(table, content)
    batches = table.iter_batches(ROWS, columns=[beside], use_threads=False) if beside else ()
    start = 0
    for batch in batches:
        rows = range(start, start + batch.num_rows)
        start = rows.stop
        yield [f"{label}/{path}" for path in _texts(batch, beside)], rows
    for first in range(start, table.metadata.num_rows, ROWS):
        rows = range(first, min(first + ROWS, table.metadata.num_rows))
        yield [f"{label}#{row}" for row in rows], rows


def _paths_beside(table: pq.ParquetFile, content: str) -> str:
    """Return the column of paths in a picture struct of a Hugging Face data set.

    Return an empty text if there is none, or if its paths are not unique in the file.
    """
    outer, _, inner = content.partition(".")
    if inner != "bytes" or content in table.schema_arrow.names:
        return ""
    if not any(f.name == "path" and _is_text(f.type) for f in table.schema_arrow.field(outer).type):
        return ""
    seen, beside = NameSet(), f"{outer}.path"
    for batch in table.iter_batches(ROWS, columns=[beside], use_threads=False):
        paths = [path for path in _texts(batch, beside) if path]
        if len(paths) < batch.num_rows or not seen.add(paths).all():
            return ""
    return beside


def _paths_batch(
    names: list[str | None], paths: list[str | None], rows: range, label: str, placed: Placed
) -> pa.RecordBatch:
    all_names, places, problems = [], [], []
    for name, path, row in zip(names, paths, rows, strict=True):
        text = (path or "").strip()
        own, place = placed(text) if text else (f"{label}#{row}", "")
        all_names.append(name or own)
        places.append(place)
        problems.append("" if text else "the row has no path")
    return batch_of(all_names, places, problems=problems)


def _texts(batch: pa.RecordBatch, name: str) -> list[str | None]:
    """Return the values of a column; an empty list if the name is empty."""
    if not name:
        return []
    outer, _, inner = name.partition(".")
    column = batch.column(name if name in batch.schema.names else outer)
    if pa.types.is_struct(column.type):
        column = pc.struct_field(column, inner)
    values: list[str | None] = column.cast(pa.large_string()).to_pylist()
    return values


def _choose(schema: pa.Schema, asked: Columns, location: str) -> Columns:
    """Return the columns to read: as asked, else found by type and name; bytes before paths."""
    kinds = {field.name: field.type for field in schema}
    contents = {
        n: _content_column(n, kind) for n, kind in kinds.items() if _content_column(n, kind)
    }
    texts = [name for name, kind in kinds.items() if _is_text(kind)]
    inner = _texts_within(kinds)
    contents |= {
        column: column for column in contents.values()
    }  # image.bytes may be asked for by that name
    for name, fitting, what in (
        (asked.content, list(contents), "bytes"),
        (asked.path, [*texts, *inner], "text"),
        (asked.name, [*texts, *inner], "text"),
    ):
        if name and name not in fitting:
            raise SourceError(
                f"{shown(location)}: expected a column {name} of {what}; it has {_described(kinds)}"
            )
    content = asked.content
    if not content and not asked.path:
        content = _guess([name for name in contents if name in kinds], _CONTENT_NAMES)
    if content:
        return Columns(content=contents[content], name=asked.name)
    path = asked.path or _guess([name for name in texts if name != asked.name], _PATH_NAMES)
    if not path:
        raise SourceError(
            f"{shown(location)}: expected a column of pictures' bytes or paths, told by its name "
            f"if there are several; it has {_described(kinds)}"
        )
    return Columns(path=path, name=asked.name)


def _texts_within(kinds: dict[str, pa.DataType]) -> list[str]:
    """Return the text columns one level down, such as ``image.path``."""
    structs = {name: kind for name, kind in kinds.items() if pa.types.is_struct(kind)}
    return [
        f"{n}.{field.name}" for n, kind in structs.items() for field in kind if _is_text(field.type)
    ]


def _guess(fitting: list[str], usual: tuple[str, ...]) -> str:
    """Return the only column of a type, or the one with a usual name; empty if there is neither."""
    if len(fitting) == 1:
        return fitting[0]
    return next((name for name in usual if name in fitting), "")


def _content_column(name: str, kind: pa.DataType) -> str:
    """Return the bytes column of a column: itself, or one level down (Hugging Face); or empty."""
    if _is_bytes(kind):
        return name
    if pa.types.is_struct(kind):
        inner = [field.name for field in kind if field.name == "bytes" and _is_bytes(field.type)]
        return f"{name}.bytes" if inner else ""
    return ""


def _is_bytes(kind: pa.DataType) -> bool:
    return kind in (pa.binary(), pa.large_binary(), pa.binary_view())


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _described(kinds: dict[str, pa.DataType]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items()) or "none"


class TableCursor:
    """Reads pictures from one Parquet file, row by row, with only a few of them in memory.

    To reach a later row, it reads those in between; for an earlier one, it restarts at the row
    group. So it is fastest in order, and if row groups are no longer than a shard.

    Args:
        location: path or URL of the file.
        column: column of bytes; ``image.bytes`` for one in a struct.

    Raises:
        SourceError: the file cannot be read; in one line.
    """

    def __init__(self, location: str, column: str) -> None:
        self.location, self.column = location, column
        with explaining_place(location, "a Parquet file"):
            self._file = open_place(location)
            try:
                self._table = pq.ParquetFile(self._file)
            except Exception:
                self._file.close()
                raise
            metadata = self._table.metadata
            counts = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        self._starts = [sum(counts[:number]) for number in range(len(counts) + 1)]
        self._values: Iterator[Any] = iter(())
        self._group, self._next = -1, 0
        self._passed: dict[int, Any] = {}
        self._damaged: dict[int, tuple[int, str]] = {}

    def read(self, row: int) -> bytes:
        """Return the bytes in a row.

        Raises:
            PictureError: the row does not exist, is empty or damaged; one line, without a name.
        """
        group = next((n for n, end in enumerate(self._starts[1:]) if row < end), None)
        if group is None or row < 0:
            raise PictureError(f"expected a row below {self._starts[-1]:,}; got row {row:,}")
        first_damaged, reason = self._damaged.get(group, (row + 1, ""))
        if row >= first_damaged:
            raise PictureError(reason)
        try:
            value = self._value_at(row, group)
        except Exception as error:  # readers of Parquet fail in every way there is
            reason = f"the table is damaged here ({reason_of(error, self.location)})"
            self._damaged[group] = (row, reason)
            self._group = -1
            raise PictureError(reason) from error
        if value is None:
            raise PictureError("expected a picture in the row; got none")
        return bytes(value)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _value_at(self, row: int, group: int) -> Any:
        if row in self._passed:
            return self._passed[row].as_py()
        if group != self._group or row < self._next:
            self._values, self._group = self._values_of(group), group
            self._next = self._starts[group]
        while self._next <= row:
            self._passed[self._next] = next(self._values)
            if len(self._passed) > _ROWS_KEPT:
                del self._passed[next(iter(self._passed))]
            self._next += 1
        return self._passed[row].as_py()

    def _values_of(self, group: int) -> Iterator[Any]:
        batches = self._table.iter_batches(
            _ROWS_AT_ONCE, row_groups=[group], columns=[self.column], use_threads=False
        )
        for batch in batches:
            values = batch.column(0)
            if pa.types.is_struct(values.type):
                values = pc.struct_field(values, "bytes")
            yield from values
