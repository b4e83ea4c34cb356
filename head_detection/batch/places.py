"""Opens local paths and URLs of object stores in the same way."""

import errno
import glob
import logging
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any, BinaryIO, Final
from urllib.parse import unquote_to_bytes, urlsplit

from head_detection.errors import HeadDetectionError, MissingPackageError, SourceError
from head_detection.images.finding import natural_key, special_kind
from head_detection.pipeline.addresses import without_secrets

PACKAGES: Final = {
    "memory": "",
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hdfs": "",
    "hf": "huggingface_hub",
}
"""Supported protocols, and the package that fsspec needs for each.

Not all that fsspec supports: a path in a stranger's table must not start a shell or write a cache.
"""
MEND: Final = "mend it, and begin a new job"
"""What to do with a damaged tar or table, whose pictures are not known."""
WEB: Final = frozenset({"http", "https"})
SILENT_SECONDS: Final = 30.0
"""A web server that sends nothing for so long is given up; a file's size is asked for twice."""
_WHOLE_SECONDS: Final = 300.0
"""Limit of one request to a web server, which may send a byte now and then for ever."""
_REFUSALS: Final = {401, 403, 407, 408, 429, *range(500, 600)}
"""Statuses of HTTP that do not mean that a file does not exist."""
_LOCAL: Final = "file://"
_THIS_HOST: Final = "localhost/"
_PROTOCOL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_PIECE_BYTES: Final = 1 << 20
_UNASKED_BYTES: Final = 16 << 20
"""For longer parts of a file in a store, which are rare, the file's size is requested first."""
_MAX_SPELT: Final = 1_000_000
"""Most paths that braces may stand for; more is a typing error."""


def protocol_of(location: str) -> str:
    """Return a URL's protocol; empty for a local path.

    Example:
        >>> protocol_of("s3://lake/a.jpg"), protocol_of("a.jpg"), protocol_of("file:///a.jpg")
        ('s3', '', '')
    """
    match = _PROTOCOL.match(location)
    return "" if match is None or is_file_url(location) else match[1].lower()


def without_file_protocol(location: str) -> str:
    """Return the path of a file URL (RFC 8089); other locations unchanged.

    Example:
        >>> without_file_protocol("file:///data/a%20b.jpg"), without_file_protocol("50%20.jpg")
        ('/data/a b.jpg', '50%20.jpg')
    """
    if not is_file_url(location):
        return location
    path = location[len(_LOCAL) :]
    if path.startswith(_THIS_HOST):
        path = path[len(_THIS_HOST) - 1 :]
    return os.fsdecode(unquote_to_bytes(os.fsencode(path))) if "%" in path else path


def is_file_url(location: str) -> bool:
    """Return whether a location begins with ``file://``, in any case."""
    return location[: len(_LOCAL)].lower() == _LOCAL


def file_system(location: str) -> Any:
    """Return fsspec's file system of a URL; fsspec and the cloud's tools configure its credentials.

    Raises:
        SourceError: the protocol is not supported.
        MissingPackageError: the protocol needs a package that is not installed.
    """
    import fsspec  # noqa: PLC0415 - only needed for URLs

    protocol = protocol_of(location)
    if protocol not in PACKAGES:
        raise SourceError(
            f"{shown(location)}: expected a path or a URL of {', '.join(PACKAGES)}; got {protocol}"
        )
    _silence("fsspec")
    _silence(PACKAGES[protocol] or "fsspec")
    try:
        return fsspec.filesystem(protocol, **(_web_options() if protocol in WEB else {}))
    except ImportError as error:
        raise MissingPackageError(
            f"{shown(location)}: {protocol} needs a package that is not installed: "
            f"pip install {PACKAGES[protocol] or 'fsspec'}"
        ) from error


def _web_options() -> dict[str, Any]:
    """Return the options of fsspec's web file system: its user's own, with limits of time.

    Without them aiohttp waits five minutes for a server that accepts and then says nothing.
    """
    from aiohttp import ClientTimeout  # noqa: PLC0415 - only needed for the web
    from fsspec.config import conf  # noqa: PLC0415 - as above

    seconds = ClientTimeout(_WHOLE_SECONDS, sock_connect=SILENT_SECONDS, sock_read=SILENT_SECONDS)
    configured: dict[str, Any] = {}
    for protocol in ("http", "https"):  # in the order in which fsspec itself reads them
        configured |= conf.get(protocol, {}).get("client_kwargs", {})
    return {"client_kwargs": {"timeout": seconds, **configured}}


def _silence(package: str) -> None:
    """Keep a package's log off standard error, unless the program configures logging.

    A logger without a handler prints warnings, and errors with tracebacks, which are raised anyway.
    """
    logger = logging.getLogger(package)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def spelt_alike(location: str) -> str:
    """Return a URL spelt like those that its file system lists; the URL is not checked.

    Raises:
        SourceError: as ``file_system``.
        MissingPackageError: as ``file_system``.
    """
    system = file_system(location)
    if protocol_of(location) in WEB:
        return location
    alike: str = system.unstrip_protocol(system._strip_protocol(location))  # noqa: SLF001 - fsspec's own users call it
    return alike


def open_place(location: str) -> BinaryIO:
    """Open a local file or a URL for reading; use it within ``explaining_place``.

    Raises:
        OSError: it cannot be opened, or is a device or pipe that could block or never end.
    """
    if not protocol_of(location):
        if special := special_kind(location):
            raise OSError(errno.EINVAL, f"it is {special}", location)
        return open(location, "rb")  # noqa: PTH123 - not a Path; the caller closes it
    system = file_system(location)
    opened: BinaryIO = system.open(location, "rb")
    return opened


def read_range(location: str, start: int, num_bytes: int) -> bytes:
    """Return a range of a file's bytes, fewer if it ends earlier; raises as ``open_place`` does.

    Memory grows with the bytes that exist, not with the number requested.
    """
    protocol = protocol_of(location)
    if not protocol:
        with open_place(location) as file:
            file.seek(start)
            return read_at_most(file, num_bytes)
    system = file_system(location)
    if protocol not in WEB:
        if num_bytes > _UNASKED_BYTES:
            size = system.info(location).get("size")
            num_bytes = num_bytes if size is None else min(num_bytes, max(0, size - start))
        content: bytes = system.cat_file(location, start=start, end=start + num_bytes)
        return content
    # A server may ignore the range and send the whole file; this raises then, and reads none of it.
    with system.open(location, "rb", cache_type="none") as file:
        file.seek(start)
        rest: bytes = file.read(num_bytes)
    return rest


def read_at_most(file: BinaryIO, num_bytes: int) -> bytes:
    """Read so many bytes, or all if there are fewer; one call of ``read`` may return only part."""
    pieces = []
    while num_bytes > 0 and (piece := file.read(min(num_bytes, _PIECE_BYTES))):
        pieces.append(piece)
        num_bytes -= len(piece)
    return b"".join(pieces)


@contextmanager
def explaining_place(location: str, kind: str) -> Iterator[None]:
    """Turn any error of a file system or file reader into a ``SourceError`` of one line.

    Args:
        location: path or URL, as the user named it.
        kind: what was expected there, for example ``"a tar"``.
    """
    try:
        yield
    except HeadDetectionError:
        raise
    except Exception as error:  # file systems fail in every way there is
        raise SourceError(
            f"{shown(location)}: expected {kind}; {reason_of(error, location)}"
        ) from error


def reason_of(error: Exception, location: str) -> str:
    """Return in one line why a location cannot be read, without a URL's secrets."""
    match error:
        case _ if protocol_of(location) in WEB and _is_silent(error):
            reason = f"the server sent nothing for {SILENT_SECONDS:g} s"
        case _ if protocol_of(location) in WEB and _is_unconnected(error):
            reason = f"no connection to {urlsplit(location).netloc.rpartition('@')[2]}"
        case _ if protocol_of(location) in WEB and (status := _status_of(error)):
            reason = f"the server answered {status}"
        case _ if protocol_of(location) in WEB and "TimeoutError" in _kinds_of(error):
            reason = f"the server had not sent all of it after {_WHOLE_SECONDS:g} s"
        case FileNotFoundError() | NotADirectoryError():
            reason = "no such file"
        case IsADirectoryError():
            reason = "got a folder"
        case PermissionError():
            reason = "no permission to read it"
        case tarfile.ReadError():
            reason = f"got a damaged or another file ({error})"
        case OSError() if error.strerror:
            reason = error.strerror
        case _:
            text = " ".join(str(error).split()) or type(error).__name__
            reason = without_secrets(text, location) if protocol_of(location) else text
    return reason


def _is_silent(error: BaseException) -> bool:
    """Return whether a connected server sent nothing, which fsspec may report as a missing file."""
    kinds = _kinds_of(error)
    return "ServerTimeoutError" in kinds and "ConnectionTimeoutError" not in kinds


def _is_unconnected(error: BaseException) -> bool:
    """Return whether aiohttp found no server, which fsspec reports as a missing file."""
    return "ClientConnectionError" in _kinds_of(error)


def _kinds_of(error: BaseException) -> set[str]:
    """Return the names of the classes of an error and its causes: aiohttp may not be installed."""
    return {kind.__name__ for cause in _causes_of(error) for kind in type(cause).__mro__}


def _status_of(error: BaseException) -> int:
    """Return the status of a server's refusal, which fsspec reports as a missing file; else 0."""
    status = max(int(getattr(cause, "status", 0)) for cause in _causes_of(error))
    return status if status in _REFUSALS else 0


def _causes_of(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shown(location: str) -> str:
    """Return a location as messages may show it: a URL without user and password.

    Example:
        >>> shown("https://me:secret@host/a.jpg?size=2")
        'https://host/a.jpg?size=2'
    """
    if not protocol_of(location):
        return without_file_protocol(location)
    start, separator, rest = location.partition("://")
    host, slash, path = rest.partition("/")
    return f"{start}{separator}{host.rpartition('@')[2]}{slash}{path}"


def matches_of(pattern: str) -> list[str]:
    """Return the files that braces and wildcards stand for, in the order of braces, then of names.

    Args:
        pattern: a path or URL; ``{000..015}`` and ``{a,b}`` are expanded, ``*`` is looked up.

    Raises:
        SourceError: the braces stand for too many files.
    """
    found: dict[str, None] = {}
    for spelt in [pattern] if os.path.lexists(pattern) else spell_braces(pattern):
        found.update(dict.fromkeys(_looked_up(spelt)))
    return list(found)


def spell_braces(pattern: str) -> list[str]:
    """Expand the braces of a pattern, as WebDataset does in names of archives.

    Raises:
        SourceError: the braces stand for too many files.

    Example:
        >>> spell_braces("{a,b}-{08..10}.tar")[:4]
        ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar']
    """
    pieces = _BRACES.split(pattern)
    choices = [[piece] for piece in pieces]
    total = 1
    for number in range(1, len(pieces), 2):
        piece = pieces[number]
        bounds = _RANGE.fullmatch(piece)
        if bounds is not None:
            first, last = int(bounds[1]), int(bounds[2])
            total *= max(0, last - first + 1)
            values = range(first, last + 1) if total <= _MAX_SPELT else ()
            choices[number] = [f"{value:0{len(bounds[1])}d}" for value in values]
        else:
            choices[number] = piece.split(",") if "," in piece else [f"{{{piece}}}"]
            total *= len(choices[number])
        if total > _MAX_SPELT:
            raise SourceError(
                f"{pattern}: expected at most {_MAX_SPELT:,} files; got {total:,} by its braces"
            )
    return ["".join(parts) for parts in product(*choices)]


def has_wildcard(pattern: str) -> bool:
    """Return whether a path or URL has wildcards; an http URL never does: ``?`` begins its query.

    Example:
        >>> has_wildcard("s3://lake/*.tar"), has_wildcard("https://host/a?size=2")
        (True, False)
    """
    return protocol_of(pattern) not in WEB and glob.has_magic(pattern)


def natural_path(path: str) -> list[Any]:
    """Return a key that sorts paths folder by folder, numbers by value."""
    return [natural_key(part) for part in path.split("/")]


def _looked_up(pattern: str) -> list[str]:
    if not has_wildcard(pattern) or os.path.lexists(pattern):
        return [pattern]
    if not protocol_of(pattern):
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207 - Path.glob gives hidden files
    else:
        with explaining_place(pattern, "files"):
            system = file_system(pattern)
            found = [
                system.unstrip_protocol(path)
                for path in system.glob(pattern)
                if not path.rpartition("/")[2].startswith(".")  # as in a local folder
            ]
    return sorted(found, key=natural_path)
