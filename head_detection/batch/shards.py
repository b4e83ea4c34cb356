"""One shard of answers as a Parquet file, written whole or not at all, and read back."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

SHARD_SCHEMA: Final = pa.schema(
    [
        ("file", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("count", pa.int32()),
        ("boxes", pa.list_(pa.list_(pa.float32()))),
        ("scores", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)
"""RECORD as columns: a picture has either an error or all the others."""


@dataclass(frozen=True)
class Row:
    """The answer to one picture.

    Attributes:
        record: RECORD; None where it failed.
        error: one line, without the picture's name; None where it did not.
    """

    record: dict[str, Any] | None
    error: str | None


def table_of(names: Iterable[str], rows: Iterable[Row]) -> Any:
    """Return rows in order as a table of ``SHARD_SCHEMA``."""
    raise NotImplementedError


def write_shard(path: Path, table: Any, metadata: dict[str, Any]) -> None:
    """Put a shard in its place: temporary name, fsync, rename."""
    raise NotImplementedError
