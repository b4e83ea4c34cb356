"""AVI: whether the index of a file tells where its frames are, whatever lies between them."""

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
"""FFmpeg's name of it."""
BY_INDEX: Final = {"fflags": "sortdts"}
"""FFmpeg then goes where the index says. Else it goes from chunk to chunk and counts them: where
it finds none, it looks for any that follows, and those between them are not counted."""
CHUNK_HEADER: Final = struct.Struct("<4sI")
"""Of a chunk: its kind and its size; the next begins at an even place."""
OF_A_TRACK: Final = re.compile(rb"\d\d\w\w")
"""The kind of a chunk that holds a part of a track; those of others have no number in front."""
LISTS: Final = frozenset({b"RIFF", b"LIST"})
"""Hold chunks, behind a name of four bytes."""
MOST_ENTRIES: Final = 20_000_000
"""A week at 30 frames a second; of more, nothing is looked at."""
SAMPLES: Final = 64
"""Of an index, evenly spread: where most of them are chunks, the others were."""
MOST_CHUNKS: Final = 1000
"""That may follow the last frame."""
COUNT_SLACK: Final = 0.01
"""Of a file's frames: headers may count those that were left out at the end, or not."""


def has_whole_index(path: Path, container: InputContainer, video: VideoStream) -> bool:
    """Tell whether a file is AVI, with an index of all its frames at places that may be theirs.

    One that is cut off, was written over, or tells of key frames alone is none: of such a file is
    taken what is found from chunk to chunk.

    Args:
        path: of the file.
        container: open, at its beginning.
        video: the track.

    Source:
        Microsoft, AVI RIFF File Reference; OpenDML AVI File Format Extensions 1.02, 1996. FFmpeg
        reads both kinds of index.
    """
    entries = video.index_entries
    if container.format.name != FORMAT or not 0 < len(entries) <= MOST_ENTRIES:
        return False
    num_chunks = entries[-1].timestamp + 1  # empty ones are counted, and not named
    if abs(num_chunks - video.frames) > max(1, COUNT_SLACK * video.frames):
        return False
    pairs = ((entry.pos, entry.size) for entry in entries)
    chunks = np.fromiter(pairs, np.dtype("2i8"), len(entries))
    ends = chunks.sum(axis=1) + CHUNK_HEADER.size
    is_in_order = bool((chunks >= 0).all() and (ends[:-1] <= chunks[1:, 0]).all())
    last = [track.index_entries[-1] for track in container.streams if len(track.index_entries)]
    end = max(entry.pos + CHUNK_HEADER.size + entry.size for entry in last)
    with suppress(OSError), path.open("rb") as file:  # it may be taken away meanwhile
        is_within = end <= os.fstat(file.fileno()).st_size
        return is_within and is_in_order and _are_there(file, chunks) and not _goes_on(file, end)
    return False


def count_frames(container: InputContainer, video: VideoStream) -> int:
    """Return how many frames a track has by its header, or by the index that is gone by; or 0.

    Empty chunks, for a picture that stays, are no frames of that index.
    """
    flags = cast("Any", container.flags)  # a number, whatever PyAV's types say
    is_by_index = container.format.name == FORMAT and bool(flags & Flags.sort_dts.value)
    return len(video.index_entries) if is_by_index else video.frames


def _are_there(file: BinaryIO, chunks: npt.NDArray[np.int64]) -> bool:
    """Tell whether most of some chunks begin where an index says."""
    some = np.unique(np.linspace(0, len(chunks) - 1, SAMPLES).astype(int))
    num_there = 0
    for place, size in chunks[some].tolist():
        file.seek(place)
        kind, told = _read_header(file)
        num_there += OF_A_TRACK.fullmatch(kind) is not None and told == size
    return num_there * 2 > len(some)


def _goes_on(file: BinaryIO, end: int) -> bool:
    """Tell whether more frames or sound lie behind what an index names."""
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
    """Read the kind and the size of a chunk; empty at the end of a file."""
    header = file.read(CHUNK_HEADER.size)
    return CHUNK_HEADER.unpack(header) if len(header) == CHUNK_HEADER.size else (b"", 0)
