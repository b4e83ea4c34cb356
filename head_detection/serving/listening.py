"""Sockets and processes: slow senders are hung up on, and a worker that dies is replaced.

Nothing here may import torch: the process that watches the workers has no network.
"""

import asyncio
import errno
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import LOGGING_CONFIG, STARTUP_FAILURE
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from head_detection.cores import num_cores
from head_detection.errors import ServingError
from head_detection.files import write_bytes
from head_detection.serving.folders import clear_folders, temporary_folder
from head_detection.serving.settings import ServiceSettings

HEADER_SECONDS: Final = 10.0
"""For a client to send the headers of a request, from its first byte on or from connecting."""
HEADER_BYTES: Final = 32 * 1024
MAX_CONNECTIONS: Final = 512
ENDING_SECONDS: Final = 45
"""For requests that are answered when the service is told to end: more than their deadline."""
BACKLOG: Final = 1024
"""Connections that wait to be taken."""
TAKEN_AT_ONCE: Final = 1
"""Of them by a worker: one that took all would leave the others idle. asyncio hands this number to
``listen`` too, so that the process that watches says anew how many may wait."""
START_SECONDS: Final = 300
"""For a worker to say that it lives: in this time it imports torch, perhaps from a slow disk."""
PING_SECONDS: Final = 0.2
"""Between looks at whether a signal has come, while a worker is waited for."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
MINUTE: Final = 60.0
REASON: Final = "reason"
"""File beside the workers' numbers: why one of them could not start."""
SEVERAL_PROCESSES: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder by which the workers of one service add up; prometheus_client reads it."""


class OncePerMinute(logging.Filter):
    """Lets a line of the log through once a minute, with the number of those it held back.

    Whoever sends what is no HTTP makes uvicorn write one: they would fill the disk. Lines are the
    same that one line of a program writes, whatever of a request stands in them.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next: dict[tuple[str, int], float] = {}
        self._held = Counter[tuple[str, int]]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is written."""
        now, kind = self._clock(), (record.pathname, record.lineno)
        if record.levelno < logging.WARNING:
            return True
        if now < self._next.get(kind, now):
            self._held[kind] += 1
            return False
        self._next[kind] = now + MINUTE
        if held := self._held.pop(kind, 0):
            record.msg = f"{str(record.msg).rstrip()} ({held:,} more since the last such line)"
        return True


LOG_CONFIG: Final[dict[str, Any]] = {
    **LOGGING_CONFIG,
    "filters": {"once": {"()": OncePerMinute}},
    "handlers": {"default": {**LOGGING_CONFIG["handlers"]["default"], "filters": ["once"]}},
    "loggers": {
        "uvicorn": LOGGING_CONFIG["loggers"]["uvicorn"],
        "head_detection": {"handlers": ["default"]},
        "asyncio": {"handlers": ["default"]},
        "python_multipart": {"level": "CRITICAL"},  # it warns of each form that is damaged
    },
}
"""uvicorn's own and those beside it, no more than a line a minute of each kind."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on who does not send a request's headers in time.

    uvicorn has a limit for connections that have been answered alone.
    """

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Wait on, unless a request is there."""
        if self._overdue is None and self._has_no_request():
            self._wait()
        super().data_received(data)
        if not self._has_no_request():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _has_no_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._overdue = self.loop.call_later(HEADER_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        self._overdue = None
        if self._has_no_request():
            self.transport.close()

    def _stop_waiting(self) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket whose clients wait until somebody answers them.

    Args:
        host: a name or an address of this machine.
        port: 0 is a free one.

    Raises:
        OSError: it is taken, or no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise OSError(error.errno, f"no name of this machine ({error.strerror})", host) from error
    opened = socket.socket(family)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        reason = error.strerror or str(error)
        if error.errno == errno.EADDRINUSE:
            reason += ": another program listens there; end it, or name another port"
        raise OSError(error.errno, reason, f"{host}:{port}") from error
    opened.set_inheritable(True)
    return opened


def hosts_for(host: str) -> tuple[str, ...] | None:
    """Return under which names browsers may reach a service that is bound to an address.

    One of this machine alone has the names of this machine: a site whose name is made to lead here
    (DNS rebinding) has another. None is any name.

    Example:
        >>> hosts_for("127.0.0.1")
        ('localhost', '127.0.0.1', '::1')
        >>> hosts_for("0.0.0.0")
    """
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    return LOOPBACK if is_local else None


def run_workers(
    create: Callable[[], Any] | str,
    settings: ServiceSettings,
    listener: socket.socket,
    count: int,
    announce: Callable[[], None],
) -> None:
    """Answer requests in several processes until SIGTERM or SIGINT; one that dies is replaced.

    Args:
        create: makes the application of one, or the name of what does, ``module:function``; is
            pickled.
        settings: the limits.
        listener: as ``open_socket`` returns it.
        count: of processes.
        announce: is called once one of them answers.

    Raises:
        ServingError: one could not start.
    """
    cores = str(max(1, num_cores() // count))
    os.environ.setdefault("OMP_NUM_THREADS", cores)
    clear_folders()
    with temporary_folder() as folder:
        os.environ[SEVERAL_PROCESSES] = str(folder)
        config = server_config(create, settings, factory=True, workers=count, backlog=TAKEN_AT_ONCE)
        supervisor = _Supervisor(config, [listener], announce)
        supervisor.run()
        if any(worker.exitcode == STARTUP_FAILURE for worker in supervisor.processes):
            told = folder / REASON
            reason = told.read_text(encoding="utf-8") if told.exists() else ""
            raise ServingError(reason or "a worker could not start: the lines above say why")


def tell_parent(reason: str) -> None:
    """Leave word why this worker cannot start, for the process that watches it: it says so once."""
    write_bytes(Path(os.environ[SEVERAL_PROCESSES]) / REASON, reason.encode())


class _Supervisor(Multiprocess):
    """Replaces a worker that dies, at once, and ends when it is told to.

    Its base waits for the answer to a ping for all of ``START_SECONDS``, deaf to signals, where a
    worker is still starting, or dies before it answers: the base holds the worker's end of their
    pipe open.

    Args:
        config: of each worker.
        sockets: that they share.
        announce: is called once the first of them answers requests.
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], announce: Callable[[], None]
    ) -> None:
        hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
        before = None if hang_up is None else signal.getsignal(hang_up)
        super().__init__(config, sockets)
        if hang_up is not None and before is signal.SIG_IGN:  # by nohup: the base heeds it
            signal.signal(hang_up, signal.SIG_IGN)
        self._announce: Callable[[], None] | None = announce

    def handle_hup(self) -> None:
        """End, for the terminal is closed; the base would start new workers instead."""
        self.should_exit.set()

    def keep_subprocess_alive(self) -> None:
        """Replace who died or does not answer; leave off when a signal comes."""
        if self.should_exit.is_set():
            return
        for listener in self.sockets:
            listener.listen(BACKLOG)
        for number, worker in enumerate(self.processes):
            worker.child_conn.close()  # the worker alone needs it
            if self._answers(worker):
                continue
            if self.signal_queue:
                return
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:  # the next one would fail likewise
                self.should_exit.set()
                return
            # What waited in it is gone, and would be in the sums of /metrics for ever.
            mark_process_dead(worker.pid)  # type: ignore[no-untyped-call] # it has no types
            self.processes[number] = replacement = Process(self.config, self.sockets)
            replacement.start()

    def _answers(self, worker: Process) -> bool:
        last = time.monotonic() + START_SECONDS
        try:
            worker.parent_conn.send(b"ping")
            while worker.process.is_alive() and time.monotonic() < last and not self.signal_queue:
                if worker.parent_conn.poll(PING_SECONDS):
                    if worker.parent_conn.recv() and self._announce is not None:
                        self._announce()
                        self._announce = None
                    return True
        except (OSError, EOFError):  # it has died
            return False
        return False


def end_with_parent() -> None:
    """Let this worker end when the process that watches it does, be that killed.

    Nobody would replace it any more, and it would keep the port.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def server_config(app: Any, settings: ServiceSettings, **options: Any) -> uvicorn.Config:
    """Return how an application is served: limits of connections, and no word of who asked.

    Args:
        app: of ASGI, or what makes one in each process.
        settings: the limits.
        options: more of uvicorn's.
    """
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=LOG_CONFIG,
        log_level="warning",
        access_log=False,  # it would hold who asked for what
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        ws_max_size=settings.max_bytes,
        ws_per_message_deflate=False,  # a few bytes could become very many
        timeout_graceful_shutdown=ENDING_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
        **options,
    )
