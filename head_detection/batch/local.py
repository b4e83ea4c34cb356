"""The work of a job by processes on the cores or the GPUs of this machine."""

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
"""Of a process on cores, where nobody says otherwise."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class Ready:
    """The first detector of a run is built: from now on pictures are answered.

    Attributes:
        time: as ``time.time`` has it on the machine of that detector.
    """

    time: float


Event = Ready | Answer | Task
"""The first detector is there; an answer came; a task is done with, its shard on the disk."""


class FirstWorker:
    """A worker that can build its detector while the pictures are listed; closed by who made it.

    Args:
        options: of it, and of those that ``run_local`` adds to it.
        process: its first, as ``ShardWorker`` takes it.
    """

    def __init__(self, options: WorkerOptions, process: Dialogue | None = None) -> None:
        if options.threads is None and "OMP_NUM_THREADS" not in os.environ:
            options = replace(options, threads=min(THREADS, num_cores()))
        self.options = options
        self.worker = ShardWorker(options, process)
        self._origin: Future[dict[str, Any]] = Future()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Let it build its detector meanwhile."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._build, daemon=True)
            self._thread.start()

    def start(self) -> dict[str, Any]:
        """Build its detector, or wait until it is built, as ``ShardWorker.start`` does."""
        self.begin()
        return self._origin.result()

    def watched(self, batches: Iterable[_T]) -> Iterator[_T]:
        """Give what is listed on, unless it is known by then that the detector is refused.

        Raises:
            BatchError: it cannot be built. One line.
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
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            self._origin.set_exception(error)


def run_local(
    job: Job,
    tasks: Sequence[Task],
    first: FirstWorker,
    processes: int | None = None,
) -> Generator[Event]:
    """Do the tasks, and yield what came of it: answers as they come, and tasks when they are done.

    Before them comes that the first detector is ready.

    The first detector is built before the others, to see what it answers with and what it runs on.
    Once the generator is closed, or at its end, no process is left, the first's neither.

    Args:
        job: open; it is settled here.
        tasks: of it.
        first: of the workers; with ``device`` auto or cuda all GPUs are used, a process each.
        processes: None is one a GPU, or on cores as many as have ``THREADS`` each.

    Raises:
        BatchError: no detector can be built. One line.
        OutputError: the job's answers are another detector's.
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
            # Whatever replaces it has the same GPU, and never the cores, which answer otherwise.
            first.worker.options = replace(first.options, device="cuda:0")
        for other in _others(first.options, origin, processes, len(tasks)):
            runner.add(other)
        yield from runner.events()
    finally:
        runner.close()


def settled(origin: dict[str, Any]) -> dict[str, Any]:
    """Return what of a worker's origin a job's answers depend on, as ``Job.settle`` takes it."""
    model = origin["model"]
    same = {key: model.get(key) for key in ("sha256", "engine", "precision")}
    return {**same, "score_threshold": origin["score_threshold"], "model": model}


def _num_gpus(options: WorkerOptions, origin: dict[str, Any]) -> int:
    """Return how many GPUs the processes share; of one that is named, the first has it alone."""
    return int(origin["devices"]) if options.device in ("auto", "cuda") else 0


def _others(
    options: WorkerOptions, origin: dict[str, Any], processes: int | None, num_tasks: int
) -> list[WorkerOptions]:
    """Return the options of the workers beside the first, which has the first device.

    GPUs are numbered among those that CUDA_VISIBLE_DEVICES shows. Of parts of a GPU (MIG) a process
    is shown the first alone, so each is told its own.
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
    """A thread for each worker, which takes tasks until there are none."""

    def __init__(self, job: Job, tasks: Sequence[Task], first: ShardWorker) -> None:
        self._job = job
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._events: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
        self._workers = [first]
        self._threads: list[threading.Thread] = []

    def add(self, options: WorkerOptions) -> None:
        """Add a worker, which begins with ``events``."""
        self._workers.append(ShardWorker(options))

    def events(self) -> Generator[Event]:
        """Let the workers work; yield what comes of it until all is done."""
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
        """End all processes and threads; what is being written is brought to its end."""
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
        except Exception as error:  # at once, for the next shard may take minutes
            self._events.put(error)
            raise
