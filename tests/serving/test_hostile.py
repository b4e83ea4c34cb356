"""Hostile requests: damaged, huge, half-closed, malformed. ``make hostile`` sends 10,000.

``HOSTILE_REQUESTS`` is their number.
"""

import gc
import gzip
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest
import uvicorn
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from head_detection.inference.detector import HeadDetector
from head_detection.inference.loading import LoadedPicture
from head_detection.serving.app import create_app
from head_detection.serving.listening import open_socket, server_config
from head_detection.serving.requests import Upload
from head_detection.serving.settings import ServiceSettings
from head_detection.serving.video_requests import SentVideo

NUM_REQUESTS: Final = int(os.environ.get("HOSTILE_REQUESTS", "300"))
MANY: Final = 5000
"""From so many on memory is looked at, and a worker killed."""
GROWTH: Final = 6
"""MiB that the second half of them may leave; a thread that begins late has 3 of its own."""
PART: Final = 1000
"""After so many it is looked at."""
AT_ONCE: Final = 8
START_SECONDS: Final = 240
HEAD: Final = b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ANSWERS: Final = {200, 307, 400, 401, 403, 404, 405, 408, 413, 415, 422, 426, 501, 503, 504}
"""What may be answered: 500 is not among them."""

FileOf = Callable[..., bytes]


@pytest.fixture
def port(detector: HeadDetector) -> Iterator[int]:
    settings = ServiceSettings(
        body_seconds=0.3, deadline=5.0, max_bytes=300_000, max_pixels=1_000_000,
        hosts=("127.0.0.1",), max_videos=4, max_video_bytes=300_000, video_deadline=5.0,
        max_video_frames=100,
    )  # fmt: skip
    with open_socket("127.0.0.1", 0) as listener:
        app = create_app(detector, settings)
        service = uvicorn.Server(server_config(app, settings, timeout_keep_alive=0.5))
        thread = threading.Thread(target=service.run, args=([listener],))
        thread.start()
        while not app.state.service.batcher.is_ready:
            time.sleep(0.005)
        yield listener.getsockname()[1]
        assert app.state.service.batcher.waiting == 0
        service.should_exit = True
        thread.join()


def with_length(body: bytes, headers: bytes = b"") -> bytes:
    return HEAD + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def form_of(*files: bytes, boundary: bytes = b"x") -> bytes:
    parts = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n%s\r\n' % file
        for file in files
    )
    body = parts + b"--x--\r\n"
    return with_length(body, b"Content-Type: multipart/form-data; boundary=%s\r\n" % boundary)


def damage(chance: random.Random, good: bytes) -> bytes:
    damaged = bytearray(good)
    for _ in range(chance.randint(1, 20)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged)


def for_video(request: bytes) -> bytes:
    return request.replace(b"POST /detect", b"POST /track", 1)


def hostile(chance: random.Random, good: bytes, clip: bytes) -> bytes:
    """Return what one client sends."""
    damaged = damage(chance, good)
    noise = chance.randbytes(chance.randint(0, 2000))
    path = chance.choice(
        [b"/../../etc/passwd", b"/page/..%2f..%2fapp.py", b"/%00", b"/" + b"a" * 5000, b"*", b"//"]
    )
    return chance.choice(
        [
            lambda: with_length(damaged),
            lambda: with_length(good[: chance.randrange(len(good))]),
            lambda: with_length(noise),
            lambda: with_length(bomb()),
            lambda: with_length(bytes(300_001)),
            lambda: with_length(gzip.compress(bytes(1_000_000)), b"Content-Encoding: gzip\r\n"),
            lambda: with_length(b'{"image": {}}', b"Content-Type: application/json\r\n"),
            lambda: form_of(damaged, noise, good),
            lambda: form_of(*[good] * 17),
            lambda: form_of(good, boundary=b"y"),
            lambda: form_of(good)[: -chance.randint(1, 99)],  # less than it says
            lambda: HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"zz\r\n",
            lambda: HEAD + b"Content-Length: -5\r\n\r\n",
            lambda: HEAD + b"".join(b"X-%d: %d\r\n" % (n, n) for n in range(3000)) + b"\r\n",
            lambda: b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            lambda: b"BREW /detect HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            lambda: (
                b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AA\r\n\r\n"
            ),
            lambda: (
                HEAD.replace(b"/detect", b"/detect?format=" + noise.hex().encode()[:99])
                + b"Content-Length: 0\r\n\r\n"
            ),
            lambda: noise,
            lambda: for_video(with_length(damage(chance, clip))),
            lambda: for_video(with_length(clip[: chance.randrange(len(clip))])),
            lambda: for_video(form_of(damage(chance, clip)).replace(b'"file"', b'"zones"')),
            lambda: for_video(form_of(clip)[: -chance.randint(1, 99)]),
        ]
    )()


def send(port: int, data: bytes, chance: random.Random) -> int:
    """Send it, perhaps without waiting for an answer; return its status, 0 for none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(data)
            if chance.random() < 0.2:
                return 0
            if chance.random() < 0.3:
                connection.shutdown(socket.SHUT_WR)
            words = connection.recv(4096).split(b" ")
            return int(words[1]) if len(words) > 1 else 0
    except (ConnectionError, BrokenPipeError):
        return 0  # it was hung up on, in the middle of what it sent


def attack(port: int, seeds: range, good: bytes, clip: bytes) -> Counter[int]:
    """Send what each seed gives, some at once; count the answers."""

    def one(seed: int) -> int:
        chance = random.Random(seed)  # noqa: S311 - no secret
        return send(port, hostile(chance, good, clip), chance)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(one, seeds))


def check(answers: Counter[int], port: int, good: bytes, folder: Path) -> None:
    """Nothing but what is meant was answered, and the service goes on and has left nothing."""
    assert set(answers) <= ANSWERS | {0}, answers
    assert {400, 404, 405, 413, 415, 422} <= set(answers)
    until(lambda: list(folder.iterdir()) == [])  # the videos are gone
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(with_length(good))
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.skipif(NUM_REQUESTS >= MANY, reason="a process of its own answers as many")
def test_hostile_requests_are_answered_and_leave_nothing_behind(
    port: int, file_of: FileOf, clip: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    check(attack(port, range(NUM_REQUESTS), file_of(), clip), port, file_of(), tmp_path)


def test_no_request_is_held_until_python_looks_for_cycles(
    port: int, file_of: FileOf, clip: bytes
) -> None:
    """Errors hold the calls that led to them, these the request: it goes when it is answered."""
    good = file_of()
    refused = [
        *(with_length(good[:60]), with_length(b"no picture"), with_length(bomb())),
        *(form_of(good[:60], b"no picture"), form_of(*[good] * 17), form_of(good, boundary=b"y")),
        *(with_length(bytes(300_001)), HEAD + b"\r\n", form_of(good)[:-9]),
        *(for_video(with_length(each)) for each in (b"no video", clip[:99], b"")),
        for_video(form_of(clip).replace(b'"file"', b'"zones"')),
    ]
    chance = random.Random(3)  # noqa: S311 - no secret; it waits for the answer
    kinds = (Request, Upload, LoadedPicture, SentVideo, MultiPartParser)
    gc.collect()
    gc.disable()
    try:
        known = {id(each) for each in gc.get_objects() if type(each) in kinds}
        for data in refused:
            chance.seed(3)
            assert send(port, data, chance) in range(400, 500), data[:99]
        until(lambda: held_beside(known, kinds) == [], 5)
    finally:
        gc.enable()


def held_beside(known: set[int], kinds: tuple[type, ...]) -> list[type]:
    objects = gc.get_objects()
    return [type(each) for each in objects if type(each) in kinds and id(each) not in known]


SERVICE: Final = """
import ctypes
import gc
import signal
import sys
from functools import partial
from pathlib import Path
from head_detection.inference.detector import HeadDetector
from head_detection.serving.listening import open_socket
from head_detection.serving.server import serve
from head_detection.serving.settings import ServiceSettings

class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks",
        "fordblks", "keepcost",
    )]

library = ctypes.CDLL("libc.so.6")
library.mallinfo2.restype = Memory

def tell(*_):
    gc.collect()
    memory = library.mallinfo2()
    print(memory.uordblks + memory.hblkhd, flush=True)

signal.signal(signal.SIGUSR1, tell)
build = partial(HeadDetector.from_weights, sys.argv[1], lowest_score=0.05)
settings = ServiceSettings(
    body_seconds=0.3, deadline=5.0, max_bytes=300_000, max_pixels=1_000_000,
    hosts=("127.0.0.1",), max_videos=4, max_video_bytes=300_000, video_deadline=5.0,
    max_video_frames=100,
)
with open_socket("127.0.0.1", 0) as listener:
    serve(build, settings, listener, 1, lambda: print(listener.getsockname()[1], flush=True))
"""
"""The service, which says on SIGUSR1 how many bytes of memory it holds, by glibc's account."""


@pytest.mark.skipif(NUM_REQUESTS < MANY, reason="takes minutes: make hostile")
def test_the_memory_of_a_service_is_flat(
    repository: Path, tiny_weights: Path, file_of: FileOf, clip: bytes, tmp_path: Path
) -> None:
    """What it holds is; what it has freed and keeps for later grows with the busiest moment."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = os.environ | {
        "TMPDIR": str(folder), "PYTHONPATH": str(repository), "PYTHONMALLOC": "malloc",
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE, tiny_weights],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        number = int(process.stdout.readline())
        until(lambda: is_ready(number))
        answers: Counter[int] = Counter()
        held = []
        try:
            for begin in range(0, NUM_REQUESTS, PART):
                seeds = range(begin, min(begin + PART, NUM_REQUESTS))
                answers += attack(number, seeds, file_of(), clip)
                until(lambda: is_idle(number) and not any(folder.iterdir()))
                os.kill(process.pid, signal.SIGUSR1)
                held.append(int(process.stdout.readline()) / 1024**2)
                in_memory = memory_of(process.pid)
                print(f"{seeds.stop:,}: {held[-1]:.1f} MiB held, {in_memory:.1f} in memory")  # noqa: T201
            print(f"answers: {dict(sorted(answers.items()))}, 0 is none")  # noqa: T201
            check(answers, number, file_of(), folder)
        finally:
            process.terminate()
            assert process.wait(START_SECONDS) == -signal.SIGTERM  # there is no command around it
    assert held[-1] - held[(len(held) - 1) // 2] < GROWTH


def is_idle(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return {"head_detection_queue 0.0", "head_detection_videos 0.0"} <= set(lines)
    finally:
        connection.close()


def memory_of(process: int) -> float:
    """Return the MiB that are in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


@pytest.mark.skipif(NUM_REQUESTS < MANY, reason="starts five processes: make hostile")
def test_a_worker_that_is_killed_is_replaced(
    repository: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, repository / "scripts" / "serve.py", "--weights", tiny_weights,
        "--port", "0", "--workers", "2",
    ]  # fmt: skip
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            number = int(process.stdout.readline().split()[0].rpartition(":")[2])
            until(lambda: is_ready(number))
            first, *others = workers_of(process.pid)
            os.kill(first, signal.SIGKILL)
            until(lambda: first not in (now := workers_of(process.pid)) and len(now) > len(others))
            until(lambda: is_ready(number))
        finally:
            process.terminate()
            assert process.wait(START_SECONDS) == 0
    assert list(tmp_path.iterdir()) == []  # what the workers shared is gone


def until(is_so: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() < start + seconds
        time.sleep(0.05)


def is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    finally:
        connection.close()


def workers_of(process: int) -> list[int]:
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    names = {int(number): Path(f"/proc/{number}/cmdline").read_bytes() for number in text.split()}
    return [number for number, name in names.items() if b"spawn_main" in name]
