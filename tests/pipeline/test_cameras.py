"""Cameras that are there, come and go, lie, and say nothing, on servers of the test's own."""

import ctypes
import io
import json
import logging
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from camera_servers import (
    FPS,
    NUM_FRAMES,
    CameraServer,
    file_of,
    mpeg_ts,
    multipart_jpeg,
    rubbish,
    silent,
    stalling,
    ts_chunks,
)
from clips import Pixels, number_of, numbered_frame, write_clip

from head_detection.inference.loading import read_ahead
from head_detection.pipeline.addresses import Address, DeviceMode, parse_address
from head_detection.pipeline.camera import Camera, CameraCounts
from head_detection.pipeline.camera_decoder import Decoder, Messages
from head_detection.pipeline.camera_opening import Opening
from head_detection.pipeline.camera_process import DecoderProcess, Message
from head_detection.pipeline.cameras import Cameras, _watch
from head_detection.pipeline.sources import FrameOptions, Patience
from head_detection.pipeline.video_file import upright
from head_detection.structures import Frame

QUICK = Patience(open_seconds=5.0, read_seconds=5.0, first_wait=0.1, longest_wait=0.2)
BLINK = Patience(open_seconds=0.3, read_seconds=0.3, first_wait=0.1, longest_wait=0.2)
"""They give up soon."""
LONGEST_WAIT = 20.0
"""Seconds, on a machine that does much else."""

Open = Callable[..., Cameras]


@pytest.fixture
def opened() -> Iterator[Open]:
    """A function that opens addresses, which are left at the end."""
    sources: list[Cameras] = []

    def open_cameras(*urls: str, patience: Patience = QUICK, **options: Any) -> Cameras:
        addresses = [parse_address(url) for url in urls]
        sources.append(Cameras(addresses, FrameOptions(**options), patience))
        return sources[-1]

    yield open_cameras
    for source in sources:
        source.close()


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """A function that returns what was told so far."""
    caplog.set_level(logging.INFO, "head_detection.pipeline")
    return lambda: [record.getMessage() for record in caplog.records]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONGEST_WAIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def take(source: Cameras, count: int, pause: float = 0.0) -> list[Frame]:
    """Take frames, slowly; the cameras are left then."""
    frames = []
    with closing(iter(source)) as items:  # type: ignore[type-var]
        for frame in islice(items, count):
            frames.append(frame)
            time.sleep(pause)
    return frames


def number_in(frame: Frame) -> int:
    assert frame.pixels is not None
    return number_of(frame.pixels)


def pids(source: Cameras) -> list[int]:
    return [c._process.pid for c in source.cameras if c._process is not None]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_newest_frame_wins_and_what_is_dropped_is_counted(opened: Open) -> None:
    with CameraServer(mpeg_ts()) as server:
        source = opened(server.url)
        assert source.info.is_live
        latencies = []
        for frame in islice(source, 9):
            assert frame.captured is not None
            time.sleep(0.2)  # a detector six times slower than the camera
            latencies.append(time.monotonic() - frame.captured)
            assert number_in(frame) == frame.index
            assert frame.seconds == pytest.approx(frame.index / FPS, abs=0.001)
        counts = source.cameras[0].counts
    assert max(latencies) < 1.0
    assert counts.given == 9
    assert counts.dropped > 20
    assert counts.longest_latency < 1.0
    assert (frame.name, frame.path) == (source.info.name, None)


def test_pictures_without_times_are_timed_by_the_clock(opened: Open) -> None:
    """FFmpeg says 25 a second of every multipart stream; this one has 15."""
    with CameraServer(multipart_jpeg(fps=15)) as server:
        frames = take(opened(server.url), 6, pause=0.2)
    assert [number_in(frame) for frame in frames] == [frame.index for frame in frames]
    first, last = frames[0], frames[-1]
    assert first.seconds is not None
    assert last.seconds is not None
    assert last.seconds - first.seconds == pytest.approx((last.index - first.index) / 15, rel=0.3)


def test_a_dead_camera_does_not_stop_the_others(
    opened: Open, told: Callable[[], list[str]]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with CameraServer(mpeg_ts()) as server:
        frames = take(opened(f"http://127.0.0.1:{port}/dead", server.url), 30)
    assert {frame.name for frame in frames} == {f"127.0.0.1-{server.port}-live"}
    (line,) = [line for line in told() if "dead" in line]
    assert line.endswith("-dead: not there: Connection refused; tried again until it comes")


def test_a_camera_that_comes_back_goes_on(opened: Open, told: Callable[[], list[str]]) -> None:
    with CameraServer(mpeg_ts()) as server, CameraServer(mpeg_ts()) as other:
        source = opened(server.url, other.url)
        frames: dict[str, list[Frame]] = {camera.address.name: [] for camera in source.cameras}
        mine, others = frames.values()
        gone_at = back_at = None
        for frame in source:
            frames[frame.name].append(frame)
            now = time.monotonic()
            if gone_at is None and len(mine) == 10:
                server.stop()
                gone_at = now
            if gone_at is not None and back_at is None and now > gone_at + 0.5:
                server.start()
                back_at = now
            if sum(one.index != number_in(one) for one in mine) >= 8:  # the server began anew
                break
        counts = source.cameras[0].counts
    assert counts.reconnects == 1
    assert counts.down_seconds > 0.3
    for one in (mine, others):  # numbers and seconds only grow
        assert all(a.index < b.index for a, b in pairwise(one))
        assert all(a.seconds < b.seconds for a, b in pairwise(one) if a.seconds and b.seconds)
    # No frame is made up: each is one that was sent, the server's anew after the gap.
    assert all(number_in(frame) == frame.index for frame in (*others, *mine[:10]))
    assert len({frame.index - number_in(frame) for frame in mine}) == 2
    gaps = [b.seconds - a.seconds for a, b in pairwise(mine) if a.seconds and b.seconds]
    assert max(gaps) > 0.3
    lines = [line.partition("live: ")[2] for line in told() if f"-{server.port}-" in line]
    assert lines[0] == "connected: 160x120, 30 frames/s"
    assert lines[1].startswith("lost: ")
    assert lines[-1].startswith("connected: 160x120, 30 frames/s, after ")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (silent, "not there: no answer for 0.3 s"),
        (rubbish, "not there: (Invalid data|no answer)"),
        (stalling(12), "lost: (no data|no frame) for 0.3 s"),
        (mpeg_ts(num_frames=12), "lost: the (stream ended|connection broke off)"),
    ],
    ids=["silent", "rubbish", "stalling", "ending"],
)
def test_a_camera_that_says_nothing_more_is_tried_again(
    opened: Open,
    told: Callable[[], list[str]],
    answer: Callable[[socket.socket], None],
    reason: str,
) -> None:
    with CameraServer(answer) as server:
        source = opened(server.url, patience=BLINK)
        began = time.monotonic()
        assert source.info.is_live
        wait_for(lambda: server.num_connections > 2)
        assert time.monotonic() - began < LONGEST_WAIT
        began = time.monotonic()
        before = pids(source)
        source.close()
        assert time.monotonic() - began < 1.0
    assert not any(map(is_alive, before))
    assert any(re.search(reason, line) for line in told()), told()


def test_a_file_on_a_web_server_gives_every_frame(
    opened: Open, told: Callable[[], list[str]], tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4", 20, fps=50)
    with CameraServer(file_of(clip)) as server:
        source = opened(server.url)
        assert not source.info.is_live
        assert source.is_ready() is False  # before the first, as of any new batch
        frames, is_ready = [], []
        for frame in source:
            frames.append(frame)
            is_ready.append(source.is_ready())
            time.sleep(0.02)
    assert all(is_ready)  # a full batch is worth the wait
    assert len(source._batch) == 1  # what was given is not kept
    assert [number_in(frame) for frame in frames] == list(range(20))
    assert [frame.seconds for frame in frames] == [index / 50 for index in range(20)]
    assert {frame.captured for frame in frames} == {None}
    assert "it is a file, 0.4 s long, not a camera: every frame" in told()[0]


def test_a_file_without_a_container_has_the_rate_that_it_carries(
    opened: Open, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.h264", 10, fps=10, codec="libx264")
    with CameraServer(file_of(clip)) as server:
        frames = take(opened(server.url), 99)
    assert [frame.seconds for frame in frames] == [index / 10 for index in range(10)]


def test_a_file_that_breaks_off_ends_in_a_frame_that_failed(opened: Open, tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    clip = write_clip(tmp_path / "a.mp4", 40, container_options=options)
    with CameraServer(file_of(clip, num_bytes=clip.stat().st_size * 2 // 3)) as server:
        *frames, last = take(opened(server.url, patience=BLINK), 99)
    assert [number_in(frame) for frame in frames] == list(range(len(frames)))
    assert 5 < len(frames) < 40
    assert (last.index, last.pixels) == (len(frames), None)


@pytest.mark.parametrize("is_served", [False, True])
def test_a_file_may_be_taken_as_if_it_were_live(tmp_path: Path, *, is_served: bool) -> None:
    clip = write_clip(tmp_path / "a.mp4", 25, fps=25)
    with CameraServer(file_of(clip)) as server:
        address = Address("clip", server.url if is_served else str(clip))
        source = Cameras([address], FrameOptions(is_live=True), are_files=not is_served)
        assert source.info.is_live
        time.sleep(0.3)  # weights are loaded: nothing of the file passes meanwhile
        began = time.monotonic()
        frames = take(source, 99, pause=0.1)
    assert time.monotonic() - began > 0.6
    assert frames[0].index == 0
    counts = source.cameras[0].counts
    assert (counts.received, counts.given + counts.dropped) == (25, 25)
    assert [number_in(frame) for frame in frames] == [frame.index for frame in frames]
    assert 3 <= len(frames) <= 13
    assert frames[-1].index == 24  # the last is never dropped: none is newer


def test_the_part_of_a_file_taken_as_live_begins_at_once(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4", 100, fps=5)
    options = FrameOptions(is_live=True, start=15.0, end=15.9)
    source = Cameras([Address("clip", str(clip))], options, are_files=True)
    assert source.info.is_live
    began = time.monotonic()
    frames = take(source, 99, pause=0.1)
    assert time.monotonic() - began < 12.0
    assert frames[0].index == 75
    assert all(75 <= frame.index < 80 for frame in frames)
    assert len(frames) >= 2


def test_a_stream_of_which_every_frame_counts_drops_none(opened: Open) -> None:
    with CameraServer(mpeg_ts()) as server:
        source = opened(server.url, is_live=False)
        frames = take(source, 12, pause=0.1)
    assert [number_in(frame) for frame in frames] == list(range(12))
    assert source.cameras[0].counts.dropped == 0


def test_cameras_meet_in_batches_with_one_frame_each(opened: Open) -> None:
    with CameraServer(mpeg_ts()) as first, CameraServer(mpeg_ts()) as second:
        source = opened(first.url, second.url)
        batches: list[list[str]] = [[]]
        read = read_ahead(source, lambda frame: frame.name, lambda _: 0, source.is_ready)
        with closing(read):  # type: ignore[type-var]
            for name in read:
                if name is not None:
                    batches[-1].append(name)
                    continue
                time.sleep(0.1)  # the network, three frames long
                batches.append([])
                if len(batches) > 15:
                    break
    late = batches[5:-1]
    assert all(len(batch) == len(set(batch)) for batch in batches)
    assert sum(len(batch) == 2 for batch in late) > 0.7 * len(late)


def test_a_device_is_read_through_the_system_of_its_format() -> None:
    """FFmpeg's own makes a picture where no camera is."""
    made = Address("made", "testsrc=size=160x120:rate=25,realtime", "lavfi")
    source = Cameras([made])
    frames = take(source, 4, pause=0.15)
    assert [frame.pixels.shape for frame in frames if frame.pixels is not None] == [
        (120, 160, 3)
    ] * 4
    assert frames[-1].seconds == pytest.approx(frames[-1].index / 25, abs=0.01)
    assert source.cameras[0].counts.dropped > 3


def test_a_camera_at_another_rate_than_asked_for_says_so(told: Callable[[], list[str]]) -> None:
    made = "testsrc=size=160x120:rate=25,realtime"
    take(Cameras([Address("made", made, "lavfi", DeviceMode(fps=30))]), 1)
    assert told() == ["camera made: connected: 160x120, 25 frames/s in place of 30"]


def test_a_playlist_that_goes_on_is_live_and_opens_no_file_of_this_machine(
    opened: Open, tmp_path: Path
) -> None:
    part = b"".join(ts_chunks(FPS))
    (tmp_path / "private.ts").write_bytes(part)
    head = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:10,\n"
    end = "#EXT-X-ENDLIST\n"  # or it would be asked for again and again

    def answer(connection: socket.socket) -> None:
        request = connection.recv(4096)
        listed = f"file://{tmp_path}/private.ts\n{end}" if b"/bad" in request else "part.ts"
        content = part if b"/part.ts" in request else f"{head}{listed}\n".encode()
        kind = "video/mp2t" if content is part else "application/vnd.apple.mpegurl"
        length = f"Content-Length: {len(content)}\r\nContent-Type: {kind}\r\n\r\n"
        connection.sendall(f"HTTP/1.0 200 OK\r\n{length}".encode() + content)

    with CameraServer(answer) as server:
        urls = [server.url.replace("live", name) for name in ("good.m3u8", "bad.m3u8")]
        source = opened(*urls)
        assert source.info.is_live
        frames = take(source, 2)
    assert {frame.name for frame in frames} == {f"127.0.0.1-{server.port}-good.m3u8"}
    assert source.cameras[0].is_finite is False


def test_stride_rate_and_end_leave_frames_out(opened: Open) -> None:
    with CameraServer(mpeg_ts()) as server:
        newest = take(opened(server.url, stride=4, end=1.0), 99)
        frames = take(opened(server.url, is_live=False, max_fps=10.0, start=0.2, end=1.0), 99)
    assert [frame.index for frame in frames] == list(range(6, 30, 3))
    assert {frame.index % 4 for frame in newest} == {0}
    first, last = newest[0].seconds, newest[-1].seconds
    assert first is not None
    assert last is not None
    assert 0.5 < last - first < 1.0


def test_what_a_camera_sends_before_it_is_looked_at_does_not_count_as_time(opened: Open) -> None:
    with CameraServer(mpeg_ts()) as server:
        source = opened(server.url, end=0.5)
        assert source.info.is_live
        wait_for(lambda: source.cameras[0].counts.received > 45)  # weights are loaded meanwhile
        frames = take(source, 99)
    first, last = frames[0].seconds, frames[-1].seconds
    assert first is not None
    assert last is not None
    assert first > 1.0
    assert 0.3 < last - first < 0.5


def test_no_address_shows_its_password(
    opened: Open, told: Callable[[], list[str]], tmp_path: Path
) -> None:
    with CameraServer(mpeg_ts()) as server:
        url = server.url.replace("//", "//me:geh%40im@") + "?token=abc123"
        source = opened(url)
        shown = [source.info.name, repr(source.cameras[0].address)]
        frames = iter(source)
        frame = next(frames)
        pid = pids(source)[0]
        shown += [frame.name, *source.states(), *source.summary()]
        if Path(f"/proc/{pid}").exists():
            shown.append(Path(f"/proc/{pid}/cmdline").read_text())
            shown.append(Path(f"/proc/{pid}/environ").read_text())
        server.stop()
        wait_for(lambda: len(told()) > 1)
    text = "\n".join([*shown, *told()])
    assert "lost" in text
    for secret in ("geh", "abc123", "me:"):
        assert secret not in text


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_the_process_of_a_camera_is_light(opened: Open) -> None:
    with CameraServer(mpeg_ts()) as server:
        source = opened(server.url)
        frames = iter(source)
        next(frames)
        (pid,) = pids(source)
        maps = Path(f"/proc/{pid}/maps").read_text()
    assert "libavcodec" in maps
    assert "torch" not in maps


def test_a_process_that_dies_is_replaced(opened: Open, told: Callable[[], list[str]]) -> None:
    with CameraServer(mpeg_ts()) as server:
        source = opened(server.url)
        frames = iter(source)
        next(frames)
        (pid,) = pids(source)
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: source.cameras[0].counts.reconnects == 1)
        assert next(frames).pixels is not None
    assert not is_alive(pid)
    assert any("lost: its process was ended by signal 9" in line for line in told())


class Listener:
    """Stands for a camera, and notes for how long it is told that nobody could hear it."""

    def __init__(self) -> None:
        self.stood_still: list[float] = []

    def check(self, stood_still: float) -> None:
        self.stood_still.append(stood_still)


@pytest.mark.skipif(sys.platform == "win32", reason="holds the interpreter through the C library")
def test_time_in_which_this_process_stands_still_is_no_silence() -> None:
    camera, stopped = Listener(), threading.Event()
    watchdog = threading.Thread(target=_watch, args=([camera], threading.Condition(), stopped))
    watchdog.start()
    wait_for(lambda: bool(camera.stood_still))
    ctypes.PyDLL(None).usleep(500_000)  # no other thread goes on, as while a library loads
    wait_for(lambda: len(camera.stood_still) > 2)
    stopped.set()
    watchdog.join()
    assert max(camera.stood_still) > 0.25  # .5 s, of which it waits .2 s itself


def test_a_process_has_the_time_back_in_which_nobody_could_hear_it() -> None:
    process = DecoderProcess(Opening("http://127.0.0.1:1/"))
    try:
        process._deadline = time.monotonic() - 1.0
        process.check(stood_still=60.0)
        assert process.killed_because is None
        process._deadline = time.monotonic() - 1.0
        process.check(stood_still=0.5)
        assert process.killed_because == "its process did not begin"
    finally:
        process.kill("")
        assert not list(process.messages())


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_a_parent_that_is_killed_leaves_no_process() -> None:
    program = (
        "import sys\n"
        "from head_detection.pipeline.opening import open_source\n"
        "source = open_source(sys.argv[1])\n"
        "source.info\n"
        "frames = iter(source)\n"
        "next(frames)\n"
        "print(source.cameras[0]._process.pid, flush=True)\n"
        "list(frames)\n"
    )
    with (
        CameraServer(mpeg_ts()) as server,
        subprocess.Popen(
            [sys.executable, "-c", program, server.url],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as parent,
    ):
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
        wait_for(lambda: not Path(f"/proc/{child}/cmdline").exists() or is_zombie(child))


def is_zombie(pid: int) -> bool:
    """In a container nobody may collect what has lost its parent."""
    return "Z (" in Path(f"/proc/{pid}/status").read_text()


def send_by_udp(port: int, stop: threading.Event) -> None:
    target = f"udp://127.0.0.1:{port}?pkt_size=1316"
    with av.open(target, "w", format="mpegts") as container:
        codec = {"preset": "ultrafast", "tune": "zerolatency"}
        stream = container.add_stream("libx264", rate=FPS, options=codec)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 160, 120, "yuv420p", 10
        for index in range(NUM_FRAMES):
            picture = av.VideoFrame.from_ndarray(numbered_frame(index), format="rgb24")
            picture.pts = index
            container.mux(stream.encode(picture))
            if stop.wait(1 / FPS):
                return


def test_a_stream_by_udp_is_taken_up_where_it_is(opened: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    stop = threading.Event()
    sender = threading.Thread(target=send_by_udp, args=(port, stop))
    sender.start()
    try:
        frames = take(opened(f"udp://127.0.0.1:{port}"), 6, pause=0.1)
    finally:
        stop.set()
        sender.join()
    numbers = [number_in(frame) for frame in frames]
    first = numbers[0] - frames[0].index  # sent before anybody listened
    assert numbers == [frame.index + first for frame in frames]
    assert len(set(numbers)) == 6


@contextmanager
def rtsp_server(*arguments: str) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """Run GStreamer's server; yield its port."""
    python, script = Path("/usr/bin/python3"), Path(__file__).parents[1] / "rtsp_server.py"
    if not python.exists():
        pytest.skip("no /usr/bin/python3, whose gi has GStreamer")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with subprocess.Popen(
        [python, script, *arguments], stdout=subprocess.PIPE, text=True, env=plain
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                pytest.skip("no GStreamer: apt-get install gir1.2-gst-rtsp-server-1.0 and others")
            yield int(line), server
        finally:
            server.kill()


def test_rtsp_with_a_password_is_taken_and_comes_back(
    opened: Open, told: Callable[[], list[str]]
) -> None:
    with rtsp_server("0", "me", "geh@im") as (port, server):
        source = opened(f"rtsp://me:geh%40im@127.0.0.1:{port}/ball")
        frames = iter(source)
        first = [next(frames) for _ in range(5)]
        server.kill()
        server.wait()
        wait_for(lambda: any("lost" in line for line in told()))
        with rtsp_server(str(port), "me", "geh@im"):
            later = [next(frames) for _ in range(5)]
    counts = source.cameras[0].counts
    assert counts.reconnects == 1
    taken = [*first, *later]
    assert {frame.pixels.shape for frame in taken if frame.pixels is not None} == {(120, 160, 3)}
    assert all(a.index < b.index for a, b in pairwise(taken))
    assert all(a.seconds < b.seconds for a, b in pairwise(taken) if a.seconds and b.seconds)
    assert "geh" not in "".join([*told(), *source.summary()])


class LateFor:
    """Tells of each packet's delay, as it is given."""

    def __init__(self, delays: list[float]) -> None:
        self.delays = iter(delays)

    def arrive(self, time_of_packet: float | None, now: float) -> float:
        return next(self.delays)

    def captured_at(self, time_of_frame: float | None, now: float) -> float:
        return now

    def seconds_of(self, time_of_frame: float | None, now: float) -> float:
        return 0.0 if time_of_frame is None else time_of_frame


def test_a_stream_that_is_too_much_to_decode_is_taken_up_at_key_frames(tmp_path: Path) -> None:
    """A key frame every 10: late from frame 5 to 14, all up to key frame 20 but 10 is left out."""
    clip = tmp_path / "a.ts"
    clip.write_bytes(b"".join(ts_chunks(FPS)[:30]))
    said = io.BytesIO()
    decoder = Decoder(Opening(str(clip)), Messages(said))
    with av.open(str(clip)) as container:
        stream = decoder._begin(container)
        decoder._timeline = LateFor([0.0] * 5 + [0.7] * 10 + [0.0] * 99)  # type: ignore[assignment]
        decoder._decode(container, stream)
    messages = [json.loads(line) for line in said.getvalue().splitlines()]
    announced = [message["index"] for message in messages if message["kind"] == "frame"]
    assert announced[:6] == [0, 1, 2, 3, 4, 10]
    assert announced[6:] == list(range(20, 20 + len(announced[6:])))
    assert len(announced) >= 14
    numbers = [message["number"] for message in messages if message["kind"] == "frame"]
    assert numbers == announced  # what was left out was wanted: the camera counts it as dropped
    last = decoder._shelf.take()
    assert isinstance(last.picture, av.VideoFrame)
    assert number_of(upright(last.picture)) == last.index == announced[-1]


@pytest.mark.parametrize(("start", "number"), [(0.0, 2), (0.15, 0)])
def test_what_is_left_out_before_the_first_frame_was_wanted(start: float, number: int) -> None:
    """But what is before the start that was asked for."""
    said = io.BytesIO()
    decoder = Decoder(Opening("nobody", start=start), Messages(said))
    decoder._timeline = LateFor([])  # type: ignore[assignment]
    for seconds in (0.0, 0.1):
        decoder._leave_out(seconds)
    decoder._take(av.VideoFrame(16, 16), 0.2)
    (message,) = (json.loads(line) for line in said.getvalue().splitlines())
    assert (message["index"], message["number"]) == (2, number)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"stride": 2}, {4: 2, 10: 5, 20: 10}), ({"max_fps": 10.0}, {3: 1, 10: 4, 20: 8})],
)
def test_what_is_left_out_and_was_not_wanted_is_not_dropped(
    tmp_path: Path, options: dict[str, Any], expected: dict[int, int]
) -> None:
    """As above; every second frame is wanted, or 0, 3, 6 ... with 10 in place of the next one."""
    clip = tmp_path / "a.ts"
    clip.write_bytes(b"".join(ts_chunks(FPS)[:30]))
    said = io.BytesIO()
    decoder = Decoder(Opening(str(clip), **options), Messages(said))
    with av.open(str(clip)) as container:
        stream = decoder._begin(container)
        decoder._timeline = LateFor([0.0] * 5 + [0.7] * 10 + [0.0] * 99)  # type: ignore[assignment]
        decoder._decode(container, stream)
    messages = [json.loads(line) for line in said.getvalue().splitlines()]
    numbers = {m["index"]: m["number"] for m in messages if m["kind"] == "frame"}
    assert {index: numbers.get(index) for index in expected} == expected


@pytest.mark.parametrize(("every_frame", "dropped"), [(False, 7), (True, 5)])
def test_each_frame_of_a_camera_is_in_one_count(every_frame: bool, dropped: int) -> None:
    changed = threading.Condition()
    options = FrameOptions(is_live=False if every_frame else None)
    camera = Camera(Address("door", "nobody"), options, QUICK, changed)
    pixels = np.zeros((2, 2, 3), np.uint8)

    def say(kind: str, pixels: Pixels | None = None, **values: Any) -> None:
        camera._take_message(Message(kind, values, pixels))

    say("frame", index=0, number=0, seconds=0.0)
    say("pixels", pixels, index=0, number=0, seconds=0.0, captured=0.0)
    camera.take()
    say("damaged", index=1)
    say("frame", index=6, number=5, seconds=0.6)  # four were left out undecoded
    say("frame", index=7, number=6, seconds=0.7)
    say("pixels", pixels, index=7, number=6, seconds=0.7, captured=0.7)
    camera.take()
    say("frame", index=8, number=7, seconds=0.8)
    say("frame", index=9, number=8, seconds=0.9)
    say("damaged", index=10)
    camera.close()
    counts = camera.counts
    assert (counts.received, counts.given, counts.damaged) == (11, 2, 2)
    assert counts.dropped == dropped


@pytest.mark.parametrize("error", [MemoryError(), ValueError("no converter"), None])
def test_a_frame_that_cannot_be_converted_is_damaged_and_the_next_one_comes(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """Nobody would answer the requests to come if this ended the thread that does."""

    def fail(*_: object) -> Pixels:
        if error is not None:
            raise error
        return np.zeros((16, 16, 3), np.uint8)

    said = io.BytesIO()
    decoder = Decoder(Opening("nobody"), Messages(said))
    monkeypatch.setattr("head_detection.pipeline.camera_decoder.upright", fail)
    decoder._take(av.VideoFrame(16, 16), 0.0)
    decoder.give()
    _, line, pixels = said.getvalue().split(b"\n", 2)
    message = json.loads(line)
    assert (message["kind"], message["index"]) == ("pixels", 0)
    assert message["shape"] == (None if error is not None else [16, 16, 3])
    assert len(pixels) == (0 if error is not None else 16 * 16 * 3)


def test_what_is_measured_waits_for_whoever_changes_it() -> None:
    source = Cameras([Address("front", "nobody")])
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: answers.put(source.measured()))
    with source._changed:
        thread.start()
        with pytest.raises(queue.Empty):
            answers.get(timeout=0.1)
    ((name, rate, counts),) = answers.get(timeout=LONGEST_WAIT)
    thread.join()
    assert (name, rate, counts) == ("front", 0.0, CameraCounts())
    assert counts is not source.cameras[0].counts


def test_a_fault_of_the_decoder_is_told(tmp_path: Path) -> None:
    # As PyAV 19 made one: a header without a size was None there.
    lines = f"""
import sys
sys.path[:] = {sys.path!r}
from head_detection.pipeline import camera_decoder
def begin(self, container): raise TypeError("no size")
camera_decoder.Decoder._begin = begin
camera_decoder.main()
"""
    opening = Opening(str(write_clip(tmp_path / "a.mkv", 2)), is_file=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", lines], **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(opening.to_line())
        process.stdin.flush()
        said = process.stdout.readlines()
    assert json.loads(said[-1]) == {
        "kind": "end",
        "reason": "a fault of the program: TypeError: no size",
        "is_complete": False,
    }
