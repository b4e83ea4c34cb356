from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from head_detection.batch.items import Columns, Item, items_of
from head_detection.batch.listing import list_items
from head_detection.batch.reading import ItemReader
from head_detection.batch.tables import TableCursor
from head_detection.errors import PictureError, SourceError


def listed(source: object, **columns: str) -> list[Item]:
    batches = list_items(str(source), Columns(**columns))
    return [item for batch in batches for item in items_of(batch)]


def write(path: Path, columns: dict[str, Any], row_group_size: int | None = None) -> Path:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def test_bytes_are_read_in_any_order(reader: ItemReader, tmp_path: Path) -> None:
    contents = [f"picture {number}".encode() for number in range(50)]
    path = write(tmp_path / "a.parquet", {"id": list(range(50)), "jpg": contents}, 20)
    items = listed(path)
    assert [item.name for item in items[:2]] == ["a.parquet#0", "a.parquet#1"]
    assert items[7] == Item("a.parquet#7", str(path), offset=7, column="jpg")
    for number in (*range(50), 3, 49, 0, 21, 20, 19):
        assert reader.read(items[number]) == contents[number]
    reader.close()
    assert reader.read(items[5]) == contents[5]


def test_rows_out_of_turn_are_read_once(
    tmp_path: Path, reader: ItemReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.parquet", {"jpg": [bytes([number]) for number in range(40)]})
    begun = []
    original = TableCursor._values_of
    monkeypatch.setattr(
        TableCursor,
        "_values_of",
        lambda cursor, group: begun.append(group) or original(cursor, group),
    )
    items = listed(path)
    for number in (1, 0, 9, 8, 2, 20, 30, 15):
        assert reader.read(items[number]) == bytes([number])
    assert begun == [0]
    assert reader.read(items[3]) == b"\x03"
    assert begun == [0, 0]


def test_nulls_are_pictures_that_fail(reader: ItemReader, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"image": pa.array([b"1", None], pa.large_binary())})
    first, second = listed(path)
    assert reader.read(first) == b"1"
    with pytest.raises(PictureError, match=r"^a.parquet#1: expected a picture in .*; got none$"):
        reader.read(second)
    path = write(tmp_path / "a.parquet", {"path": ["x/1.jpg", None, " "]})
    first, second, third = listed(path)
    assert first == Item("x/1.jpg", str(tmp_path / "x/1.jpg"))
    for number, item in enumerate((second, third), 1):
        with pytest.raises(PictureError, match=f"^a.parquet#{number}: the row has no path$"):
            reader.read(item)


def test_a_column_of_hugging_face_is_read(reader: ItemReader, tmp_path: Path) -> None:
    images = [{"bytes": b"1", "path": "a.jpg"}, None, {"bytes": None, "path": "c.jpg"}]
    path = write(tmp_path / "a.parquet", {"image": images, "label": [0, 1, 2]})
    first, second, third = listed(path)
    assert reader.read(first) == b"1"
    for item in (second, third):
        with pytest.raises(PictureError, match="expected a picture in the row; got none"):
            reader.read(item)


def test_pictures_of_hugging_face_are_called_by_their_paths(
    reader: ItemReader, tmp_path: Path
) -> None:
    images = [{"bytes": b"1", "path": "a.jpg"}, {"bytes": b"2", "path": "b/c.jpg"}]
    path = write(tmp_path / "a.parquet", {"image": images})
    items = listed(path)
    assert [item.name for item in items] == ["a.parquet/a.jpg", "a.parquet/b/c.jpg"]
    assert [reader.read(item) for item in items] == [b"1", b"2"]
    alone = listed(path, name="image.path", content="image.bytes")
    assert [item.name for item in alone] == ["a.jpg", "b/c.jpg"]
    assert [item.location for item in listed(path, path="image.path")] == [
        str(tmp_path / "a.jpg"),
        str(tmp_path / "b/c.jpg"),
    ]
    # A path that two have tells neither.
    images[1]["path"] = "a.jpg"
    write(path, {"image": images})
    assert [item.name for item in listed(path)] == ["a.parquet#0", "a.parquet#1"]


def test_names_are_a_columns_where_one_is_given(tmp_path: Path) -> None:
    columns = {"jpg": [b"1", b"2", b"3"], "key": ["x", None, "y"]}
    path = write(tmp_path / "a.parquet", columns)
    assert [item.name for item in listed(path, name="key")] == ["x", "a.parquet#1", "y"]
    columns = {"where": ["s3://lake/1.jpg", "2.jpg"], "key": ["x", "y"]}
    path = write(tmp_path / "a.parquet", columns)
    items = listed(path, name="key")
    assert [(item.name, item.location) for item in items] == [
        ("x", "s3://lake/1.jpg"),
        ("y", str(tmp_path / "2.jpg")),
    ]


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"jpg": [b"1", b"2"], "key": ["x", "x"]})
    message = r"^x: expected each name once, .*/a.parquet at 0 and for .*a.parquet at 1$"
    with pytest.raises(SourceError, match=message):
        listed(path, name="key")
    path = write(tmp_path / "b.parquet", {"path": ["1.jpg", "2.jpg", "1.jpg"]})
    skipped: Counter[str] = Counter()
    assert sum(batch.num_rows for batch in list_items(str(path), skipped=skipped)) == 2
    assert skipped == {"listed twice": 1}


def test_a_folder_of_tables_is_read_in_natural_order(reader: ItemReader, tmp_path: Path) -> None:
    for number in (10, 2):
        write(tmp_path / "lake" / f"part-{number}.parquet", {"jpg": [bytes([number])]})
    (tmp_path / "lake" / "_SUCCESS").touch()
    (tmp_path / "lake" / "_metadata.parquet").touch()
    items = listed(tmp_path / "lake")
    assert [item.name for item in items] == ["part-2.parquet#0", "part-10.parquet#0"]
    assert [reader.read(item) for item in items] == [b"\x02", b"\x0a"]


def test_a_table_of_a_store_is_read(
    reader: ItemReader, tmp_path: Path, bucket: Callable[[str, bytes], str]
) -> None:
    url = bucket("a.parquet", write(tmp_path / "a.parquet", {"jpg": [b"1"]}).read_bytes())
    (item,) = listed(url)
    assert item.name == "a.parquet#0"
    assert reader.read(item) == b"1"


@pytest.mark.parametrize(
    ("columns", "asked", "message"),
    [
        ({"id": [1]}, {}, r"expected a column of pictures' bytes or paths, .* id \(int64\)"),
        ({"a": ["x"], "b": ["y"]}, {}, "told by its name if there are several"),
        ({"id": [1]}, {"content": "id"}, r"expected a column id of bytes; it has id \(int64\)"),
        ({"id": [1]}, {"path": "where"}, r"expected a column where of text; it has id \(int64\)"),
        ({"jpg": [b"1"]}, {"name": "jpg"}, "expected a column jpg of text"),
    ],
)
def test_columns_that_do_not_fit_are_one_line(
    tmp_path: Path, columns: dict[str, Any], asked: dict[str, str], message: str
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        listed(write(tmp_path / "a.parquet", columns), **asked)
    assert "\n" not in str(caught.value)


def test_what_is_no_table_and_a_damaged_one_are_one_line(
    reader: ItemReader, tmp_path: Path
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(SourceError, match=r"a.parquet: expected a Parquet file; ") as caught:
        listed(path)
    assert "\n" not in str(caught.value)
    noise = [bytes([number]) * 5000 for number in range(20)]
    pq.write_table(pa.table({"jpg": noise}), path, row_group_size=10, compression="none")
    content = bytearray(path.read_bytes())
    begin = content.index(noise[3])
    content[begin - 4 : begin] = b"\xff\xff\xff\x7f"  # the length of the fourth picture
    path.write_bytes(content)
    items = listed(path)
    for item in items[:10]:
        with pytest.raises(PictureError, match="the table is damaged here") as error:
            reader.read(item)
        assert "\n" not in str(error.value)
    assert reader.read(items[10]) == noise[10]


def test_what_is_no_table_among_several_fails_and_the_others_go_on(tmp_path: Path) -> None:
    write(tmp_path / "b.parquet", {"path": ["1.jpg"]})
    content = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:-10])  # still being written
    (tmp_path / "c.parquet").write_bytes(b"")
    for source in (tmp_path, tmp_path / "*.parquet"):
        items = listed(source)
        assert [item.name for item in items] == ["a.parquet", "1.jpg", "c.parquet"]
        assert items[0].problem.startswith("expected a Parquet file; Parquet magic bytes not")
        assert items[2].problem.endswith("0 bytes: mend it, and begin a new job")
    with pytest.raises(SourceError, match=r"b.parquet: expected a column none of text"):
        listed(tmp_path, path="none")


def test_an_empty_table_has_no_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"jpg": pa.array([], pa.binary())})
    with pytest.raises(SourceError, match="expected pictures, found none"):
        listed(path)


def test_columns_of_views_are_read(reader: ItemReader, tmp_path: Path) -> None:
    """As Polars gives them to Arrow."""
    columns = {
        "path": pa.array(["a.jpg"], pa.string_view()),
        "image": pa.array([b"one"], pa.binary_view()),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    assert pq.read_schema(tmp_path / "a.parquet").field("path").type == pa.string_view()
    (item,) = listed(tmp_path / "a.parquet", name="path")
    assert (item.name, reader.read(item)) == ("a.jpg", b"one")
    (item,) = listed(tmp_path / "a.parquet", path="path")
    assert item.location == str(tmp_path / "a.jpg")
