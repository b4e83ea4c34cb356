from collections.abc import Callable
from pathlib import Path

from head_detection.batch.fetching import at_hand, fetch
from head_detection.batch.items import Item
from head_detection.batch.reading import ItemReader

Put = Callable[[str, bytes], str]


def test_what_is_fetched_is_read_from_this_machine(
    bucket: Put, reader: ItemReader, tmp_path: Path
) -> None:
    items = [
        Item("a", bucket("a", b"12345")),
        Item("local", str(tmp_path / "local.jpg")),
        Item("part", bucket("tar", b"0123456789"), offset=2, size=3),
        Item("row", bucket("table", b""), offset=0, column="jpg"),
        Item("gone", "memory://nothing/there"),
        Item("known", bucket("known", b"1"), problem="not to be read"),
        Item("empty", bucket("empty", b"")),
    ]
    contents = fetch(items)
    assert contents == [b"12345", None, b"234", None, None, None, b""]
    with at_hand(items, contents) as placed:
        assert [placed[number] for number in (1, 3, 4, 5)] == [items[n] for n in (1, 3, 4, 5)]
        assert [item.name for item in placed] == [item.name for item in items]
        assert not any("://" in placed[number].location for number in (0, 2, 6))
        assert [reader.read(placed[number]) for number in (0, 2, 6)] == [b"12345", b"234", b""]
    assert not Path(placed[0].location).exists()
    with at_hand(items, []) as placed:
        assert placed == items
    assert fetch([]) == []


def test_no_more_is_fetched_than_the_limit(bucket: Put) -> None:
    items = [Item(str(number), bucket(str(number), b"12345")) for number in range(40)]
    contents = fetch(items, limit=18)
    # Three of the first sixteen, whose rest was fetched for nothing.
    assert contents == [b"12345"] * 3 + [None] * 37
