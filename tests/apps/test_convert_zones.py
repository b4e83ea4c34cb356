"""``convert zones``: what a file of zones means on a picture and on a video."""

from pathlib import Path

import numpy as np
import pytest
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
