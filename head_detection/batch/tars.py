"""Lists the pictures in tars, as WebDataset packs them, without unpacking anything."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from head_detection.batch.items import ROWS, batch_of
from head_detection.batch.places import MEND, explaining_place, open_place, reason_of
from head_detection.images.finding import is_picture_name

TAR_EXTENSIONS: Final = frozenset({".tar"})
COMPRESSED_EXTENSIONS: Final = frozenset({".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"})
"""Extensions of archives in which a picture cannot be read without unpacking all before it."""
_CUT_OFF: Final = f"what follows is not known; {MEND}"
_NO_END: Final = "ends of tars, which may be cut off between two files"
"""Not an error, because some programs omit the zeros that mark a tar's end."""
_MAX_HEADER_BYTES: Final = 1 << 20
"""Longer extended headers are not read; those of a picture are shorter."""
_MEMBER_BYTES: Final = 4 * _MAX_HEADER_BYTES
"""Limit of all headers of one member, which may have several."""
_NO_SIZE: Final = 1 << 62
"""Sizes from here on, in bytes, are refused: we count in 64 bits, a tar in 88."""
_MAX_DIGITS: Final = 1000
"""Longest run of digits in a header: ``tarfile`` before Python 3.12.6 needs quadratic time."""
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_EXTENDED: Final = frozenset(
    {
        *(tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    }
)
"""Types of headers that describe the next member or, if global, all that follow."""


def list_tar(
    location: str, label: str, skipped: Counter[str], *, is_alone: bool = True
) -> Iterator[pa.RecordBatch]:
    """Yield the pictures of a tar in order, each named ``label/member``.

    Members whose names lead out of the tar are skipped, although nothing is unpacked, and so are
    links and devices. If the tar is damaged, nobody knows what followed; then the tar itself is
    listed too, as a picture that cannot be read. A picture that is cut off fails when it is read,
    because the tar may be complete by then.

    Args:
        location: path or URL of the tar, which must not be compressed.
        label: its name in results.
        skipped: the numbers of skipped members are added here, by reason.
        is_alone: whether the source has no other files. If it has, a file that is not a tar is
            listed as a picture that cannot be read, so that the other files are still processed.

    Raises:
        SourceError: the tar cannot be read, or is alone and not a tar; in one line.
    """
    with explaining_place(location, "a tar"), closing(open_place(location)) as file:
        num_bytes = file.seek(0, 2)
        file.seek(0)
        rows = _Rows(location)
        try:
            for member in _members(file, skipped):
                _add(rows, member, label, skipped)
                if rows.are_many:
                    yield rows.taken()
        except _CutOffError as error:
            place = min(error.offset, num_bytes)
            problem = f"damaged or cut off at byte {place:,} of {num_bytes:,}: {_CUT_OFF}"
            rows.add(label, -1, -1, problem)
        except tarfile.ReadError as error:
            if is_alone:
                raise
            problem = f"expected a tar; {reason_of(error, location)}: {MEND}"
            rows.add(label, -1, -1, problem)
        if not rows.are_none:
            yield rows.taken()


class _CutOffError(Exception):
    """The tar ends, or is damaged, before its end.

    Args:
        offset: byte where a header is expected; beyond the end if the tar is cut off.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class _Rows:
    """Collects pictures of a tar until they fill a batch."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._rows: list[tuple[str, int, int, str]] = []

    def add(self, name: str, offset: int, size: int, problem: str = "") -> None:
        """Add a picture."""
        self._rows.append((name, offset, size, problem))

    @property
    def are_many(self) -> bool:
        """Whether they fill a batch."""
        return len(self._rows) == ROWS

    @property
    def are_none(self) -> bool:
        """Whether there are none."""
        return not self._rows

    def taken(self) -> pa.RecordBatch:
        """Return the pictures as a batch, and start again with none."""
        names, offsets, sizes, problems = zip(*self._rows, strict=True)
        self._rows = []
        return batch_of(names, self._location, offsets, sizes, problems=problems)


def _add(rows: _Rows, member: tarfile.TarInfo, label: str, skipped: Counter[str]) -> None:
    """Add a member that is a picture, or may be one with an unreadable name; else count it."""
    if member.type in _EXTENDED:
        name = f"{label}#{member.offset}"
        problem = (
            f"expected extended headers of at most {_MAX_HEADER_BYTES:,} bytes, and no numbers of "
            f"over {_MAX_DIGITS:,} digits in them; got one of {member.size:,} bytes, so what it "
            f"tells of is not known: {MEND}"
        )
        rows.add(name, -1, -1, problem)
    elif reason := _why_not(member):
        skipped[reason] += 1
    else:
        name = f"{label}/{member.name.removeprefix('./')}"
        rows.add(name, member.offset_data, member.size)


def _members(file: BinaryIO, skipped: Counter[str]) -> Iterator[tarfile.TarInfo]:
    """Read the headers up to the end of the tar; none is kept in memory.

    An extended header that is too long is yielded in place of the member that it describes.

    Raises:
        tarfile.ReadError: the file is not a tar.
        _CutOffError: the tar is cut off or damaged.
    """
    headers, place, is_told_of = _Headers(file), 0, False
    with _opened(headers) as archive:
        if archive.offset and vars(archive)["firstmember"] is None:  # next() would go on behind it
            raise _CutOffError(0)
        remembered: list[tarfile.TarInfo] = vars(archive)["members"]
        while (member := _next(archive, headers, place)) is not None:
            place = archive.offset
            if not is_told_of or member.type in _EXTENDED:
                yield member
            is_told_of = member.type in _EXTENDED - {tarfile.XGLTYPE}
            remembered.clear()  # tarfile keeps all members, which we do not need
        file.seek(place)  # the archive's own offset may lie behind what stopped it
        end = file.read(tarfile.BLOCKSIZE)
        if end.strip(b"\0"):  # tarfile stops here silently
            raise _CutOffError(place)
        skipped.update([] if end else [_NO_END])


def _opened(headers: "_Headers") -> tarfile.TarFile:
    """Open a tar and read its first header.

    Raises:
        tarfile.ReadError: the file is not a tar.
    """
    try:
        return tarfile.open(fileobj=cast("BinaryIO", headers), mode="r:", tarinfo=_Member)
    except Exception as error:
        if headers.has_failed or isinstance(error, tarfile.ReadError):
            raise
        raise tarfile.ReadError("its first header says what cannot be") from error


def _next(archive: tarfile.TarFile, headers: "_Headers", place: int) -> tarfile.TarInfo | None:
    """Return the next member, whose header must lie at or after a place; None at the end.

    Raises:
        _CutOffError: there is no valid header, but also no end.
    """
    headers.left = _MEMBER_BYTES
    try:
        member = archive.next()
    except Exception as error:
        if headers.has_failed:
            raise
        # For example invalid numbers, lists that end too soon, deeply nested headers.
        raise _CutOffError(archive.offset) from error
    # A negative size would lead back to the same header, in an endless loop.
    if member is not None and (not 0 <= member.size < _NO_SIZE or archive.offset <= place):
        raise _CutOffError(member.offset)
    return member


def _why_not(member: tarfile.TarInfo) -> str:
    """Return why a member is skipped; empty if it is a picture."""
    parts = member.name.split("/")
    if member.isdir():
        return "folders in tars"
    if not member.isreg() or member.issparse():
        return "links and devices in tars"
    if member.name.startswith("/") or ".." in parts:
        return "names that lead out of a tar"
    if any(part.startswith(".") and part != "." for part in parts):
        return "hidden"
    return "" if is_picture_name(member.name) else "not pictures"


class _Member(tarfile.TarInfo):
    """A member whose extended headers are read only if they are short."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Read what follows a header; ``tarfile`` documents this method for subclasses."""
        file: Any = archive.fileobj
        if self.type in _EXTENDED and not self._is_short(file):
            self.offset_data = file.tell()
            archive.offset = self.offset_data - self.size // -tarfile.BLOCKSIZE * tarfile.BLOCKSIZE
            return self
        member: tarfile.TarInfo = cast("Any", super())._proc_member(archive)  # noqa: SLF001 - see above
        return member

    def _is_short(self, file: BinaryIO) -> bool:
        if self.size > _MAX_HEADER_BYTES:
            return False
        start = file.tell()
        content = file.read(max(0, self.size)) if self.size > _MAX_DIGITS else b""
        file.seek(start)
        return b"0" * _MAX_DIGITS not in content.translate(_DIGITS)


class _Headers:
    """File object that only lets headers of a tar be read, up to a number of bytes.

    Attributes:
        left: number of bytes that may still be read.
        has_failed: whether reading the file failed, which is not the tar's fault.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left = _MEMBER_BYTES
        self.has_failed = False

    def read(self, num_bytes: int = -1) -> bytes:
        if not 0 <= num_bytes <= self.left:
            raise tarfile.ReadError("too many headers for one member")
        self.left -= num_bytes
        try:
            return self._file.read(num_bytes)
        except RecursionError:  # from deeply nested headers, raised in here by chance
            raise
        except Exception:
            self.has_failed = True
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
