"""The files of a shard, fetched from a store by one process and read by another."""

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
"""Of a shard's files that are fetched ahead; whoever reads the shard fetches the rest itself."""
_THREADS: Final = 16
"""Files that are waited for at once."""
Contents = list[bytes | None]


def fetch(items: Sequence[Item], limit: int = FETCHED_BYTES) -> Contents:
    """Fetch what lies in a store, in order, up to a number of bytes.

    Files alone and parts of archives: to read a table is to decode it, and may break a process.
    What cannot be fetched is left to whoever reads it, who says why.

    Args:
        items: of a shard.
        limit: bytes that are returned at most; of what is fetched for nothing there is little.

    Returns:
        One for each item; None where it is not fetched.
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
    """Give items that are read from a file of this machine where they were fetched.

    Args:
        items: of a shard.
        contents: as ``fetch`` returns it, or none at all.
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
