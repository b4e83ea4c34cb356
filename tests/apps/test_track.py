"""``test --track``: people at a made door keep their ids in every file that is written."""

import csv
import json
from pathlib import Path

import pytest
from clips import write_clip

from head_detection.apps.command import UsageError
from head_detection.apps.main import run
from head_detection.data.sequences import door_scene
from head_detection.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


def write_door() -> Path:
    """Write a second of the door: persons 1, 3, 4, and 2 who comes in."""
    frames = [frame.pixels for frame in door_scene(fps=8).frames() if 8 <= frame.index < 16]
    assert all(pixels is not None for pixels in frames)
    return write_clip("door.mp4", [pixels for pixels in frames if pixels is not None], fps=8)


def test_ids_are_in_every_file() -> None:
    clip = write_door()
    arguments = ["--source", str(clip), "--save", "csv,lines,mot", "--output", "out", "--track"]
    arguments += ["--score-threshold", "0.75"]  # a shoulder that comes in before its head has .53
    assert run(["test", *arguments, "--set", "tracking.lost_seconds=2"]) == 0
    records = [json.loads(line) for line in Path("out/detections.ndjson").read_text().splitlines()]
    records = [record for record in records if "boxes" in record]
    assert len(records) == 8
    assert all(len(record["ids"]) == record["count"] for record in records)
    assert sorted(records[-1]["ids"]) == [1, 2, 3, 4]
    with Path("out/detections.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["frame"] == "7"]
    assert sorted(row["id"] for row in rows) == ["1", "2", "3", "4"]
    lines = [line.split(",") for line in Path("out/mot.txt").read_text().splitlines()]
    assert sorted(line[1] for line in lines if line[0] == "8") == ["1", "2", "3", "4"]


def test_mistakes_are_told_before_anything_is_detected() -> None:
    given = ["test", "--source", str(write_door())]
    with pytest.raises(UsageError, match=r"expected --track beside it"):
        run([*given, "--set", "tracking.lost_seconds=2"])
    with pytest.raises(ConfigError, match="did you mean lost_seconds"):
        run([*given, "--track", "--set", "tracking.lost_second=2"])
    with pytest.raises(SystemExit):
        run([*given, "--track", "deepsort"])
