"""Ray on this machine with two cores: drivers and actors that are killed, bad pictures."""

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from head_detection.batch.connection import RayError
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
    ("machines", "device", "cluster", "expected"),
    [
        # Two cores a process; as many as there is room for.
        ([{"CPU": 8.0}], "auto", Cluster(), (4, 4, 2, 0.0, False)),
        ([{"CPU": 1.0}], "auto", Cluster(), (1, 1, 1, 0.0, False)),
        # A GPU each, and cores left to fetch.
        ([{"CPU": 16.0, "GPU": 4.0}], "auto", Cluster(), (4, 4, 2, 1.0, True)),
        ([{"CPU": 16.0, "GPU": 1.0}], "auto", Cluster(num_gpus=0.5), (2, 2, 2, 0.5, True)),
        ([{"CPU": 16.0, "GPU": 4.0}], "cpu", Cluster(), (8, 8, 2, 0.0, False)),
        # An actor is on one machine: seven halves of GPUs, six of which have two cores.
        (
            [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 9.0, "GPU": 2.5}, {}],
            *("cuda", Cluster(num_gpus=0.5), (5, 5, 2, 0.5, True)),
        ),
        ([{"CPU": 3.0}, {"CPU": 3.0}], "cpu", Cluster(), (2, 2, 2, 0.0, True)),
        # A cluster that grows begins with one, unless more are asked for.
        ([{"CPU": 8.0}], "auto", Cluster("auto"), (1, None, 2, 0.0, True)),
        ([{"CPU": 8.0}], "auto", Cluster("auto", actors=(2, 3)), (2, 3, 2, 0.0, True)),
        ([], "auto", Cluster("auto"), (1, None, 1, 0.0, False)),
    ],
)
def test_a_pool_is_what_a_cluster_has_room_for(
    machines: list[dict[str, float]], device: str, cluster: Cluster, expected: tuple[object, ...]
) -> None:
    pool = ray_data._pool_of(machines, WorkerOptions(device=device), cluster, num_tasks=100)
    assert (pool.least, pool.most, pool.num_cpus, pool.num_gpus, pool.has_room) == expected
    assert pool.options.device == ("cuda" if pool.num_gpus else "cpu")


@pytest.mark.parametrize(
    ("options", "num_gpus"),
    [
        (WorkerOptions(engine="torch"), 1.0),
        (WorkerOptions(engine="auto"), 1.0),
        (WorkerOptions(engine="openvino"), 0.0),
        (WorkerOptions(weights="/models/fast.onnx"), 0.0),
        (WorkerOptions(precision="int8"), 0.0),
        (WorkerOptions(device="cpu"), 0.0),
    ],
)
def test_an_engine_that_runs_on_cores_alone_is_given_no_gpu(
    options: WorkerOptions, num_gpus: float
) -> None:
    pool = ray_data._pool_of([{"CPU": 8.0, "GPU": 1.0}], options, Cluster(), 100)
    assert pool.num_gpus == num_gpus


@pytest.mark.parametrize(
    ("machines", "num_gpus", "had"),
    [([{"CPU": 2.0}], None, "0"), ([{"CPU": 2.0, "GPU": 1.0}] * 4, 2.0, "1"), ([], None, "0")],
)
def test_a_gpu_that_no_machine_has_is_one_line(
    machines: list[dict[str, float]], num_gpus: float | None, had: str
) -> None:
    message = rf"^device: expected a machine with {num_gpus or 1:g} GPUs .* have {had} at most: add"
    with pytest.raises(BatchError, match=message):
        ray_data._pool_of(machines, WorkerOptions(device="cuda"), Cluster(num_gpus=num_gpus), 1)


def test_what_is_no_fault_of_ray_is_told_as_it_is() -> None:
    def mistaken(error: Exception) -> Iterator[dict[str, Any]]:
        raise error
        yield {}

    with pytest.raises(BatchError, match=r"^device: expected$") as caught:
        next(ray_data._running(mistaken(BatchError("device: expected"))))
    assert not isinstance(caught.value, RayError)
    message = r"^ray: the job cannot continue: an actor died: run the same .* what is missing$"
    with pytest.raises(RayError, match=message):
        next(ray_data._running(mistaken(RuntimeError("an actor\ndied"))))


def test_no_spare_is_built_where_actors_have_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidiactl").touch()
    monkeypatch.setattr(ray_data, "num_cores", lambda: 8)
    monkeypatch.setattr(ray_data, "DRIVERS", (tmp_path / "nvidiactl", tmp_path / "dxg"))

    def number(device: str, cluster: Cluster | None = None) -> int:
        options = WorkerOptions(device=device)
        return ray_data._spares(options, cluster or Cluster(), num_tasks=100)._number

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (number("auto"), number("cuda"), number("cpu")) == (0, 0, 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert number("auto") == 4
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1a2b")
    assert number("auto") == 0
    (tmp_path / "nvidiactl").unlink()
    assert number("auto") == 4
    assert number("auto", Cluster("auto")) == number("auto", Cluster(num_gpus=0.5)) == 0
