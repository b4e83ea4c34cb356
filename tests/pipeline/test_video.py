"""Frames of video files: order, numbers, times, upright; what is damaged, and what is hostile."""

import gc
import re
import struct
import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from clips import busy, corners_of, number_of, numbered_frame, write_clip
from decoded import lost, read, told

from head_detection.errors import SourceError
from head_detection.images.finding import PictureFile
from head_detection.pipeline.sources import FrameOptions
from head_detection.pipeline.video import read_video
from head_detection.pipeline.video_file import describe_video
from head_detection.structures import Frame

UPRIGHT = ["red", "green", "blue", "white"]


def damage(path: Path, at: float = 0.5, num_bytes: int = 2048) -> Path:
    content = bytearray(path.read_bytes())
    start = int(len(content) * at)
    content[start : start + num_bytes] = bytes(num_bytes)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("h264.mp4", {}),
        ("h264.mkv", {}),
        ("h264.ts", {}),
        ("h264.avi", {"codec": "libx264"}),
        ("fragmented.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("vp9.webm", {}),
        ("vp8.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "8"}}),
        ("mjpeg.avi", {}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
        ("ten_bits.mp4", {"pixel_format": "yuv420p10le"}),
        ("interlaced.mp4", {"options": {"x264-params": "tff=1"}}),
        ("odd.mp4", {"size": (121, 163)}),
    ],
)
def test_every_frame_comes_in_order_with_its_time(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    path = write_clip(tmp_path / name, 24, **options)
    frames = read(path)
    assert told(frames) == [(index, index / 10) for index in range(24)]
    assert {frame.pixels.shape for frame in frames} == {(*options.get("size", (120, 160)), 3)}
    assert [(frame.name, frame.path) for frame in frames[:1]] == [(name, path)]
    assert corners_of(frames[7].pixels) == UPRIGHT


def test_mpeg_program_streams_begin_at_zero(tmp_path: Path) -> None:
    frames = read(write_clip(tmp_path / "a.mpg", 12, fps=25))
    assert told(frames) == [(index, index / 25) for index in range(12)]


@pytest.mark.parametrize("offset", ["0", "40", "400"])
def test_recordings_that_were_joined_are_numbered_on(tmp_path: Path, offset: str) -> None:
    """The first begins later than the second; FFmpeg takes 400 s for a day and more to the next."""
    clips = [numbered_frame(index, (120, 160)) for index in range(24)]
    options = {"output_ts_offset": offset}
    first = write_clip(tmp_path / "a.ts", clips[:12], container_options=options)
    second = write_clip(tmp_path / "b.ts", clips[12:])
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    frames = read(path)
    assert told(frames) == [(index, index / 10) for index in range(24)]
    assert lost(frames) == []
    assert told(read(path, start=1.5)) == [(index, index / 10) for index in range(15, 24)]
    assert describe_video(path).seconds is None  # the last stamp tells nothing of it


def test_no_frame_is_missing_between_recordings_that_were_joined(tmp_path: Path) -> None:
    """The end of the first, four packets, was cut off; the second begins two minutes later."""
    first = write_clip(tmp_path / "a.ts", 12)
    second = write_clip(tmp_path / "b.ts", 12, container_options={"output_ts_offset": "120"})
    path = tmp_path / "joined.ts"
    path.write_bytes(first.read_bytes()[: -4 * 188] + second.read_bytes())
    indices = [frame.index for frame in read(path)]
    assert indices == list(range(len(indices)))
    assert len(indices) <= 24


def test_frames_that_a_transport_stream_lacks_are_counted(tmp_path: Path) -> None:
    """All that was sent of frames is gone: packets are numbered up to 16, and begin anew."""
    path = write_clip(tmp_path / "a.ts", busy(24), gop=1)
    content = path.read_bytes()
    packets = [content[place : place + 188] for place in range(0, len(content), 188)]
    is_of_video = [packet[1] & 0x1F == 1 and packet[2] == 0 for packet in packets]
    begins = [n for n, packet in enumerate(packets) if is_of_video[n] and packet[1] & 0x40]
    last = next(n for n in (6, 7, 8) if sum(is_of_video[begins[5] : begins[n]]) % 16)
    kept = [
        packet
        for n, packet in enumerate(packets)
        if not (is_of_video[n] and begins[5] <= n < begins[last])
    ]
    path.write_bytes(b"".join(kept))
    frames = read(path)
    gone = lost(frames)
    assert {*range(5, last)} <= {*gone} <= {*range(3, last + 1)}  # it may doubt their neighbours
    assert told(frames) == [(n, n / 10) for n in range(24) if n not in gone]


def test_frames_of_a_transport_stream_that_were_written_over_are_counted(tmp_path: Path) -> None:
    """FFmpeg leaves them out without a word."""
    path = write_clip(tmp_path / "a.ts", busy(24), gop=1)
    content = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, 188).copy()
    begins = np.flatnonzero((content[:, 1] == 0x41) & (content[:, 2] == 0))
    content[begins[8] - 2 : begins[10] + 2, 4:] = 0xFF  # all but the packets' own headers
    path.write_bytes(content.tobytes())
    frames = read(path)
    gone = lost(frames)
    assert {8, 9} <= {*gone} <= {7, 8, 9, 10}
    assert told(frames) == [(n, n / 10) for n in range(24) if n not in gone]


def test_a_recorder_that_had_no_frame_lost_none(tmp_path: Path) -> None:
    times = [n / 10 for n in range(25) if n != 8]
    frames = read(write_clip(tmp_path / "a.ts", busy(24), gop=1, times=times))
    assert told(frames) == list(enumerate(times))
    assert lost(frames) == []


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.hevc", "libx265")])
def test_a_stream_without_a_container_has_all_its_frames(
    tmp_path: Path, name: str, codec: str
) -> None:
    """Its first bytes, 0 0 0 1, are no length of an MP4 part."""
    path = write_clip(tmp_path / name, 24, codec=codec)  # with its rate, 10, in its VUI
    frames = read(path)
    assert told(frames) == [(index, index / 10) for index in range(24)]
    assert lost(frames) == []
    assert describe_video(path).fps == 10


def test_a_rate_that_nothing_tells_is_told_to_be_assumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"x265-params": "log-level=none:vui-timing-info=0"}
    path = write_clip(tmp_path / "a.hevc", 5, codec="libx265", options=options)
    assert told(read(path)) == [(index, index / 25) for index in range(5)]
    assert caplog.messages == ["a.hevc: nothing in it tells its rate: taken as 25 frames a second"]
    assert describe_video(path).fps is None


@pytest.mark.parametrize("end", ["mjpeg", "MJPG"])
def test_pictures_one_after_the_other_are_a_motion_jpeg_stream(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, end: str
) -> None:
    path = write_clip(tmp_path / f"a.{end}", 12, codec="mjpeg")
    frames = read(path)
    assert told(frames) == [(index, index / 25) for index in range(12)]
    assert lost(frames) == []
    assert "nothing in it tells its rate" in caplog.messages[0]
    assert describe_video(path).size == (120, 160)
    path.write_bytes(path.read_bytes()[:-200])
    assert len(told(read(path))) + len(lost(read(path))) == 12


@pytest.mark.parametrize("end", ["mp4", "webm"])
def test_a_variable_rate_keeps_its_times(tmp_path: Path, end: str) -> None:
    times = [*(index / 30 for index in range(15)), *(0.5 + index / 10 for index in range(6))]
    path = write_clip(tmp_path / f"a.{end}", 21, fps=30, times=times, audio=True)
    assert told(read(path)) == [(index, round(time, 3)) for index, time in enumerate(times)]


@pytest.mark.parametrize(
    ("rotation", "corners", "shape"),
    [
        (90, ["blue", "red", "white", "green"], (160, 120, 3)),
        (180, ["white", "blue", "green", "red"], (120, 160, 3)),
        (270, ["green", "white", "red", "blue"], (160, 120, 3)),
    ],
)
def test_frames_are_turned_upright(
    tmp_path: Path, rotation: int, corners: list[str], shape: tuple[int, int, int]
) -> None:
    path = write_clip(tmp_path / "phone.mp4", 2, rotation=rotation)
    frame = read(path)[0]
    if rotation == 180:
        corners = ["white", "blue", "green", "red"]
    assert frame.pixels.shape == shape
    assert describe_video(path).size == shape[:2]
    assert corners_of(frame.pixels) == corners


def test_mirrored_frames_are_mirrored_back(tmp_path: Path) -> None:
    path = tmp_path / "selfie.mp4"
    write_clip(path, 2)
    content = bytearray(path.read_bytes())
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    mirrored = struct.pack(">9i", -(1 << 16), 0, 0, 0, 1 << 16, 0, 160 << 16, 0, 1 << 30)
    place = content.rindex(identity)  # the track's; the film's comes first
    content[place : place + len(mirrored)] = mirrored
    path.write_bytes(content)
    assert corners_of(read(path)[0].pixels) == ["green", "red", "white", "blue"]


def test_a_header_tells_of_size_rate_and_length(tmp_path: Path) -> None:
    info = describe_video(write_clip(tmp_path / "a.mp4", 30, fps=Fraction(30000, 1001)))
    assert (info.size, info.count, info.num_tracks) == ((120, 160), 30, 1)
    assert info.fps == pytest.approx(29.97, abs=0.001)
    assert info.seconds == pytest.approx(1.001)
    times = [0, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 2.1, 2.2, 3.0]
    uneven = write_clip(tmp_path / "b.mp4", times=times)
    assert describe_video(uneven).fps is None
    assert describe_video(write_clip(tmp_path / "c.webm", 4)).count is None


def test_the_default_track_of_several_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        for track, (height, width) in zip(tracks, [(48, 64), (64, 80)], strict=True):
            track.width, track.height, track.pix_fmt = width, height, "yuv420p"
        tracks[0].disposition = av.stream.Disposition.default
        tracks[1].disposition = av.stream.Disposition(0)
        for index in range(4):
            for track in tracks:
                pixels = numbered_frame(index, (track.height, track.width))
                container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        for track in tracks:
            container.mux(track.encode(None))
    info = describe_video(path)
    assert (info.size, info.num_tracks) == ((48, 64), 2)
    assert [frame.pixels.shape for frame in read(path)] == [(48, 64, 3)] * 4


@pytest.mark.parametrize("end", ["mp4", "mkv", "avi"])
@pytest.mark.parametrize(("start", "end_at", "first"), [(0.0, 0.5, 0), (1.25, 2.0, 13), (3, 9, 30)])
def test_a_part_in_seconds_is_exact(
    tmp_path: Path, end: str, start: float, end_at: float, first: int
) -> None:
    path = write_clip(tmp_path / f"a.{end}", 36, gop=8)
    expected = [(i, i / 10) for i in range(first, min(36, round(end_at * 10)))]
    assert told(read(path, start=start, end=end_at)) == expected


def test_a_part_is_found_in_one_long_run_of_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "a.mp4", 40, gop=100)
    assert [index for index, _ in told(read(path, start=3.5))] == [35, 36, 37, 38, 39]
    monkeypatch.setattr("head_detection.pipeline.video.MAX_BUFFERED_BYTES", 1000)
    assert [index for index, _ in told(read(path, start=3.5))] == [35, 36, 37, 38, 39]
    assert read(path, start=60) == []


def test_frames_left_out_keep_their_numbers(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 25, fps=25)
    assert told(read(path, stride=10)) == [(0, 0), (10, 0.4), (20, 0.8)]
    assert told(read(path, max_fps=5)) == [(0, 0), (5, 0.2), (10, 0.4), (15, 0.6), (20, 0.8)]
    assert len(read(path, max_fps=100)) == 25


def test_zeroed_bytes_in_the_middle_shift_nothing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", busy(40), fps=25)
    whole = read(path)
    frames = read(damage(path))
    assert lost(frames) == [20]  # the key frame in the middle
    assert [(f.index, f.seconds) for f in frames] == [(f.index, f.seconds) for f in whole]
    behind = [frame for frame in frames if frame.index >= 30]  # the next key frame
    assert [number_of(frame.pixels) for frame in behind] == list(range(30, 40))


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "libx264"), ("a.mp4", "mpeg4")])
def test_frames_that_are_lost_to_damage_are_counted(tmp_path: Path, name: str, codec: str) -> None:
    path = write_clip(tmp_path / name, busy(40), fps=25, codec=codec)
    frames = read(damage(path))
    assert lost(frames)
    assert [frame.index for frame in frames] == list(range(40))
    assert [round(frame.seconds, 3) for frame in frames] == [i / 25 for i in range(40)]
    behind = frames[lost(frames)[-1] + 1 :]
    assert [number_of(frame.pixels) for frame in behind[10:]] == [f.index for f in behind[10:]]


def test_a_lost_frame_outside_what_is_asked_for_is_none_of_it(tmp_path: Path) -> None:
    path = damage(write_clip(tmp_path / "a.mp4", busy(40), fps=25))
    assert lost(read(path, stride=3)) == []
    assert lost(read(path, stride=4)) == [20]
    assert lost(read(path, end=0.5)) == []


def test_a_file_that_ends_early_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = write_clip(
        tmp_path / "a.mp4", busy(40), fps=25, container_options={"movflags": "faststart"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    *frames, last = read(path)
    assert len(frames) > 15
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert isinstance(last, PictureFile)
    assert last.problem is not None
    assert "ends early" in last.problem or "breaks off" in last.problem


@pytest.mark.parametrize("movflags", ["faststart", "frag_keyframe+empty_moov"])
@pytest.mark.parametrize("rotation", [0, 90])
def test_whole_frames_before_a_cut_come(tmp_path: Path, movflags: str, rotation: int) -> None:
    """Those that wait for their turn in the decoder, too; only the one that is cut has failed."""
    options = {"movflags": movflags}
    path = write_clip(tmp_path / "a.mp4", busy(40), rotation=rotation, container_options=options)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for cut in (25, 26, 27):
        place, size, shown = packets[cut].pos, packets[cut].size, packets[cut].pts
        stamps = sorted(packet.pts for packet in packets[: cut + 1])
        short = tmp_path / f"{cut}.mp4"
        short.write_bytes(path.read_bytes()[: place + size // 2])
        *frames, last = read(short)
        assert [frame.index for frame in frames] == [*range(cut + 1)]
        assert lost(frames) == [stamps.index(shown)]
        whole = [frame for frame in frames if frame.pixels is not None]
        assert [number_of(np.rot90(frame.pixels, rotation // 90)) for frame in whole] == [
            frame.index for frame in whole
        ]
        assert "ends early" in (last.problem or "")


def test_whole_fragments_before_a_cut_index_come(tmp_path: Path) -> None:
    """FFmpeg takes such a file for none."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write_clip(tmp_path / "a, b.mp4", busy(40), container_options=options)
    content = path.read_bytes()
    places = [match.start() - 4 for match in re.finditer(b"moof", content)]
    path.write_bytes(content[: places[2] + 100])
    *frames, last = read(path)
    assert told(frames) == [(index, index / 10) for index in range(20)]
    assert last.problem == "it ends early: the file was cut short after 2.0 seconds"
    path.write_bytes(content[: places[0] + 100])
    (item,) = read(path)
    assert item.problem == "not one of its frames is there"


@pytest.mark.parametrize("part", [b"moof", b"mdat"])
def test_a_fragment_that_is_cut_in_a_header_is_missed(tmp_path: Path, part: bytes) -> None:
    """The header is of 8 bytes; an index of a fragment alone has nothing behind it."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    content = write_clip(tmp_path / "a.mp4", busy(40), container_options=options).read_bytes()
    place = [match.start() - 4 for match in re.finditer(part, content)][2]
    short = tmp_path / "b.mp4"
    for num_bytes in range(part == b"moof", 8):
        short.write_bytes(content[: place + num_bytes])
        *frames, last = read(short)
        assert len(frames) == 20
        assert lost(frames) == []
        assert "it ends early: the file was cut short after 2.0" in (last.problem or "")
    if part == b"moof":  # cut between two fragments nothing is missing, as far as it says
        short.write_bytes(content[:place])
        assert len(read(short)) == 20


def test_fragments_behind_a_damaged_one_are_missed(tmp_path: Path) -> None:
    """FFmpeg takes zeros over an index for the end. Zeros behind all are room, and no damage."""
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write_clip(tmp_path / "a.mp4", busy(40), container_options=options)
    content = bytearray(path.read_bytes())
    path.write_bytes(content + bytes(4096))
    assert told(read(path)) == [(index, index / 10) for index in range(40)]
    assert len(read(path)) == 40
    place = content.rindex(b"mdat") - 4  # the last may be as long as the file
    path.write_bytes(content[:place] + bytes(4) + content[place + 4 :])
    assert len(read(path)) == 40
    place = [match.start() - 4 for match in re.finditer(b"moof", content)][2]
    content[place : place + 500] = bytes(500)
    path.write_bytes(content)
    *frames, last = read(path)
    assert told(frames) == [(index, index / 10) for index in range(20)]
    assert last.problem == "its end is damaged, and could be read up to 2.0 seconds"


@pytest.mark.parametrize("end", ["mkv", "avi"])
def test_whole_frames_before_a_damaged_end_come(tmp_path: Path, end: str) -> None:
    path = write_clip(tmp_path / f"a.{end}", busy(40), codec="libx264")
    with av.open(str(path)) as container:
        last = [bytes(packet) for packet in container.demux(video=0) if packet.size][-1]
    content = path.read_bytes()
    path.write_bytes(content.replace(last, bytes(len(last))))
    frames = read(path)
    assert [frame.index for frame in frames] == [*range(40)]
    assert len(lost(frames)) == 1
    assert len(told(frames)) == 39


@pytest.mark.parametrize(("start", "end", "shown"), [(0.55, 4, 34), (1.25, 3, 17)])
@pytest.mark.parametrize("name", ["a.mp4", "a.mov"])
def test_what_an_edit_list_leaves_out_is_not_missing(
    tmp_path: Path, name: str, start: float, end: float, shown: int
) -> None:
    """Packets before the start are there to be decoded, not shown."""
    path = trimmed(write_clip(tmp_path / name, 40), start, end)
    first = round(end * 10) - shown
    frames = read(path)
    assert [(frame.index, round(frame.seconds, 3)) for frame in frames] == [
        (index, index / 10) for index in range(shown)
    ]
    assert [number_of(frame.pixels) for frame in frames] == [*range(first, first + shown)]
    assert describe_video(path).count == shown
    half = read(path, start=0.5, end=1)
    assert [number_of(frame.pixels) for frame in half] == [*range(first + 5, first + 10)]


def test_a_trimmed_file_that_ends_early_says_so(tmp_path: Path) -> None:
    options = {"movflags": "faststart"}
    path = trimmed(write_clip(tmp_path / "a.mp4", busy(40)), 0.55, 4, options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    *frames, last = read(path)
    assert (last.problem or "").endswith(f"{len(frames)} of its 34 frames are there")


def trimmed(path: Path, start: float, end: float, options: dict[str, str] | None = None) -> Path:
    """Cut a part of a clip without encoding anew: from the first key frame on, by an edit list."""
    cut = path.with_name(f"trimmed{path.suffix}")
    with (
        av.open(str(path)) as source,
        av.open(str(cut), "w", container_options=options or {}) as target,
    ):
        video = source.streams.video[0]
        track = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.pts is None or packet.pts * video.time_base >= end:
                continue
            packet.pts -= round(start / video.time_base)
            packet.dts -= round(start / video.time_base)
            packet.stream = track
            target.mux(packet)
    return cut


@pytest.mark.parametrize(
    ("name", "movflags", "ending"),
    [
        ("a.webm", "", " of its 2.0 seconds"),
        ("a.mkv", "", " of its 2.0 seconds"),
        ("a.mp4", "frag_keyframe+empty_moov", " seconds"),
    ],
)
def test_a_file_that_was_cut_short_says_so(
    tmp_path: Path, name: str, movflags: str, ending: str
) -> None:
    options = {"movflags": movflags} if movflags else {}
    path = write_clip(tmp_path / name, busy(20), fps=10, container_options=options)
    assert len(read(path)) == 20
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    *frames, last = read(path)
    assert isinstance(last, PictureFile)
    assert isinstance(frames[-1], Frame)
    said = f"it ends early: the file was cut short after {frames[-1].seconds + 0.1:.1f}"
    assert (last.problem or "").startswith(said)
    assert (last.problem or "").endswith(ending)
    assert all(isinstance(item, Frame) for item in read(path, end=0.5))


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(SourceError) as caught:
        read(path, **options)
    with pytest.raises(SourceError):
        describe_video(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path) -> None:
    contents = {
        "empty.mp4": (b"", "got an empty file"),
        "text.mp4": (b"no film\n" * 99, "an unknown format"),
        "list.mp4": (b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n", "an unknown format"),
        "concat.mp4": (b"ffconcat version 1.0\nfile /etc/passwd\n", "an unknown format"),
    }
    for name, (content, reason) in contents.items():
        (tmp_path / name).write_bytes(content)
        assert reason in refusal(tmp_path / name)
    assert "No such file" in refusal(tmp_path / "gone.mp4")


def test_a_recording_without_its_index_says_what_may_help(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", busy(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "cut off before its index (moov)" in refusal(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    assert refusal(path).endswith("expected a video; got a file with sound only")


def test_large_frames_are_refused_by_their_header(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 2)
    assert "at most 19,199 pixels; got 160x120, 19,200 pixels" in refusal(path, max_pixels=19_199)
    assert len(read(path, max_pixels=19_200)) == 2


def test_a_header_of_huge_frames_is_refused_unread(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", 2)
    content = path.read_bytes()
    # The picture's own header, and the file's.
    huge = content.replace(struct.pack(">2H", 120, 160), struct.pack(">2H", 60_000, 60_000))
    path.write_bytes(huge)
    (item,) = read(path)
    assert item.problem == "none of its 2 frames can be decoded"
    path.write_bytes(huge.replace(struct.pack("<2I", 160, 120), struct.pack("<2I", 60_000, 60_000)))
    assert "its header has another codec or size" in refusal(path)


def test_a_name_that_looks_like_an_address_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "a.mp4", 2).rename("concat:a|b.mp4")
    (tmp_path / "a.mp4").write_bytes(b"")
    assert len(read(Path("concat:a|b.mp4"))) == 2


@pytest.mark.parametrize("end", ["mkv", "avi"])
def test_memory_stays_flat_over_many_frames(tmp_path: Path, end: str) -> None:
    path = write_clip(tmp_path / f"a.{end}", 1200, size=(16, 32), codec="mpeg4", gop=300)
    tracemalloc.start()
    held = [
        tracemalloc.get_traced_memory()[0]
        for frame in read_video(path, "a", FrameOptions())
        if isinstance(frame, Frame) and frame.index % 200 == 199
    ]
    tracemalloc.stop()
    assert len(held) == 6
    assert max(held[1:]) - min(held[1:]) < 200_000


def test_no_picture_waits_for_the_garbage_collector(tmp_path: Path) -> None:
    # A picture that holds its side data, which holds it: a turned one has some.
    path = write_clip(tmp_path / "turned.mp4", 12, rotation=90)
    gc.collect()
    gc.disable()
    try:
        before = pictures_held()
        assert len(read(path)) == 12
        assert pictures_held() == before
    finally:
        gc.enable()


def pictures_held() -> int:
    return sum(type(held) is VideoFrame for held in gc.get_objects())
