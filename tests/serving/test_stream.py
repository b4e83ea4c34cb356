"""Frames over a WebSocket, as the page sends them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from head_detection.inference.detector import HeadDetector
from head_detection.serving import stream
from head_detection.serving.app import create_app
from head_detection.serving.settings import ServiceSettings

FileOf = Callable[..., bytes]


@contextmanager
def connect(detector: HeadDetector, **settings: Any) -> Iterator[TestClient]:
    """A client of a warm service."""
    with TestClient(create_app(detector, ServiceSettings(**settings))) as client:
        while client.get("/readyz").status_code != 200:
            threading.Event().wait(0.002)
        yield client


def test_each_frame_is_answered_with_its_record(detector: HeadDetector, file_of: FileOf) -> None:
    with connect(detector) as client, client.websocket_connect("/stream") as socket:
        socket.send_json({"score_threshold": 0.1})
        for number in (0, 1):
            socket.send_bytes(file_of())
            answer = socket.receive_json()
            assert (answer["frame"], answer["count"], answer["width"]) == (number, 2, 64)
        socket.send_bytes(b"no picture")
        error = {"error": "not a picture in any known format", "status": 422}
        assert socket.receive_json() == {"frame": 2, "file": "webcam", **error}
        socket.send_bytes(file_of())
        assert socket.receive_json()["frame"] == 3


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ("no JSON", "expected JSON"),
        ("[]", "expected JSON"),
        ('{"key": "wrong"}', "expected a key"),
        ('{"key": "secret", "score_threshold": "x"}', "score_threshold: expected a number"),
        ('{"key": "secret", "score_threshold": 7}', "score_threshold: expected 0.05 to 1; got 7"),
        ('{"key": "secret", "score_threshold": true}', "score_threshold: expected a number"),
        ('{"key": "secret", "score_threshold": 1' + "0" * 400 + "}", "score_threshold: expected"),
        ('{"key": "secret", "score_treshold": 0.3}', "score_treshold: unknown key; known are key"),
        ('{"key": "secret", "' + "\u00e9" * 99 + '": 0.3}', "\u00e9" * 30 + ": unknown key"),
        (r'{"key": "secret", "\ud800": 0.3}', "?: unknown key"),
        (r'{"key": "\ud800"}', "expected a key"),
        ('{"key": "secret"}', "expected a frame as a binary message"),
    ],
)
def test_who_says_something_else_is_cut_off(
    detector: HeadDetector, hello: str, reason: str
) -> None:
    with (
        connect(detector, keys=("secret",)) as client,
        client.websocket_connect("/stream") as socket,
    ):
        socket.send_text(hello)
        socket.send_text("text in place of a frame")
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
    assert caught.value.code == 1008
    assert caught.value.reason.startswith(reason)


def test_a_page_of_another_site_is_not_let_in(detector: HeadDetector) -> None:
    with connect(detector) as client:
        headers = {"Origin": "https://evil.example"}
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/stream", headers=headers),
        ):
            raise AssertionError("it was let in")
        assert 'head_detection_errors_total{kind="origin"} 1.0' in client.get("/metrics").text


def test_who_says_nothing_is_cut_off(
    detector: HeadDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "IDLE_SECONDS", 0.05)
    with connect(detector) as client, client.websocket_connect("/stream") as socket:
        with pytest.raises(WebSocketDisconnect) as caught:
            socket.receive_json()
        assert caught.value.code == 1001
