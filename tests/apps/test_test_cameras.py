"""``test`` on cameras: what is written, told, and left when it is ended."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from camera_servers import CameraServer, file_of, mpeg_ts, silent
from clips import write_clip

from head_detection.apps.main import main

LONGEST_WAIT = 60.0


def end_when(number: int, lines: Path, count: int) -> threading.Thread:
    """Send the process a signal once a file has so many lines of each camera."""

    def wait() -> None:
        deadline = time.monotonic() + LONGEST_WAIT
        while time.monotonic() < deadline:
            found = lines.read_text() if lines.exists() else ""
            if all(found.count(f'"source": "{name}"') >= count for name in ("door", "gate")):
                break
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def num_decoders() -> int:
    """Count the processes that decode for this one."""
    found = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        found += (
            int(parent) == os.getpid() and b"camera_decoder" in (folder / "cmdline").read_bytes()
        )
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_cameras_of_a_list_go_on_until_a_signal(
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        CameraServer(mpeg_ts()) as door,
        CameraServer(mpeg_ts()) as gate,
        CameraServer(silent) as no,
    ):
        Path("all.streams").write_text(
            f"# the house\ndoor=http://me:geheim@127.0.0.1:{door.port}/live\n"
            f"gate={gate.url}\nnobody={no.url}\n"
        )
        out = Path("runs/test/all")
        ending = end_when(number, out / "detections.ndjson", 3)
        weights = ["--weights", str(tiny_weights), "--device", "cpu"]
        timeouts = ["--open-timeout", "2", "--read-timeout", "5"]
        try:
            ended = main(
                ["test", "--source", "all.streams", "--save", "lines", *weights, *timeouts]
            )
        except SystemExit as end:  # as the process ends
            ended = end.code
        ending.join()
    assert ended == code
    assert num_decoders() == 0
    records = [json.loads(line) for line in (out / "detections.ndjson").read_text().splitlines()]
    assert {record["source"] for record in records} == {"door", "gate"}
    assert all(record["seconds"] >= 0 and record["frame"] >= 0 for record in records)
    told = capsys.readouterr()
    assert "camera door: received: " in told.out
    assert "camera nobody: no frame was received: " in told.out
    assert "camera door: connected: 160x120, 30 frames/s" in told.err
    assert "geheim" not in told.out + told.err + str(list(tmp_path.rglob("*")))
    for path in out.iterdir():
        assert b"geheim" not in path.read_bytes()


def test_addresses_and_files_do_not_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["test", "--source", "rtsp://me:geheim@cam/1", "a.jpg"]) == 2
    assert capsys.readouterr().err.startswith("error: a.jpg: expected a camera's number or an")
    assert main(["test", "--source", "rtps://me:geheim@cam/1"]) == 2
    assert capsys.readouterr().err.startswith("error: rtps://cam/1: expected a camera's number")


@pytest.mark.parametrize(("share", "code"), [(1.0, 0), (0.7, 1)])
def test_a_file_on_a_web_server_ends_and_one_that_breaks_off_is_a_failure(
    tiny_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    share: float,
    code: int,
) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    clip = write_clip(tmp_path / "a.mp4", 20, container_options=options, gop=5)
    out = tmp_path / "out"
    with CameraServer(file_of(clip, round(share * clip.stat().st_size))) as server:
        source = ["--source", server.url, "--save", "lines", "--output", str(out)]
        assert main(["test", *source, "--weights", str(tiny_weights), "--device", "cpu"]) == code
    records = [json.loads(line) for line in (out / "detections.ndjson").read_text().splitlines()]
    frames = [record["frame"] for record in records]
    assert frames == list(range(20 if code == 0 else len(frames)))
    assert [("error" in record) for record in records] == [False] * (len(frames) - code) + [
        True
    ] * code
    assert capsys.readouterr().out.startswith(f"frames: {len(frames) - code}")
