"""Writes files completely or not at all, whatever interrupts the writing.

A file is written under a temporary name beside its own, with a lock that ends with the process. A
temporary file without a lock was left by a killed process: the next one that writes into the same
folder removes it.
"""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Final

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: nothing is locked, and no leftovers are removed
    fcntl = None

_SHOWN_NAME: Final = 20
"""Characters of the name that are kept in a temporary one, which may not get too long."""
_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)
_REMEMBERED: Final = 256
"""Folders remembered as cleared; a tree of results is written folder by folder."""


def write_bytes(path: Path, content: bytes, *, is_one_of_many: bool = False) -> None:
    """Write the content to ``path`` in one step, and create its folder if needed.

    Args:
        path: the file.
        content: the whole content.
        is_one_of_many: do not wait for the disk; call ``sync_all`` once at the end instead. Waiting
            for each of thousands of files takes minutes and holds up other work of the processor.
    """
    with replacing(path, waits_for_disk=not is_one_of_many) as temporary:
        temporary.write_bytes(content)


def sync_all() -> None:
    """Wait until everything written has reached the disk."""
    if hasattr(os, "sync"):  # not on Windows
        os.sync()


def create_bytes(path: Path, content: bytes) -> None:
    """Write the content to ``path`` in one step, unless something is there.

    Raises:
        FileExistsError: something is there.
    """
    with naming(path), _beside(path, lambda temporary: temporary.open("xb").close()) as temporary:
        temporary.write_bytes(content)
        _sync(temporary)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # no hard links here: the file exists first, empty for a moment
            path.open("xb").close()
            temporary.replace(path)
        else:
            temporary.unlink()
        _sync_folder(path.parent)


@contextmanager
def replacing(path: Path, *, waits_for_disk: bool = True) -> Iterator[Path]:
    """Give a temporary file beside ``path`` to write, then move it into place.

    After an error the old file is unchanged and the temporary one is removed. After a kill the
    temporary one stays until the next process writes into the folder; nothing reads it.

    Args:
        path: the file.
        waits_for_disk: flush the content to disk before renaming, which protects it from a power
            failure.

    Raises:
        OSError: it cannot be written; the error names ``path``.
    """
    with naming(path), _beside(path, lambda temporary: temporary.open("xb").close()) as temporary:
        yield temporary
        if waits_for_disk:
            _sync(temporary)
        temporary.replace(path)
        if waits_for_disk:
            _sync_folder(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder of the same name to fill, then move it to ``path``.

    ``path`` must be an empty folder or missing. The content reaches the disk before the move. After
    an error or a kill, the same holds as for a file.
    """
    with naming(path), _beside(path, Path.mkdir) as temporary:
        folder = temporary / path.name
        folder.mkdir()
        yield folder
        sync_all()
        if path.exists():
            path.rmdir()
        folder.replace(path)
        temporary.rmdir()


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file within the block; it ends with the process in any case.

    The file is created if needed and never removed, since that could remove the lock of another
    process. On a file system without locks, nothing is held.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(error.errno, error.strerror, str(path)) from error
            except OSError:
                pass
        yield
    finally:
        os.close(descriptor)


def real_path(path: Path) -> Path:
    """Return the path with links resolved; a circular link stays, and opening it is an ``OSError``.

    ``Path.resolve`` raises for a circular link: in some versions of Python a ``RuntimeError``,
    which is not handled as a mistake of the user.

    Example:
        >>> real_path(Path("/usr/../nothing/there")).as_posix()
        '/nothing/there'
    """
    return Path(os.path.realpath(path))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make a system error name ``path``, instead of nothing or the temporary name."""
    try:
        yield
    except OSError as error:
        names = [name for name in (error.filename, error.filename2) if name is not None]
        parts = [part for name in names for part in Path(os.fsdecode(name)).parts]
        is_own = not names or any(map(is_temporary, parts))
        if is_own and error.errno is not None:  # without errno, a name is not shown
            error.filename, error.filename2 = str(path), None
        raise


@lru_cache(maxsize=_REMEMBERED)
def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes have left in a folder; once each, since listing takes time.

    What a process is still writing is locked. Where there are no locks, nothing is removed.
    """
    with suppress(OSError):
        for path in [folder / name for name in os.listdir(folder) if is_temporary(name)]:  # noqa: PTH208 - names alone
            lock = lock_file(path)
            if lock is not None:
                _remove(path)
                os.close(lock)


def is_written_to(folder: Path, growing: Collection[str] = ()) -> bool:
    """Tell whether a process is writing a file in a folder now, as far as locks tell.

    Args:
        folder: may be missing.
        growing: names of files that are locked in place, in addition to temporary ones.
    """
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if is_temporary(name) or name in growing]  # noqa: PTH208 - names alone
        return any(_is_locked(folder / name) for name in names)
    return False


def is_temporary(name: str) -> bool:
    """Tell whether this is a temporary name given by this module.

    Example:
        >>> is_temporary(".detections.json.0123456789abcdef.part"), is_temporary("a.part")
        (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


def is_unicode(path: str | Path) -> bool:
    """Tell whether a path is valid Unicode; safetensors opens no other.

    Example:
        >>> is_unicode("a"), is_unicode(os.fsdecode(bytes([255])))
        (True, False)
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def lock_file(path: Path, *, waits: bool = False) -> int | None:
    """Return a descriptor that holds the lock of a file or folder until it is closed.

    Returns:
        None if another process holds it, the path is another file by now, or it cannot be locked.
    """
    if fcntl is None:
        return None
    # Network file systems lock a file exclusively only if it is open for writing.
    access = os.O_RDONLY if path.is_dir() else os.O_RDWR
    try:
        descriptor = os.open(path, access | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        if os.path.samestat(os.fstat(descriptor), path.lstat()):
            return descriptor
    os.close(descriptor)
    return None


@contextmanager
def _beside(path: Path, create: Callable[[Path], None]) -> Iterator[Path]:
    """Give a locked temporary file or folder beside ``path``; remove it after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path.parent)
    lock = None
    while lock is None:  # another process may remove it before it is locked
        token = secrets.token_hex(8)
        temporary = path.with_name(f".{path.name[:_SHOWN_NAME]}.{token}.part")
        create(temporary)  # with the permissions of any new file: the umask applies
        lock = lock_file(temporary, waits=True)
        if temporary.exists():  # also unlocked, if the file system has no locks
            break
    try:
        yield temporary
    except BaseException:
        _remove(temporary)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _is_locked(path: Path) -> bool:
    """Tell whether the lock of a file or folder is held elsewhere."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _sync(path: Path) -> None:
    with path.open("r+b") as file:  # Windows flushes only what may be written
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
