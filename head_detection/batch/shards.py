"""Shards of answers: Parquet files, written whole or not at all, and the same as lines of JSON.

The metadata of a shard's schema describes the detector and how many of its pictures failed, so no
other file has to.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from head_detection.batch.items import name_of, texts_of
from head_detection.errors import OutputError
from head_detection.files import replacing
from head_detection.results.record import JSON_ERRORS, dump_json
from head_detection.structures import BOX_DECIMALS, SCORE_DECIMALS

Answer = dict[str, Any]
"""RECORD of a picture; for one that failed, its ``file`` and ``error``, in one line."""
SCHEMA: Final = "head-detection/shard/1"
SHARD_SCHEMA: Final = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("count", pa.int32()),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
        ("scores", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)
"""RECORD's keys, and ``error``, which is null unless the picture failed; then the others are null.

Boxes and scores are float32, which is more precise than RECORD's decimals. A reader that rounds to
as many decimals gets RECORD's numbers.
"""
METADATA_KEY: Final = b"head_detection"
"""Key of the schema's metadata; the value is a line of JSON."""
ROWS_AT_ONCE: Final = 1024
"""Rows that are converted to Python values at a time."""


@dataclass(frozen=True)
class Counts:
    """Totals of one or more shards.

    Attributes:
        pictures: number of pictures.
        heads: number of heads in them.
        failed: number of pictures that failed.
    """

    pictures: int = 0
    heads: int = 0
    failed: int = 0

    def __add__(self, other: Self) -> "Counts":
        return Counts(
            self.pictures + other.pictures, self.heads + other.heads, self.failed + other.failed
        )


def table_of(answers: Iterable[Answer]) -> pa.Table:
    """Return answers as a table of ``SHARD_SCHEMA``, in their order.

    Example:
        >>> table_of([{"file": "a.jpg", "error": "no such file"}]).num_rows
        1
    """
    rows = list(answers)
    texts = {"file": texts_of([row["file"] for row in rows])}
    texts["error"] = texts_of([row.get("error") for row in rows])
    others = [name for name in SHARD_SCHEMA.names if name not in texts]
    table = pa.Table.from_pylist(rows, pa.schema([SHARD_SCHEMA.field(name) for name in others]))
    columns = [texts[name] if name in texts else table.column(name) for name in SHARD_SCHEMA.names]
    return pa.Table.from_arrays(columns, schema=SHARD_SCHEMA)


def answers_of(table: pa.Table) -> Iterator[Answer]:
    """Yield the answers of a table, with RECORD's numbers."""
    for batch in table.to_batches(ROWS_AT_ONCE):
        for row in batch.to_pylist():
            row["file"] = name_of(row["file"])
            if row["error"] is not None:
                yield {"file": row["file"], "error": name_of(row["error"])}
                continue
            del row["error"]
            row["boxes"] = [[round(v, BOX_DECIMALS) for v in box] for box in row["boxes"]]
            row["scores"] = [round(score, SCORE_DECIMALS) for score in row["scores"]]
            yield row


def count(table: pa.Table) -> Counts:
    """Return the totals of a table.

    Example:
        >>> count(table_of([{"file": "a.jpg", "error": "no such file"}]))
        Counts(pictures=1, heads=0, failed=1)
    """
    column = table.column("count")
    heads = sum(chunk.drop_null().to_numpy().sum() for chunk in column.chunks)
    return Counts(table.num_rows, int(heads), column.null_count)


def write_shard(path: Path, table: pa.Table, origin: Mapping[str, Any]) -> Counts:
    """Write a shard atomically: it is on disk before it gets its name.

    Args:
        path: the file, which is replaced if it exists.
        table: table of ``SHARD_SCHEMA``.
        origin: description of the detector, plain values.

    Returns:
        Its totals.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    counts = count(table)
    values = {"schema": SCHEMA, **vars(counts), **origin}
    table = table.cast(SHARD_SCHEMA).replace_schema_metadata({METADATA_KEY: json.dumps(values)})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return counts


def read_shard(path: Path) -> pa.Table:
    """Return the table of a shard.

    Raises:
        OutputError: the file is not a shard; in one line.
    """
    try:
        return pq.read_table(path, partitioning=None).select(SHARD_SCHEMA.names).cast(SHARD_SCHEMA)
    except (pa.ArrowException, KeyError) as error:
        raise _damaged(path) from error


def read_counts(path: Path) -> Counts:
    """Return the totals in a shard's metadata; its rows are not read.

    Raises:
        OutputError: the file is not a shard; in one line.
    """
    values = read_origin(path)
    return Counts(*(int(values[key]) for key in ("pictures", "heads", "failed")))


def read_origin(path: Path) -> dict[str, Any]:
    """Return a shard's metadata.

    Raises:
        OutputError: the file is not a shard; in one line.
    """
    try:
        values = json.loads(pq.read_schema(path).metadata[METADATA_KEY])
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise _damaged(path)
    return values


def write_lines(path: Path, table: pa.Table) -> None:
    """Write a shard's answers as NDJSON, atomically: one per line, as ``test`` writes them."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        for answer in answers_of(table):
            file.write((dump_json(answer) + "\n").encode("utf-8", JSON_ERRORS))


def _damaged(path: Path) -> OutputError:
    return OutputError(
        f"{path}: expected a shard of answers, {SCHEMA}; it is damaged or something else: remove "
        "it, and the same command makes it again"
    )
