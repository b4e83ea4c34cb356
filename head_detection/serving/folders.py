"""Temporary folders of a service, removed after their work or, after a kill, at the next start.

A process holds a lock on each of its folders, which the system releases when the process ends. A
folder without a lock was therefore left by a process that was killed.
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
    """Create a temporary folder that only this user may read; remove it after the block."""
    lock = None
    while lock is None:  # another process may remove it before it is locked
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = lock_file(folder, waits=True)
        if folder.exists():  # the file system may not support locks: go on without one
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def clear_folders() -> None:
    """Remove folders left by killed services of this user, if the file system supports locks."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            if not _is_own(folder):
                continue
            lock = lock_file(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _is_own(path: Path) -> bool:
    """Return whether the path is a folder, not a link to one, that belongs to this user."""
    with suppress(OSError):
        status = path.lstat()
        user = getattr(os, "getuid", None)  # not on Windows
        return stat.S_ISDIR(status.st_mode) and (user is None or status.st_uid == user())
    return False
