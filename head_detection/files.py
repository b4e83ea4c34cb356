"""Files that are either the old one or the whole new one, whatever interrupts the writing."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_SHOWN_NAME: Final = 20
"""Characters of the name in a temporary one; with all, a long one is too long."""


def write_bytes(path: Path, content: bytes) -> None:
    """Put the content at ``path`` in one step; its folder is made if need be."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file beside ``path`` to write, then put it in its place.

    After an error the old file is as it was and the temporary one is gone. After a kill the
    temporary one may stay behind; nothing ever reads it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:_SHOWN_NAME]}.{secrets.token_hex(8)}.part")
    temporary.open("xb").close()  # as readable as any new file: the system applies the umask
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
