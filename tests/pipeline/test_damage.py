"""Holes in files of all containers: what is missing is counted, and a gap on purpose is not."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import busy, number_of, write_clip
from decoded import lost, read, told

from head_detection.images.finding import PictureFile
from head_detection.pipeline.damage import asf, flv, matroska, ogg, program_stream
from head_detection.structures import Frame

CLIPS: dict[str, dict[str, Any]] = {
    "a.webm": {"codec": "libvpx-vp9"},
    "a.mkv": {"codec": "libx264"},
    "a.flv": {"codec": "libx264"},
    "sorenson.flv": {"codec": "flv"},
    "a.ogv": {"codec": "libvpx", "audio": False},
    "a.wmv": {"codec": "wmv2"},
    "a.mpg": {"codec": "mpeg2video", "fps": 25},
}
"""One of each container whose parts are followed."""
ZEROS = bytes(3000)
RUBBISH = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()


def clip(folder: Path, name: str, **options: Any) -> Path:
    return write_clip(
        folder / name, busy(40), **{"audio": True, "gop": 5, **CLIPS[name], **options}
    )


def overwrite(path: Path, begin: int, hole: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[begin : begin + len(hole)] = hole
    path.write_bytes(content)


def place_of(path: Path, number: int) -> int:
    """Return where a packet begins, or the first behind it that tells."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return next(packet.pos for packet in packets[number:] if packet.pos is not None)


def problems(items: list[Any]) -> list[str]:
    return [item.problem for item in items if isinstance(item, PictureFile)]


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("hole", [ZEROS, RUBBISH], ids=["zeros", "rubbish"])
def test_frames_in_a_hole_are_counted(tmp_path: Path, name: str, hole: bytes) -> None:
    """FFmpeg leaves them out in silence; those behind keep their numbers and times."""
    path = clip(tmp_path, name)
    step = 1 / CLIPS[name].get("fps", 10)
    overwrite(path, place_of(path, 20) - 100, hole)
    frames = read(path)
    assert {*lost(frames)} & {19, 20, 21}
    assert {*lost(frames)} < {*range(15, 26)}
    assert [frame.index for frame in frames] == [*range(40)]
    assert [frame.seconds for frame in frames] == pytest.approx(
        [n * step for n in range(40)], abs=0.03
    )
    assert [index for index, _ in told(frames[30:])] == [*range(30, 40)]


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.flv", "a.ogv", "a.wmv"])
def test_gaps_that_were_recorded_are_no_damage(tmp_path: Path, name: str) -> None:
    """A screen that stays, a camera that waits for motion: nothing is lost, at any rate."""
    times = [n / 10 + (n > 11) * 0.7 + (n > 25) * 3.3 for n in range(40)]
    for number, steps in enumerate(
        [times, [*times[:12], *(time + n / 7 for n, time in enumerate(times[12:]))]]
    ):
        path = clip(tmp_path, name, times=steps)
        frames = read(path)
        assert problems(frames) == [], number
        assert lost(frames) == []
        assert [number_of(frame.pixels) for frame in frames] == [*range(40)]


@pytest.mark.parametrize("name", ["a.flv", "sorenson.flv", "a.wmv", "a.ts"])
def test_damage_makes_no_gap_elsewhere_a_loss(tmp_path: Path, name: str) -> None:
    """Frames 19 to 21 are gone; the eight seconds behind frame 27 were recorded so."""
    times = [n / 10 + (n > 27) * 8 for n in range(40)]
    options = CLIPS.get(name, {"codec": "libx264"})
    path = write_clip(tmp_path / name, busy(40), times=times, gop=5, **options)
    assert lost(read(path)) == []
    overwrite(path, place_of(path, 20) - 100, ZEROS)
    frames = read(path)
    assert {*lost(frames)} & {19, 20, 21}
    assert {*lost(frames)} < {*range(15, 26)}
    assert [frame.index for frame in frames] == [*range(40)]
    assert [seconds for _, seconds in told(frames[30:])] == pytest.approx(times[30:], abs=0.03)


def test_a_hole_is_counted_by_the_steps_around_it(tmp_path: Path) -> None:
    """The rate of the header is 10 a second; a recorder took each fourth frame, but for some."""
    times = [n / 10 if n < 5 else 0.4 * n - 1.5 for n in range(40)]
    path = clip(tmp_path, "a.flv", times=times, audio=False, options={"bf": "0"})
    assert lost(read(path)) == []
    overwrite(path, place_of(path, 20) - 100, ZEROS)
    frames = read(path)
    assert {*lost(frames)} & {19, 20, 21}
    assert [frame.index for frame in frames] == [*range(40)]
    assert [index for index, _ in told(frames[30:])] == [*range(30, 40)]


@pytest.mark.parametrize("name", ["a.flv", "sorenson.flv", "a.ogv", "a.wmv", "a.mpg", "a.y4m"])
def test_a_copy_that_broke_off_says_so(tmp_path: Path, name: str) -> None:
    if name == "a.y4m":
        path = write_clip(tmp_path / name, busy(40), codec="wrapped_avframe")
    else:
        path = clip(tmp_path, name)
    assert problems(read(path)) == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 5 // 9])
    frames = read(path)
    (problem,) = problems(frames)
    assert problem.startswith("it ends early: the file was cut short after ")
    assert 12 < len(frames) < 35


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265")])
def test_a_hole_in_a_stream_without_times_is_told(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, busy(40), codec=codec, gop=5)
    assert problems(read(path)) == []
    place = place_of(path, 21)
    overwrite(path, place, ZEROS)
    (problem,) = problems(read(path))
    assert problem.startswith("a part of it is damaged, behind byte ")
    assert problems(read(path, end=0.3)) == []
    assert problems(read(path, end=3.5)) == [problem]
    assert place - 10_000 < int(problem.split()[8].rstrip(":").replace(",", "")) <= place


def test_frames_that_a_decoder_leaves_out_are_told(tmp_path: Path) -> None:
    """All lean on the first: FFmpeg gives that one, of forty, and no error."""
    path = write_clip(tmp_path / "a.hevc", busy(40), codec="libx265", gop=100)
    overwrite(path, place_of(path, 1) - 400, RUBBISH[:1000])
    frames = read(path)
    (problem,) = problems(frames)
    num_there = sum(isinstance(frame, Frame) for frame in frames)
    assert num_there < 40
    assert problem.startswith(f"it is damaged: {num_there} of its ")


def test_a_damaged_frame_of_a_stream_without_times_is_told(tmp_path: Path) -> None:
    """It may have swallowed others, start codes and all."""
    path = write_clip(tmp_path / "a.h264", busy(40), gop=5)
    overwrite(path, place_of(path, 20) + 100, RUBBISH)
    frames = read(path)
    assert problems(frames) == [
        f"frame {lost(frames)[0]} is damaged: others may be missing there, which are not counted"
    ]


def test_a_stream_that_begins_in_the_middle_is_not_accused(tmp_path: Path) -> None:
    """Pictures before its first key frame cannot be decoded."""
    path = write_clip(tmp_path / "a.h264", busy(40), gop=10)
    path.write_bytes(path.read_bytes()[place_of(path, 5) :])
    frames = read(path)
    assert problems(frames) == []
    assert 30 <= len(frames) < 40


@pytest.mark.parametrize("name", ["a.flv", "a.ogv", "a.wmv"])
@pytest.mark.parametrize(
    ("number", "problem"), [(1, "behind byte 0: "), (-2, "its end is damaged")]
)
def test_a_hole_at_the_ends_is_told(tmp_path: Path, name: str, number: int, problem: str) -> None:
    path = clip(tmp_path, name)
    place = place_of(path, number)
    overwrite(path, place - 3200 if number < 0 else place, bytes(6400))
    assert problem in "".join(problems(read(path))) or len(lost(read(path))) > 1


def test_parts_follow_each_other() -> None:
    """By hand; the last byte of each is damaged once."""
    flash = b"\x09\0\0\2\0\0\0\0\0\0\0ab\0\0\0\x0d" * 2
    program = b"\0\0\1\xe0\0\2ab" + b"\0\0\1\xba\x44" + bytes(9) + bytes(20) + b"\0\0\1\xe0\0\2ab"
    elements = (
        b"\xa3\x86\x81\0\0\0ab\xec\x81\0\xa0\x88\xa1\x86\x81\0\1\0cd\x1f\x43\xb6\x75\xff\xe7\x81\5"
    )
    page = bytes.fromhex("4f67675300020000000000000000789d0a5a00000000") + b"CRC!" + b"\1\2ab"
    assert flv.follow(flash, 0, 0) == ([0, 17], 34)
    assert flv.follow(flash[:-3], 0, 0) == ([0, 17], 34)
    assert flv.follow(flash[:17] + bytes(17), 0, 0) == ([0], 17)
    assert program_stream.follow(program, 0, 0) == ([0, 8, 42], 50)
    assert program_stream.follow(b"\0\0\1\xe0\0\2ab" + bytes(90), 0, 0) == ([0], 8)
    assert matroska.follow(elements, 2, 2) == ([2, 15], len(elements))
    assert matroska.follow(elements[:8] + bytes(8), 2, 2) == ([2], 8)
    assert ogg.follow(page, 0, 0) == ([], 0)
    assert asf.begin(b"ab" + asf.DATA) == 52
