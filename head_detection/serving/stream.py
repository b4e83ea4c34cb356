"""Detects heads in webcam frames over a WebSocket: a JPEG in, a record out, one after the other.

The first message is text: JSON with ``key`` and ``score_threshold``, both optional. It carries the
key because a browser cannot set the headers of a WebSocket. Each further message is a picture as
bytes. Its answer is its RECORD, or ``error``, with its number from 0 as ``frame``. A frame that is
sent before the previous answer waits; a client that wants the newest frame answered sends one only
after each answer.
"""

import asyncio
import json
from itertools import count
from typing import Any, Final

from fastapi import WebSocket, WebSocketDisconnect

from head_detection.serving.guard import POLICY_VIOLATION, has_key, is_key
from head_detection.serving.problems import ServiceError, bad_request
from head_detection.serving.requests import Upload, clean_name
from head_detection.serving.service import Service

IDLE_SECONDS: Final = 60.0
"""The stream is closed after so long without a message."""
GOING_AWAY: Final = 1001
LONGEST_REASON: Final = 120
"""Bytes of the reason with which a WebSocket is closed; the protocol allows 123."""
NAME: Final = "webcam"
HELLO: Final = ("key", "score_threshold")
"""Keys of the first message."""


async def answer_frames(socket: WebSocket, service: Service) -> None:
    """Answer the frames of one client until it leaves."""
    await socket.accept()
    try:
        threshold = _begin(await _receive(socket), socket, service)
        for number in count():
            data = (await _receive(socket)).get("bytes")
            if data is None:
                raise bad_request("expected a frame as a binary message, JPEG for example")
            await socket.send_json(await _answer(number, data, threshold, service))
    except WebSocketDisconnect:
        return
    except TimeoutError:
        await socket.close(GOING_AWAY, f"no frame for {IDLE_SECONDS:g} s")
    except ServiceError as error:
        service.metrics.errors.labels(error.kind).inc()
        reason = error.text.encode(errors="replace")[:LONGEST_REASON].decode(errors="ignore")
        await socket.close(POLICY_VIOLATION, reason)


async def _receive(socket: WebSocket) -> dict[str, Any]:
    async with asyncio.timeout(IDLE_SECONDS):
        message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", GOING_AWAY))
    return dict(message)


def _begin(message: dict[str, Any], socket: WebSocket, service: Service) -> float:
    """Check the key in the first message, and return the threshold that it asks for."""
    try:
        hello = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        hello = None
    if not isinstance(hello, dict):
        raise bad_request("expected JSON with key and score_threshold first, both optional")
    keys = service.settings.keys
    if not has_key(socket.headers, keys) and not is_key(str(hello.get("key", "")), keys):
        raise bad_request("expected a key in the first message; it is missing or wrong")
    for name in hello:
        if name not in HELLO:
            known = " and ".join(HELLO)
            raise bad_request(f"{clean_name(name)[:30]}: unknown key; known are {known}")
    threshold = hello.get("score_threshold")
    if threshold is None:
        return service.checked(None)
    if isinstance(threshold, bool) or not isinstance(threshold, int | float):
        raise bad_request("score_threshold: expected a number")
    try:
        return service.checked(float(threshold))
    except OverflowError as error:
        raise bad_request("score_threshold: expected a number of 0 to 1") from error


async def _answer(number: int, data: bytes, threshold: float, service: Service) -> dict[str, Any]:
    try:
        with service.batcher.admitting(1):
            outcome = await service.find(number, Upload(NAME, data), threshold)
    except ServiceError as error:
        return {"frame": number, **error.as_plain(), "status": error.status}
    return {**outcome.as_plain(), "frame": number}
