"""Videos as clients send them: a head walks from left to right, ten pixels a frame."""

import json
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import packets
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from head_detection.serving.video_answers import FORMS

FileOf = Callable[..., bytes]
Open = Callable[..., TestClient]
ZONES = b"""
zones: {right half: {points: [[0.5, 0], [1, 0], [1, 1], [0.5, 1]], confirm_seconds: 0.1}}
lines: {middle: {points: [[0.5, 0], [0.5, 1]], confirm_seconds: 0.1}}
"""
"""Of frames of 160x120: the line is crossed at x = 80, and *in* is to the right."""
FAILS = 4
"""The frame on which the network fails."""


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that temporary files are in."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def form(video: bytes, zones: bytes | None = None) -> dict[str, tuple[str, bytes]]:
    parts = {"file": ("street.mp4", video)}
    return parts if zones is None else {**parts, "zones": ("zones.yaml", zones)}


def test_a_head_is_followed_and_counted(
    connect: Open, walking: Any, clip: bytes, left: Path, repository: Path
) -> None:
    client = connect()
    answer = client.post("/track", files=form(clip, ZONES))
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Frame-Count"] == "10"
    content = answer.json()
    schema = json.loads((repository / "docs" / "detections-2.schema.json").read_text())
    Draft202012Validator(schema).validate(content)
    assert (content["score_threshold"], content["failed"]) == (0.5, [])
    frames = content["images"]
    assert [(f["file"], f["frame"], f["seconds"], f["ids"]) for f in frames] == [
        ("street.mp4", number, number / 10, [1]) for number in range(10)
    ]
    # Its centre is at 86 in frame 8 and at 96 in frame 9, which makes it sure.
    assert [f["zones"]["right half"] for f in frames] == [0] * 8 + [1] * 2
    events = [(e["event"], e["frame"], e["id"], e["x"]) for e in content["events"]]
    assert sorted(events) == [("crossing", 8, 1, 86.0), ("entry", 8, 1, 86.0)]
    assert content["counts"] == [
        {"zone": "right half", "in": 1, "out": 0, "now": 1},
        {"line": "middle", "in": 1, "out": 0},
    ]
    assert list(left.iterdir()) == []


def test_lines_are_records_and_events(connect: Open, walking: Any, clip: bytes, left: Path) -> None:
    client = connect()
    parameters = {"format": "ndjson", "start": 0.5, "max_fps": 5}
    answer = client.post("/track", files=form(clip, ZONES), params=parameters)
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    # From .5 s on, one in each fifth of a second: .5, .7 and .9; .6 and .8 are left out.
    assert [line["frame"] for line in lines if "boxes" in line] == [5, 7, 9]
    assert [line["counts"] for line in lines if "counts" in line] == [
        [{"zone": "right half", "in": 0, "out": 0, "now": 1}, {"line": "middle", "in": 0, "out": 0}]
    ]
    answer = client.post("/track", content=clip, params={"format": "ndjson"})
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["file"] for line in lines] == ["video"] * 10
    assert last == {"counts": []}
    assert list(left.iterdir()) == []


def frames_of(content: bytes, path: Path) -> list[Any]:
    path.write_bytes(content)
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_video_comes_back_drawn_or_hidden_with_its_sound(
    connect: Open, walking: Any, clip: bytes, left: Path, tmp_path: Path
) -> None:
    client = connect()
    (tmp_path / "sent.mp4").write_bytes(clip)
    for kind in ("video", "blur"):
        answer = client.post("/track", files=form(clip), params={"format": kind})
        assert answer.headers["content-type"] == "video/mp4"
        assert 'filename="street.mp4"' in answer.headers["content-disposition"]
        path = tmp_path / f"{kind}.mp4"
        frames = frames_of(answer.content, path)
        assert len(frames) == 10
        assert packets(path) == packets(tmp_path / "sent.mp4")
        if kind == "blur":
            for number, frame in enumerate(frames):
                x = 10 * number
                assert frame[52:60, x + 2 : x + 10].max() < 40
                assert np.median(frame[110:, 70:90]) > 60
    assert list(left.iterdir()) == []


def test_a_frame_on_which_the_network_fails_fails_alone(
    connect: Open, walking: Any, clip: bytes, left: Path
) -> None:
    walking.fails_on = FAILS
    content = connect().post("/track", files=form(clip)).json()
    assert [f["frame"] for f in content["images"]] == [n for n in range(10) if n != FAILS]
    (failure,) = content["failed"]
    assert (failure["file"], failure["frame"]) == ("street.mp4", FAILS)
    assert failure["error"].startswith("the detector failed on this picture")


def test_limits_and_mistakes_are_one_line(
    connect: Open, walking: Any, clip: bytes, file_of: FileOf, left: Path
) -> None:
    client = connect(max_video_bytes=len(clip) + 2000, max_video_frames=9, max_video_seconds=0.6)

    def ask(status: int, words: str, **request: Any) -> None:
        answer = client.post("/track", **request)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
        assert list(left.iterdir()) == []

    long = clip + bytes(3000)
    ask(413, "bytes in a request", content=long)
    ask(413, "bytes in a request", content=iter([long]))  # of no stated length
    ask(413, "at most 9 frames; ask for fewer with max_fps", content=clip)
    ask(413, "at most 0.6 seconds", content=clip, params={"max_fps": 5})
    ask(400, "end: expected more than start", content=clip, params={"start": 2, "end": 1})
    ask(400, "max_fps", content=clip, params={"max_fps": "nan"})
    ask(400, "tracker: ", content=clip, params={"tracker": "deepsort"})
    ask(400, "expected a video as the body", content=b"")
    ask(400, "expected one video in the form", files={"zones": ("zones.yaml", ZONES)})
    ask(400, "zones: expected", files=form(clip, b"zones: {}"))
    ask(400, "zones: ", files=form(clip, b"\xff"))
    two = [("file", ("a.mp4", clip[:500])), ("file", ("b.mp4", clip[:500]))]
    ask(400, "expected one video in the form", files=two)
    ask(413, "files", files=[*two, ("file", ("c.mp4", b"c"))])
    twice = [*form(clip[:500], ZONES).items(), ("zones", ("zones.yaml", ZONES))]
    ask(413, "files", files=twice)
    ask(400, "zones: expected once", files=form(clip), data={"zones": ["zones: {}"] * 2})
    ask(422, "expected a video; got a picture: send it to /detect", content=file_of())
    ask(422, "expected a video; got a damaged", content=b"no video")
    ask(422, "cut off before its index", content=clip[: len(clip) // 2])
    ask(415, "Content-Encoding", content=clip, headers={"Content-Encoding": "gzip"})
    # Half of it is within the limits.
    part = client.post("/track", content=clip, params={"end": 0.5}).json()
    assert len(part["images"]) == 5
    assert client.get("/models").json()["limits"]["max_video_frames"] == 9


def test_frames_of_more_pixels_are_refused(connect: Open, walking: Any, clip: bytes) -> None:
    answer = connect(max_pixels=160 * 120 - 1).post("/track", content=clip)
    assert (answer.status_code, answer.json()["kind"]) == (413, "too_large")
    assert "got 160x120, 19,200 pixels" in answer.json()["error"]


def test_a_picture_does_not_wait_for_a_video(
    connect: Open, walking: Any, clip: bytes, file_of: FileOf
) -> None:
    client = connect(max_batch=3)
    walking.batches.clear()
    walking.started.clear()
    walking.may_run.clear()
    with ThreadPoolExecutor() as pool:
        video = pool.submit(client.post, "/track", content=clip)
        assert walking.started.wait(30)  # with the first frames
        picture = pool.submit(client.post, "/detect", content=file_of(32, 32))
        while client.app.state.service.batcher.waiting < 1:
            time.sleep(0.005)
        time.sleep(0.2)  # until it is decoded
        walking.may_run.set()
        assert picture.result().status_code == 200
        assert video.result().headers["X-Frame-Count"] == "10"
    # Three frames at most, its batch among them, were ahead of the picture; it came alone.
    batch = walking.batches.index([(32, 32)])
    assert sum(map(len, walking.batches[:batch])) <= 3


def test_a_video_that_nobody_waits_for_is_given_up(
    connect: Open, walking: Any, clip: bytes, left: Path
) -> None:
    client = connect(max_videos=1, video_deadline=1.0)
    walking.started.clear()
    walking.may_run.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.post, "/track", content=clip)
        assert walking.started.wait(30)
        second = client.post("/track", content=clip)
        assert (second.status_code, second.headers["Retry-After"]) == (503, "10")
        assert first.result().status_code == 504
    deadline = time.monotonic() + 30
    while list(left.iterdir()) and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert list(left.iterdir()) == []
    walking.may_run.set()
    while client.post("/track", content=clip).status_code != 200:  # on a busy machine
        threading.Event().wait(0.01)
    assert "head_detection_videos 0.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("charset", "name", "zones", "status"),
    [
        ("unicode_escape", b"\\ud800.mp4", b"", 200),
        ("unicode_escape", b"a.mp4", b"\\ud800", 400),
        ("undefined", b"a.mp4", b"", 400),
    ],
)
def test_a_form_in_a_strange_charset_keeps_no_place(
    connect: Open, walking: Any, clip: bytes, left: Path,
    charset: str, name: bytes, zones: bytes, status: int,
) -> None:  # fmt: skip
    client = connect(max_videos=1)
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    file = b'file"; filename="%s' % name
    body = part % (b"zones", zones) + part % (file, clip) + b"--x--\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    for _ in range(2):
        assert client.post("/track", content=body, headers=headers).status_code == status
    assert list(left.iterdir()) == []


def test_an_answer_that_cannot_be_sent_keeps_no_place(
    connect: Open, walking: Any, clip: bytes, left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(max_videos=1)
    with monkeypatch.context() as patch:
        patch.delitem(FORMS, "json")
        assert client.post("/track", files=form(clip)).status_code == 500
    assert client.post("/track", files=form(clip)).status_code == 200
    assert list(left.iterdir()) == []
