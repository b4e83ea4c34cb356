import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from head_detection.apps.command import ending_in_order
from head_detection.batch.connection import RayError, connected
from head_detection.errors import BatchError


def replace_ray(
    monkeypatch: pytest.MonkeyPatch, init: Callable[..., object], folder: Path = Path("/nowhere")
) -> None:
    """Put a package in Ray's place that starts nothing.

    Args:
        monkeypatch: puts it back.
        init: of it.
        folder: where it has its logs.
    """
    ray = ModuleType("ray")
    vars(ray).update(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    for name in ("ray.data", "ray._private", "ray._common"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    parameter, utils = ModuleType("ray._private.parameter"), ModuleType("ray._common.utils")
    vars(parameter)["RayParams"] = SimpleNamespace
    vars(utils)["get_default_ray_temp_dir"] = lambda: str(folder)
    for module in (parameter, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("code", [signal.SIGTERM, 1])
def test_sigterm_while_ray_starts_ends_as_it_does_elsewhere(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_options: object) -> None:  # Ray 2.60: first its driver's handler, then its node's
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))
        signal.raise_signal(signal.SIGTERM)

    replace_ray(monkeypatch, init)
    with mock.patch.dict(os.environ), ending_in_order():
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended, connected(None):
            pytest.fail("started")
        assert ended.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is before


class Started:
    """What a start in Ray's place was asked for, and where its logs are."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / f"session_1_{os.getpid()}"
        self.fails = False
        self.options: dict[str, Any] = {}
        self.parameters: Any = None

    def init(self, **options: Any) -> None:
        os.write(2, b"logging.cc: Set ray log level\n")
        self.options = options
        self.parameters = sys.modules["ray._private.parameter"].RayParams(num_cpus=2)
        self.logs.mkdir()
        (self.logs / "gcs_server.out").write_text("logs")
        self.logs.with_name("session_latest").symlink_to(self.logs)
        if self.fails:
            raise RuntimeError("a part of it\ndid not start")


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started(tmp_path)
    replace_ray(monkeypatch, started.init, tmp_path)
    return started


def test_a_cluster_of_its_own_leaves_nothing(
    started: Started, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with mock.patch.dict(os.environ), connected(None):
        assert started.options["address"] == "local"
        # Neither a watcher of logs that nobody is told, nor one of a size that stays.
        assert vars(started.parameters) == {
            "num_cpus": 2,
            "include_log_monitor": False,
            "no_monitor": True,
        }
        os.write(2, b"heard again\n")
    assert capfd.readouterr() == ("", "heard again\n")
    assert not [path.name for path in tmp_path.iterdir()]
    assert sys.modules["ray._private.parameter"].RayParams is SimpleNamespace


@pytest.mark.parametrize("error", [BatchError("no room"), OSError(28, "full"), SystemExit(143)])
def test_an_error_that_is_not_of_ray_leaves_nothing(
    error: BaseException, started: Started, tmp_path: Path
) -> None:
    with mock.patch.dict(os.environ), pytest.raises(type(error)), connected(None):
        raise error
    assert started.options
    assert not [path.name for path in tmp_path.iterdir()]


def test_logs_that_may_explain_why_ray_failed_stay_and_are_named(
    started: Started, tmp_path: Path
) -> None:
    other = tmp_path / f"session_0_{os.getpid()}"  # of another container, which has such a number
    other.mkdir()
    message = f"^ray: the job cannot go on; its logs are in {started.logs}$"
    with (
        mock.patch.dict(os.environ),
        pytest.raises(RayError, match=message),
        connected(None),
    ):
        raise RayError("ray: the job cannot go on")
    assert (started.logs / "gcs_server.out").exists()
    shutil.rmtree(started.logs)
    (tmp_path / "session_latest").unlink()
    started.fails = True
    message = r"^ray: expected a cluster at this machine; a part of it did not start; its logs are "
    with (
        mock.patch.dict(os.environ),
        pytest.raises(RayError, match=message),
        connected(None),
    ):
        pytest.fail("started")
    assert started.logs.exists()
    assert other.exists()


def test_a_cluster_that_is_joined_keeps_its_logs_and_services(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine may keep the address of a cluster that was killed.
    monkeypatch.setattr("head_detection.batch.connection.check_address", lambda _: None)
    with mock.patch.dict(os.environ), connected("auto"):
        assert started.options["address"] == "auto"
        assert vars(started.parameters) == {"num_cpus": 2}
    assert started.logs.exists()


def test_what_the_check_refuses_is_told_before_ray_is_started(started: Started) -> None:
    def refuse() -> None:
        raise BatchError("no such device")

    with (
        mock.patch.dict(os.environ),
        pytest.raises(BatchError, match=r"^no such device$"),
        connected(None, refuse),
    ):
        pytest.fail("started")
    assert not started.options
