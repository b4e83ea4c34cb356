"""The plan of a job: which pictures are in which shard. It is only ever extended.

A tar or table may be written anew between two runs, and then the places in it that were planned
hold other pictures. So a plan that is extended compares them with what is listed.
"""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from head_detection.batch.items import ITEM_SCHEMA, ROWS, NameSet
from head_detection.batch.places import shown
from head_detection.errors import OutputError
from head_detection.files import replacing

PLAN_NAME: Final = re.compile(r"plan-(\d+)\.parquet")
ALIKE: Final = ["column", "problem"]
"""Columns with few distinct values, which are stored as dictionaries; others would gain nothing."""
_PLACE: Final = ("location", "offset", "size")
"""Columns that say where a row of a table or a member of a tar lies."""


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
        self._listed: _Listed | None = None
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
        """Return a shard as a table of ``items.ITEM_SCHEMA``; callable from any thread.

        Rows of tables and members of tars are where ``extend`` has found them. Those that it has
        not found have a problem.
        """
        number, group = self._places[shard]
        path, metadata = self._files[number]
        with pq.ParquetFile(path, metadata=metadata) as file:
            planned = file.read_row_group(group)
        return planned if self._listed is None else self._listed.placed(planned)

    def extend(self, batches: Iterable[pa.RecordBatch], shard_size: int) -> int:
        """Append the pictures that are not in a shard yet; return their number.

        Args:
            batches: batches of ``items.ITEM_SCHEMA``; names must be unique.
            shard_size: pictures per new shard; the last may have fewer.
        """
        known = self._known() if self.num_shards else None
        new = (_without(batch, known) for batch in batches)
        tables = (table for table in new if table.num_rows)
        first = next(tables, None)
        self._listed = known
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

    def _known(self) -> "_Listed":
        """Return what is planned, to compare it with what is listed."""
        known = _Listed()
        for path, metadata in self._files:
            with pq.ParquetFile(path, metadata=metadata) as file:
                # Only what lies in a table or tar has a place to compare, and places are long.
                offsets = (batch.column(0) for batch in file.iter_batches(columns=["offset"]))
                has_places = any(pc.max(values).as_py() >= 0 for values in offsets)
                columns = [*_PLACE, "name"] if has_places else ["name"]
                for batch in file.iter_batches(ROWS, columns=columns):
                    known.names.add(batch.column("name").to_pylist())
                    if has_places:
                        known.places.add(_places_in(batch))
        return known


class _Listed:
    """Compares what is planned with what a source has now.

    Attributes:
        names: the names that are planned.
        places: where rows of tables and members of tars are planned.
    """

    def __init__(self) -> None:
        self.names, self.places = NameSet(), NameSet()
        self._found = NameSet()
        # Only of pictures that have moved: 300 bytes each, where the others take 48.
        self._moved: dict[str, tuple[bytes, int, int]] = {}

    def add(self, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
        """Add pictures of the source; return for each whether it is not planned yet, ``(N,)``."""
        names = batch.column("name").to_pylist()
        is_new = self.names.add(names)
        is_held = batch.column("offset").to_numpy() >= 0
        if not is_held.any():
            return is_new
        self._found.add([names[row] for row in np.flatnonzero(is_held).tolist()])
        has_moved = is_held & ~is_new & ~self.places.has(_places_in(batch))
        for row in np.flatnonzero(has_moved).tolist():
            location, offset, size = (batch.column(key)[row].as_py() for key in _PLACE)
            self._moved[names[row]] = location, offset, size
        return is_new

    def placed(self, planned: pa.Table) -> pa.Table:
        """Return planned pictures with the places that the source has for them now."""
        is_held = planned.column("offset").to_numpy() >= 0
        if not is_held.any():
            return planned
        rows = planned.to_pylist()
        found = self._found.has([row["name"] for row in rows])
        for row, is_known in zip(rows, (found | ~is_held).tolist(), strict=True):
            if row["name"] in self._moved:
                row.update(zip(_PLACE, self._moved[row["name"]], strict=True))
            elif not is_known:
                where = shown(os.fsdecode(row["location"]))
                row["problem"] = f"it is no longer in {where}, where it was planned"
        return pa.Table.from_pylist(rows, ITEM_SCHEMA)


def _places_in(batch: pa.RecordBatch) -> list[str]:
    """Return a text for each picture's name and place."""
    columns = (batch.column(key).to_pylist() for key in (*_PLACE, "name"))
    return [
        f"{os.fsdecode(location)}\0{offset}\0{size}\0{name}"
        for location, offset, size, name in zip(*columns, strict=True)
    ]


def _without(batch: pa.RecordBatch, known: _Listed | None) -> pa.Table:
    """Return the rows whose names are not known yet."""
    table = pa.Table.from_batches([batch], ITEM_SCHEMA)
    if known is None:
        return table
    is_new = known.add(batch)
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
