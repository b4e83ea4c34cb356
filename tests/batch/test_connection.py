import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from head_detection.apps.command import ending_in_order
from head_detection.batch.connection import connected
from head_detection.errors import BatchError


def replace_ray(monkeypatch: pytest.MonkeyPatch, init: Callable[..., object]) -> None:
    """Put a package in Ray's place that starts nothing."""
    ray = ModuleType("ray")
    vars(ray).update(is_initialized=lambda: False, init=init, shutdown=lambda: None)
    monkeypatch.setitem(sys.modules, "ray", ray)
    for name in ("ray.data", "ray._private"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    parameter = ModuleType("ray._private.parameter")
    vars(parameter)["RayParams"] = SimpleNamespace
    monkeypatch.setitem(sys.modules, parameter.__name__, parameter)


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
        self.logs = folder / "session_1"
        self.options: dict[str, Any] = {}
        self.parameters: Any = None

    def init(self, **options: Any) -> SimpleNamespace:
        os.write(2, b"logging.cc: Set ray log level\n")
        self.options = options
        self.parameters = sys.modules["ray._private.parameter"].RayParams(num_cpus=2)
        self.logs.mkdir()
        (self.logs / "gcs_server.out").write_text("logs")
        self.logs.with_name("session_latest").symlink_to(self.logs)
        return SimpleNamespace(address_info={"session_dir": str(self.logs)})


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    started = Started(tmp_path)
    replace_ray(monkeypatch, started.init)
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


def test_logs_that_may_explain_an_error_stay(started: Started) -> None:
    with mock.patch.dict(os.environ), pytest.raises(BatchError), connected(None):
        raise BatchError("ray: the job cannot go on")
    assert (started.logs / "gcs_server.out").exists()


def test_a_cluster_that_is_joined_keeps_its_logs_and_services(started: Started) -> None:
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
