"""``convert zones``: what a file of zones means on a picture and on a video."""

import socket
import time
from pathlib import Path

import numpy as np
import pytest
from camera_servers import CameraServer, mpeg_ts
from clips import write_clip
from PIL import Image

from head_detection.apps.main import main

FILE = """
units: pixels
lines: {door: [[10, 60], [150, 60]]}
sources:
  other.mp4: {zones: {desk: [[0, 0], [9, 0], [9, 9]]}}
  "*.png": {zones: {hall: [[0, 0], [80, 0], [80, 60.4]]}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("zones.yaml").write_text(FILE)
    Image.fromarray(np.zeros((120, 160, 3), np.uint8)).save("a.png")
    return tmp_path


def convert(*options: str) -> int:
    return main(["convert", "zones", "--file", "zones.yaml", *options])


def test_it_lists_what_is_where_and_draws_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert("--source", "a.png", "--output", "out/drawn.png") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "a.png: 160x120 pixels, 2 zones and lines"
    assert [line.split() for line in said[3:5]] == [
        ["door", "line", "10,60", "150,60"],
        ["hall", "zone", "0,0", "80,0", "80,60"],
    ]
    assert said[5] == "note: zones of other.mp4 are not of this source"
    with Image.open("out/drawn.png") as picture:
        drawn = np.asarray(picture)
    assert drawn.shape == (120, 160, 3)
    assert drawn[45:60, 78:83].any()  # the arrow, up from the middle of the line


def test_a_drawing_too_wide_for_its_format_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("zones.yaml").write_text("lines: {door: [[0, 0], [1, 1]]}")
    Image.new("RGB", (65_501, 2)).save("wide.png")
    assert convert("--source", "wide.png", "--output", "out.jpg") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: out.jpg: expected sides of at most 65,500 pixels to write .jpg; got 65501x2"
    )
    assert convert("--source", "wide.png", "--output", "out.png") == 0


def test_what_cannot_be_opened_is_passed_over_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("clips").mkdir()
    Path("clips/1.mp4").write_bytes(b"no video")
    assert convert("--source", "clips") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "clips: expected a frame that can be read; 1.mp4: expected a video; got a da" in line
    write_clip("clips/2.mp4", 2)
    assert convert("--source", "clips") == 0
    assert capsys.readouterr().out.startswith("2.mp4: 160x120 pixels")


def test_a_video_is_drawn_on_its_first_frame(folder: Path) -> None:
    write_clip("door.mp4", 2)
    assert convert("--source", "door.mp4", "--output", "drawn.jpg") == 0
    with Image.open("drawn.jpg") as drawn:
        assert drawn.size == (160, 120)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--source", "a.png", "--output", "drawn.gif"], "--output: expected a file of .png"),
        (["--source", "small.png"], "door: expected points inside small.png, 100x50 pixels"),
        (["--source", "none.png"], "no such file"),
        (["--source", "cut.png"], "cut.png"),
        (["--source", "me:s3cret@none.png"], "'*@none.png': expected a picture"),
    ],
)
def test_a_mistake_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    Image.fromarray(np.zeros((50, 100, 3), np.uint8)).save("small.png")
    Path("cut.png").write_bytes(Path("a.png").read_bytes()[:70])
    assert convert(*options) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
    assert not Path("drawn.gif").exists()


def test_a_camera_that_refuses_is_given_up(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]  # refuses once it is closed
    began = time.monotonic()
    url = f"http://me:s3cret@127.0.0.1:{port}/x?token=t0ken"
    assert convert("--source", url, "--open-timeout", "4", "--output", "drawn.png") == 2
    assert 3 < time.monotonic() - began < 60
    *_, said = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: http://127.0.0.1:{port}/x: expected a frame that can be read ")
    assert "within 4 seconds (--open-timeout)" in said
    assert said.endswith("Connection refused")
    assert "cret" not in said
    assert "t0ken" not in said
    assert not Path("drawn.png").exists()


def test_a_camera_is_drawn_on_its_first_frame(folder: Path) -> None:
    with CameraServer(mpeg_ts()) as server:
        assert convert("--source", server.url, "--output", "drawn.png") == 0
    with Image.open("drawn.png") as drawn:
        assert drawn.size == (160, 120)
