"""Sockets and worker processes: slow clients are disconnected, and dead workers are replaced.

Nothing here may import torch: the process that watches the workers does not need it.
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
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

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
"""Time for a client to send a request's headers, from its first byte or from connecting."""
HEADER_BYTES: Final = 32 * 1024
MAX_CONNECTIONS: Final = 512
ENDING_SECONDS: Final = 45
"""Time for requests in progress when the service is told to end; longer than their deadline."""
BACKLOG: Final = 1024
"""Connections that wait to be accepted."""
TAKEN_AT_ONCE: Final = 1
"""Connections that a worker accepts at once: one that accepted all would leave the others idle.
asyncio passes this number to ``listen`` too, so the watching process restores ``BACKLOG``."""
START_SECONDS: Final = 300
"""Time for a worker's first sign of life: until then it imports torch, perhaps from a slow disk."""
PING_SECONDS: Final = 0.2
"""Interval between checks for a signal, while waiting for a worker."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
MINUTE: Final = 60.0
REASON: Final = "reason"
"""File beside the workers' metrics that says why one of them could not start."""
SEVERAL_PROCESSES: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable with the folder of the workers' metrics; prometheus_client reads it."""


class OncePerMinute(logging.Filter):
    """Log filter that passes each kind of warning once a minute, with the number it held back.

    uvicorn logs a line for every request that is not HTTP, so a client could fill the disk. Two
    records are of the same kind if the same line of code writes them, whatever their text.

    Args:
        clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._next: dict[tuple[str, int], float] = {}
        self._held = Counter[tuple[str, int]]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to write a record."""
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
        "python_multipart": {"level": "CRITICAL"},  # it warns of every damaged form
    },
}
"""Logging of uvicorn, of this package and of libraries, through ``OncePerMinute``."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that disconnects clients that do not send a request's headers in time.

    uvicorn itself only limits connections that wait for a further request.
    """

    _overdue: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Start the timer if a new request begins; stop it once its headers are complete."""
        if self._overdue is None and self._has_no_request():
            self._wait()
        super().data_received(data)
        if not self._has_no_request():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
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
    """Return a listening socket; connections wait in its backlog until a worker accepts them.

    Args:
        host: a name or an address of this machine.
        port: the port; 0 for any free one.

    Raises:
        OSError: the port is taken, or the host is not this machine's.
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
            reason += ": another program listens there; end it, or choose another port"
        raise OSError(error.errno, reason, f"{host}:{port}") from error
    opened.set_inheritable(True)
    return opened


def hosts_for(host: str, origins: Sequence[str] = ()) -> tuple[str, ...] | None:
    """Return the host names under which browsers may reach a service that is bound to an address.

    A loopback address allows only this machine's own names, and those of the given origins, which
    a proxy on this machine may pass on. That stops DNS rebinding, where another site's name is
    made to resolve to this machine. None allows any name.

    Example:
        >>> hosts_for("127.0.0.1", ["https://heads.example"])
        ('localhost', '127.0.0.1', '::1', 'heads.example')
        >>> hosts_for("0.0.0.0")
    """
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = host == "localhost"
    if not is_local:
        return None
    named = (urlsplit(origin).hostname for origin in origins)
    return (*LOOPBACK, *(name for name in named if name and name not in LOOPBACK))


def run_workers(
    create: Callable[[], Any] | str,
    settings: ServiceSettings,
    listener: socket.socket,
    count: int,
    announce: Callable[[], None],
) -> None:
    """Serve requests with several processes until SIGTERM or SIGINT; replace those that die.

    Args:
        create: creates a worker's application, or the name of a function that does,
            ``module:function``; must be picklable.
        settings: the limits.
        listener: as returned by ``open_socket``.
        count: number of processes.
        announce: called once the first of them answers.

    Raises:
        ServingError: a worker could not start.
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
    """Record why this worker cannot start; the watching process reports it once."""
    write_bytes(Path(os.environ[SEVERAL_PROCESSES]) / REASON, reason.encode())


class _Supervisor(Multiprocess):
    """Replaces a worker as soon as it dies, and ends when told to.

    If a worker is still starting, or dies before it answers a ping, uvicorn's class waits all of
    ``START_SECONDS`` and ignores signals meanwhile, because it keeps the worker's end of the pipe
    open.

    Args:
        config: configuration of each worker.
        sockets: the sockets that they share.
        announce: called once the first of them answers requests.
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], announce: Callable[[], None]
    ) -> None:
        hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
        before = None if hang_up is None else signal.getsignal(hang_up)
        super().__init__(config, sockets)
        if (
            hang_up is not None and before is signal.SIG_IGN
        ):  # set by nohup: the base class undoes it
            signal.signal(hang_up, signal.SIG_IGN)
        self._announce: Callable[[], None] | None = announce

    def handle_hup(self) -> None:
        """End, because the terminal was closed; the base class would restart the workers."""
        self.should_exit.set()

    def keep_subprocess_alive(self) -> None:
        """Replace workers that died or do not answer; stop when a signal arrives."""
        if self.should_exit.is_set():
            return
        for listener in self.sockets:
            listener.listen(BACKLOG)
        for number, worker in enumerate(self.processes):
            worker.child_conn.close()  # only the worker needs it
            if self._answers(worker):
                continue
            if self.signal_queue:
                return
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:  # the next one would fail the same way
                self.should_exit.set()
                return
            # Its waiting pictures are gone; their gauges would stay in /metrics for ever.
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
    """End this worker when the process that watches it ends, even if that was killed.

    Otherwise nobody would replace the worker, and it would keep the port.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def server_config(app: Any, settings: ServiceSettings, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration: limits of connections, and no log of who asked for what.

    Args:
        app: an ASGI application, or a function that creates one in each process.
        settings: the limits.
        options: further options of uvicorn.
    """
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=LOG_CONFIG,
        log_level="warning",
        access_log=False,  # it would record who asked for what
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        ws_max_size=settings.max_bytes,
        ws_per_message_deflate=False,  # a few bytes could inflate to very many
        timeout_graceful_shutdown=ENDING_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
        **options,
    )
