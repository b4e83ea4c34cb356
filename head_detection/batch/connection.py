"""Connects to a Ray cluster, or starts one for a job on this machine."""

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from head_detection.batch.ray_address import check_address
from head_detection.batch.ray_services import without_actors, without_watchers
from head_detection.batch.ray_watch import watched
from head_detection.cores import num_cores
from head_detection.errors import BatchError, MissingPackageError

_STORE_BYTES: Final = 256 << 20
"""Size of Ray's object store, in bytes, if Ray is started for this job."""
_SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # no warning about a future change
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",  # we have our own
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # no internals of Ray on standard error
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",  # no messages about actors that end
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a thread that ends late would start another cluster
    "RAY_worker_niceness": "0",  # with Ray's 15, detection would get only idle time
    "RAY_enable_metrics_collection": "0",  # nobody reads them
    "RAY_task_events_report_interval_ms": "0",  # nor these
}
_OWN_SETTINGS: Final = {
    "RAY_enable_autoscaler_v2": "1",  # the old one is killed a second after it was asked to end
}
"""For a cluster that is started here; a cluster that we join has its own, which must agree."""

_CLEAN_TRIES: Final = 20
_CLEAN_SECONDS: Final = 0.05
"""Time between tries: processes that Ray is ending may still write a last line."""
_OWN_REFUSALS: Final = 2
_REFUSALS: Final = 20
"""Consecutive checks that find no GCS (Ray's control service) before the cluster counts as ended.

More for a cluster that we joined, which may restart its GCS. After a minute without it, Ray ends
this process silently.
"""
_RAY_ENDS: Final = (1, signal.SIGTERM)
"""Exit codes of a process that gets SIGTERM while Ray's services start."""


class RayError(BatchError):
    """Ray failed, and not because of a known mistake of the user; its logs may say why."""


def check_cluster(address: str) -> None:
    """Check that a cluster answers and lets this process in, before much work is done for it.

    Args:
        address: address of a cluster, as for ``connected``.

    Raises:
        BatchError: there is no cluster, or it needs another token; in one line.
        MissingPackageError: the ``ray`` extra is not installed.
    """
    if not _loaded(address).is_initialized():
        with _silent_errors():
            check_address(address)


@contextmanager
def connected(address: str | None, check: Callable[[], None] = lambda: None) -> Iterator[Any]:
    """Give the connected ``ray`` module; stop or leave the cluster after the block.

    Args:
        address: address of a cluster; None starts one on this machine. Its log folder is removed
            afterwards, unless Ray failed: then the error names it, because the logs may say why.
        check: called once Ray is loaded and before it starts; its errors are passed on.

    Raises:
        BatchError: there is no cluster, or it cannot be started; in one line.
        MissingPackageError: the ``ray`` extra is not installed.
    """
    ray = _loaded(address)
    if ray.is_initialized():  # the calling program has joined a cluster itself
        _imported("ray.data")
        yield ray
        return
    if address is not None:
        check_cluster(address)
    _imported("ray.data")
    check()
    with ExitStack() as stack:
        if address is None:
            stack.enter_context(_logs_removed())
            stack.enter_context(without_actors())
        stack.callback(ray.shutdown)
        _join(ray, address)
        stack.enter_context(watched(_OWN_REFUSALS if address is None else _REFUSALS))
        yield ray


def _loaded(address: str | None) -> Any:
    """Set Ray's settings, which it reads as it is imported, and import it."""
    for name, value in (_SETTINGS | (_OWN_SETTINGS if address is None else {})).items():
        os.environ.setdefault(name, value)
    return _imported("ray")


def _imported(name: str) -> Any:
    """Import a module of the ``ray`` extra, which is slow to load."""
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"expected the package ray for this; it is not installed ({error}): "
            "pip install 'head-detection[ray]'"
        ) from error


def _join(ray: Any, address: str | None) -> None:
    """Join a cluster, or start one on this machine."""
    # "local": without any address, Ray joins a cluster that happens to run on this machine.
    own = {"address": "local", "num_cpus": num_cores(), "object_store_memory": _STORE_BYTES}
    own["include_dashboard"] = False
    place = own if address is None else {"address": address}
    try:
        with ExitStack() as stack:
            for part in (_package_found, _own_ending, _silent_errors):
                stack.enter_context(part())
            if address is None:
                stack.enter_context(without_watchers())
            ray.init(**place, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        text = " ".join(str(error).split())
        where = "this machine" if address is None else address
        raise RayError(f"ray: expected a cluster at {where}; {text}") from error


@contextmanager
def _logs_removed() -> Iterator[None]:
    """Remove the log folder of a cluster that is started here, and Ray's link to it, at the end.

    If Ray failed, keep the folder and name it in the error.
    """
    others, keeps = set(_log_folders()), False
    try:
        yield
    except RayError as error:
        own = [folder for folder in _log_folders() if folder not in others]
        keeps = bool(own)
        where = f"; its logs are in {own[0]}" if keeps else ""
        raise RayError(f"{error}{where}") from error
    finally:
        if not keeps:
            _remove_logs(others)


def _remove_logs(others: set[Path]) -> None:
    for _ in range(_CLEAN_TRIES):
        own = [folder for folder in _log_folders() if folder not in others]
        if not own:
            return
        for folder in own:
            shutil.rmtree(folder, ignore_errors=True)
            latest = folder.with_name("session_latest")
            with suppress(OSError):
                if latest.readlink().name == folder.name:
                    latest.unlink()
        time.sleep(_CLEAN_SECONDS)


def _log_folders() -> list[Path]:
    """Return the log folders of clusters that a process with this process's id has started."""
    try:
        root = import_module("ray._common.utils").get_default_ray_temp_dir()
    except (ImportError, AttributeError):
        return []
    return sorted(Path(root).glob(f"session_*_{os.getpid()}"))


@contextmanager
def _silent_errors() -> Iterator[None]:
    """Discard standard error, where Ray's core reports its log level and breaks our bar."""
    try:
        kept = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


@contextmanager
def _own_ending() -> Iterator[None]:
    """Keep our handler of SIGTERM, also while Ray starts, which exits with codes of its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if error.code in _RAY_ENDS and callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _package_found() -> Iterator[None]:
    """Let processes that Ray starts on this machine import this package, even from a checkout."""
    before = os.environ.get("PYTHONPATH")
    here = str(Path(__file__).resolve().parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
