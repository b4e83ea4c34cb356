"""The plan of a job: which pictures are in which shard. It is only ever extended."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from head_detection.batch.items import ITEM_SCHEMA, ROWS, NameSet
from head_detection.errors import OutputError
from head_detection.files import replacing

PLAN_NAME: Final = re.compile(r"plan-(\d+)\.parquet")
ALIKE: Final = ["column", "problem"]
"""Columns with few distinct values, which are stored as dictionaries; others would gain nothing."""


class Plan:
    """The shards of a job, numbered from 0, each with its pictures.

    Args:
        folder: folder of the plan's files, created if needed; there must be only one writer.

    Raises:
        OutputError: a file is missing, or is not a plan; in one line.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: list[tuple[Path, Any]] = []
        self._sizes: list[int] = []
        self._places: list[tuple[int, int]] = []
        names = (PLAN_NAME.fullmatch(name) for name in os.listdir(folder))  # noqa: PTH208 - names alone
        for first, name in sorted((int(n[1]), n[0]) for n in names if n is not None):
            if first != self.num_shards:
                raise OutputError(
                    f"{folder}: expected the plan from shard {self.num_shards} on; got {name}: a "
                    "file before it is missing"
                )
            self._add(folder / name)

    @property
    def num_shards(self) -> int:
        """Number of shards."""
        return len(self._sizes)

    @property
    def num_items(self) -> int:
        """Number of pictures."""
        return sum(self._sizes)

    def size_of(self, shard: int) -> int:
        """Return the number of pictures in a shard."""
        return self._sizes[shard]

    def read(self, shard: int) -> pa.Table:
        """Return a shard as a table of ``items.ITEM_SCHEMA``; callable from any thread."""
        number, group = self._places[shard]
        path, metadata = self._files[number]
        with pq.ParquetFile(path, metadata=metadata) as file:
            return file.read_row_group(group)

    def extend(self, batches: Iterable[pa.RecordBatch], shard_size: int) -> int:
        """Append the pictures that are not in a shard yet; return their number.

        Args:
            batches: batches of ``items.ITEM_SCHEMA``; names must be unique.
            shard_size: pictures per new shard; the last may have fewer.
        """
        known = self._names() if self.num_shards else None
        new = (_without(batch, known) for batch in batches)
        tables = (table for table in new if table.num_rows)
        first = next(tables, None)
        if first is None:
            return 0
        before = self.num_items
        path = self._folder / f"plan-{self.num_shards:06d}.parquet"
        with (
            replacing(path) as temporary,
            pq.ParquetWriter(
                temporary,
                ITEM_SCHEMA,
                compression="zstd",
                use_dictionary=ALIKE,
                write_statistics=False,
            ) as writer,
        ):
            for shard in _in_shards(chain([first], tables), shard_size):
                writer.write_table(shard, row_group_size=shard_size)
        self._add(path)
        return self.num_items - before

    def clear(self) -> None:
        """Delete the plan, last file first, so that a kill leaves a valid but shorter plan."""
        for path, _ in reversed(self._files):
            path.unlink()
        self._files, self._sizes, self._places = [], [], []

    def _add(self, path: Path) -> None:
        try:
            metadata = pq.read_metadata(path)
        except pa.ArrowException as error:
            raise OutputError(f"{path}: expected the plan of a job; got a damaged file") from error
        for group in range(metadata.num_row_groups):
            self._places.append((len(self._files), group))
            self._sizes.append(metadata.row_group(group).num_rows)
        self._files.append((path, metadata))

    def _names(self) -> NameSet:
        """Return all planned names."""
        names = NameSet()
        for path, metadata in self._files:
            with pq.ParquetFile(path, metadata=metadata) as file:
                for batch in file.iter_batches(ROWS, columns=["name"]):
                    names.add(batch.column("name").to_pylist())
        return names


def _without(batch: pa.RecordBatch, known: NameSet | None) -> pa.Table:
    """Return the rows whose names are not known yet."""
    table = pa.Table.from_batches([batch], ITEM_SCHEMA)
    if known is None:
        return table
    is_new = known.add(batch.column("name").to_pylist())
    return table if is_new.all() else table.filter(pa.array(is_new))


def _in_shards(tables: Iterable[pa.Table], shard_size: int) -> Iterator[pa.Table]:
    """Cut a stream of tables into tables of one size; the last may be smaller."""
    waiting: list[pa.Table] = []
    num_rows = 0
    for table in tables:
        waiting.append(table)
        num_rows += table.num_rows
        if num_rows < shard_size:
            continue
        joined = pa.concat_tables(waiting)
        whole = num_rows - num_rows % shard_size
        for start in range(0, whole, shard_size):
            yield joined.slice(start, shard_size)
        waiting, num_rows = [joined.slice(whole)], num_rows - whole
    if num_rows:
        yield pa.concat_tables(waiting)
