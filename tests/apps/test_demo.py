import argparse
import re
import sys
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from head_detection.apps import demo, demo_walk
from head_detection.apps import test as test_command
from head_detection.apps.main import main
from head_detection.data.sequences import door_scene
from head_detection.inference.batching import PictureResult
from head_detection.inference.detector import HeadDetector
from head_detection.pipeline.video_file import describe_video
from head_detection.structures import Detections, Frame


class PerfectDetector:
    """Finds every head of the samples but one, and a wrong one in the corner of each."""

    score_threshold = 0.25

    def stream(
        self, frames: Iterable[Frame], batch_size: int, **options: object
    ) -> Generator[PictureResult]:
        for sample, frame in zip(demo.create_samples(), frames, strict=True):
            assert frame.pixels is not None
            boxes = np.concatenate([sample.truth.boxes[1:], [[0, 0, 1, 1]]])
            found = Detections.from_arrays(boxes, np.full(len(boxes), 0.5), frame.pixels.shape[:2])
            yield PictureResult(frame, found, None, None)


@pytest.fixture
def without_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures alone."""
    monkeypatch.setattr(demo, "show_walk", lambda *_: None)


def test_samples_have_the_heads_they_say() -> None:
    samples = demo.create_samples()
    assert [len(sample.truth.boxes) for sample in samples] == [1, 6, 24, 70, 160, 336]
    for sample in samples:
        height, width = sample.pixels.shape[:2]
        boxes = sample.truth.boxes
        assert (boxes >= 0).all()
        assert (boxes <= np.array([width, height, width, height])).all()
        sides = boxes[:, 2:] - boxes[:, :2]
        sizes = np.sqrt(sides.prod(axis=1))
        assert np.abs(sizes - sample.head_size).max() < 0.05 * sample.head_size


@pytest.mark.usefixtures("without_video")
def test_the_table_counts_right_and_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(HeadDetector, "from_weights", lambda weights, **_options: PerfectDetector())
    assert main(["demo", "--output", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["portrait", "265", "1", "1", "0", "1"]
    assert lines[2].split() == ["heads-of-200-pixels", "200", "6", "6", "5", "1"]
    assert lines[6].split() == ["heads-of-12-pixels", "12", "336", "336", "335", "1"]
    assert lines[-6:] == [
        f"  {tmp_path.as_uri()}/{sample.name}.png" for sample in reversed(demo.create_samples())
    ]
    drawn = cv2.imread(str(tmp_path / "heads-of-200-pixels.png"))
    assert drawn is not None
    assert drawn.shape == (680, 930, 3)


@pytest.mark.usefixtures("without_video")
def test_small_heads_that_are_missed_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped weights find a quarter of the heads of 12 pixels, and nearly all enlarged."""
    monkeypatch.setattr(demo, "GRIDS", demo.GRIDS[-1:])
    assert main(["demo", "--output", str(tmp_path)]) == 0
    explained = capsys.readouterr().out.split("\n\n")[2]
    there, plain, enlarged = map(int, re.findall(r"(\d+) (?:heads|were)", explained))
    assert there == 336
    assert plain < 0.9 * there <= enlarged


class WalkDetector:
    """Finds every head of the clip that can be seen."""

    score_threshold = 0.25
    origin: Mapping[str, object] = {}

    def stream(
        self, frames: Iterable[Frame], batch_size: int, **options: object
    ) -> Generator[PictureResult]:
        truths = replace(door_scene(), duration=demo_walk.SECONDS).truths()
        for truth, frame in zip(truths, frames, strict=True):
            assert frame.pixels is not None
            scores = np.full(len(truth.boxes), 0.9)
            found = Detections.from_arrays(truth.boxes, scores, frame.pixels.shape[:2])
            yield PictureResult(frame, found, None, frame.pixels)


def test_the_walk_is_counted_beside_the_truth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("trackers")
    for _ in range(2):  # the second in place of the first
        demo_walk.show_walk(WalkDetector(), tmp_path)  # type: ignore[arg-type]
        lines = capsys.readouterr().out.splitlines()
        # Of the door's story the first half: two pass in each direction, five are seen.
        assert [line.split()[-2:] for line in lines[3:6]] == [["5", "5"], ["2", "2"], ["2", "2"]]
        assert lines[-1] == f"  {tmp_path.as_uri()}/walk/video/door.mp4"
    assert describe_video(tmp_path / "walk" / "video" / "door.mp4").count == 40


def test_without_a_tracker_the_walk_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    demo_walk.show_walk(WalkDetector(), tmp_path)  # type: ignore[arg-type]
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("\nThe video is left out: ")
    assert "pip install 'head-detection[track]'" in err


def test_own_pictures_go_to_the_test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[argparse.Namespace] = []
    monkeypatch.setattr(test_command, "run", lambda arguments: seen.append(arguments) or 1)
    assert main(["demo", "--source", "a b", "--output", "o", "--weights", "w"]) == 1
    (options,) = seen
    assert (options.source, options.output, options.weights) == (["a b"], Path("o"), Path("w"))
    assert options.save == "json,csv,images"
