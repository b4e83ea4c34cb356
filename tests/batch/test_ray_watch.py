import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

WATCHED = """
import socket, sys, time
from types import ModuleType, SimpleNamespace
from head_detection.batch import ray_watch

raylet, port = sys.argv[1:]
worker = ModuleType("ray._private.worker")
worker._global_node = SimpleNamespace(raylet_socket_name=raylet, gcs_address=f"127.0.0.1:{port}")
sys.modules[worker.__name__] = worker
ray_watch._GCS_SECONDS = ray_watch._GRACE_SECONDS = 0.02
with ray_watch.watched(2):
    print("watched", flush=True)
    time.sleep(60 if sys.stdin.readline() else 0)
"""


class Services:
    """What listens where a raylet and the store of a cluster's state do, and who watches them."""

    def __init__(self, folder: Path) -> None:
        self.raylet, self.gcs = socket.socket(socket.AF_UNIX), socket.socket()
        self.raylet.bind(str(folder / "raylet"))
        self.gcs.bind(("127.0.0.1", 0))
        for service in (self.raylet, self.gcs):
            service.listen()
        words = [sys.executable, "-c", WATCHED, str(folder / "raylet")]
        self.run = subprocess.Popen(
            [*words, str(self.gcs.getsockname()[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.watched = self.raylet.accept()[0]
        assert self.run.stdout is not None
        assert self.run.stdout.readline() == "watched\n"

    def close(self) -> None:
        self.run.kill()
        self.run.communicate()
        for service in (self.raylet, self.gcs, self.watched):
            service.close()


@pytest.fixture
def services() -> Iterator[Services]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path has at most 107 bytes
        services = Services(Path(folder))
        yield services
        services.close()


@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_part_of_ray_that_is_killed_is_one_line_and_a_mistake(
    part: str, services: Services
) -> None:
    for service in (services.watched, services.raylet) if part == "raylet" else (services.gcs,):
        service.close()
    # Its input stays open, and it would end well where that ends.
    assert services.run.wait(30) == 2
    assert services.run.stderr is not None
    assert services.run.stderr.read() == (
        f"\nerror: ray: its {part} ended: run the same command again to do what is missing\n"
    )


def test_a_raylet_that_lives_is_no_mistake(services: Services) -> None:
    services.watched.close()  # an idle connection, as another version may end it
    with pytest.raises(subprocess.TimeoutExpired):
        services.run.wait(0.3)
    assert services.run.communicate(timeout=30) == ("", "")
    assert services.run.returncode == 0
