"""Runs a job on a Ray cluster, with Ray Data and a class on actors.

A row is a shard, in its own block. So an actor answers shard after shard with the same
``ShardWorker`` as a process of the local runner: the answers are the same, and a picture that hangs
or breaks the process costs only itself. Rows of single pictures would spread the work further, but
a shard's answers would come from many actors and have to be gathered before it could be written.

Only this process writes, through ``Job``. So the cluster needs no output folder, and the files are
those of the local runner: either runner can continue the other's job. Answers that arrive twice, as
after the loss of a machine, are written once. An actor that is killed is restarted and asked again.
If this process is killed, Ray ends all that it started, and the next run does what is missing.
Ray's own checkpoints would be a second record of the same.

On GPUs, tasks on other cores fetch the files of a store, a few shards ahead. Threads of the actor's
process, which ``num_cpus`` counts, decode them, because pixels take many times the bytes of files.
Memory holds two shards per actor, and at most ``fetching.FETCHED_BYTES`` of fetched files per
shard, so that little is ever spilled to disk.
"""

import gc
import json
import logging
import math
import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from head_detection.batch.connection import RayError, connected
from head_detection.batch.fetching import at_hand, fetch
from head_detection.batch.items import Item
from head_detection.batch.local import THREADS, Event, FirstWorker, Ready, settled
from head_detection.batch.manifest import Job, Task
from head_detection.batch.process import WorkerOptions
from head_detection.batch.shards import answers_of
from head_detection.batch.spares import Spares, take
from head_detection.cores import num_cores
from head_detection.errors import BatchError, HeadDetectionError
from head_detection.inference.weights_files import AUTO, EXPORTED, INT8

DRIVERS: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Files that NVIDIA's driver creates on Linux, and on Linux in Windows (WSL)."""
_MAX_DEATHS: Final = 20
"""Consecutive actors that may end as they start, before the job ends; other deaths do not count."""
_IN_FLIGHT: Final = 2
"""Shards per actor: the current one, and one that waits."""
Resources = Mapping[str, float]
"""Resources of a machine, as Ray reports them: ``CPU`` and, if there are any, ``GPU``."""
_NUMBER: Final = "number"
_SIZE_BYTES: Final = 8
"""Size of the number after packed items, which is their unpacked size."""


@dataclass(frozen=True)
class Cluster:
    """Where the actors run, and how many.

    Attributes:
        address: address of a running cluster, ``host:port`` or ``auto``; None starts Ray on this
            machine, and ends it with the job.
        actors: least and most actors; None for as many as the cluster has room for.
        num_gpus: GPUs per actor, may be a fraction; None for one if there are any.
    """

    address: str | None = None
    actors: tuple[int, int | None] | None = None
    num_gpus: float | None = None


def run_ray(
    job: Job, tasks: Sequence[Task], options: WorkerOptions, cluster: Cluster
) -> Generator[Event]:
    """Do the tasks on a cluster, and yield events as ``run_local`` does.

    A shard's answers arrive together. When the generator ends or is closed, nothing of the job is
    left on the cluster.

    Args:
        job: an open job; it is settled here.
        tasks: tasks of the job.
        options: options of the workers; each machine reads the weights from the same path.
        cluster: where the actors run.

    Raises:
        BatchError: there is no cluster, or no detector can be built; in one line.
        OutputError: the job's earlier answers are from another detector.
        OSError: answers cannot be written.
        MissingPackageError: the ``ray`` extra is not installed.
    """
    if not tasks:
        return
    with (
        _spares(options, cluster, len(tasks)) as spares,
        connected(cluster.address, spares.check) as ray,
    ):
        waiting = dict(enumerate(tasks))
        rows = [{_NUMBER: n, "items": _packed(job.items(task))} for n, task in waiting.items()]
        answered = _answers(ray, rows, options, cluster, spares)
        with _ended(answered):
            for row in _running(answered):
                task = waiting.pop(row[_NUMBER], None)
                if task is None:  # answered twice
                    continue
                if row["refused"]:
                    raise BatchError(row["refused"])
                job.settle(settled(json.loads(row["origin"])))
                if len(waiting) == len(tasks) - 1:
                    yield Ready(row["ready"])
                answers = pa.ipc.open_stream(row["answers"]).read_all()
                job.finish(task, answers)
                yield from answers_of(answers)
                yield task
        if waiting:
            raise BatchError(
                f"expected answers to {len(tasks)} shards; {len(waiting)} are missing: run the "
                "same command again"
            )


def _answers(
    ray: Any,
    rows: list[dict[str, Any]],
    options: WorkerOptions,
    cluster: Cluster,
    spares: Spares,
) -> Generator[dict[str, Any]]:
    """Yield a row per shard, as ``_Answerer`` returns it, in order of arrival."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = _MAX_DEATHS
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    pool = _pool_of(machines, options, cluster, len(rows))
    shards = ray.data.from_items(rows, override_num_blocks=len(rows))
    if pool.num_gpus and pool.has_room:
        shards = shards.map_batches(
            _with_contents, batch_size=1, batch_format="pyarrow", num_cpus=1
        )
    answers = shards.map_batches(
        _Answerer,
        fn_constructor_args=(pool.options, spares.name if spares.options == pool.options else None),
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=pool.least, max_size=pool.most, max_tasks_in_flight_per_actor=_IN_FLIGHT
        ),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus or None,
    )
    for batch in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from batch.to_pylist()


def _spares(options: WorkerOptions, cluster: Cluster, num_tasks: int) -> Spares:
    """Return detectors for the first actors, if they run on CPU cores of a cluster of our own."""
    is_on_gpus = cluster.num_gpus or (_wants_gpu(options) and _may_have_gpus())
    if cluster.address is not None or is_on_gpus:
        return Spares(options, 0)
    pool = _pool_of([{"CPU": num_cores()}], options, cluster, num_tasks)
    return Spares(pool.options, pool.least)


def _running(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Turn Ray's errors into one line."""
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except HeadDetectionError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            raise RayError(
                f"ray: the job cannot continue: {text}: run the same command again to do what is "
                "missing"
            ) from error
        yield row


@contextmanager
def _ended(rows: Generator[Any]) -> Iterator[None]:
    """After the block, let Ray Data stop its work on rows that nobody will read."""
    try:
        yield
    finally:
        rows.close()
        gc.collect()  # it stops with its objects, which form reference cycles


@dataclass(frozen=True)
class _Pool:
    """The number of actors, and the resources of each.

    Attributes:
        least: least actors.
        most: most actors; None for no limit.
        num_cpus: CPU cores per actor.
        num_gpus: GPUs per actor.
        has_room: whether the least number of actors leaves a core free.
        options: options of their workers.
    """

    least: int
    most: int | None
    num_cpus: int
    num_gpus: float
    has_room: bool
    options: WorkerOptions


def _pool_of(
    machines: Sequence[Resources], options: WorkerOptions, cluster: Cluster, num_tasks: int
) -> _Pool:
    """Return the actors that fit on the machines: as many as the local runner has processes.

    Raises:
        BatchError: an actor needs more GPUs than any machine has.
    """
    wants_gpu = _wants_gpu(options)
    most_gpus = max((machine.get("GPU", 0.0) for machine in machines), default=0.0)
    num_gpus = cluster.num_gpus
    if num_gpus is None:
        num_gpus = 1.0 if wants_gpu and (most_gpus or options.device == "cuda") else 0.0
    if num_gpus > most_gpus:
        raise BatchError(
            f"device: expected a machine with {num_gpus:g} GPUs for each actor; the cluster's have "
            f"{most_gpus:g} at most: add one, or ask for less of a GPU, or for the cpu"
        )
    device = "cuda" if num_gpus else "cpu" if options.device == "auto" else options.device
    fitting = [machine for machine in machines if machine.get("GPU", 0.0) >= num_gpus]
    cores = [int(machine.get("CPU", 0.0)) for machine in fitting]
    num_cpus = max(1, min(options.threads or THREADS, max(cores, default=1)))
    room = 0
    for machine, own in zip(fitting, cores, strict=True):
        gpus = math.floor(machine.get("GPU", 0.0) / num_gpus) if num_gpus else own
        room += min(own // num_cpus, gpus)
    room = max(1, room)
    is_own = cluster.address is None
    least, most = cluster.actors or ((room, room) if is_own else (1, None))
    least = max(1, min(least, room, num_tasks))
    most = None if most is None else max(least, min(most, num_tasks))
    return _Pool(
        least,
        most,
        num_cpus,
        num_gpus,
        has_room=least * num_cpus < sum(int(machine.get("CPU", 0.0)) for machine in machines),
        options=replace(options, device=device, threads=num_cpus),
    )


def _wants_gpu(options: WorkerOptions) -> bool:
    """Return whether such a detector runs on a GPU if there is one."""
    is_torch = options.engine in (None, AUTO, "torch") and options.precision != INT8
    is_exported = Path(options.weights or "").suffix.lower() in EXPORTED
    return options.device == "cuda" or (options.device == "auto" and is_torch and not is_exported)


def _may_have_gpus() -> bool:
    """Return whether NVIDIA's driver may show a GPU to this process; asking torch would be slow."""
    is_shown = os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in ("", "-1", "NoDevFiles")
    return is_shown and any(path.exists() for path in DRIVERS)


class _Answerer:
    """Answers shard after shard with a ``ShardWorker``, whose process Ray does not manage."""

    def __init__(self, options: WorkerOptions, spares: str | None) -> None:
        self._first = FirstWorker(options, take(spares))
        self._first.begin()  # builds its detector while Ray Data starts
        self._ready = 0.0

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Answer the only shard in a batch.

        A mistake of the user is returned, not raised: Ray wraps errors of actors in pages of text.
        """
        (row,) = batch.to_pylist()
        refused, origin, answers = "", {}, b""
        try:
            with at_hand(_unpacked(row["items"]), row.get("contents") or []) as items:
                origin = self._first.start()
                self._ready = self._ready or time.time()
                answers = _stream_of(self._first.worker.run(items))
        except BatchError as error:
            refused = str(error)
        answer = {
            _NUMBER: row[_NUMBER],
            "refused": refused,
            "origin": json.dumps(origin),
            "ready": self._ready,
            "answers": answers,
        }
        return pa.Table.from_pylist([answer], _ANSWER_SCHEMA)


_ANSWER_SCHEMA: Final = pa.schema(
    [
        (_NUMBER, pa.int64()),
        ("refused", pa.string()),
        ("origin", pa.string()),
        ("ready", pa.float64()),
        ("answers", pa.large_binary()),
    ]
)


def _with_contents(batch: pa.Table) -> pa.Table:
    """Fetch the files of the only shard in a batch."""
    (row,) = batch.to_pylist()
    contents = pa.array([fetch(_unpacked(row["items"]))], pa.list_(pa.large_binary()))
    return batch.append_column("contents", contents)


def _packed(items: Sequence[Item]) -> bytes:
    """Return items as compressed bytes, because those of the whole job wait in memory."""
    text = json.dumps([astuple(item) for item in items])
    packed: bytes = pa.compress(text.encode(), codec="zstd", asbytes=True)
    return packed + len(text).to_bytes(_SIZE_BYTES, "little")


def _unpacked(content: bytes) -> list[Item]:
    size = int.from_bytes(content[-_SIZE_BYTES:], "little")
    text: bytes = pa.decompress(content[:-_SIZE_BYTES], size, codec="zstd", asbytes=True)
    return [Item(*values) for values in json.loads(text)]


def _stream_of(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
