"""AVI: decides whether the index of a file can be trusted to locate its frames."""

import os
import re
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import numpy as np
import numpy.typing as npt
from av.container import Flags, InputContainer
from av.video.stream import VideoStream

FORMAT: Final = "avi"
"""FFmpeg's name of the format."""
BY_INDEX: Final = {"fflags": "sortdts"}
"""Makes FFmpeg follow the index. Otherwise it goes from chunk to chunk and counts them; where it
finds no chunk, it searches for the next one and does not count those it skips."""
CHUNK_HEADER: Final = struct.Struct("<4sI")
"""Kind and size of a chunk; the next chunk begins at an even offset."""
OF_A_TRACK: Final = re.compile(rb"\d\d\w\w")
"""Kind of a chunk that belongs to a track; the kinds of other chunks do not start with a number."""
LISTS: Final = frozenset({b"RIFF", b"LIST"})
"""Chunks that hold other chunks, after a name of four bytes."""
MOST_ENTRIES: Final = 20_000_000
"""A week at 30 frames a second; larger indexes are not checked, and not used."""
SAMPLES: Final = 64
"""Index entries that are checked, evenly spread: if most point to chunks, the index is trusted."""
MOST_CHUNKS: Final = 1000
"""Number of chunks that are searched for more frames after the last indexed one."""
COUNT_SLACK: Final = 0.01
"""Share of a file's frames: headers may or may not count those dropped at the end."""


def has_whole_index(path: Path, container: InputContainer, video: VideoStream) -> bool:
    """Tell whether a file is AVI and has a plausible index of all its frames.

    An index that is cut off, overwritten, or lists only key frames does not count: such a file is
    read from chunk to chunk.

    Args:
        path: path of the file.
        container: the file, open at its beginning.
        video: the video track.

    Source:
        Microsoft, AVI RIFF File Reference; OpenDML AVI File Format Extensions 1.02, 1996. FFmpeg
        reads both kinds of index.
    """
    entries = video.index_entries
    if container.format.name != FORMAT or not 0 < len(entries) <= MOST_ENTRIES:
        return False
    num_chunks = entries[-1].timestamp + 1  # includes empty chunks, which have no entry
    if abs(num_chunks - video.frames) > max(1, COUNT_SLACK * video.frames):
        return False
    pairs = ((entry.pos, entry.size) for entry in entries)
    chunks = np.fromiter(pairs, np.dtype("2i8"), len(entries))
    ends = chunks.sum(axis=1) + CHUNK_HEADER.size
    is_in_order = bool((chunks >= 0).all() and (ends[:-1] <= chunks[1:, 0]).all())
    last = [track.index_entries[-1] for track in container.streams if len(track.index_entries)]
    end = max(entry.pos + CHUNK_HEADER.size + entry.size for entry in last)
    with suppress(OSError), path.open("rb") as file:  # it may have been removed meanwhile
        is_within = end <= os.fstat(file.fileno()).st_size
        return is_within and is_in_order and _are_there(file, chunks) and not _goes_on(file, end)
    return False


def count_frames(container: InputContainer, video: VideoStream) -> int:
    """Return the number of frames of a track by its header, or by its index if in use; or 0.

    The index does not list empty chunks, which repeat a frame.
    """
    flags = cast("Any", container.flags)  # a number, whatever PyAV's types say
    is_by_index = container.format.name == FORMAT and bool(flags & Flags.sort_dts.value)
    return len(video.index_entries) if is_by_index else video.frames


def _are_there(file: BinaryIO, chunks: npt.NDArray[np.int64]) -> bool:
    """Tell whether most of a sample of chunks begin where the index says."""
    some = np.unique(np.linspace(0, len(chunks) - 1, SAMPLES).astype(int))
    num_there = 0
    for place, size in chunks[some].tolist():
        file.seek(place)
        kind, told = _read_header(file)
        num_there += OF_A_TRACK.fullmatch(kind) is not None and told == size
    return num_there * 2 > len(some)


def _goes_on(file: BinaryIO, end: int) -> bool:
    """Tell whether more frames or sound follow after the last indexed chunk."""
    for _ in range(MOST_CHUNKS):
        file.seek(end + end % 2)
        kind, size = _read_header(file)
        if len(kind) < len(b"RIFF"):
            return False
        if OF_A_TRACK.fullmatch(kind):
            return True
        end = file.tell() + (len(b"movi") if kind in LISTS else size)
    return True


def _read_header(file: BinaryIO) -> tuple[bytes, int]:
    """Read the kind and size of a chunk; an empty kind at the end of the file."""
    header = file.read(CHUNK_HEADER.size)
    return CHUNK_HEADER.unpack(header) if len(header) == CHUNK_HEADER.size else (b"", 0)
