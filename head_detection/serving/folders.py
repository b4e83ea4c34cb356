"""Temporary folders of a service: gone with their work, or, after a kill, at the next start.

A process holds the lock of each of its folders, which the system ends with the process; so one
that is not held was left by a process that was killed.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from head_detection.files import lock_file

PREFIX: Final = "head-detection-serve-"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder in the system's temporary one that nobody else may read; then remove it."""
    lock = None
    while lock is None:  # another process may clear it before it is locked
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = lock_file(folder, waits=True)
        if folder.exists():  # where the file system knows no locks, without one
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def clear_folders() -> None:
    """Remove what services of this user that were killed have left; where locks are known."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            if not _is_own(folder):
                continue
            lock = lock_file(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _is_own(path: Path) -> bool:
    """Tell whether it is a folder, no link to one, that this user has made."""
    with suppress(OSError):
        status = path.lstat()
        user = getattr(os, "getuid", None)  # not on Windows
        return stat.S_ISDIR(status.st_mode) and (user is None or status.st_uid == user())
    return False
