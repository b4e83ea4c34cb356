"""Pictures in tars, as WebDataset packs them: where each begins, without unpacking anything."""

import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from head_detection.batch.items import ROWS, batch_of
from head_detection.batch.places import explaining_place, open_place, shown
from head_detection.errors import SourceError
from head_detection.images.finding import is_picture_name

TAR_EXTENSIONS: Final = frozenset({".tar"})
COMPRESSED_EXTENSIONS: Final = frozenset({".tgz", ".gz", ".bz2", ".xz", ".zst", ".zip"})
"""Of archives in which no picture can be found without unpacking what is before it."""
_CUT_OFF: Final = "damaged or cut off in tars"
_MAX_HEADER_BYTES: Final = 1 << 20
"""A name or an extended header is shorter; one that says it is longer would be read to memory."""


def list_tar(location: str, label: str, skipped: Counter[str]) -> Iterator[pa.RecordBatch]:
    """Give the pictures of a tar in its order, by their names behind the tar's.

    Nothing is unpacked, so no name leads anywhere; still those that would are passed over, as are
    links, devices, and all behind a place that is damaged.

    Args:
        location: of the tar; not compressed.
        label: what results call the tar.
        skipped: what is passed over is counted here.

    Raises:
        SourceError: it cannot be read, or is none. One line.
    """
    with explaining_place(location, "a tar"), closing(open_place(location)) as file:
        num_bytes = file.seek(0, 2)
        file.seek(0)
        names: list[str] = []
        offsets: list[int] = []
        sizes: list[int] = []
        for member in _members(location, file, skipped):
            reason = _why_not(member, num_bytes)
            if reason:
                skipped[reason] += 1
                continue
            names.append(f"{label}/{member.name.removeprefix('./')}")
            offsets.append(member.offset_data)
            sizes.append(member.size)
            if len(names) == ROWS:
                yield batch_of(names, location, offsets, sizes)
                names, offsets, sizes = [], [], []
        if names:
            yield batch_of(names, location, offsets, sizes)


def _members(location: str, file: BinaryIO, skipped: Counter[str]) -> Iterator[tarfile.TarInfo]:
    """Read header after header, up to where the tar is cut off or damaged; none is kept.

    Raises:
        tarfile.ReadError: there is none.
    """
    headers = cast("BinaryIO", _Headers(location, file))
    with tarfile.open(fileobj=headers, mode="r:") as archive:
        remembered: list[tarfile.TarInfo] = vars(archive)["members"]
        while True:
            try:
                member = archive.next()
            except tarfile.ReadError:
                skipped[_CUT_OFF] += 1
                return
            if member is None:
                return
            yield member
            remembered.clear()  # tarfile keeps all, for what is not asked here


def _why_not(member: tarfile.TarInfo, num_bytes: int) -> str:
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
    if not is_picture_name(member.name):
        return "not pictures"
    return _CUT_OFF if member.offset_data + member.size > num_bytes else ""


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
