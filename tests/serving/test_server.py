"""The service behind a socket: clients that speak HTTP badly, and the process as it is started."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from head_detection.inference.detector import HeadDetector
from head_detection.serving import listening
from head_detection.serving.app import create_app
from head_detection.serving.listening import (
    OncePerMinute,
    hosts_for,
    open_socket,
    server_config,
)
from head_detection.serving.settings import ServiceSettings

SECONDS = 240
"""For a process to start, on a machine that has much else to do."""


@contextmanager
def running(detector: HeadDetector, settings: ServiceSettings) -> Iterator[tuple[Any, int]]:
    """A service in a thread, and its port."""
    with open_socket("127.0.0.1", 0) as listener:
        app = create_app(detector, settings)
        service = uvicorn.Server(server_config(app, settings, timeout_keep_alive=0.2))
        thread = threading.Thread(target=service.run, args=([listener],))
        thread.start()
        number = listener.getsockname()[1]
        while not service.started:
            time.sleep(0.005)
        yield service, number
        service.should_exit = True
        thread.join()


@pytest.fixture
def port(detector: HeadDetector, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Of a running service that is soon tired of slow clients."""
    monkeypatch.setattr(listening, "HEADER_SECONDS", 0.2)
    settings = ServiceSettings(body_seconds=0.2, hosts=("127.0.0.1",), max_bytes=100_000)
    with running(detector, settings) as (_, number):
        yield number


def test_ctrl_c_twice_ends_it_without_a_word(detector: HeadDetector) -> None:
    """As by two signals at once: uvicorn then leaves the application where it is."""
    said: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = said.append  # type: ignore[method-assign]
    log = logging.getLogger("uvicorn.error")
    with running(detector, ServiceSettings()) as (service, _):
        log.addHandler(handler)
        service.force_exit = True
    log.removeHandler(handler)
    assert [record.getMessage() for record in said if record.levelno >= logging.ERROR] == []


def spoken(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send parts and return all that is answered until the service hangs up."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        try:
            while more := connection.recv(65536):
                answer += more
        except ConnectionError:
            pass
        return answer


def test_slow_senders_are_hung_up_on(port: int) -> None:
    assert spoken(port) == b""  # connects and says nothing
    assert spoken(port, b"GET /healthz HT") == b""
    head = b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n"
    answer = spoken(port, head, b"a few bytes")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"expected the whole request within 0.2 s" in answer
    two = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /healthz HT"
    assert spoken(port, two).count(b"HTTP/1.1 200 OK") == 1  # the next one is slow


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00", b"400"),  # TLS
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"400"),  # no host
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 40_000, b"400"),  # no end
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", b"403"),
        (
            b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100001\r\n\r\n",
            b"413",
        ),
        (
            b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"400",
        ),
    ],
)
def test_bad_requests_have_a_status(port: int, request_bytes: bytes, status: bytes) -> None:
    assert spoken(port, request_bytes).startswith(b"HTTP/1.1 " + status)


def test_a_target_may_be_a_whole_url_as_proxies_send_it(port: int) -> None:
    own, evil = b"127.0.0.1", b"evil.example"
    for target, host, status in (
        (b"http://127.0.0.1:%d/healthz" % port, own, b"200"),
        (b"HTTPS://127.0.0.1/healthz?a=http://b/c", own, b"200"),
        (b"http://127.0.0.1", own, b"200"),  # the page
        (b"http://127.0.0.1?a=b", own, b"200"),
        (b"http://127.0.0.1/%68ealthz", own, b"200"),
        (b"http://127.0.0.1/%2568ealthz", own, b"404"),  # decoded once
        (b"http://127.0.0.1/healthz", evil, b"200"),  # RFC 9112: the target's counts
        (b"http://evil.example/healthz", own, b"403"),
        (b"http://127.0.0.1.evil.example/healthz", own, b"403"),
        (b"http://127.0.0.1@evil.example/healthz", own, b"404"),
        (b"http://evil.example@127.0.0.1/healthz", own, b"404"),
        (b"http:///healthz", own, b"404"),
        (b"http%3A//127.0.0.1/healthz", own, b"404"),
        (b"/http://127.0.0.1/healthz", own, b"404"),
        (b"ftp://127.0.0.1/healthz", own, b"404"),
    ):
        request = b"GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (target, host)
        assert spoken(port, request)[9:12] == status, target


def test_malformed_requests_do_not_fill_the_log(port: int) -> None:
    handlers = logging.getLogger("uvicorn").handlers
    own = next(each for each in handlers if type(each) is logging.StreamHandler)
    own.setStream(written := StringIO())
    for _ in range(5):
        assert spoken(port, b"no HTTP\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert written.getvalue() == "WARNING:  Invalid HTTP request received.\n"


def test_damaged_forms_are_not_told_to_the_log(port: int, caplog: pytest.LogCaptureFixture) -> None:
    form = (
        b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n"
        b"Content-Type: multipart/form-data; boundary=y\r\n\r\n--x\r\n"
    )
    assert spoken(port, form).startswith(b"HTTP/1.1 400")
    assert caplog.records == []


def test_a_kind_of_line_is_written_once_a_minute() -> None:
    seconds = 100.0
    once = OncePerMinute(lambda: seconds)

    def written(level: int, words: str, line: int) -> str | None:
        record = logging.makeLogRecord({"levelno": level, "msg": words, "lineno": line})
        return str(record.msg) if once.filter(record) else None

    assert written(logging.WARNING, "bad: 1", 7) == "bad: 1"
    assert written(logging.WARNING, "worse", 8) == "worse"
    seconds += 59
    assert [written(logging.WARNING, f"bad: {n}", 7) for n in (2, 3)] == [None, None]
    assert [written(logging.INFO, "begun", 9) for _ in range(2)] == ["begun"] * 2
    seconds += 1
    assert written(logging.WARNING, "bad: 4", 7) == "bad: 4 (2 more since the last such line)"


def test_a_service_of_this_machine_has_this_machines_names() -> None:
    assert hosts_for("localhost") == hosts_for("::1") == ("localhost", "127.0.0.1", "::1")
    assert hosts_for("192.0.2.1", ["https://heads.example"]) is None
    # A proxy on this machine may pass on the name of the public site.
    named = hosts_for("127.0.0.1", ["https://heads.example:8443", "http://localhost:3000"])
    assert named == ("localhost", "127.0.0.1", "::1", "heads.example")


def test_a_port_that_is_taken_is_named() -> None:
    with open_socket("127.0.0.1", 0) as first:
        with pytest.raises(OSError, match="Address already in use") as caught:
            open_socket("127.0.0.1", first.getsockname()[1])
        assert caught.value.filename.startswith("127.0.0.1:")
    with pytest.raises(OSError, match="no name of this machine") as caught:
        open_socket("nowhere.invalid", 0)
    assert caught.value.filename == "nowhere.invalid"


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, Any]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def until_ready(port: int) -> None:
    start = time.monotonic()
    while ask(port, "GET", "/readyz")[0] != 200:
        assert time.monotonic() < start + SECONDS
        time.sleep(0.05)


def test_the_process_answers_and_ends_with_what_it_has(
    repository: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, repository / "scripts" / "serve.py", "--weights", tiny_weights,
        "--port", "0", "--max-delay", "2000",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    try:
        number = int(process.stdout.readline().split()[0].rpartition(":")[2])
        until_ready(number)
        picture = (repository / "docs" / "portrait.jpg").read_bytes()
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(ask, number, "POST", "/detect?score_threshold=0.05", picture)
            while metric(number, "head_detection_queue ") < 1:  # it waits for others of its shape
                time.sleep(0.01)
            process.terminate()
            status, content = answer.result()
    finally:
        process.terminate()
        assert process.wait(SECONDS) == 0
        process.stdout.close()
    assert (status, content["images"][0]["width"]) == (200, 512)
    assert list(tmp_path.iterdir()) == []


def metric(port: int, name: str) -> float:
    with closing(HTTPConnection("127.0.0.1", port, timeout=SECONDS)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


TINY = """
import os
import time
from prometheus_client import Gauge
from head_detection.serving.listening import end_with_parent

def create():
    end_with_parent()
    Gauge("waiting", "...", multiprocess_mode="livesum").set(1)
    async def app(scope, receive, send):
        if scope["type"] == "http":
            time.sleep(0.02 if scope["path"] == "/slow" else 0)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
    return app
"""
"""An application without a network, which says which process it is in."""
WATCHING = """
from head_detection.serving.listening import open_socket, run_workers
from head_detection.serving.settings import ServiceSettings
with open_socket("127.0.0.1", 0) as listener:
    announce = lambda: print(listener.getsockname()[1], flush=True)
    run_workers("tiny:create", ServiceSettings(), listener, 2, announce)
"""


def test_a_worker_that_is_killed_is_replaced(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(TINY)
    (tmp_path / "temporary").mkdir()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(repository))),
        "TMPDIR": str(tmp_path / "temporary"),
    }
    with subprocess.Popen(
        [sys.executable, "-c", WATCHING], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())

        def answering() -> int:
            return int(ask(number, "GET", "/")[1])

        try:
            first = answering()
            os.kill(first, signal.SIGSTOP)  # it owes the answer to a ping when it is killed
            time.sleep(0.7)
            os.kill(first, signal.SIGKILL)
            seen: set[int] = set()
            start = time.monotonic()
            while len(seen - {first}) < 2:  # the other one, and the new one
                assert time.monotonic() < start + listening.START_SECONDS / 2
                with suppress(ConnectionError, HTTPException):
                    seen.add(answering())
            waiting = {path.stem for path in (tmp_path / "temporary").rglob("gauge_livesum_*.db")}
            # What waited in the killed one does not count for ever.
            assert waiting == {f"gauge_livesum_{worker}" for worker in seen - {first}}
        finally:
            process.terminate()
            assert process.wait(SECONDS) == 0
    assert list((tmp_path / "temporary").iterdir()) == []


@contextmanager
def watching(repository: Path, folder: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Start workers and the process that watches them; give that and their port."""
    (folder / "tiny.py").write_text(TINY)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(repository)))}
    with subprocess.Popen(
        [sys.executable, "-c", WATCHING], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())


FAILING = """
import sys
from head_detection.errors import ServingError
from head_detection.serving.listening import open_socket, run_workers, tell_parent
from head_detection.serving.settings import ServiceSettings

def create():
    tell_parent("expected weights; got none")
    sys.exit(3)

if __name__ == "__main__":
    with open_socket("127.0.0.1", 0) as listener:
        try:
            run_workers(create, ServiceSettings(), listener, 2, lambda: print("answers"))
        except ServingError as error:
            print(error)
"""
"""What a mistake of the user makes of each worker."""


def test_workers_that_cannot_start_are_told_of_once(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    ended = subprocess.run(
        [sys.executable, "failing.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(repository), "TMPDIR": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("expected weights; got none\n", "")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("head")] == []


def test_workers_share_what_comes_at_once(repository: Path, tmp_path: Path) -> None:
    with watching(repository, tmp_path) as (process, number):
        try:
            workers: set[int] = set()
            while len(workers) < 2:
                workers.add(int(ask(number, "GET", "/")[1]))
            time.sleep(0.7)  # until it is said anew how many may wait
            for worker in workers:
                os.kill(worker, signal.SIGSTOP)
            with ThreadPoolExecutor(20) as pool:
                answers = pool.map(lambda _: int(ask(number, "GET", "/slow")[1]), range(20))
                time.sleep(0.2)  # all of them wait
                for worker in workers:
                    os.kill(worker, signal.SIGCONT)
                counts = Counter(answers)
        finally:
            process.send_signal(signal.SIGHUP)  # its terminal is closed
            assert process.wait(SECONDS) == 0
    assert min(counts[worker] for worker in workers) >= 3


def test_who_is_told_to_end_waits_for_no_worker_that_starts(
    repository: Path, tmp_path: Path
) -> None:
    with watching(repository, tmp_path) as (process, number):
        worker = int(ask(number, "GET", "/")[1])
        os.kill(worker, signal.SIGSTOP)  # as one that imports torch, it answers no ping
        time.sleep(0.7)
        process.terminate()
        start = time.monotonic()
        try:
            while not is_to_end(worker):
                assert time.monotonic() < start + listening.START_SECONDS / 2
                time.sleep(0.05)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert process.wait(SECONDS) == 0


def is_to_end(process: int) -> bool:
    """Tell whether SIGTERM waits for a process."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    pending = next(line for line in lines if line.startswith("ShdPnd:")).split()[1]
    return bool(int(pending, 16) >> (signal.SIGTERM - 1) & 1)


def test_workers_end_with_the_process_that_watches_them(repository: Path, tmp_path: Path) -> None:
    """It is killed: they would keep the port, and nobody would replace one that dies."""
    (tmp_path / "tiny.py").write_text(TINY)
    left = tmp_path / "temporary"
    left.mkdir()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(tmp_path), str(repository))),
        "TMPDIR": str(left),
    }
    with subprocess.Popen(
        [sys.executable, "-c", WATCHING], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        ask(number, "GET", "/")
        process.kill()
    start = time.monotonic()
    with suppress(ConnectionError, HTTPException):
        while True:
            assert time.monotonic() < start + SECONDS
            ask(number, "GET", "/")
    assert len(list(left.iterdir())) == 1  # the folder of their numbers
    environment["PYTHONPATH"] = str(repository)
    clear = "from head_detection.serving.folders import clear_folders; clear_folders()"
    subprocess.run([sys.executable, "-c", clear], env=environment, check=True)
    assert list(left.iterdir()) == []
