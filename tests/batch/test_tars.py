import io
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from head_detection.batch import tars
from head_detection.batch.items import Item, items_of
from head_detection.batch.listing import list_items
from head_detection.batch.reading import ItemReader
from head_detection.errors import PictureError, SourceError

MakeTar = Callable[..., bytes]
Picture = Callable[[int], bytes]
BLOCK = 512


def listed(source: object, skipped: Counter[str] | None = None) -> list[Item]:
    return [i for batch in list_items(str(source), skipped=skipped) for i in items_of(batch)]


def special(name: str, kind: bytes, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    info.linkname = "/etc/passwd"
    return info


def test_pictures_of_a_tar_are_where_its_headers_say(
    reader: ItemReader, tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    first, second = picture(1), picture(2)
    content = make_tar(("a.png", first), ("a.json", b"{}"), ("./b/c.png", second))
    (tmp_path / "shard.tar").write_bytes(content)
    skipped: Counter[str] = Counter()
    items = listed(tmp_path / "shard.tar", skipped)
    assert [item.name for item in items] == ["shard.tar/a.png", "shard.tar/b/c.png"]
    # A header of a block, then the content in whole blocks.
    assert (items[0].offset, items[0].size) == (BLOCK, len(first))
    assert skipped == {"not pictures": 1}
    assert [reader.read(item) for item in items] == [first, second]


def test_several_tars_are_one_job(
    reader: ItemReader,
    tmp_path: Path,
    make_tar: MakeTar,
    picture: Picture,
    bucket: Callable[[str, bytes], str],
) -> None:
    for number in (2, 10):
        content = make_tar(("a.png", picture(number)))
        (tmp_path / f"{number}.tar").write_bytes(content)
        url = bucket(f"{number}.tar", content)
    names = ["2.tar/a.png", "10.tar/a.png"]
    folder = url.rpartition("/")[0]
    for source in (tmp_path, f"{tmp_path}/*.tar", f"{tmp_path}/{{2,10}}.tar", folder):
        items = listed(source)
        assert [item.name for item in items] == names
        assert [reader.read(item) for item in items] == [picture(2), picture(10)]


def test_a_hostile_tar_leads_nowhere(
    reader: ItemReader, tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    content = make_tar(
        special("link.png", tarfile.SYMTYPE),
        special("hard.png", tarfile.LNKTYPE),
        special("device.png", tarfile.CHRTYPE),
        special("folder.png", tarfile.DIRTYPE),
        ("/etc/absolute.png", picture(1)),
        ("../above.png", picture(1)),
        ("a/.hidden.png", picture(1)),
        ("good.png", picture(2)),
    )
    (tmp_path / "a.tar").write_bytes(content)
    skipped: Counter[str] = Counter()
    (item,) = listed(tmp_path / "a.tar", skipped)
    assert reader.read(item) == picture(2)
    assert skipped == {
        "links and devices in tars": 3,
        "folders in tars": 1,
        "names that lead out of a tar": 2,
        "hidden": 1,
    }


def test_a_member_that_says_it_is_huge_is_not_read(
    reader: ItemReader, tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    huge = special("huge.png", tarfile.REGTYPE, 1 << 40).tobuf(tarfile.PAX_FORMAT)
    good = make_tar(("good.png", picture(1)))[: 2 * BLOCK]
    (tmp_path / "a.tar").write_bytes(good + huge)
    good_item, huge_item, rest = listed(tmp_path / "a.tar")
    assert [good_item.name, huge_item.name] == ["a.tar/good.png", "a.tar/huge.png"]
    with pytest.raises(PictureError, match=r"huge.png: expected at most .* got more: make"):
        reader.read(huge_item)
    with pytest.raises(PictureError, match=r"^a.tar: damaged or cut off at byte 2,560 of 2,560: w"):
        reader.read(rest)


def test_a_header_that_says_it_is_huge_is_not_read(reader: ItemReader, tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(special("pax", tarfile.XHDTYPE, 1 << 30).tobuf())
        file.truncate(1 << 31)  # all of it is there, as zeros that take no room
    (item,) = listed(tmp_path / "a.tar")
    message = r"^a.tar#0: expected extended headers of at most 1,048,576 bytes, .* 1,073,741,824 b"
    with pytest.raises(PictureError, match=message):
        reader.read(item)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE])
@pytest.mark.parametrize("content", [b"x" * ((1 << 20) + 1), b"9" * 100_000])
def test_what_is_behind_a_header_that_is_too_long_goes_on(
    content: bytes,
    kind: bytes,
    reader: ItemReader,
    tmp_path: Path,
    make_tar: MakeTar,
    picture: Picture,
    bucket: Callable[[str, bytes], str],
) -> None:
    told_of, rest = (make_tar((f"{n}.png", picture(n))) for n in (2, 3))
    first = make_tar(("1.png", picture(1)))[: 2 * BLOCK]
    padded = content + bytes(-len(content) % BLOCK)
    whole = first + special("long", kind, len(content)).tobuf() + padded + told_of[: 2 * BLOCK]
    (tmp_path / "a.tar").write_bytes(whole + rest)
    for source in (str(tmp_path / "a.tar"), bucket("a.tar", whole + rest)):
        skipped: Counter[str] = Counter()
        items = listed(source, skipped)
        expected = ["a.tar/1.png", "a.tar#1024", "a.tar/3.png"]
        if kind == tarfile.XGLTYPE:  # it tells of all that follow, mostly nothing of their names
            expected.insert(2, "a.tar/2.png")
        assert [item.name for item in items] == expected
        assert reader.read(items[-1]) == picture(3)
        with pytest.raises(PictureError, match=r"^a.tar#1024: expected .* is not known: mend it"):
            reader.read(items[1])
        assert not skipped


def changed(kind: bytes, place: int, value: bytes) -> bytes:
    """Return a header with other bytes in one place, and their sum."""
    header = bytearray(special("b.png", kind).tobuf())
    header[place : place + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def sized(size: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a header whose size is written as such."""
    return changed(kind, 124, size.ljust(12, b"\0"))


def pax(records: bytes) -> bytes:
    """Return an extended header of a block, and the header of an empty file."""
    head = special("pax", tarfile.XHDTYPE, len(records)).tobuf()
    return head + records.ljust(BLOCK, b"\0") + special("b.png", tarfile.REGTYPE).tobuf()


HOSTILE = {
    "a size below nothing leads back": sized(b"\xff" * 11 + b"\0"),
    "a size of 87 bits": sized(b"\x80" + b"\x7f" * 11),
    "an extended size below nothing": pax(b"14 size=-1024\n"),
    "an extended size below nothing before others": (
        pax(b"14 size=-1024\n") + special("c.png", tarfile.REGTYPE).tobuf()
    ),
    "an extended size of 40 digits": pax(b"48 size=%s\n" % (b"9" * 39)),
    "an extended header below nothing": sized(b"\xff" * 12, tarfile.XHDTYPE),
    "headers of headers of headers": special("l", tarfile.GNUTYPE_LONGNAME).tobuf() * 3000,
    "a list of parts without an end": changed(tarfile.GNUTYPE_SPARSE, 482, b"\1"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("is_first", [False, True])
def test_headers_that_say_what_cannot_be_stop_no_job(
    what: str,
    is_first: bool,
    reader: ItemReader,
    tmp_path: Path,
    make_tar: MakeTar,
    picture: Picture,
    bucket: Callable[[str, bytes], str],
) -> None:
    first = b"" if is_first else make_tar(("a.png", picture(1)))[: 2 * BLOCK]
    content = first + HOSTILE[what]
    for name, written in (("1.tar", content), ("2.tar", make_tar(("a.png", picture(2))))):
        (tmp_path / name).write_bytes(written)
        url = bucket(name, written)
    for source in (tmp_path, url.rpartition("/")[0]):
        items = listed(source)
        names = ["1.tar/a.png", "1.tar", "2.tar/a.png"][is_first:]
        assert [item.name for item in items if item.name != "1.tar/b.png"] == names
        assert reader.read(items[-1]) == picture(2)
        broken = next(item for item in items if item.name == "1.tar")
        with pytest.raises(
            PictureError, match=r"^1.tar: (damaged or cut off at byte|expected a t)"
        ):
            reader.read(broken)


def test_no_memory_is_taken_on_the_word_of_a_header(
    reader: ItemReader,
    tmp_path: Path,
    make_tar: MakeTar,
    bucket: Callable[[str, bytes], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = special("a.png", tarfile.REGTYPE, 400 << 20).tobuf() + b"1" * 5000
    (tmp_path / "a.tar").write_bytes(content)
    url = bucket("a.tar", content)
    asked: list[int] = []
    system = type(fsspec.filesystem("memory"))
    whole = system.cat_file

    def cat_file(self: Any, path: str, start: int, end: int) -> Any:
        asked.append(end - start)
        return whole(self, path, start, end)

    monkeypatch.setattr(system, "cat_file", cat_file)
    tracemalloc.start()
    try:
        for source in (str(tmp_path / "a.tar"), url):
            item, _ = listed(source)
            assert item.size == 400 << 20
            with pytest.raises(PictureError, match=r"expected 419,430,400 .* got 5,000 before"):
                reader.read(item)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert asked == [5000]


def test_a_store_that_fails_is_no_damage_of_the_tar(
    make_tar: MakeTar, bucket: Callable[[str, bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket("a.tar", make_tar(("a.png", b"1" * 5000), ("b.png", b"2")))

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 1024:
                raise RuntimeError("connection lost")
            return super().read(size)

    content = fsspec.filesystem("memory").cat_file(url)
    monkeypatch.setattr(tars, "open_place", lambda _: Failing(content))
    with pytest.raises(SourceError, match=r"a.tar: expected a tar; connection lost"):
        listed(url)


def test_what_is_no_tar_and_what_is_cut_off_are_one_line(
    tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(SourceError, match=r"a.tar: expected a tar; got a damaged or another file"):
        listed(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a.tar: expected a tar; got a damaged or another file"):
        listed(tmp_path / "a.tar")


@pytest.mark.parametrize("content", [b"", bytes(200), b"no tar" * 1000])
def test_what_is_no_tar_among_several_fails_and_the_others_go_on(
    content: bytes, reader: ItemReader, tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    for name in ("1.tar", "3.tar"):
        (tmp_path / name).write_bytes(make_tar(("a.png", picture(1))))
    (tmp_path / "2.tar").write_bytes(content)
    for source in (tmp_path, f"{tmp_path}/*.tar", f"{tmp_path}/{{1..3}}.tar"):
        first, none, last = listed(source)
        assert [first.name, none.name, last.name] == ["1.tar/a.png", "2.tar", "3.tar/a.png"]
        assert reader.read(last) == picture(1)
        with pytest.raises(
            PictureError, match=r"^2.tar: expected a tar; got a damaged or .* file \("
        ):
            reader.read(none)


def test_what_is_cut_off_fails_and_is_not_passed_over(
    reader: ItemReader, tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    whole = make_tar(("a.png", picture(1)), ("b.png", b"1" * 5000))
    (tmp_path / "a.tar").write_bytes(whole[: 3 * BLOCK + 100])
    skipped: Counter[str] = Counter()
    first, cut, rest = listed(tmp_path / "a.tar", skipped)
    assert reader.read(first) == picture(1)
    with pytest.raises(PictureError, match=r"^a.tar/b.png: expected 5,000 bytes .* got 100 before"):
        reader.read(cut)
    with pytest.raises(PictureError, match=r"^a.tar: damaged or cut off at byte 1,636 of 1,636: "):
        reader.read(rest)
    assert not skipped
    # Once it is whole, the same item is read.
    (tmp_path / "a.tar").write_bytes(whole)
    assert reader.read(cut) == b"1" * 5000
    # In a header, in a header that is damaged, and between two, as some programs end a whole tar.
    (tmp_path / "a.tar").write_bytes(whole[: 2 * BLOCK + 100])
    assert "cut off at byte 1,024 of 1,124: " in listed(tmp_path / "a.tar")[-1].problem
    (tmp_path / "a.tar").write_bytes(whole[: 2 * BLOCK] + b"?" + whole[2 * BLOCK + 1 :])
    assert "damaged or cut off at byte 1,024 of " in listed(tmp_path / "a.tar")[-1].problem
    (tmp_path / "a.tar").write_bytes(whole[: 2 * BLOCK])
    assert [item.name for item in listed(tmp_path / "a.tar", skipped)] == ["a.tar/a.png"]
    assert skipped == {"ends of tars, which may be cut off between two files": 1}


def test_a_name_that_comes_twice_is_refused(tmp_path: Path, make_tar: MakeTar) -> None:
    (tmp_path / "a.tar").write_bytes(make_tar(("a.png", b"1"), ("a.png", b"2")))
    message = r"a.tar/a.png: expected each name once, .*/a.tar at 512 and for .*a.tar at 1,536"
    with pytest.raises(SourceError, match=message):
        listed(tmp_path / "a.tar")


def test_a_tar_that_shrinks_after_it_was_listed_is_one_line(
    reader: ItemReader, tmp_path: Path, make_tar: MakeTar
) -> None:
    content = make_tar(("a.png", b"12345"))
    (tmp_path / "a.tar").write_bytes(content)
    (item,) = listed(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(content[: BLOCK + 2])
    with pytest.raises(ValueError, match=r"^a.tar/a.png: expected 5 bytes .* got 2 before"):
        reader.read(item)


def test_a_tar_of_many_is_several_batches(
    tmp_path: Path, make_tar: MakeTar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "ROWS", 2)
    content = make_tar(*((f"{number}.png", b"1") for number in range(5)))
    (tmp_path / "a.tar").write_bytes(content)
    assert [b.num_rows for b in list_items(str(tmp_path / "a.tar"))] == [2, 2, 1]
