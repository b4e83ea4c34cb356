"""MP4 and MOV: the boxes of a file (here: parts), and which of them are complete."""

import os
import struct
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

FORMAT: Final = "mov,mp4,m4a,3gp,3g2,mj2"
"""FFmpeg's name of the format."""
FIRST, INDEX, FRAGMENT, CONTENT = b"ftyp", b"moov", b"moof", b"mdat"
"""Kinds of parts: the first part of a file, the index of its frames, the index of one fragment
before its content, and the content."""
HEADER: Final = struct.Struct(">I4s")
"""Size and kind of a part."""
MOST_PARTS: Final = 100_000


def parts_of(path: Path) -> tuple[list[tuple[bytes, int]], int]:
    """Return the kind and offset of a file's parts, and where the last of them should end.

    Raises:
        OSError: it cannot be read.

    Source:
        ISO/IEC 14496-12, 4.2.
    """
    parts: list[tuple[bytes, int]] = []
    end = 0
    with path.open("rb") as file:
        whole = os.fstat(file.fileno()).st_size
        while len(header := file.read(HEADER.size)) == HEADER.size:
            size, kind = HEADER.unpack(header)
            parts.append((kind, end))
            if size == 1:  # the size follows as a 64-bit number
                size = int.from_bytes(file.read(8), "big")
            if size < HEADER.size or len(parts) > MOST_PARTS:
                break
            end += size
            if end >= whole:  # may be a huge number if this is not an MP4
                break
            file.seek(end)
    return parts, end


def is_cut_short(path: Path) -> bool:
    """Tell whether a file is shorter than its parts say.

    A fragmented recording is also cut short if it ends after a fragment's index, whose content is
    missing, or inside the header of a part.

    Raises:
        OSError: it cannot be read.
    """
    parts, end = parts_of(path)
    kinds, num_left = [kind for kind, _ in parts], path.stat().st_size - end
    if kinds[:1] != [FIRST]:
        return False
    is_amid_header = FRAGMENT in kinds and 0 < num_left < HEADER.size
    lacks_content = kinds[-1] == FRAGMENT and num_left < HEADER.size
    return num_left < 0 or is_amid_header or lacks_content


def has_lost_fragments(path: Path) -> bool:
    """Tell whether a fragmented recording has a damaged part that is followed by others.

    Zeros at the end do not count: they are space that a recorder did not use.

    Raises:
        OSError: it cannot be read.
    """
    parts, end = parts_of(path)
    kinds = [kind for kind, _ in parts]
    is_over = kinds[-1:] == [CONTENT] or end >= path.stat().st_size  # it may go on up to the end
    if kinds[:1] != [FIRST] or FRAGMENT not in kinds or is_over:
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return any(content.find(kind, end) >= 0 for kind in (FRAGMENT, CONTENT))


def lacks_index(path: Path) -> bool:
    """Tell whether a file has no index of its frames.

    Raises:
        OSError: it cannot be read.
    """
    kinds = [kind for kind, _ in parts_of(path)[0]]
    return kinds[:1] == [FIRST] and INDEX not in kinds


def end_of_fragments(path: Path) -> int | None:
    """Return where the complete fragments end; None unless the file ends inside a fragment's index.

    FFmpeg reads nothing of such a file; until version 8, it opened one without a whole fragment.

    Raises:
        OSError: it cannot be read.
    """
    parts, end = parts_of(path)
    kinds = [kind for kind, _ in parts]
    if kinds[:1] != [FIRST] or INDEX not in kinds or end <= path.stat().st_size:
        return None
    kind, place = parts[-1]
    return place if kind == FRAGMENT else None
