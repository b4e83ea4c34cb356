"""Nothing asks the network: not to detect, to measure, to show the demo, or to train."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from head_detection.apps import demo
from head_detection.apps.main import main
from head_detection.data.synthetic import synthetic_set

LOCAL = (socket.AF_UNIX,) if hasattr(socket, "AF_UNIX") else ()
"""Between the processes of one machine."""

ASKING = (
    *("socket.connect", "socket.sendto", "socket.sendmsg"),
    *("socket.getaddrinfo", "socket.gethostbyname"),
)
"""Not the creation of a socket: urllib3 creates one when it is imported, to learn of IPv6."""


class Guard:
    """Refuses what leads to the network, whoever asks, while it is on; Python keeps such hooks."""

    def __init__(self) -> None:
        self.is_on = False
        self.asked: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_on or event not in ASKING:
            return
        if getattr(arguments[0], "family", None) not in LOCAL:
            self.asked.append(f"{event} {arguments[1:]}")
            raise OSError(f"no network here: {event}")


GUARD = Guard()
sys.addaudithook(GUARD)


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    GUARD.is_on = True
    yield
    GUARD.is_on = False
    asked = GUARD.asked.copy()
    GUARD.asked.clear()
    assert asked == []


def test_the_guard_would_tell() -> None:
    GUARD.is_on = True
    try:
        with pytest.raises(OSError, match=r"no network here: socket\.getaddrinfo"):
            socket.create_connection(("localhost", 9))
        with socket.socket() as stream, pytest.raises(OSError, match=r"here: socket\.connect"):
            stream.connect(("127.0.0.1", 9))
        with (
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
            pytest.raises(OSError, match=r"here: socket\.sendto"),
        ):
            datagrams.sendto(b"", ("127.0.0.1", 9))
    finally:
        GUARD.is_on = False
        GUARD.asked.clear()


@pytest.mark.usefixtures("no_network")
def test_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = demo.create_samples()[:1]  # the others take their time
    monkeypatch.setattr(demo, "create_samples", lambda: samples)
    assert main(["demo"]) == 0


@pytest.mark.usefixtures("no_network")
def test_training_detection_and_evaluation(tmp_path: Path) -> None:
    labels = synthetic_set(tmp_path / "set", 2, (64, 96), seed=0)
    words = [
        "network.backbone.name=mobilenet0.25",
        "network.backbone.fpn_width=8",
        "network.anchors.sizes=[[8], [16], [32], [64]]",
        "network.box_head.width=16",
        "training.epochs=1",
        f"data.train=[{{path: {labels}}}]",
        f"data.validation=[{{path: {labels}}}]",
        "data.allow_overlap=true",
        "data.workers=0",
    ]
    (tmp_path / "one.yaml").write_text("name: one")
    assert main(["train", "--cfg", "one.yaml", "--output", "run", "--set", *words]) == 0
    weights = ["--weights", "run/best.safetensors"]
    assert main(["test", *weights, "--source", "set/images", "--output", "found"]) == 0
    assert main(["evaluate", *weights, "--data", str(labels), "--num-resamples", "2"]) == 0
