"""Files that are either the old one or the whole new one, whatever interrupts the writing.

What is written has a temporary name beside its own, and a lock that ends with the process: what a
killed one has left is told by that, and cleared by the next that writes into the same folder.
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
except ImportError:  # Windows: nothing is locked, and nothing cleared
    fcntl = None

_SHOWN_NAME: Final = 20
"""Characters of the name in a temporary one; with all, a long one is too long."""
_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)
_REMEMBERED: Final = 256
"""Folders that are known to be clear; a tree of results is written folder by folder."""


def write_bytes(path: Path, content: bytes, *, is_one_of_many: bool = False) -> None:
    """Put the content at ``path`` in one step; its folder is made if need be.

    Args:
        path: of the file.
        content: all of it.
        is_one_of_many: leave it to ``sync_all``, called once, that it reaches the disk: to wait for
            each of thousands takes minutes, and holds up what else the processor does.
    """
    with replacing(path, waits_for_disk=not is_one_of_many) as temporary:
        temporary.write_bytes(content)


def sync_all() -> None:
    """Wait until all that was written has reached the disk."""
    if hasattr(os, "sync"):  # not on Windows
        os.sync()


def create_bytes(path: Path, content: bytes) -> None:
    """Put the content at ``path`` in one step, unless something is there.

    Raises:
        FileExistsError: something is.
    """
    with naming(path), _beside(path, lambda temporary: temporary.open("xb").close()) as temporary:
        temporary.write_bytes(content)
        _sync(temporary)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            raise
        except OSError:  # no links here: the name is taken first, and empty for a moment
            path.open("xb").close()
            temporary.replace(path)
        else:
            temporary.unlink()
        _sync_folder(path.parent)


@contextmanager
def replacing(path: Path, *, waits_for_disk: bool = True) -> Iterator[Path]:
    """Give a temporary file beside ``path`` to write, then put it in its place.

    After an error the old file is as it was and the temporary one is gone. After a kill the
    temporary one stays until the next process that writes into the folder; nothing reads it.

    Args:
        path: of the file.
        waits_for_disk: let it reach the disk before its name does, which a power failure needs.

    Raises:
        OSError: it cannot be written; names ``path``.
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
    """Give a folder of the same name to fill, then put it in the place of ``path``.

    ``path`` is empty or not there. What is in the folder reaches the disk before it takes its
    place. After an error or a kill it is as with a file.
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
    """Hold a file for this process alone in the block; the end of the process, however, ends that.

    The file is made if need be and stays, for its removal could take another's. Where the file
    system knows no locks, nothing is held.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be made.
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
    """Return where links lead to; one that leads to itself stays, and to open it is an ``OSError``.

    Path's own raises for such a link, by Python's version, what is no mistake of the user.

    Example:
        >>> real_path(Path("/usr/../nothing/there")).as_posix()
        '/nothing/there'
    """
    return Path(os.path.realpath(path))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system name what is written, not nothing or its temporary name."""
    try:
        yield
    except OSError as error:
        names = [name for name in (error.filename, error.filename2) if name is not None]
        parts = [part for name in names for part in Path(os.fsdecode(name)).parts]
        is_own = not names or any(map(is_temporary, parts))
        if is_own and error.errno is not None:  # others have no place for a name
            error.filename, error.filename2 = str(path), None
        raise


@lru_cache(maxsize=_REMEMBERED)
def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes have left in a folder; once, for to list it takes time.

    What a process still writes is locked. Where there are no locks all stays.
    """
    with suppress(OSError):
        for path in [folder / name for name in os.listdir(folder) if is_temporary(name)]:  # noqa: PTH208 - names alone
            lock = lock_file(path)
            if lock is not None:
                _remove(path)
                os.close(lock)


def is_written_to(folder: Path, growing: Collection[str] = ()) -> bool:
    """Tell whether a process writes a file in a folder now, as far as its lock says so.

    Args:
        folder: need not be there.
        growing: names of files that are locked in their place, beside temporary ones.
    """
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if is_temporary(name) or name in growing]  # noqa: PTH208 - names alone
        return any(_is_locked(folder / name) for name in names)
    return False


def is_temporary(name: str) -> bool:
    """Tell whether this module gives such names to what is being written.

    Example:
        >>> is_temporary(".detections.json.0123456789abcdef.part"), is_temporary("a.part")
        (True, False)
    """
    return _TEMPORARY.fullmatch(name) is not None


def is_unicode(path: str | Path) -> bool:
    """Tell whether a path's bytes are text of the system; safetensors opens no other.

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
        None where another process holds it, the path is another file by now, or no lock can be had.
    """
    if fcntl is None:
        return None
    # Network file systems lock a file for one process only if it can be written.
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
    while lock is None:  # another process may clear it before it is locked
        token = secrets.token_hex(8)
        temporary = path.with_name(f".{path.name[:_SHOWN_NAME]}.{token}.part")
        create(temporary)  # as readable as any new one: the system applies the umask
        lock = lock_file(temporary, waits=True)
        if temporary.exists():  # where the file system knows no locks, without one
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
    """Tell whether another opened a file or folder and holds its lock."""
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
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
