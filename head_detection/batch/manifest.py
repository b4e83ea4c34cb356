"""The output folder of a job: whose it is, its plan, what is done and what failed.

    job.json                     what the answers depend on
    plan/plan-000000.parquet     the pictures, a row group a shard, from shard 0 on; more of them
                                 where the source has grown since
    shards/shard-000000.parquet  answers; a shard is done when its file is there
    shards/shard-000000.ndjson   the same as lines, where they are asked for
    summary.json                 what there is, once a run has ended

A file appears whole or not at all, and only who holds the lock writes: so a run that was killed, at
whatever moment, leaves a job that goes on from its done shards.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from head_detection.batch.items import Item, items_of
from head_detection.batch.plan import Plan
from head_detection.batch.shards import (
    Counts,
    read_counts,
    read_shard,
    write_lines,
    write_shard,
)
from head_detection.errors import OutputError, printable
from head_detection.files import holding, is_temporary, write_bytes

SCHEMA: Final = "head-detection/batch/1"
JOB_FILE: Final = "job.json"
PLAN_FOLDER: Final = "plan"
LOCK_FILE: Final = ".lock"
SUMMARY_FILE: Final = "summary.json"
SHARD_NAME: Final = re.compile(r"shard-(\d+)\.parquet")
OF_SOURCE: Final = ("source", "columns")
"""What the plan depends on; all else are the answers'."""
SHOWN_DIGITS: Final = 8
"""Of a digest, and enough to tell two apart."""


@dataclass(frozen=True)
class Task:
    """Work on one shard.

    Attributes:
        shard: its number.
        retries: the pictures alone that failed; else all.
    """

    shard: int
    retries: bool = False


class Job:
    """A job in its output folder, which nobody else works on while it is open.

    Args:
        folder: made if need be.
        request: what the answers depend on, plain values; None is not known yet: what a worker
            makes of it is settled later.
        lines: write each shard as NDJSON too.

    Raises:
        OutputError: the folder is another job's, in use, or holds other files. One line.
    """

    def __init__(self, folder: Path, request: Mapping[str, Any], *, lines: bool = False) -> None:
        self.folder, self._lines = folder, lines
        self._request = {key: value for key, value in request.items() if value is not None}
        self._stack = ExitStack()
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise

    def _open(self) -> None:
        job_file = self.folder / JOB_FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(
                f"{self.folder}: expected a folder, new or of an earlier run of this job; it is a "
                "file: choose another name"
            )
        if not job_file.exists():
            _refuse_others(self.folder)
        try:
            self._stack.enter_context(holding(self.folder / LOCK_FILE))
        except BlockingIOError as error:
            raise OutputError(
                f"{self.folder}: another run works on this job; wait for its end, or choose another"
                " folder"
            ) from error
        self._settled: dict[str, Any] = {}
        if job_file.exists():
            self._settled = _read_job(job_file)
        else:
            self._write({})
        self._plan = Plan(self.folder / PLAN_FOLDER)
        shards = self.folder / "shards"
        shards.mkdir(exist_ok=True)
        names = (SHARD_NAME.fullmatch(name) for name in sorted(os.listdir(shards)))  # noqa: PTH208 - names alone
        self._done = {int(n[1]): read_counts(shards / n[0]) for n in names if n is not None}
        if not self._done:  # nothing depends on it yet
            if any(_differs(key, self._settled, self._request) for key in OF_SOURCE):
                self._plan.clear()
            bound = OF_SOURCE if self._plan.num_shards else ()
            self._settled = {key: self._settled[key] for key in bound if key in self._settled}
        self._check(self._request)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def num_pictures(self) -> int:
        """Pictures in the plan."""
        return self._plan.num_items

    @property
    def num_shards(self) -> int:
        """Shards in the plan."""
        return self._plan.num_shards

    @property
    def num_done(self) -> int:
        """Shards that are done."""
        return len(self._done)

    @property
    def is_unfinished(self) -> bool:
        """Whether shards are missing, or nothing is planned yet."""
        return self.num_done < self.num_shards or self.num_shards == 0

    @property
    def counts(self) -> Counts:
        """What is in the shards that are done."""
        counts = tuple(self._done.values())
        return Counts(
            sum(c.pictures for c in counts),
            sum(c.heads for c in counts),
            sum(c.failed for c in counts),
        )

    @property
    def origin(self) -> dict[str, Any]:
        """What the answers depend on, as far as it is settled."""
        return dict(self._settled)

    def plan(self, batches: Iterable[pa.RecordBatch], shard_size: int) -> int:
        """Append what the plan does not have; return how many pictures that is.

        Args:
            batches: of ``items.ITEM_SCHEMA``; no name comes twice.
            shard_size: pictures in a shard; those that are planned stay as they are.
        """
        self._save({key: self._request[key] for key in OF_SOURCE if key in self._request})
        return self._plan.extend(batches, shard_size)

    def settle(self, origin: Mapping[str, Any]) -> None:
        """Note what the answers depend on, or refuse what would make others.

        Args:
            origin: of a worker, plain values; None is not known.

        Raises:
            OutputError: the folder's answers depend on another. One line.
        """
        known = {key: value for key, value in origin.items() if value is not None}
        self._check(known)
        self._save({**self._request, **known})

    def _check(self, values: Mapping[str, Any]) -> None:
        others = [
            f"{key} {_shown(self._settled[key])} there, {_shown(value)} here"
            for key, value in values.items()
            if key != "model" and _differs(key, self._settled, values)
        ]
        if others:
            raise OutputError(
                f"{self.folder}: holds another job: {', '.join(others)}; choose another folder, or "
                "ask for the same"
            )

    def _save(self, values: Mapping[str, Any]) -> None:
        settled = {**values, **self._settled}
        if settled != self._settled:
            self._write(settled)

    def _write(self, settled: dict[str, Any]) -> None:
        self._settled = settled
        content = json.dumps({"schema": SCHEMA, **settled}, indent=1) + "\n"
        write_bytes(self.folder / JOB_FILE, content.encode())

    def tasks(self, *, retry_failed: bool = False) -> list[Task]:
        """Return what is missing, in order.

        Args:
            retry_failed: the pictures of done shards too that failed.
        """
        tasks = []
        for shard in range(self._plan.num_shards):
            if shard not in self._done:
                tasks.append(Task(shard))
            elif retry_failed and self._done[shard].failed:
                tasks.append(Task(shard, retries=True))
        return tasks

    def num_items(self, task: Task) -> int:
        """Return how many pictures a task has."""
        return self._done[task.shard].failed if task.retries else self._plan.size_of(task.shard)

    def items(self, task: Task) -> list[Item]:
        """Return the pictures of a task; from any thread."""
        planned = self._plan.read(task.shard)
        if task.retries:
            old = read_shard(self._path(task.shard))
            planned = planned.filter(old.column("error").is_valid())
        return list(items_of(planned))

    def finish(self, task: Task, answers: pa.Table) -> None:
        """Write the answers to a task's pictures, in their order; the task is done then.

        Args:
            task: of ``tasks``; from any thread, each once.
            answers: of ``shards.SHARD_SCHEMA``, a row for each of its items.

        Raises:
            OSError: they cannot be written.
        """
        path = self._path(task.shard)
        if task.retries:
            old = read_shard(path)
            failed = old.column("error").is_valid()
            rows = pa.concat_tables([old.filter(pc.invert(failed)), answers.cast(old.schema)])
            # Where each of the old rows is among those.
            places = _places(failed.to_numpy())
            answers = rows.take(places)
        if answers.num_rows != self._plan.size_of(task.shard):
            raise ValueError(
                f"shard {task.shard}: expected {self._plan.size_of(task.shard)} answers; got "
                f"{answers.num_rows}"
            )
        self._done[task.shard] = write_shard(path, answers, self._settled)
        lines = path.with_suffix(".ndjson")
        if self._lines or lines.exists():  # those of an earlier run would say something else
            write_lines(lines, answers)

    def complete_lines(self) -> None:
        """Write the lines of done shards that have older ones, or none where they are asked for."""
        for shard in self._done:
            path = self._path(shard)
            lines = path.with_suffix(".ndjson")
            is_there = lines.exists()
            is_old = is_there and lines.stat().st_mtime_ns < path.stat().st_mtime_ns
            if is_old or (self._lines and not is_there):
                write_lines(lines, read_shard(path))

    def write_summary(self, last_run: Mapping[str, Any]) -> None:
        """Write ``summary.json``.

        Args:
            last_run: what is told of it, plain values.
        """
        counts = self.counts
        summary = {
            "schema": SCHEMA,
            "is_complete": self.num_done == self.num_shards,
            "pictures": self.num_pictures,
            "answered": counts.pictures - counts.failed,
            "failed": counts.failed,
            "heads": counts.heads,
            "shards": self.num_shards,
            "shards_done": self.num_done,
            "last_run": dict(last_run),
            **self._settled,
        }
        content = json.dumps(summary, indent=1) + "\n"
        write_bytes(self.folder / SUMMARY_FILE, content.encode())

    def _path(self, shard: int) -> Path:
        return self.folder / "shards" / f"shard-{shard:06d}.parquet"


def _differs(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Tell whether both know a value, and not the same."""
    return key in there and key in here and bool(there[key] != here[key])


def _places(failed: Any) -> Any:
    """Return where each row of a shard is, once those that failed stand behind the others.

    Example:
        >>> import numpy as np
        >>> _places(np.array([False, True, False])).tolist()
        [0, 2, 1]
    """
    kept = ~failed
    places = kept.cumsum() - 1
    places[failed] = kept.sum() + failed[failed].cumsum() - 1
    return places


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that holds other files than a job that was killed as it began."""
    names = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names alone
    if any(name != LOCK_FILE and not is_temporary(name) for name in names):
        raise OutputError(
            f"{folder}: expected a new folder or one of an earlier run of this job; it holds other "
            "files: choose another folder"
        )


def _read_job(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_bytes())
    except ValueError:
        values = None
    if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
        raise OutputError(
            f"{path}: expected a job of this version, {SCHEMA}; got something else: choose another "
            "folder"
        )
    return values


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    is_digest = re.fullmatch(r"[0-9a-f]{64}", text) is not None
    return printable(text[:SHOWN_DIGITS] if is_digest else text or "none")
