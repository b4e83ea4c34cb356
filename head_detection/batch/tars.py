"""Pictures in tars, as WebDataset packs them: where each begins, without unpacking anything."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from head_detection.batch.items import ROWS, batch_of
from head_detection.batch.places import explaining_place, open_place, reason_of, shown
from head_detection.errors import SourceError
from head_detection.images.finding import is_picture_name

TAR_EXTENSIONS: Final = frozenset({".tar"})
COMPRESSED_EXTENSIONS: Final = frozenset({".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"})
"""Of archives in which no picture can be found without unpacking what is before it."""
_MEND: Final = "mend it, and begin a new job"
_CUT_OFF: Final = f"what follows is not known; {_MEND}"
_NO_END: Final = "ends of tars, which may be cut off between two files"
"""Some programs leave out the zeros that mark a tar's end, so that is no error."""
_MAX_HEADER_BYTES: Final = 1 << 20
"""A name or an extended header is shorter; one that says it is longer would be read to memory."""


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
            for member in _members(location, file, skipped):
                reason = _why_not(member)
                if reason:
                    skipped[reason] += 1
                    continue
                name = f"{label}/{member.name.removeprefix('./')}"
                rows.add(name, member.offset_data, member.size)
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


def _members(location: str, file: BinaryIO, skipped: Counter[str]) -> Iterator[tarfile.TarInfo]:
    """Read header after header, up to the end of the tar; none is kept.

    Raises:
        tarfile.ReadError: there is none.
        _CutOffError: it ends before, or is damaged.
    """
    headers = cast("BinaryIO", _Headers(location, file))
    with tarfile.open(fileobj=headers, mode="r:") as archive:
        remembered: list[tarfile.TarInfo] = vars(archive)["members"]
        while True:
            try:
                member = archive.next()
            except tarfile.ReadError as error:
                raise _CutOffError(archive.offset) from error
            if member is None:
                file.seek(archive.offset)
                end = file.read(tarfile.BLOCKSIZE)
                if end.strip(b"\0"):  # tarfile stops here, too, and does not say so
                    raise _CutOffError(archive.offset)
                skipped.update([] if end else [_NO_END])
                return
            yield member
            remembered.clear()  # tarfile keeps all, for what is not asked here


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


class _Headers:
    """A tar of which headers alone are read, and none that is too long."""

    def __init__(self, location: str, file: BinaryIO) -> None:
        self._location, self._file = location, file

    def read(self, num_bytes: int = -1) -> bytes:
        if not 0 <= num_bytes <= _MAX_HEADER_BYTES:
            raise SourceError(
                f"{shown(self._location)}: expected a tar's headers of at most "
                f"{_MAX_HEADER_BYTES:,} bytes; one says {num_bytes:,}"
            )
        return self._file.read(num_bytes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
