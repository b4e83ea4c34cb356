"""Pictures in tars, as WebDataset packs them: where each begins, without unpacking anything."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from head_detection.batch.items import ROWS, batch_of
from head_detection.batch.places import explaining_place, open_place, reason_of
from head_detection.images.finding import is_picture_name

TAR_EXTENSIONS: Final = frozenset({".tar"})
COMPRESSED_EXTENSIONS: Final = frozenset({".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"})
"""Of archives in which no picture can be found without unpacking what is before it."""
_MEND: Final = "mend it, and begin a new job"
_CUT_OFF: Final = f"what follows is not known; {_MEND}"
_NO_END: Final = "ends of tars, which may be cut off between two files"
"""Some programs leave out the zeros that mark a tar's end, so that is no error."""
_MAX_HEADER_BYTES: Final = 1 << 20
"""Extended headers of a picture are shorter, and what is longer is read by nobody."""
_MEMBER_BYTES: Final = 4 * _MAX_HEADER_BYTES
"""Of all headers of one member, which may have several."""
_NO_SIZE: Final = 1 << 62
"""Bytes; a size is counted in 64 bits here, and in 88 in a tar."""
_MAX_DIGITS: Final = 1000
"""In a row: ``tarfile`` before Python 3.12.6 takes the square of their number to pass over them."""
_DIGITS: Final = bytes.maketrans(b"123456789", b"0" * 9)
_EXTENDED: Final = frozenset(
    {
        *(tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.XGLTYPE),
        *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    }
)
"""Headers that tell of the next one, and of all that follow where they are global."""


def list_tar(
    location: str, label: str, skipped: Counter[str], *, is_alone: bool = True
) -> Iterator[pa.RecordBatch]:
    """Give the pictures of a tar in its order, by their names behind the tar's.

    Nothing is unpacked, so no name leads anywhere; still those that would are passed over, as are
    links and devices. Behind a place that is damaged nobody knows what there was: the tar is then a
    picture too, by its own name, that cannot be read. A picture that is cut off fails when it is
    read, for the tar may be whole by then.

    Args:
        location: of the tar; not compressed.
        label: what results call the tar.
        skipped: what is passed over is counted here.
        is_alone: whether it is all that the source names. Where it is one of several and is none,
            it is a picture that cannot be read, as one that is damaged is: the others go on.

    Raises:
        SourceError: it cannot be read, or is alone and none. One line.
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
            problem = f"expected a tar; {reason_of(error, location)}: {_MEND}"
            rows.add(label, -1, -1, problem)
        if not rows.are_none:
            yield rows.taken()


class _CutOffError(Exception):
    """The tar ends, or is damaged, before its end.

    Args:
        offset: in bytes, where there should be a header; beyond the end of a tar that is cut off.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(offset)
        self.offset = offset


class _Rows:
    """Pictures of a tar, until they are a batch."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._rows: list[tuple[str, int, int, str]] = []

    def add(self, name: str, offset: int, size: int, problem: str = "") -> None:
        """Add one."""
        self._rows.append((name, offset, size, problem))

    @property
    def are_many(self) -> bool:
        """Whether they are a batch."""
        return len(self._rows) == ROWS

    @property
    def are_none(self) -> bool:
        """Whether there are none."""
        return not self._rows

    def taken(self) -> pa.RecordBatch:
        """Return them, and begin anew."""
        names, offsets, sizes, problems = zip(*self._rows, strict=True)
        self._rows = []
        return batch_of(names, self._location, offsets, sizes, problems=problems)


def _add(rows: _Rows, member: tarfile.TarInfo, label: str, skipped: Counter[str]) -> None:
    """Add a member that is a picture, or may be one that nobody can name; count another."""
    if member.type in _EXTENDED:
        name = f"{label}#{member.offset}"
        problem = (
            f"expected extended headers of at most {_MAX_HEADER_BYTES:,} bytes, and no numbers of "
            f"over {_MAX_DIGITS:,} digits in them; got one of {member.size:,} bytes, so what it "
            f"tells of is not known: {_MEND}"
        )
        rows.add(name, -1, -1, problem)
    elif reason := _why_not(member):
        skipped[reason] += 1
    else:
        name = f"{label}/{member.name.removeprefix('./')}"
        rows.add(name, member.offset_data, member.size)


def _members(file: BinaryIO, skipped: Counter[str]) -> Iterator[tarfile.TarInfo]:
    """Read header after header, up to the end of the tar; none is kept.

    An extended header that is too long comes in place of the member that it tells of.

    Raises:
        tarfile.ReadError: there is none.
        _CutOffError: it ends before, or is damaged.
    """
    headers, place, is_told_of = _Headers(file), 0, False
    with _opened(headers) as archive:
        remembered: list[tarfile.TarInfo] = vars(archive)["members"]
        while (member := _next(archive, headers, place)) is not None:
            place = archive.offset
            if not is_told_of or member.type in _EXTENDED:
                yield member
            is_told_of = member.type in _EXTENDED - {tarfile.XGLTYPE}
            remembered.clear()  # tarfile keeps all, for what is not asked here
        file.seek(archive.offset)
        end = file.read(tarfile.BLOCKSIZE)
        if end.strip(b"\0"):  # tarfile stops here, too, and does not say so
            raise _CutOffError(archive.offset)
        skipped.update([] if end else [_NO_END])


def _opened(headers: "_Headers") -> tarfile.TarFile:
    """Open a tar, whose first header is read.

    Raises:
        tarfile.ReadError: there is none.
    """
    try:
        return tarfile.open(fileobj=cast("BinaryIO", headers), mode="r:", tarinfo=_Member)
    except Exception as error:
        if headers.has_failed or isinstance(error, tarfile.ReadError):
            raise
        raise tarfile.ReadError("its first header says what cannot be") from error


def _next(archive: tarfile.TarFile, headers: "_Headers", place: int) -> tarfile.TarInfo | None:
    """Return the next member, whose header begins at or behind a place; None at the end.

    Raises:
        _CutOffError: there is no other, but no end.
    """
    headers.left = _MEMBER_BYTES
    try:
        member = archive.next()
    except Exception as error:
        if headers.has_failed:
            raise
        # Numbers that are none, lists that end too soon, headers of headers of headers.
        raise _CutOffError(archive.offset) from error
    # A size below nothing leads back to where it came from, for ever.
    if member is not None and (not 0 <= member.size < _NO_SIZE or archive.offset <= place):
        raise _CutOffError(member.offset)
    return member


def _why_not(member: tarfile.TarInfo) -> str:
    """Return why a member is passed over; empty where it is a picture."""
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
    """A member whose extended headers are read where they are short."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        """Read what follows a header, as ``tarfile`` lets others do it."""
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
    """A tar of which headers alone are read, and no more of them than there is room for.

    Attributes:
        left: bytes that may be read yet.
        has_failed: its file could not be read, which is no fault of the tar's.
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
        except RecursionError:  # headers of headers of headers, deep in here by chance
            raise
        except Exception:
            self.has_failed = True
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
