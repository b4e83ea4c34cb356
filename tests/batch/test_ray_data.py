"""On a cluster of this machine with two cores: drivers and actors that are killed, bad pictures."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_cluster import (
    HERE,
    LIMIT_SECONDS,
    NUM_PICTURES,
    TooBusy,
    cluster,
    kill_an_actor,
    start,
    write_pictures,
)
from ray_job import OPTIONS, SHARD_SIZE

from head_detection.batch import ray_data
from head_detection.batch.items import Item
from head_detection.batch.listing import list_items
from head_detection.batch.local import FirstWorker, run_local
from head_detection.batch.manifest import Job
from head_detection.batch.process import WorkerOptions
from head_detection.batch.ray_data import Cluster, run_ray
from head_detection.batch.shards import Answer, answers_of, read_shard
from head_detection.errors import BatchError, MissingPackageError


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster that ``ray start`` has begun."""
    if "RAY_CLUSTER" not in os.environ:
        pytest.skip("starts a Ray cluster, minutes where a machine is busy: make ray")
    pytest.importorskip("ray.data", reason="needs the ray extra")
    try:
        with cluster(tmp_path_factory.mktemp("ray")) as address:
            yield address
    except TooBusy:
        pytest.skip("needs a machine on which Ray starts within its own 15 s")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "pictures", NUM_PICTURES)


def answers(output: Path) -> list[list[Answer]]:
    return [list(answers_of(read_shard(path))) for path in sorted((output / "shards").iterdir())]


def test_a_job_survives_the_loss_of_its_driver_and_of_an_actor(
    source: Path, tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, expected = tmp_path / "ray", tmp_path / "local"
    monkeypatch.setattr(sys, "path", [*sys.path, str(HERE / "batch")])
    with Job(expected, {}) as job:
        job.plan(list_items(str(source)), SHARD_SIZE)
        for _ in run_local(job, job.tasks(), FirstWorker(OPTIONS), processes=2):
            pass
    driver = start(source, output, address)
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline().strip().isdecimal()  # a shard is done
        driver.kill()
    done = sorted((output / "shards").glob("*.parquet"))
    assert 0 < len(done) < NUM_PICTURES // SHARD_SIZE
    before = {path.name: path.stat().st_mtime_ns for path in done}
    # What the driver had begun on the cluster ends; another goes on, and loses an actor.
    driver = start(source, output, address)
    with driver:
        assert driver.stdout is not None
        assert driver.stdout.readline().strip().isdecimal()
        was_killed = kill_an_actor(driver, 0.0)
        said, errors = driver.communicate(timeout=LIMIT_SECONDS)
    assert driver.returncode == 0, errors
    assert was_killed
    assert all(line.isdecimal() for line in said.splitlines()), said  # Ray says nothing of it
    assert answers(output) == answers(expected)
    assert {name: (output / "shards" / name).stat().st_mtime_ns for name in before} == before
    failed = [a["error"] for shard in answers(output) for a in shard if "error" in a]
    assert failed == [
        "bad",
        "broke the process that reads it: SIGSEGV",
        "gave no answer within 5 s",
        "broke the process that reads it: RuntimeError: two lines",
    ]


def unused_port() -> int:
    """Return a port at which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def test_a_mistake_is_one_line(source: Path, tmp_path: Path) -> None:
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(source)), SHARD_SIZE)
        pytest.importorskip("ray.data", reason="needs the ray extra")
        there = Cluster("ray://127.0.0.1:10001")
        with pytest.raises(BatchError, match=r"expected host:port of a cluster .* Ray's client"):
            list(run_ray(job, job.tasks(), OPTIONS, there))
        assert list(run_ray(job, [], OPTIONS, there)) == []
        for nowhere in (f"127.0.0.1:{unused_port()}", "127.0.0.1:70000"):
            with pytest.raises(BatchError, match=rf"^{nowhere}: expected a running"):
                list(run_ray(job, job.tasks(), OPTIONS, Cluster(nowhere)))


def test_the_extra_is_named_where_it_is_missing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(source)), SHARD_SIZE)
        with pytest.raises(MissingPackageError, match=r"pip install 'head-detection\[ray\]'"):
            list(run_ray(job, job.tasks(), OPTIONS, Cluster()))


def test_items_are_packed() -> None:
    items = [Item("caf\udce9.jpg", "/a/caf\udce9.jpg"), Item("b", "s3://b", 3, 4, "c", "d")] * 50
    assert ray_data._unpacked(ray_data._packed(items)) == items
    assert len(ray_data._packed(items)) < 1000
    assert ray_data._unpacked(ray_data._packed([])) == []


@pytest.mark.parametrize(
    ("resources", "device", "cluster", "expected"),
    [
        # Two cores a process; as many as there is room for.
        ({"CPU": 8.0}, "auto", Cluster(), (4, 4, 2, 0.0, False)),
        ({"CPU": 1.0}, "auto", Cluster(), (1, 1, 1, 0.0, False)),
        # A GPU each, and cores left to fetch.
        ({"CPU": 16.0, "GPU": 4.0}, "auto", Cluster(), (4, 4, 2, 1.0, True)),
        ({"CPU": 16.0, "GPU": 1.0}, "auto", Cluster(num_gpus=0.5), (2, 2, 2, 0.5, True)),
        ({"CPU": 16.0, "GPU": 4.0}, "cpu", Cluster(), (8, 8, 2, 0.0, False)),
        # A cluster that grows begins with one, unless more are asked for.
        ({"CPU": 8.0}, "auto", Cluster("auto"), (1, None, 2, 0.0, True)),
        ({"CPU": 8.0}, "auto", Cluster("auto", actors=(2, 3)), (2, 3, 2, 0.0, True)),
    ],
)
def test_a_pool_is_what_a_cluster_has_room_for(
    resources: dict[str, float], device: str, cluster: Cluster, expected: tuple[object, ...]
) -> None:
    pool = ray_data._pool_of(resources, WorkerOptions(device=device), cluster, num_tasks=100)
    assert (pool.least, pool.most, pool.num_cpus, pool.num_gpus, pool.has_room) == expected
    assert pool.options.device == ("cuda" if pool.num_gpus else "cpu")


def test_a_gpu_that_no_machine_has_is_one_line() -> None:
    with pytest.raises(BatchError, match="device: expected 1 GPUs an actor; the cluster has 0"):
        ray_data._pool_of({"CPU": 2.0}, WorkerOptions(device="cuda"), Cluster(), 1)
