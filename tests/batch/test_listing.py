import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from head_detection.batch.items import Columns, Item, items_of
from head_detection.batch.listing import BESIDE, list_items
from head_detection.batch.lists import Placer
from head_detection.batch.manifest import Job
from head_detection.batch.places import file_system, spelt_alike
from head_detection.errors import HeadDetectionError, SourceError
from head_detection.pipeline.opening import open_pictures

Put = Callable[[str, bytes], str]


def listed(source: object, **columns: str) -> list[Item]:
    batches = list_items(str(source), Columns(**columns))
    return [item for batch in batches for item in items_of(batch)]


def names_of(source: object) -> list[str]:
    return [item.name for item in listed(source)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1")


def test_a_folder_is_listed_as_test_lists_it(tmp_path: Path) -> None:
    touch(tmp_path, "10.jpg", "2.jpg", "a/1.PNG", "a/notes.md", ".hidden.jpg", "old/3.jpg", "b.mp4")
    touch(tmp_path, "old/.head-detection-output")
    (tmp_path / "again.jpg").symlink_to(tmp_path / "2.jpg")
    skipped: Counter[str] = Counter()
    (batch,) = list_items(str(tmp_path), skipped=skipped)
    source = open_pictures(str(tmp_path))
    assert [item.name for item in items_of(batch)] == ["2.jpg", "10.jpg", "a/1.PNG"]
    assert [item.name for item in items_of(batch)] == [item.name for item in source]
    assert skipped == source.skipped
    assert next(items_of(batch)) == Item("2.jpg", str(tmp_path / "2.jpg"))


def test_a_glob_and_a_single_picture_are_listed_as_test_lists_them(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", "x/2.png", "y/1.jpg")
    pattern = f"{tmp_path}/*/1.jpg"
    assert names_of(pattern) == ["x/1.jpg", "y/1.jpg"]
    assert names_of(pattern) == [item.name for item in open_pictures(pattern)]
    assert names_of(tmp_path / "x/2.png") == ["2.png"]
    assert names_of(f"file://{tmp_path}/x/2.png") == ["2.png"]


def test_a_list_is_not_looked_for_and_repeats_are_left_out(tmp_path: Path) -> None:
    elsewhere = os.path.relpath("/elsewhere", tmp_path)
    lines = ["a/1.jpg", "", "  b.jpg ", "./a/1.jpg", "/elsewhere/c.jpg", f"{tmp_path}/d.jpg"]
    lines += ["s3://lake/e.jpg", "https://me:secret@host/f?size=2"]
    path = tmp_path / "list.txt"
    path.write_text("\r\n".join(lines))
    skipped: Counter[str] = Counter()
    (batch,) = list_items(str(path), skipped=skipped)
    items = list(items_of(batch))
    assert [item.name for item in items] == [
        *("a/1.jpg", "b.jpg", f"{elsewhere}/c.jpg", "d.jpg", "s3://lake/e.jpg"),
        "https://host/f?size=2",
    ]
    assert items[0].location == str(tmp_path / "a/1.jpg")
    assert items[-1].location == "https://me:secret@host/f?size=2"
    assert skipped == {"listed twice": 1}


def test_file_urls_are_paths(tmp_path: Path) -> None:
    touch(tmp_path, "a b.jpg", "caf\u00e9.jpg", "50%.jpg")
    path = tmp_path / "list.txt"
    urls = [name.as_uri() for name in sorted(tmp_path.glob("*.jpg"))]
    assert urls[0].endswith("/50%25.jpg")
    urls += [urls[1].replace("file:///", "FILE://localhost/"), f"file://{tmp_path}/%ff.jpg"]
    path.write_text("\n".join([*urls, "a%20b.jpg"]))
    names = ["50%.jpg", "a b.jpg", "caf\u00e9.jpg", "\udcff.jpg", "a%20b.jpg"]
    assert [(item.name, item.location) for item in listed(path)] == [
        (name, f"{tmp_path}/{name}") for name in names
    ]
    assert names_of((tmp_path / "a b.jpg").as_uri()) == ["a b.jpg"]


def test_names_of_a_list_are_those_of_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "lists/a.jpg", "pictures/b.jpg", "lists/sub/c.jpg")
    path = tmp_path / "lists/list.txt"
    path.write_text(f"a.jpg\n{tmp_path}/pictures/b.jpg\n../pictures/../lists/sub/c.jpg\n")
    assert names_of(path) == [item.name for item in open_pictures(str(path))]
    # From the working folder, where none is beside the list.
    path.write_text("pictures/b.jpg\nlists/a.jpg\n")
    monkeypatch.chdir(tmp_path)
    places = [f"{tmp_path}/pictures/b.jpg", f"{tmp_path}/lists/a.jpg"]
    assert [item.location for item in listed(path)] == places
    assert names_of(path) == [item.name for item in open_pictures(str(path))]


def test_where_the_paths_of_a_list_start_is_found_out_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "elsewhere/notes")
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "list.txt"
    path.write_text("1.jpg\n2.jpg\n")
    starts: dict[str, str] = {}
    monkeypatch.chdir(tmp_path / "a")
    before = [i for b in list_items(str(path), starts=starts) for i in items_of(b)]
    assert [item.name for item in before] == ["../a/1.jpg", "../a/2.jpg"]
    assert starts == {str(path): str(tmp_path / "a")}
    # Neither another working folder nor a picture that has gone makes other names.
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "a" / "1.jpg").unlink()
    assert [i for b in list_items(str(path), starts=starts) for i in items_of(b)] == before
    assert names_of(path) == ["1.jpg", "2.jpg"]


@pytest.mark.parametrize("pattern", ["*/list.txt", "*/list.parquet", "{a,b}/list.txt", ""])
def test_lists_in_several_folders_may_hold_the_same_paths(
    pattern: str, tmp_path: Path, bucket: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = os.path.relpath("/elsewhere", tmp_path)
    for folder in "ab":
        (tmp_path / folder).mkdir()
        lines = ["1.jpg", "/elsewhere/2.jpg", f"{tmp_path}/{folder}/./3.jpg"]
        (tmp_path / folder / "list.txt").write_text("\n".join(lines))
        pq.write_table(pa.table({"path": lines}), tmp_path / folder / "list.parquet")
        url = bucket(f"lists/{folder}/list.txt", b"1.jpg\n")
    expected = ["a/1.jpg", f"{elsewhere}/2.jpg", "a/3.jpg", "b/1.jpg", "b/3.jpg"]
    skipped: Counter[str] = Counter()
    batches = list(list_items(f"{tmp_path}/{pattern}", skipped=skipped))
    items = [item for batch in batches for item in items_of(batch)]
    assert [item.name for item in items] == expected
    assert items[3].location == f"{tmp_path}/b/1.jpg"
    assert skipped["listed twice"] == 1
    monkeypatch.chdir(tmp_path)
    if pattern:
        assert names_of(pattern) == expected
    assert names_of(url.replace("b/list", "*/list")) == ["a/1.jpg", "b/1.jpg"]


def test_a_list_in_a_folder_whose_name_looks_like_a_glob(tmp_path: Path) -> None:
    touch(tmp_path, "[1]/1.jpg", "{a,b}/1.jpg")
    for folder in ("[1]", "{a,b}"):
        (tmp_path / folder / "list.txt").write_text("1.jpg\n")
        assert names_of(tmp_path / folder / "list.txt") == ["1.jpg"]


@pytest.mark.parametrize(
    "odd", ["", "./a", "a/./b", "a/.", "../a", "a/../b", "..", "~/a", "/a", "a//b"]
)
@pytest.mark.parametrize("start", ["", "{base}/"])
def test_lines_are_placed_together_as_they_are_alone(odd: str, start: str, tmp_path: Path) -> None:
    lines = [f"{start.format(base=tmp_path)}{n}.jpg" for n in range(3)]
    lines.insert(2, odd or lines[0])
    names, places = Placer(str(tmp_path / "list.txt")).place_all(lines)
    placer = Placer(str(tmp_path / "list.txt"))
    assert list(zip(names, places, strict=True)) == [placer.place(line) for line in lines]


def test_a_list_may_be_utf_16_and_names_no_unicode(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("café.jpg\r\n".encode("utf-16"))
    assert names_of(path) == ["café.jpg"]
    path.write_bytes(b"caf\xe9.jpg\n")
    (item,) = listed(path)
    assert item.name == "caf\udce9.jpg"
    assert os.fsencode(item.location) == os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    path.write_bytes(b"a.jpg\ncaf\xe9")  # it could be the start of a letter in UTF-8
    assert names_of(path) == ["a.jpg", "caf\udce9"]


def test_a_list_in_a_store_says_where_its_pictures_lie(bucket: Put) -> None:
    url = bucket("lists/list.txt", b"a/1.jpg\n/local/2.jpg\nmemory://other/3.jpg\n")
    items = listed(url)
    assert [item.name for item in items] == ["a/1.jpg", "/local/2.jpg", "memory://other/3.jpg"]
    folder = spelt_alike(url.rpartition("/")[0])
    places = [f"{folder}/a/1.jpg", "/local/2.jpg", "memory://other/3.jpg"]
    assert [item.location for item in items] == places


def test_a_folder_of_a_store_is_listed_in_natural_order(bucket: Put) -> None:
    for name in ("10.jpg", "2.jpg", "a/1.jpg", ".x.jpg", "notes.md", "old/1.jpg"):
        url = bucket(f"pictures/{name}", b"1")
    bucket("pictures/old/.head-detection-output", b"")
    folder = url.partition("/pictures")[0] + "/pictures"
    skipped: Counter[str] = Counter()
    (batch,) = list_items(folder, skipped=skipped)
    assert [item.name for item in items_of(batch)] == ["2.jpg", "10.jpg", "a/1.jpg"]
    assert skipped == {"hidden": 1, "not pictures": 1, "folders of results": 1}
    assert names_of(f"{folder}/*.jpg") == ["2.jpg", "10.jpg"]
    assert names_of(f"{folder}/2.jpg") == ["2.jpg"]


def test_what_lies_beside_pictures_is_counted(tmp_path: Path, bucket: Put) -> None:
    for name in ("1.jpg", "notes.md", "a.tar", "sub/b.PARQUET", ".hidden.tar", "c.tar.gz"):
        touch(tmp_path, name)
        url = bucket(f"lake/{name}", b"1")
    for folder in (tmp_path, url.partition("/lake")[0] + "/lake"):
        skipped: Counter[str] = Counter()
        (batch,) = list_items(str(folder), skipped=skipped)
        assert [item.name for item in items_of(batch)] == ["1.jpg"]
        assert skipped == {BESIDE: 2, "compressed files": 1, "not pictures": 1, "hidden": 1}


def test_what_lies_beside_tars_and_tables_is_counted(tmp_path: Path, bucket: Put) -> None:
    pq.write_table(pa.table({"path": ["b.jpg"]}), tmp_path / "a.parquet")
    bucket("lake/a.parquet", (tmp_path / "a.parquet").read_bytes())
    for name in ("notes.md", "b.tar.gz", "c.zip", ".hidden.tar", "_old.parquet", "list.txt"):
        touch(tmp_path, name)
        url = bucket(f"lake/{name}", b"1")
    for folder in (tmp_path, url.rpartition("/")[0]):
        skipped: Counter[str] = Counter()
        (batch,) = list_items(str(folder), skipped=skipped)
        assert [item.name for item in items_of(batch)] == ["b.jpg"]
        assert skipped == {"compressed files": 2, "not pictures": 3, "hidden": 1}


@pytest.mark.skipif(os.name != "posix", reason="pipes with names, as POSIX has them")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    os.mkfifo(tmp_path / "a" / "2.jpg")
    os.mkfifo(tmp_path / "a" / "3.tar")
    skipped: Counter[str] = Counter()
    (batch,) = list_items(str(tmp_path / "a"), skipped=skipped)
    assert [item.name for item in items_of(batch)] == ["1.jpg"]
    assert skipped == {"not files": 2}
    for name in ("b.txt", "b.parquet", "b.tar"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(SourceError, match=rf"{name}: expected a .*; it is a named pipe$"):
            listed(tmp_path / name)
    (tmp_path / "only").mkdir()
    os.mkfifo(tmp_path / "only" / "b.tar")
    with pytest.raises(SourceError, match=r"found none; passed over: not files: 1$"):
        listed(tmp_path / "only")


def test_answers_in_the_source_are_no_part_of_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["b.jpg"]}), tmp_path / "a.parquet")
    with Job(tmp_path / "answers", {}) as job:
        job.plan(list_items(str(tmp_path)), 10)
        assert names_of(tmp_path) == ["b.jpg"]
        assert job.num_pictures == 1


def test_braces_name_many(tmp_path: Path) -> None:
    assert names_of(f"{tmp_path}/{{08..10}}/a.jpg") == ["08/a.jpg", "09/a.jpg", "10/a.jpg"]
    with pytest.raises(SourceError, match="at most 1,000,000 files; got 10,000,000,000 by"):
        names_of(f"{tmp_path}/{{0..9999999999}}-a.jpg")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "'nothing': expected a folder, a text list, .*; no such file"),
        ("nothing.txt", "nothing.txt: expected a text list; no such file"),
        ("nothing*.jpg", r"nothing\*.jpg: expected pictures, found none"),
        ("a.tar.gz", "a.tar.gz: expected a .tar that is not compressed"),
        ("ftp://me:secret@host/a.jpg", "ftp://host/a.jpg: expected a path or a URL of memory"),
        ("https://host/folder/", "https://host/folder/: expected a list .* does not tell"),
        ("memory://nothing/list.txt", "memory:///nothing/list.txt: expected a text list; no such"),
        ("memory://nothing/there", "memory:///nothing/there: expected pictures; no such file"),
    ],
)
def test_mistakes_are_one_line(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HeadDetectionError, match=message) as caught:
        listed(source)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("source", ["", "a.jpg", "*.jpg", "list.txt", "a.tar"])
def test_a_column_wants_a_table(source: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "list.txt", "a.tar")
    with pytest.raises(SourceError, match=r"expected a Parquet file with the column where; got"):
        listed(tmp_path / source, path="where")
    # A folder's tables come before its pictures then.
    pq.write_table(pa.table({"where": ["b.jpg"]}), tmp_path / "a.parquet")
    assert [item.name for item in listed(tmp_path, path="where")] == ["b.jpg"]
    assert names_of(tmp_path) == ["a.jpg"]


def test_an_empty_folder_and_an_endless_line_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "notes.md")
    with pytest.raises(SourceError, match="expected pictures, found none; passed over: not pict"):
        listed(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"a" * 70_000)
    with pytest.raises(SourceError, match=r"expected a path on each line; got over 65,536 letters"):
        listed(tmp_path / "list.txt")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\n\0\0\0"
    for content in (np.random.default_rng(0).bytes(190_000), png, b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"list\.txt: expected text, a path .*; got binary"):
            listed(path)
    # One odd name among others is that picture's fault, and no encoding is.
    path.write_bytes(b"a.jpg\nb\0.jpg\n" + "\u0434\u043e\u043c.jpg\n".encode("koi8-r"))
    assert len(listed(path)) == 3
    path.write_text("a.jpg\tb\n", encoding="utf-16")
    assert names_of(path) == ["a.jpg\tb"]


def test_what_a_store_logs_is_not_printed() -> None:
    for _ in range(2):
        file_system("memory://a")
    (handler,) = logging.getLogger("fsspec").handlers  # without one, Python prints it
    assert isinstance(handler, logging.NullHandler)
