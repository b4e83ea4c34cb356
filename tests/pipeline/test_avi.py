"""AVI: numbers and times of its frames where it is damaged, by its index; indexes that lie."""

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import pytest
from clips import busy, number_of, numbered_frame, packets, write_clip
from decoded import lost, read, told

from head_detection.images.finding import PictureFile
from head_detection.pipeline.video_file import describe_video
from head_detection.results import avi

CODECS: Final[dict[str, dict[str, Any]]] = {
    "mjpeg": {},
    "mpeg4": {"codec": "mpeg4"},
    "mpeg4_b": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg4_packed": {"codec": "mpeg4", "options": {"bf": "1"}},
    "h264": {"codec": "libx264"},
}
ENTRY: Final = struct.Struct("<4s3I")
"""Of an index: kind, flags, place from ``movi`` on, and size."""


VOP: Final = b"\0\0\1\xb6"
"""A picture of MPEG-4 begins; two bits behind it say of which kind (ISO 14496-2, 6.2.5)."""
DIVX: Final = b"\0\0\1\xb2DivX503b1393p"
"""What DivX says of itself: its chunks are packed."""


def write_avi(path: Path, name: str, count: int) -> Path:
    """Write a clip of one of the kinds."""
    write_clip(path, busy(count), gop=8, **CODECS[name])
    if name == "mpeg4_packed":
        pack(path, packets(path, "video"))
    return path


def pack(path: Path, pictures: list[bytes]) -> None:
    """Put each B picture behind the one that it leans on, and one without content in its place."""
    kinds = ["IPB"[picture[picture.index(VOP) + len(VOP)] >> 6] for picture in pictures]
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        for index, (kind, picture) in enumerate(zip(kinds, pictures, strict=True)):
            first, second = picture[picture.index(VOP) + len(VOP) :][:2]
            chunk = picture.replace(VOP, DIVX + VOP, 1) if kind == "I" else picture
            if kind == "B":
                chunk = VOP + bytes([1 << 6 | first & 0x3F, second, 0x7F])
            elif kinds[index + 1 : index + 2] == ["B"]:
                chunk += pictures[index + 1]
            packet = av.Packet(chunk)
            packet.stream, packet.time_base = video, Fraction(1, 10)
            packet.pts = packet.dts = index
            packet.is_keyframe = kind == "I"
            container.mux(packet)


def index_of(content: bytes) -> list[tuple[bytes, int, int, int]]:
    """Return the entries of an index, each with its place in the file, by hand."""
    begin = content.rindex(b"idx1") + 8
    movi = content.index(b"movi")
    (size,) = struct.unpack_from("<I", content, begin - 4)
    entries = [ENTRY.unpack_from(content, at) for at in range(begin, begin + size, ENTRY.size)]
    return [(kind, flags, movi + place, size) for kind, flags, place, size in entries]


def chunks_of(path: Path) -> list[tuple[int, int]]:
    """Return place and size of the pictures' chunks; empty ones are left out."""
    entries = index_of(path.read_bytes())
    return [(place, size) for kind, _, place, size in entries if kind == b"00dc" and size]


def write_over(path: Path, begin: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[begin : begin + len(content)] = content
    path.write_bytes(data)
    return path


def with_index(path: Path, change: Callable[[int, int, int], tuple[int, int]]) -> Path:
    """Change place and size of each entry of an index."""
    content = bytearray(path.read_bytes())
    begin = content.rindex(b"idx1") + 8
    for number, at in enumerate(range(begin, len(content), ENTRY.size)):
        kind, flags, place, size = ENTRY.unpack_from(content, at)
        ENTRY.pack_into(content, at, kind, flags, *change(number, place, size))
    path.write_bytes(content)
    return path


def without_index(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"idx1")])
    return path


def test_frames_behind_a_hole_keep_their_numbers(tmp_path: Path) -> None:
    """By hand: zeros from the header of chunk 20 to the middle of chunk 22, at 10 a second."""
    path = write_clip(tmp_path / "a.avi", busy(40))
    chunks = chunks_of(path)
    begin, end = chunks[20][0], chunks[22][0] + chunks[22][1] // 2
    frames = read(write_over(path, begin, bytes(end - begin)))
    assert lost(frames) == [20, 21, 22]
    assert [(frame.index, round(frame.seconds, 3)) for frame in frames] == [
        (index, index / 10) for index in range(40)
    ]
    assert told(frames)[20] == (23, 2.3)


@pytest.mark.parametrize("at", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("name", CODECS)
def test_no_hole_shifts_what_follows(tmp_path: Path, name: str, at: float) -> None:
    path = write_avi(tmp_path / "a.avi", name, 60)
    chunks = chunks_of(path)
    begin = int(path.stat().st_size * at)
    end = begin + path.stat().st_size // 10
    frames = read(write_over(path, begin, bytes(end - begin)))
    assert [(frame.index, round(frame.seconds, 3)) for frame in frames] == [
        (index, index / 10) for index in range(60)
    ]
    hit = [n for n, (place, size) in enumerate(chunks) if place < end and begin < place + 8 + size]
    gone = lost(frames)
    assert {*gone} >= {*hit[3:-3]}
    # The next key frame, and two of another kind before it.
    first = 0 if name == "mjpeg" else 8 + 2
    right = [n for n in range(60) if n < hit[0] - 3 or n > hit[-1] + first]
    assert [number_of(frames[n].pixels) for n in right if n not in gone] == [
        n for n in right if n not in gone
    ]
    assert len(gone) <= len(hit) + 4


@pytest.mark.parametrize(
    "header",
    [b"\0\0\0\0\0\0\0\0", b"00dc\xff\xff\x0f\0", b"00dc\x10\0\0\0", b"00dc\0\0\0\0", b"01dc"],
)
def test_a_damaged_header_of_a_chunk_loses_nothing(tmp_path: Path, header: bytes) -> None:
    path = write_clip(tmp_path / "a.avi", busy(24))
    write_over(path, chunks_of(path)[12][0], header)
    frames = read(path)
    assert told(frames) == [(index, index / 10) for index in range(24)]


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "mp3"])
def test_sound_between_the_frames_is_none_of_them(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=10)
        video.width, video.height, video.pix_fmt = 320, 240, "yuvj420p"
        sound = container.add_stream(codec, rate=48_000, layout="mono")
        silence = np.zeros((1, 4800), np.int16)
        for index, pixels in enumerate(busy(24)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48_000, index * 4800
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    whole = read(path)
    assert [number_of(frame.pixels) for frame in whole] == list(range(24))
    begin, end = chunks_of(path)[10][0], chunks_of(path)[13][0]
    frames = read(write_over(path, begin, bytes(end - begin)))
    assert lost(frames) == [10, 11, 12]
    assert [(f.index, f.seconds) for f in frames] == [(f.index, f.seconds) for f in whole]


def test_empty_chunks_are_no_frames(tmp_path: Path) -> None:
    """A clip with sound has one behind the first picture, which stays for two tenths."""
    path = write_clip(tmp_path / "a.avi", busy(24), audio=True)
    kinds = [(kind, size) for kind, _, _, size in index_of(path.read_bytes())]
    assert (b"00dc", 0) in kinds
    times = [0.0, *(index / 10 for index in range(2, 25))]
    assert describe_video(path).count == 24
    assert told(read(path)) == list(enumerate(times))
    begin, end = chunks_of(path)[10][0], chunks_of(path)[12][0]
    frames = read(write_over(path, begin, bytes(end - begin)))
    assert lost(frames) == [10, 11]
    assert [round(frame.seconds, 3) for frame in frames] == times


def test_without_an_index_there_is_what_is_found(tmp_path: Path) -> None:
    path = without_index(write_clip(tmp_path / "a.avi", busy(24)))
    assert told(read(path)) == [(index, index / 10) for index in range(24)]
    with av.open(str(path)) as container:
        begin = [packet.pos for packet in container.demux(video=0) if packet.size][10] - 8
    *frames, last = read(write_over(path, begin, bytes(400)))
    assert [frame.index for frame in frames] == list(range(23))
    assert isinstance(last, PictureFile)
    assert last.problem == "it ends early: 23 of its 24 frames are there"


HOSTILE: Final[dict[str, Callable[[int, int, int], tuple[int, int]]]] = {
    "outside the file": lambda number, _, size: (0xF0000000 + number * 0x10000, size),
    "one outside": lambda number, place, size: (place if number != 12 else 0x7FFFFFF0, size),
    "not in order": lambda number, place, size: (place if number % 5 else place // 2, size),
    "all at one place": lambda _, __, size: (4, size),
    "huge": lambda _, place, __: (place, 0xFFFFFFFF),
    "empty": lambda _, place, __: (place, 0),
    "elsewhere": lambda number, place, size: (place + 2 * (number > 1), size - 2),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_index_that_lies_is_none(tmp_path: Path, change: Any) -> None:
    path = write_clip(tmp_path / "a.avi", busy(24))
    before = read(path)
    frames = read(with_index(path, change))
    with av.open(str(path)) as container:
        assert not avi.has_whole_index(path, container, container.streams.video[0])
    if change is not HOSTILE["all at one place"]:  # FFmpeg itself goes by that one
        assert told(frames) == told(before)


@pytest.mark.parametrize("shown", [0.0, 0.5])
def test_an_index_that_is_cut_off_is_none(tmp_path: Path, shown: float) -> None:
    path = write_clip(tmp_path / "a.avi", busy(24))
    content = path.read_bytes()
    end = content.rindex(b"idx1") + 8
    path.write_bytes(content[: end + int((len(content) - end) * shown)])
    assert told(read(path)) == [(index, index / 10) for index in range(24)]


def test_an_index_of_the_first_part_alone_is_none(tmp_path: Path) -> None:
    """The header counts those before ``AVIX``; what lies behind is no less a part of it."""
    path = write_clip(tmp_path / "a.avi", busy(24))
    more = write_clip(tmp_path / "b.avi", [numbered_frame(n, (240, 320)) for n in (24, 25)])
    content = more.read_bytes()
    chunks = content[content.index(b"movi") : content.rindex(b"idx1")]
    part = b"AVIX" + b"LIST" + struct.pack("<I", len(chunks)) + chunks
    path.write_bytes(path.read_bytes() + b"RIFF" + struct.pack("<I", len(part)) + part)
    assert told(read(path)) == [(index, index / 10) for index in range(26)]


def test_places_may_count_from_the_files_beginning(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", busy(24))
    chunks = chunks_of(path)
    movi = path.read_bytes().index(b"movi")
    with_index(path, lambda _, place, size: (place + movi, size))
    frames = read(write_over(path, chunks[10][0], bytes(400)))
    assert lost(frames) == [10]
    assert told(frames) == [(index, index / 10) for index in range(24) if index != 10]


def test_the_index_of_large_files_is_one_too(tmp_path: Path) -> None:
    """OpenDML's: a list in the header of where the lists of chunks are."""
    path = write_clip(tmp_path / "a.avi", busy(24))
    chunks = chunks_of(path)
    content = bytearray(path.read_bytes())
    content[content.rindex(b"idx1") :][:4] = b""
    place = content.rindex(b"idx1")
    content[place : place + 4] = b"JUNK"
    rows = b"".join(struct.pack("<2I", place + 8, size) for place, size in chunks)
    body = struct.pack("<HBBI4sQI", 2, 0, 1, len(chunks), b"00dc", 0, 0) + rows
    listed = struct.pack("<HBBI4s3I", 4, 0, 0, 1, b"00dc", 0, 0, 0)
    listed += struct.pack("<Q2I", len(content), 8 + len(body), len(chunks))
    junk = content.index(b"JUNK")  # what the muxer keeps free for it
    (room,) = struct.unpack_from("<I", content, junk + 4)
    assert room >= len(listed)
    content[junk : junk + 4] = b"indx"
    content[junk + 8 : junk + 8 + len(listed)] = listed
    path.write_bytes(content + b"ix00" + struct.pack("<I", len(body)) + body)
    frames = read(write_over(path, chunks[10][0], bytes(400)))
    assert lost(frames) == [10]
    assert told(frames) == [(index, index / 10) for index in range(24) if index != 10]


def test_of_two_tracks_one_keeps_its_numbers(tmp_path: Path) -> None:
    path = tmp_path / "two.avi"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("mjpeg", rate=10) for _ in range(2)]
        for track, (height, width) in zip(tracks, [(120, 160), (240, 320)], strict=True):
            track.width, track.height, track.pix_fmt = width, height, "yuvj420p"
        for index in range(24):
            for track in tracks:
                pixels = numbered_frame(index, (track.height, track.width))
                container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
    entries = [e for e in index_of(path.read_bytes()) if e[0] == b"01dc"]
    frames = read(write_over(path, entries[10][2], bytes(entries[12][2] - entries[10][2])))
    assert {frame.pixels.shape for frame in frames if frame.pixels is not None} == {(240, 320, 3)}
    assert lost(frames) == [10, 11]
    assert told(frames) == [(n, n / 10) for n in range(24) if n not in (10, 11)]


@pytest.mark.parametrize("start", [0.7, 1.0, 1.6, 1.7, 2.5, 3.9])
@pytest.mark.parametrize("name", CODECS)
def test_a_part_has_the_same_numbers(tmp_path: Path, name: str, start: float) -> None:
    path = write_avi(tmp_path / "a.avi", name, 40)
    expected = [(index, index / 10) for index in range(round(start * 10), 40)]
    frames = read(path, start=start)
    assert told(frames) == expected
    assert lost(frames) == []
