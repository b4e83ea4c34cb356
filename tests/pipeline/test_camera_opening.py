"""Cameras of this machine: what they offer, what they are asked for, what they give."""

from pathlib import Path
from typing import Any

import av
import pytest

from head_detection.errors import SourceError
from head_detection.pipeline import camera_opening
from head_detection.pipeline.addresses import Address, DeviceMode, distinct
from head_detection.pipeline.camera_opening import (
    OfferedFormat,
    Opening,
    check_mode,
    offered_formats,
    parse_formats,
)
from head_detection.pipeline.opening import open_source

LISTING = (
    "Raw       :     yuyv422 :           YUYV 4:2:2 : 320x180 640x360\n"
    "Raw       : Unsupported :           YVYU 4:2:2 : 320x180 640x360\n"
    "Raw       :     yuv420p :     Planar YUV 4:2:0 : 320x180\n"
    "Raw       :     yuv420p :     Planar YVU 4:2:0 : 640x360\n"
    "Compressed:       mjpeg :          Motion-JPEG : 640x480\n"
)
"""What FFmpeg 7 says of Linux's virtual cameras, vivid and v4l2loopback, shortened."""


def test_the_formats_of_a_camera_are_those_that_are_read() -> None:
    assert parse_formats(LISTING) == [
        OfferedFormat("yuyv422", ("320x180", "640x360")),
        OfferedFormat("yuv420p", ("320x180",)),
        OfferedFormat("yuv420p", ("640x360",)),
        OfferedFormat("mjpeg", ("640x480",)),
    ]
    ranges = (
        "Raw : gray : 8-bit Greyscale : {48-4096, 16}x{32-2160, 8}\nRaw : nv12 : Y/UV 4:2:0 :\n"
    )
    gray, unknown = parse_formats(ranges)
    assert [gray.has(size) for size in ((32, 64), (40, 56), (2168, 64))] == [True, False, False]
    assert unknown.has((7, 9))  # its driver does not tell: the frames will
    assert parse_formats("") == []


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        (DeviceMode(), None),
        (DeviceMode((360, 640), 30.0, "yuv420p"), None),
        (DeviceMode((480, 640)), None),
        (DeviceMode(format="h264"), "a format that this camera has: yuyv422, yuv420p, mjpeg; got"),
        (DeviceMode((480, 640), format="yuyv422"), "in yuyv422: 320x180, 640x360; got 640x480"),
        (DeviceMode((640, 360)), "this camera has: 320x180, 640x360, 640x480; got 360x640"),
    ],
)
def test_a_camera_is_asked_for_what_it_offers(
    monkeypatch: pytest.MonkeyPatch, mode: DeviceMode, line: str | None
) -> None:
    monkeypatch.setattr(camera_opening, "offered_formats", lambda _: parse_formats(LISTING))
    if line is None:
        check_mode("/dev/video0", "desk", mode)
        return
    with pytest.raises(SourceError) as error:
        check_mode("/dev/video0", "desk", mode)
    assert str(error.value).startswith("desk: expected a ")
    assert line in str(error.value)


def test_what_cannot_be_asked_offers_nothing_and_is_not_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path):
        assert offered_formats(str(place)) == []
        check_mode(str(place), "desk", DeviceMode((480, 640), 30.0, "mjpeg"))
    assert av.logging.get_level() is None


@pytest.mark.parametrize(
    ("system", "name"), [("v4l2", "input_format"), ("avfoundation", "pixel_format")]
)
def test_a_device_is_opened_with_what_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, system: str, name: str
) -> None:
    given: dict[str, str] = {}

    def opened(*_: object, options: dict[str, str], **__: object) -> Any:
        given.update(options)
        raise av.error.FileNotFoundError(2, "none", "a")

    monkeypatch.setattr(av, "open", opened)
    with pytest.raises(FileNotFoundError):
        Opening("a", system, size=(1080, 1920), fps=29.97, format="mjpeg").open("a")
    asked = {key: given[key] for key in ("video_size", "framerate", name)}
    assert asked == {"video_size": "1920x1080", "framerate": "29.97", name: "mjpeg"}


def test_frames_of_another_size_than_asked_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver takes the nearest size that it has; FFmpeg's own pictures stand in for it."""
    real = av.open

    def opened(*given: Any, options: dict[str, str], **more: Any) -> Any:
        assert options["video_size"]
        return real(*given, **more)

    monkeypatch.setattr(av, "open", opened)
    place = "testsrc=size=160x120:rate=25"
    Opening(place, "lavfi", size=(120, 160)).open(place).close()
    with pytest.raises(ValueError, match="expected frames of 640x480; got 160x120"):
        Opening(place, "lavfi", size=(480, 640)).open(place)


def test_a_mode_is_of_cameras_of_this_machine_alone(tmp_path: Path) -> None:
    mode = DeviceMode((480, 640))
    for source in (str(tmp_path), "rtsp://me:geheim@cam/1", "-"):
        with pytest.raises(SourceError, match="expected a camera of this machine") as error:
            open_source(source, mode=mode)
        assert "geheim" not in str(error.value)
    twice = distinct([Address("desk", "/dev/video7", "v4l2", mode)] * 2)
    assert [address.mode for address in twice] == [mode, mode]
