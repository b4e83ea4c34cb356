import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from head_detection.batch import ray_address
from head_detection.batch.ray_address import check_address
from head_detection.errors import BatchError


class Refusal(Exception):  # noqa: N818 - as Ray's own
    """In place of Ray's own."""


class Parts:
    """Ray's own parts, which ask a cluster for what the test wants."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ask: Callable[[], None] = lambda: None
        self.ensure: Callable[[], None] = lambda: None
        self.auto: Callable[[], str | None] = lambda: None

    def client(self, address: str) -> None:
        self.asked.append(address)
        self.ask()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Parts:
    parts = Parts()
    packages = ("ray", "ray._private", "ray._private.authentication")
    modules: dict[str, dict[str, Any]] = {
        **{name: {} for name in packages},
        "ray._private.services": {"canonicalize_bootstrap_address": lambda _: parts.auto()},
        "ray._private.authentication.authentication_token_setup": {
            "ensure_token_if_auth_enabled": lambda *_, **__: parts.ensure()
        },
        "ray._raylet": {"GcsClient": parts.client},
        "ray.exceptions": {"AuthenticationError": Refusal},
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    return parts


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of something that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def refuse() -> None:
    raise Refusal("pages of it")


def test_a_cluster_that_answers_is_asked_once(parts: Parts, listener: str) -> None:
    check_address(listener)
    parts.auto = lambda: listener
    check_address("auto")
    assert parts.asked == [listener, listener]


@pytest.mark.parametrize("who", ["ask", "ensure"])
def test_another_token_is_one_line_at_once(
    who: str, parts: Parts, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    setattr(parts, who, refuse)
    message = (
        rf"^{listener}: expected the token of this cluster; got another, or none \(RAY_AUTH_MODE "
        r"is none\): set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN as it was for ray start --head$"
    )
    with pytest.raises(BatchError, match=message):
        check_address(listener)
    # Without a token of its own it asks nobody: Ray's core would end the process.
    assert parts.asked == ([listener] if who == "ask" else [])


def test_what_is_no_cluster_is_one_line(
    parts: Parts, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_address, "_ANSWER_SECONDS", 0.1)
    end = threading.Event()
    parts.ask = lambda: end.wait(60) and None
    start = time.monotonic()
    with pytest.raises(BatchError, match=rf"^{listener}: .* got no answer within 0.1 s: st"):
        check_address(listener)
    end.set()
    assert time.monotonic() < start + 30


def test_a_machine_that_is_part_of_none_is_one_line(parts: Parts) -> None:
    def found() -> str:
        raise ConnectionError("Could not find any running Ray instance.")

    parts.auto = found
    with pytest.raises(BatchError, match=r"^auto: expected this machine to be part of a running"):
        check_address("auto")
    # One that has ended, whose address Ray has kept.
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    parts.auto = lambda: f"127.0.0.1:{port}"
    with pytest.raises(BatchError, match=rf"^auto, 127.0.0.1:{port}: .* got no connection"):
        check_address("auto")
    assert not parts.asked


def test_where_ray_has_its_parts_elsewhere_nothing_is_asked(
    listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    for name in [name for name in sys.modules if name.startswith("ray.")]:
        monkeypatch.delitem(sys.modules, name)
    check_address(listener)
    check_address("auto")
