"""Runs a job with processes on the cores or GPUs of this machine."""

import os
import queue
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from head_detection.batch.manifest import Job, Task
from head_detection.batch.process import Dialogue, WorkerOptions
from head_detection.batch.shards import Answer, table_of
from head_detection.batch.worker import ShardWorker, WorkerClosed
from head_detection.cores import num_cores

THREADS: Final = 2
"""Default number of threads of a process on CPU cores."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Ready:
    """The first detector of a run is ready: from now on pictures are answered.

    Attributes:
        time: seconds since the epoch, by the clock of that detector's machine.
    """

    time: float


Event = Ready | Answer | Task
"""The first detector is ready; an answer arrived; or a task is done and its shard is on disk."""


class FirstWorker:
    """A worker that can build its detector while the pictures are listed; its creator closes it.

    Args:
        options: options of this worker and of those that ``run_local`` adds.
        process: its first process, as for ``ShardWorker``.
    """

    def __init__(self, options: WorkerOptions, process: Dialogue | None = None) -> None:
        if options.threads is None and "OMP_NUM_THREADS" not in os.environ:
            options = replace(options, threads=min(THREADS, num_cores()))
        self.options = options
        self.worker = ShardWorker(options, process)
        self._origin: Future[dict[str, Any]] = Future()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start building the detector in the background."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._build, daemon=True)
            self._thread.start()

    def start(self) -> dict[str, Any]:
        """Build the detector, or wait until it is built; return as ``ShardWorker.start`` does."""
        self.begin()
        return self._origin.result()

    def watched(self, batches: Iterable[_T]) -> Iterator[_T]:
        """Pass batches through, but stop as soon as building the detector has failed.

        Raises:
            BatchError: the detector cannot be built; in one line.
        """
        for batch in batches:
            if self._origin.done():
                self._origin.result()
            yield batch

    def close(self) -> None:
        """End its process."""
        self.worker.close()

    def _build(self) -> None:
        try:
            self._origin.set_result(self.worker.start())
        except Exception as error:  # noqa: BLE001 - raised by start
            self._origin.set_exception(error)


def run_local(
    job: Job,
    tasks: Sequence[Task],
    first: FirstWorker,
    processes: int | None = None,
) -> Generator[Event]:
    """Do the tasks; yield ``Ready``, then answers as they arrive and tasks when they are done.

    The first detector is built before the others, to learn its model and device. When the generator
    ends or is closed, no process is left, not even the first.

    Args:
        job: an open job; it is settled here.
        tasks: tasks of the job.
        first: the first worker; with ``device`` auto or cuda, all GPUs are used, one process each.
        processes: number of processes; None for one per GPU or, on a CPU, one per ``THREADS``
            cores.

    Raises:
        BatchError: no detector can be built; in one line.
        OutputError: the job's earlier answers are from another detector.
        OSError: answers cannot be written.
    """
    if not tasks:
        return
    runner = _Runner(job, tasks, first.worker)
    try:
        origin = first.start()
        job.settle(settled(origin))
        yield Ready(time.time())
        if _num_gpus(first.options, origin):
            # Its replacements use the same GPU, and never the CPU, whose results differ.
            first.worker.options = replace(first.options, device="cuda:0")
        for other in _others(first.options, origin, processes, len(tasks)):
            runner.add(other)
        yield from runner.events()
    finally:
        runner.close()


def settled(origin: dict[str, Any]) -> dict[str, Any]:
    """Return the part of a worker's origin that answers depend on, for ``Job.settle``."""
    model = origin["model"]
    same = {key: model.get(key) for key in ("sha256", "engine", "precision")}
    return {**same, "score_threshold": origin["score_threshold"], "model": model}


def _num_gpus(options: WorkerOptions, origin: dict[str, Any]) -> int:
    """Return how many GPUs the processes share; 0 if the options name a single one."""
    return int(origin["devices"]) if options.device in ("auto", "cuda") else 0


def _others(
    options: WorkerOptions, origin: dict[str, Any], processes: int | None, num_tasks: int
) -> list[WorkerOptions]:
    """Return the options of the workers beside the first, which has the first device.

    GPUs are numbered among those in CUDA_VISIBLE_DEVICES. If it lists parts of a GPU (MIG), a
    process sees only the first, so each process is given its own part.
    """
    num_gpus = _num_gpus(options, origin)
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    parts = [name.strip() for name in shown if name.strip().startswith("MIG-")] if num_gpus else []
    num_devices = max(num_gpus, len(parts))
    if processes is None:
        is_on_cores = num_gpus == 0 and options.device in ("auto", "cpu")
        cores = num_cores() // (options.threads or THREADS)
        processes = max(1, cores) if is_on_cores else max(1, num_devices)
    numbers = range(1, min(processes, num_tasks))
    if num_gpus == 0:
        return [options for _ in numbers]
    if parts:
        own = [parts[number % num_devices] for number in numbers]
        return [replace(options, device="cuda:0", visible_devices=part) for part in own]
    return [replace(options, device=f"cuda:{number % num_devices}") for number in numbers]


class _Runner:
    """Runs one thread per worker, which takes tasks until there are none."""

    def __init__(self, job: Job, tasks: Sequence[Task], first: ShardWorker) -> None:
        self._job = job
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._events: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
        self._workers = [first]
        self._threads: list[threading.Thread] = []

    def add(self, options: WorkerOptions) -> None:
        """Add a worker, which starts with ``events``."""
        self._workers.append(ShardWorker(options))

    def events(self) -> Generator[Event]:
        """Start the workers; yield their events until all tasks are done."""
        for worker in self._workers:
            thread = threading.Thread(target=self._work, args=(worker,), daemon=True)
            self._threads.append(thread)
            thread.start()
        num_working = len(self._threads)
        while num_working:
            event = self._events.get()
            if isinstance(event, Exception):
                raise event
            if event is None:
                num_working -= 1
            else:
                yield event

    def close(self) -> None:
        """End all processes and threads; a shard that is being written is finished."""
        for worker in self._workers:
            worker.close()
        for thread in self._threads:
            thread.join()

    def _work(self, worker: ShardWorker) -> None:
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="shards") as writer:
                self._answer(worker, writer)
        except WorkerClosed:
            self._events.put(None)
        except Exception as error:  # noqa: BLE001 - raised where the events are read
            self._events.put(error)
        else:
            self._events.put(None)
        finally:
            worker.close()

    def _answer(self, worker: ShardWorker, writer: ThreadPoolExecutor) -> None:
        """Answer tasks until there are none; a shard is written while the next one is answered."""
        written: Future[None] | None = None
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            self._job.settle(settled(worker.start()))
            answers = worker.answers(self._job.items(task), self._events.put)
            if written is not None:
                written.result()
            written = writer.submit(self._write, task, answers)
        if written is not None:
            written.result()

    def _write(self, task: Task, answers: list[Answer]) -> None:
        try:
            self._job.finish(task, table_of(answers))
            self._events.put(task)
        except Exception as error:  # report it at once, because the next shard may take minutes
            self._events.put(error)
            raise
