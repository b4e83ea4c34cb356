import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

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
    with pytest.raises(PictureError, match=r"huge.png: over .* no more are read"):
        reader.read(huge_item)
    with pytest.raises(PictureError, match=r"^a.tar: damaged or cut off at byte 2,560 of 2,560: w"):
        reader.read(rest)


def test_a_header_that_says_it_is_huge_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(special("pax", tarfile.XHDTYPE, 1 << 30).tobuf())
        file.truncate(1 << 31)  # all of it is there, as zeros that take no room
    with pytest.raises(SourceError, match=r"a.tar: expected .* at most 1,048,576 bytes; one says"):
        listed(tmp_path / "a.tar")


def test_what_is_no_tar_and_what_is_cut_off_are_one_line(
    tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(SourceError, match=r"a.tar: expected a tar; it is damaged or none"):
        listed(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a.tar: expected a tar; it is damaged or none"):
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
        with pytest.raises(PictureError, match=r"^2.tar: expected a tar; it is damaged or none \("):
            reader.read(none)


def test_what_is_cut_off_fails_and_is_not_passed_over(
    reader: ItemReader, tmp_path: Path, make_tar: MakeTar, picture: Picture
) -> None:
    whole = make_tar(("a.png", picture(1)), ("b.png", b"1" * 5000))
    (tmp_path / "a.tar").write_bytes(whole[: 3 * BLOCK + 100])
    skipped: Counter[str] = Counter()
    first, cut, rest = listed(tmp_path / "a.tar", skipped)
    assert reader.read(first) == picture(1)
    with pytest.raises(PictureError, match=r"^a.tar/b.png: expected 5,000 bytes .* ends after 100"):
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
    message = r"a.tar/a.png: expected each name once, .*/a.tar at 512 and of .*a.tar at 1,536"
    with pytest.raises(SourceError, match=message):
        listed(tmp_path / "a.tar")


def test_a_tar_that_shrinks_after_it_was_listed_is_one_line(
    reader: ItemReader, tmp_path: Path, make_tar: MakeTar
) -> None:
    content = make_tar(("a.png", b"12345"))
    (tmp_path / "a.tar").write_bytes(content)
    (item,) = listed(tmp_path / "a.tar")
    (tmp_path / "a.tar").write_bytes(content[: BLOCK + 2])
    with pytest.raises(ValueError, match=r"^a.tar/a.png: expected 5 bytes .* ends after 2$"):
        reader.read(item)


def test_a_tar_of_many_is_several_batches(
    tmp_path: Path, make_tar: MakeTar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "ROWS", 2)
    content = make_tar(*((f"{number}.png", b"1") for number in range(5)))
    (tmp_path / "a.tar").write_bytes(content)
    assert [b.num_rows for b in list_items(str(tmp_path / "a.tar"))] == [2, 2, 1]
