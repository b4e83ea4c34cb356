"""The window, with a stand-in for OpenCV's own: no test has a display."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from head_detection.apps.command import UsageError
from head_detection.apps.window import Window
from head_detection.errors import PictureError
from head_detection.images.styles import Drawing
from head_detection.results.record import Failure, Record
from head_detection.structures import Detections


class Screen:
    """What OpenCV was told to show."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, tuple[int, ...]]] = []
        self.key, self.is_visible = -1, 1.0
        self.is_closed = False


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()

    def close() -> None:
        screen.is_closed = True

    stand_ins: dict[str, Callable[..., Any]] = {
        "namedWindow": lambda name, flags: None,
        "resizeWindow": lambda name, width, height: None,
        "imshow": lambda name, pixels: screen.shown.append((name, pixels.shape)),
        "waitKey": lambda milliseconds: screen.key,
        "getWindowProperty": lambda name, which: screen.is_visible,
        "destroyAllWindows": close,
    }
    for name, function in stand_ins.items():
        monkeypatch.setattr(cv2, name, function)
    monkeypatch.setenv("DISPLAY", ":0")
    return screen


def record(**more: Any) -> Record:
    pixels = np.zeros((300, 400, 3), np.uint8)
    return Record(
        0, **{"file": "a.mp4", "detections": Detections.empty((300, 400)), "pixels": pixels, **more}
    )


def test_each_camera_has_its_window_and_files_share_one(screen: Screen, tmp_path: Any) -> None:
    with Window(Drawing()) as window:
        assert window.needs_pixels
        for outcome in (
            record(file="door", seconds=0.0),
            record(file="hall", seconds=0.0),
            record(path=tmp_path / "a.mp4", seconds=0.0),
            record(file="b.jpg", path=tmp_path / "b.jpg"),
            Failure(0, "c.jpg", "empty", PictureError("empty")),
        ):
            window.show(outcome)
    assert [name for name, _ in screen.shown] == ["door", "hall", "heads", "heads"]
    assert screen.is_closed


@pytest.mark.parametrize(("key", "is_visible"), [(ord("q"), 1), (27, 1), (-1, 0)])
def test_q_esc_and_a_closed_window_end_as_ctrl_c(screen: Screen, key: int, is_visible: int) -> None:
    screen.key, screen.is_visible = key, is_visible
    with Window(Drawing()) as window, pytest.raises(KeyboardInterrupt):
        window.show(record(seconds=0.0))
    assert screen.is_closed


def test_no_window_is_wanted(screen: Screen) -> None:
    with Window(None) as window:
        window.show(record())
        assert not window.needs_pixels
    assert not screen.shown
    assert not screen.is_closed


@pytest.mark.skipif(
    "GUI:                           NONE" not in cv2.getBuildInformation(),
    reason="this OpenCV has windows",
)
def test_an_opencv_without_windows_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(UsageError, match=r"pip install opencv-python$"):
        Window(Drawing())
