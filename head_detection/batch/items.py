"""What a job is to look at: pictures as rows, whatever they lie in, in an order that stays.

A job may have millions, so they are Arrow's batches; an ``Item`` is one of them taken out.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa

from head_detection.images.finding import PictureFinder

ROWS: Final = 65_536
"""Items of a batch: some 10 MB."""
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
"""Of the batches; the columns are an item's attributes. None is null."""


@dataclass(frozen=True, slots=True)
class Item:
    """A picture to look at.

    Attributes:
        name: what results call it: its path relative to the source, with ``/``; once in a job.
        location: a local path or a URL: of the picture, or of the archive or table that holds it.
        offset: its first byte in an archive, or its row in a table; -1: the file is the picture.
        size: its bytes in an archive; -1 otherwise.
        column: of a table's pictures; empty otherwise.
        problem: why it cannot be read, where that is known already; empty otherwise.
    """

    name: str
    location: str
    offset: int = -1
    size: int = -1
    column: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a Parquet file are looked at; an empty one is found by name and type.

    Attributes:
        path: paths or URLs of pictures.
        content: the pictures' files themselves, as bytes.
        name: what results call them; without it, where they lie.
    """

    path: str = ""
    content: str = ""
    name: str = ""


def list_items(
    source: str, columns: Columns | None = None, skipped: Counter[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Give the pictures of a source, each once, in an order that stays, in bounded memory.

    Args:
        source: a folder, a text list, a glob, Parquet files or WebDataset's tars; local, or a URL.
        columns: of Parquet.
        skipped: how many were passed over is added here, by reason.

    Yields:
        Batches of ``ITEM_SCHEMA``, at most ``ROWS`` long, none empty.

    Raises:
        SourceError: nothing there, nothing found, or two pictures of one name. One line.
        MissingPackageError: the URL's file system needs a package.
    """
    del columns
    finder = PictureFinder()
    found = finder.below(Path(source), Path(source))
    while files := list(islice(found, ROWS)):
        yield batch_of(Item(f.name, str(f.path), problem=f.problem or "") for f in files)
    if skipped is not None:
        skipped.update(finder.skipped)


def batch_of(items: Iterable[Item]) -> pa.RecordBatch:
    """Return items as a batch of ``ITEM_SCHEMA``."""
    rows = [astuple(item) for item in items]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in ITEM_SCHEMA]
    columns[1] = [os.fsencode(location) for location in columns[1]]
    return pa.record_batch(columns, ITEM_SCHEMA)


def items_of(rows: pa.RecordBatch | pa.Table) -> Iterator[Item]:
    """Give the items of a batch or a table of ``ITEM_SCHEMA``; other columns do no harm."""
    columns = [rows.column(name).to_pylist() for name in ITEM_SCHEMA.names]
    for name, location, *rest in zip(*columns, strict=True):
        yield Item(name, os.fsdecode(location), *rest)
