import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from head_detection.batch.shards import (
    SHARD_SCHEMA,
    Counts,
    answers_of,
    read_counts,
    read_origin,
    read_shard,
    table_of,
    write_lines,
    write_shard,
)
from head_detection.errors import OutputError

# As RECORD rounds float32: at 4000, those lie 0.0002 apart.
FOUND = {
    "file": "a/ö.jpg",
    "width": 640,
    "height": 480,
    "count": 2,
    "boxes": [[0.1, 2.0001, 30.5, 4000.1233], [1.0, 2.0, 3.0, 4.0]],
    "scores": [0.912345, 0.5],
}
EMPTY = {"file": "b.jpg", "width": 8, "height": 8, "count": 0, "boxes": [], "scores": []}
FAILED = {"file": "c.jpg", "error": "no such file"}


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("a\\b é.jpg", "a\\b é.jpg"),
        ("\udce9\\.jpg", r"\udce9\u005c.jpg"),
        (r"\udce9.jpg", r"\u005cudce9.jpg"),  # of this very name
        (r"\u005c.jpg", r"\u005cu005c.jpg"),
    ],
)
def test_names_that_are_no_text_are_spelt_out_and_read_back(name: str, spelt: str) -> None:
    table = table_of([{"file": name, "error": name}, {"file": "b.jpg", "error": "cut"}])
    assert table.column("file").to_pylist() == [spelt, "b.jpg"]
    assert next(answers_of(table)) == {"file": name, "error": name}


def test_answers_come_back_with_the_numbers_of_a_record(tmp_path: Path) -> None:
    path = tmp_path / "shard-000000.parquet"
    counts = write_shard(path, table_of([FOUND, EMPTY, FAILED]), {"version": "1"})
    assert list(answers_of(read_shard(path))) == [FOUND, EMPTY, FAILED]
    # Two heads of two pictures, one that failed.
    assert counts == read_counts(path) == Counts(3, 2, 1)
    assert read_origin(path)["version"] == "1"


def test_other_tools_read_a_shard_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "shard-000000.parquet"
    write_shard(path, table_of([FOUND, FAILED]), {})
    table = pq.read_table(path)
    assert table.schema.names == SHARD_SCHEMA.names
    assert table.column("count").to_pylist() == [2, None]
    assert table.column("error").to_pylist() == [None, "no such file"]
    assert table.column("boxes").to_pylist()[0][1] == [1.0, 2.0, 3.0, 4.0]


def test_a_shard_may_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "shard-000000.parquet"
    assert write_shard(path, table_of([]), {}) == Counts()
    assert list(answers_of(read_shard(path))) == []


def test_lines_are_those_of_test(tmp_path: Path) -> None:
    path = tmp_path / "shard-000000.ndjson"
    write_lines(path, table_of([FOUND, FAILED]))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [FOUND, FAILED]
    assert "ö" in lines[0]


def test_what_is_no_shard_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "shard-000000.parquet"
    path.write_bytes(b"PAR1 cut short")
    with pytest.raises(OutputError, match="damaged or something else"):
        read_counts(path)
    with pytest.raises(OutputError, match="damaged or something else"):
        read_shard(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(OutputError, match="damaged or something else"):
        read_counts(path)
    with pytest.raises(OutputError, match="damaged or something else"):
        read_shard(path)


def test_a_table_of_other_columns_is_not_written(tmp_path: Path) -> None:
    with pytest.raises((KeyError, ValueError)):
        write_shard(tmp_path / "shard-000000.parquet", pa.table({"a": [1]}), {})
    assert not list(tmp_path.iterdir())
