"""Fetches the files of a shard from a store in one process, for another process to read."""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from head_detection.batch.items import Item
from head_detection.batch.places import protocol_of
from head_detection.batch.reading import ItemReader
from head_detection.errors import PictureError

FETCHED_BYTES: Final = 64 << 20
"""Most bytes of a shard's files to fetch ahead; the reader of the shard fetches the rest."""
_THREADS: Final = 16
"""Files that are fetched at once."""
Contents = list[bytes | None]


def fetch(items: Sequence[Item], limit: int = FETCHED_BYTES) -> Contents:
    """Fetch the files of items that lie in a store, in order, up to a number of bytes.

    Only whole files and members of archives are fetched: reading a table decodes it, which may
    break a process. Items that cannot be fetched are left to the reader, which reports why.

    Args:
        items: the items of a shard.
        limit: most bytes to return; only a little more is fetched in vain.

    Returns:
        One entry per item; None if it was not fetched.
    """
    contents: Contents = [None] * len(items)
    numbers = [number for number, item in enumerate(items) if _is_fetched(item)]
    reader, left = ItemReader(), limit
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="fetch") as pool:
        for start in range(0, len(numbers), _THREADS):
            part = numbers[start : start + _THREADS]
            found = pool.map(lambda number: _content_of(reader, items[number]), part)
            for number, content in zip(part, found, strict=True):
                if content is not None and len(content) <= left:
                    contents[number] = content
                    left -= len(content)
            if left < limit // 2:  # the next may be as large
                break
    return contents


@contextmanager
def at_hand(items: Sequence[Item], contents: Contents) -> Iterator[list[Item]]:
    """Give the items, the fetched ones pointing to a temporary file on this machine.

    Args:
        items: the items of a shard.
        contents: as returned by ``fetch``, or an empty list.
    """
    placed = list(items)
    if not any(content is not None for content in contents):
        yield placed
        return
    with tempfile.TemporaryDirectory(prefix="head-detection-shard-") as folder:
        path = Path(folder) / "contents"
        with path.open("wb") as file:
            for number, content in enumerate(contents):
                if content is not None:
                    place, size = file.tell(), len(content)
                    placed[number] = replace(
                        items[number], location=str(path), offset=place, size=size
                    )
                    file.write(content)
        yield placed


def _is_fetched(item: Item) -> bool:
    is_row = item.offset >= 0 and item.size < 0
    return bool(protocol_of(item.location)) and not is_row and not item.problem


def _content_of(reader: ItemReader, item: Item) -> bytes | None:
    try:
        content = reader.read(item)
    except PictureError:
        return None
    return content if isinstance(content, bytes) else None
