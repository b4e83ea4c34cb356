"""The work of a job by processes on the cores or the GPUs of this machine."""

import os
import queue
import threading
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Final

from head_detection.batch.manifest import Job, Task
from head_detection.batch.shards import Answer
from head_detection.batch.worker import ShardWorker, WorkerClosed, WorkerOptions
from head_detection.cores import num_cores

THREADS: Final = 2
"""Of a process on cores, where nobody says otherwise."""
Event = Answer | Task
"""An answer that came, or a task that is done with, its shard on the disk."""


def run_local(
    job: Job, tasks: Sequence[Task], options: WorkerOptions, processes: int | None = None
) -> Generator[Event]:
    """Do the tasks, and yield what came of it: answers as they come, and tasks when they are done.

    The first detector is built before the others, to see what it answers with and what it runs on.
    Once the generator is closed, or at its end, no process is left.

    Args:
        job: open; it is settled here.
        tasks: of it.
        options: of the workers; ``device`` auto or cuda is all GPUs, a process each.
        processes: None is one a GPU, or on cores as many as have ``THREADS`` each.

    Raises:
        BatchError: no detector can be built. One line.
        OutputError: the job's answers are another detector's.
        OSError: answers cannot be written.
    """
    if not tasks:
        return
    if options.threads is None and "OMP_NUM_THREADS" not in os.environ:
        options = replace(options, threads=min(THREADS, num_cores()))
    runner = _Runner(job, tasks)
    try:
        first = runner.add(options)
        origin = first.start()
        job.settle(settled(origin))
        for other in _others(options, origin, processes, len(tasks)):
            runner.add(other)
        yield from runner.events()
    finally:
        runner.close()


def settled(origin: dict[str, Any]) -> dict[str, Any]:
    """Return what of a worker's origin a job's answers depend on, as ``Job.settle`` takes it."""
    model = origin["model"]
    same = {key: model.get(key) for key in ("sha256", "engine", "precision")}
    return {**same, "score_threshold": origin["score_threshold"], "model": model}


def _others(
    options: WorkerOptions, origin: dict[str, Any], processes: int | None, num_tasks: int
) -> list[WorkerOptions]:
    """Return the options of the workers beside the first, which has the first device."""
    num_gpus = origin["devices"] if options.device in ("auto", "cuda") else 0
    if processes is None:
        is_on_cores = num_gpus == 0 and options.device in ("auto", "cpu")
        cores = num_cores() // (options.threads or THREADS)
        processes = max(1, cores) if is_on_cores else max(1, num_gpus)
    numbers = range(1, min(processes, num_tasks))
    if num_gpus == 0:
        return [options for _ in numbers]
    return [replace(options, device=f"cuda:{number % num_gpus}") for number in numbers]


class _Runner:
    """A thread for each worker, which takes tasks until there are none."""

    def __init__(self, job: Job, tasks: Sequence[Task]) -> None:
        self._job = job
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._events: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
        self._workers: list[ShardWorker] = []
        self._threads: list[threading.Thread] = []

    def add(self, options: WorkerOptions) -> ShardWorker:
        """Add a worker, which begins with ``events``."""
        self._workers.append(ShardWorker(options))
        return self._workers[-1]

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
            while True:
                task = self._tasks.get_nowait()
                answers = worker.run(self._job.items(task), self._events.put)
                self._job.finish(task, answers)
                self._events.put(task)
        except (queue.Empty, WorkerClosed):
            self._events.put(None)
        except Exception as error:  # noqa: BLE001 - raised where the events are read
            self._events.put(error)
        finally:
            worker.close()
