"""Drawn videos: times, sound, sides, and what ends them."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from clips import busy, heard, number_of, numbered_frame, packets, write_clip
from decoded import read
from PIL import Image

from head_detection.errors import DeviceError, OutputError, PictureError
from head_detection.images.styles import Drawing
from head_detection.results.encoding import Encoding, VideoWriter
from head_detection.results.record import Failure, Origin, Outcome, Record
from head_detection.results.video import OVER_AFTER, VideoSink
from head_detection.structures import Detections

ORIGIN = Origin({}, 0.4)
BARE = Drawing(label="")
VARIABLE = [index / 30 for index in range(12)] + [0.4 + index / 10 for index in range(8)]


def records_of(path: Path, file: str | None = None, every: int = 1) -> Iterator[Record]:
    """Yield the frames of a video without a head."""
    with av.open(str(path)) as container:
        start = float(
            (container.streams.video[0].start_time or 0) * container.streams.video[0].time_base
        )
        for index, frame in enumerate(container.decode(video=0)):
            if index % every == 0:
                pixels = frame.to_ndarray(format="rgb24")
                found = Detections.empty(pixels.shape[:2])
                yield Record(
                    index, file or path.name, found, path, float(frame.time) - start, path.name,
                    pixels=pixels,
                )  # fmt: skip


def records_in(path: Path, **options: float) -> Iterator[Outcome]:
    """Yield the frames as they are read, times of joined recordings with them."""
    for frame in read(path, **options):
        pixels = frame.pixels
        if pixels is None:
            yield missing(frame.index, frame.seconds, path.name)
        else:
            found = Detections.empty(pixels.shape[:2])
            where = (path.name, found, path, frame.seconds, path.name)
            yield Record(frame.index, *where, pixels=pixels)


def write(
    folder: Path, outcomes: Sequence[Outcome] | Iterator[Outcome], encoding: Encoding | None = None
) -> VideoSink:
    sink = VideoSink(folder, ORIGIN, BARE, encoding)
    for outcome in outcomes:
        if isinstance(outcome, Record):
            sink.write(outcome)
        else:
            sink.fail(outcome)
    sink.close()
    return sink


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0)]


def frames_of(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def missing(index: int, seconds: float, file: str) -> Failure:
    return Failure(index, file, "damaged", PictureError("damaged"), seconds)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("a.mp4", None),
        ("a.mp4", VARIABLE),
        ("a.mkv", VARIABLE),
        ("a.avi", None),
        ("a.webm", VARIABLE),
    ],
)
def test_times_and_sound_are_those_of_the_source(
    tmp_path: Path, name: str, times: list[float] | None
) -> None:
    source = write_clip(tmp_path / name, 20, times=times, audio=True)
    write(tmp_path / "out", records_of(source))
    written = tmp_path / "out/video/a.mp4"
    assert times_of(written) == pytest.approx(times_of(source), abs=1e-4)
    assert [number_of(pixels[::2, ::2]) for pixels in frames_of(written)] == list(range(20))
    assert packets(written) == packets(source)
    assert len(packets(source)) > 10
    assert heard(written) == pytest.approx(heard(source), abs=0.03)
    with av.open(str(written)) as container:
        video = container.streams.video[0]
        assert video.codec_context.name == "h264"
        last = times_of(source)[-1] + (times_of(source)[-1] - times_of(source)[-2])
        assert float(video.duration * video.time_base) == pytest.approx(last, abs=0.001)


def test_times_of_an_animation_are_its_own(tmp_path: Path) -> None:
    """FFmpeg takes each frame of a WebP to be shown for 40 ms."""
    frames = [Image.fromarray(numbered_frame(index)) for index in range(8)]
    source = tmp_path / "a.webp"
    frames[0].save(source, save_all=True, append_images=frames[1:], duration=33)
    expected = [0.033 * index for index in range(8)]
    found = Detections.empty((frames[0].height, frames[0].width))
    write(
        tmp_path / "out",
        (
            Record(n, "a.webp", found, source, seconds, "a.webp", pixels=np.asarray(frames[n]))
            for n, seconds in enumerate(expected)
        ),
    )
    assert times_of(tmp_path / "out/video/a.mp4") == pytest.approx(expected, abs=1e-4)


def test_pictures_that_begin_behind_their_sound_stay_there(tmp_path: Path) -> None:
    """As a phone's, and as a broadcast's, whose clock shows any time."""
    times = [0.5 + index / 10 for index in range(10)]
    source = write_clip(tmp_path / "a.mp4", 10, times=times, audio=True)
    write(tmp_path / "out", records_of(source))
    written = tmp_path / "out/video/a.mp4"
    assert times_of(written) == pytest.approx(times, abs=1e-3)
    assert heard(written) == pytest.approx(heard(source), abs=0.03)
    late = write_clip(tmp_path / "b.ts", 10, times=[100 + time for time in times])
    write(tmp_path / "late", records_of(late))
    assert times_of(tmp_path / "late/video/b.mp4") == pytest.approx([n / 10 for n in range(10)])


def test_sound_of_a_transport_stream_goes_into_mp4(tmp_path: Path) -> None:
    """Its AAC has an ADTS header of 7 bytes at each packet (ISO 14496-3), which MP4 refuses."""
    source = write_clip(tmp_path / "a.ts", 10, audio=True)
    write(tmp_path / "out", records_of(source))
    written = tmp_path / "out/video/a.mp4"
    assert packets(written) == [packet[7:] for packet in packets(source)]
    assert heard(written) == pytest.approx([0.0, 1.0], abs=0.05)


@pytest.mark.parametrize(
    ("name", "offset"), [("a.ts", "0"), ("a.ts", "40"), ("a.ts", "400"), ("a.mpg", None)]
)
def test_sound_of_joined_recordings_goes_on(tmp_path: Path, name: str, offset: str | None) -> None:
    """Each is 1.2 s long and beeps at 0 and 1; the first may begin later than the others."""
    options = {} if offset is None else {"output_ts_offset": offset}
    first = write_clip(tmp_path / name, 30, fps=25, audio=True, container_options=options)
    second = write_clip(tmp_path / f"b{first.suffix}", 30, fps=25, audio=True)
    path = tmp_path / f"joined{first.suffix}"
    path.write_bytes(first.read_bytes() + second.read_bytes() + second.read_bytes())
    write(tmp_path / "out", records_in(path))
    written = tmp_path / "out/video/joined.mp4"
    assert times_of(written) == pytest.approx([index / 25 for index in range(90)], abs=0.05)
    assert heard(written) == pytest.approx([0.0, 1.0, 1.2, 2.2, 2.4, 3.4], abs=0.05)
    write(tmp_path / "part", records_in(path, start=2.0))
    assert heard(tmp_path / "part/video/joined.mp4") == pytest.approx([0.2, 0.4, 1.4], abs=0.05)


def test_sound_of_a_damaged_avi_keeps_its_times(tmp_path: Path) -> None:
    """Zeros for half a second: sound is lost with the pictures, and what follows is in step."""
    source = write_clip(tmp_path / "a.avi", busy(40), audio=True)
    with av.open(str(source)) as container:
        places = [packet.pos for packet in container.demux(video=0) if packet.size]
    content = bytearray(source.read_bytes())
    content[places[13] : places[18]] = bytes(places[18] - places[13])
    source.write_bytes(content)
    write(tmp_path / "out", records_in(source))
    written = tmp_path / "out/video/a.mp4"
    assert times_of(written)[-1] == pytest.approx(4.0)
    assert heard(written) == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0], abs=0.05)


def test_damaged_sound_of_a_transport_stream_is_a_gap(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.ts", 10, audio=True)
    num_whole, frames = len(packets(source)), list(records_of(source))
    sent, random = bytearray(source.read_bytes()), np.random.default_rng(0)
    for start in random.integers(2000, len(sent) - 200, 40):
        sent[start : start + 100] = random.bytes(100)
    source.write_bytes(sent)
    write(tmp_path / "out", frames)
    written = tmp_path / "out/video/a.mp4"
    assert [number_of(pixels[::2, ::2]) for pixels in frames_of(written)] == list(range(10))
    assert 0 < len(packets(written)) < num_whole


def test_nothing_of_the_source_is_told(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 5, rotation=90)
    write(tmp_path / "out", records_of(source))
    with av.open(str(tmp_path / "out/video/a.mp4")) as container:
        assert set(container.metadata) <= {
            "major_brand", "minor_version", "compatible_brands", "encoder",
        }  # fmt: skip
        (frame, *_) = container.decode(video=0)
        assert frame.rotation == 0


@pytest.mark.parametrize("has_sound", [True, False])
def test_sound_can_be_left_out(tmp_path: Path, has_sound: bool) -> None:
    source = write_clip(tmp_path / "a.mp4", 5, audio=True)
    write(tmp_path / "out", records_of(source), Encoding(has_sound=has_sound))
    with av.open(str(tmp_path / "out/video/a.mp4")) as container:
        assert len(container.streams.audio) == has_sound


def test_sound_that_mp4_does_not_hold_is_told(tmp_path: Path) -> None:
    source = tmp_path / "a.avi"
    with av.open(str(source), "w") as container:
        video = container.add_stream("mjpeg", rate=10)
        video.width, video.height, video.pix_fmt = 320, 240, "yuvj420p"
        sound = container.add_stream("pcm_mulaw", rate=8000, layout="mono")
        container.mux(video.encode(av.VideoFrame(320, 240, "yuvj420p")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
    sink = write(tmp_path / "out", records_of(source))
    assert sink.notes == ["a.mp4: sound left out: MP4 does not hold pcm_mulaw"]
    assert len(frames_of(tmp_path / "out/video/a.mp4")) == 1


def test_odd_sides_get_one_row_more(tmp_path: Path, record: Callable[..., Record]) -> None:
    found = Detections.empty((241, 251))
    pixels = np.full((241, 251, 3), (200, 30, 30), np.uint8)
    frame = replace(record([], "0", 0, seconds=0.0, path=None), detections=found, pixels=pixels)
    write(tmp_path, [frame])
    (written,) = frames_of(tmp_path / "video/0.mp4")
    assert written.shape == (242, 252, 3)
    assert np.abs(written.astype(int) - (200, 30, 30)).max() <= 6  # colours are those that came


@pytest.mark.parametrize(("rotation", "shape"), [(0, Fraction(16, 11)), (90, Fraction(11, 16))])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_pixels_that_are_no_squares_stay_so(
    tmp_path: Path, codec: str, rotation: int, shape: Fraction
) -> None:
    """A recording that a player stretches is as wide in the result."""
    options = {"x264-params": "sar=16/11"}
    path = write_clip(tmp_path / "wide.mp4", 3, rotation=rotation, options=options)
    write(tmp_path, records_in(path), Encoding(codec))
    with av.open(str(tmp_path / "video" / "wide.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == shape


def test_a_missing_frame_leaves_the_one_before(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 10)
    outcomes: list[Outcome] = list(records_of(source))
    for index in (0, 4, 9):
        outcomes[index] = missing(index, index / 10, "a.mp4")
    write(tmp_path / "out", outcomes)
    written = tmp_path / "out/video/a.mp4"
    shown = [number_of(pixels[::2, ::2]) for pixels in frames_of(written)]
    assert shown == [1, 2, 3, 3, 5, 6, 7, 8, 8]
    assert times_of(written) == pytest.approx([index / 10 for index in range(1, 10)])


def test_a_part_of_a_video_begins_at_zero_with_its_own_sound(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 40, audio=True)
    part = [frame for frame in records_of(source) if 1.5 <= (frame.seconds or 0) < 2.9]
    write(tmp_path / "out", part)
    written = tmp_path / "out/video/a.mp4"
    assert times_of(written) == pytest.approx([index / 10 for index in range(14)], abs=1e-4)
    assert heard(written) == pytest.approx([0.5], abs=0.05)  # of the second 2; that of 3 is cut
    assert set(packets(written)) < set(packets(source))


def test_every_third_frame_keeps_time_and_all_sound(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "a.mp4", 20, audio=True)
    write(tmp_path / "out", records_of(source, every=3))
    written = tmp_path / "out/video/a.mp4"
    assert times_of(written) == pytest.approx([index * 0.3 for index in range(7)])
    assert packets(written) == packets(source)


def test_videos_side_by_side_and_one_after_another(
    tmp_path: Path, record: Callable[..., Record]
) -> None:
    sink = VideoSink(tmp_path, ORIGIN, BARE)
    for index in range(3):
        for name in ("a/0.avi", "a/0.mkv", "door"):
            sink.write(record([], name, index, seconds=index / 5, path=None))
    sink.write(record([], "picture.jpg"))
    sink.close()
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.mp4"))
    assert written == ["video/a/0.mkv.mp4", "video/a/0.mp4", "video/door.mp4"]
    assert [len(times_of(tmp_path / name)) for name in written] == [3, 3, 3]


def test_a_file_whose_frames_no_longer_come_is_ended(
    tmp_path: Path, record: Callable[..., Record]
) -> None:
    first, second = (write_clip(tmp_path / f"{name}.mp4", 2) for name in "ab")
    sink = VideoSink(tmp_path / "out", ORIGIN, BARE)
    for frame in records_of(first):
        sink.write(frame)
    (frame, _) = records_of(second)
    small = replace(frame, pixels=np.zeros((120, 160, 3), np.uint8))
    for index in range(OVER_AFTER + 1):
        sink.write(replace(small, index=index, seconds=index / 10))
    with av.open(str(tmp_path / "out/video/a.mp4")) as container:
        assert container.duration == 200_000  # as only the end of a file tells
    sink.close()
    assert len(times_of(tmp_path / "out/video/b.mp4")) == OVER_AFTER + 1


def test_a_camera_that_begins_anew_goes_on(tmp_path: Path, record: Callable[..., Record]) -> None:
    sink = VideoSink(tmp_path, ORIGIN, BARE)
    for index, seconds in enumerate((100.0, 100.5, 107.0, 3.0, 3.5)):
        sink.write(record([], "door", index, seconds=seconds, path=None))
    sink.close()
    assert times_of(tmp_path / "video/door.mp4") == pytest.approx([0, 0.5, 7, 13.5, 14])


def test_frames_of_another_size_are_fitted_in(
    tmp_path: Path, record: Callable[..., Record]
) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", Encoding())
    writer.add(0.0, np.full((240, 320, 3), 200, np.uint8))
    writer.add(1.0, np.full((480, 480, 3), 200, np.uint8))
    writer.close()
    last = frames_of(tmp_path / "a.mp4")[-1]
    assert last.shape == (240, 320, 3)
    assert last[:, :230].min() > 180
    assert last[:, 250:].max() < 20


@pytest.mark.parametrize("codec", ["mpeg4", "libsvtav1"])
def test_other_codecs(tmp_path: Path, codec: str) -> None:
    source = write_clip(
        tmp_path / "a.mp4", 6, times=[time - VARIABLE[8] for time in VARIABLE[8:14]]
    )
    write(tmp_path / "out", records_of(source), Encoding(codec))
    written = tmp_path / "out/video/a.mp4"
    assert times_of(written) == pytest.approx(times_of(source), abs=1.1e-3)  # to the source's ms


@pytest.mark.skipif("h264_nvenc" not in av.codecs_available, reason="PyAV without it")
@pytest.mark.skipif(bool(shutil.which("nvidia-smi")), reason="a card that has it")
def test_a_codec_of_a_card_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", Encoding("h264_nvenc"))
    line = r"a\.mp4: h264_nvenc does not work on this machine \(.+\); choose another codec$"
    for _ in range(2):  # whatever comes behind it
        with pytest.raises(DeviceError, match=line):
            writer.add(0.0, np.zeros((240, 320, 3), np.uint8))
    with pytest.raises(DeviceError, match=line):
        writer.close()


@pytest.mark.parametrize("codec", ["nonsense", "aac", "gif", ""])
def test_an_unknown_codec_is_one_line(codec: str) -> None:
    line = rf"^codec: expected libx264, .*; got {codec}$"
    with pytest.raises(OutputError, match=line):
        Encoding(codec)


def test_a_file_is_there_once_it_opens(tmp_path: Path) -> None:
    path = tmp_path / "out" / "a.mp4"
    writer = VideoWriter(path, Encoding())
    was_there = []
    for index in range(30):
        writer.add(index / 10, numbered_frame(index))
        was_there.append(path.exists())
        assert not path.exists() or len(frames_of(path)) > 0
    writer.close()
    assert (was_there[0], was_there[-1]) == (False, True)
    assert len(frames_of(path)) == 30


def test_what_a_kill_leaves_opens(tmp_path: Path) -> None:
    """The file as it stands while it grows, byte for byte."""
    rng, path = np.random.default_rng(0), tmp_path / "a.mp4"
    writer = VideoWriter(path, Encoding())
    for index in range(80):
        writer.add(index / 10, rng.integers(0, 255, (64, 64, 3), np.uint8))
    left = tmp_path / "left.mp4"
    left.write_bytes(path.read_bytes())
    writer.close()
    times = times_of(left)
    assert times == pytest.approx([index / 10 for index in range(len(times))])
    assert len(times) >= 60  # of 80: 5 are not a fragment yet, some are still in the encoder
    assert len(times_of(path)) == 80


@pytest.fixture
def full_disk() -> Iterator[None]:
    """Let no file grow over 150 kB."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_is_told_and_what_was_written_opens(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "video/door.mp4"
    noise = rng.integers(0, 255, (80, 240, 240, 3), np.uint8)
    sink = VideoSink(tmp_path, ORIGIN, BARE)
    found = Detections.empty((240, 240))

    def write_all() -> None:
        for index, pixels in enumerate(noise):
            sink.write(Record(index, "door", found, seconds=index / 10, pixels=pixels))

    with pytest.raises(OSError, match=f"File too large: '{path}'"):
        write_all()
    with pytest.raises(OSError, match="File too large"):  # of frames that waited
        sink.close()
    with av.open(str(path)) as container:
        assert sum(bool(packet.size) for packet in container.demux(video=0)) >= 2


def test_a_disk_too_small_for_the_first_pictures_leaves_no_file(small_disk: Path) -> None:
    rng = np.random.default_rng(0)
    writer = VideoWriter(small_disk / "a.mp4", Encoding())
    for index in range(4):
        writer.add(index / 10, rng.integers(0, 255, (480, 480, 3), np.uint8))
    with pytest.raises(OSError, match=r"No space left.*a\.mp4"):
        writer.close()
    assert list(small_disk.iterdir()) == []
