"""The output folder of a job: its settings, its plan, what is done and what failed.

    job.json                     what the answers depend on
    plan/plan-000000.parquet     the pictures, one row group per shard, from shard 0 on; there are
                                 more such files if the source has grown since
    shards/shard-000000.parquet  answers; a shard is done when its file exists
    shards/shard-000000.ndjson   the same as lines, if requested
    summary.json                 the totals, written when a run ends

A file appears whole or not at all, and only the process that holds the lock writes. So a run that
is killed at any moment leaves a job that can be continued from its finished shards.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
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
"""The settings that the plan depends on; only the answers depend on the others."""
STARTS: Final = "paths_start_from"
"""Of each list whose paths start from the working folder of the first run, that folder."""
SHOWN_DIGITS: Final = 8
"""Digits of a digest that messages show: enough to tell two apart."""


@dataclass(frozen=True)
class Task:
    """Work on one shard.

    Attributes:
        shard: its number.
        retries: whether only the pictures that failed are processed, rather than all.
    """

    shard: int
    retries: bool = False


class Job:
    """A job in its output folder, which is locked while the job is open.

    Args:
        folder: created if it does not exist.
        request: what the answers depend on, plain values; None for a value that is not known until
            a worker reports it to ``settle``.
        lines: also write each shard as NDJSON.

    Raises:
        OutputError: the folder belongs to another job, is in use, or holds other files; in one
            line.
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
        for shard, counts in self._done.items():
            self._check_planned(shard, counts)
        if not self._done:  # no answers depend on the settings yet
            if any(_differs(key, self._settled, self._request) for key in OF_SOURCE):
                self._plan.clear()
            bound = (*OF_SOURCE, STARTS) if self._plan.num_shards else ()
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
        """Number of pictures in the plan."""
        return self._plan.num_items

    @property
    def num_shards(self) -> int:
        """Number of shards in the plan."""
        return self._plan.num_shards

    @property
    def num_done(self) -> int:
        """Number of shards that are done."""
        return len(self._done)

    @property
    def is_unfinished(self) -> bool:
        """Whether shards are missing, or nothing is planned yet."""
        return self.num_done < self.num_shards or self.num_shards == 0

    @property
    def counts(self) -> Counts:
        """Totals of the shards that are done."""
        counts = tuple(self._done.values())
        return Counts(
            sum(c.pictures for c in counts),
            sum(c.heads for c in counts),
            sum(c.failed for c in counts),
        )

    @property
    def origin(self) -> dict[str, Any]:
        """What the answers depend on, as far as it is known."""
        return dict(self._settled)

    @property
    def starts(self) -> dict[str, str]:
        """Where paths of lists start, as far as the plan depends on it; for ``list_items``."""
        return dict(self._settled.get(STARTS, {}))

    def plan(
        self,
        batches: Iterable[pa.RecordBatch],
        shard_size: int,
        starts: Mapping[str, str] | None = None,
    ) -> int:
        """Append the pictures that the plan does not have yet; return their number.

        Args:
            batches: batches of ``items.ITEM_SCHEMA``; names must be unique.
            shard_size: pictures per new shard; existing shards do not change.
            starts: as ``starts``, complete once all batches are read.
        """
        self._save({key: self._request[key] for key in OF_SOURCE if key in self._request})
        return self._plan.extend(self._with_starts(batches, starts), shard_size)

    def _with_starts(
        self, batches: Iterable[pa.RecordBatch], starts: Mapping[str, str] | None
    ) -> Iterator[pa.RecordBatch]:
        """Pass batches through, and record the starts before the plan appears."""
        yield from batches
        if starts and starts != self.starts:  # they are empty until the batches are read
            self._write({**self._settled, STARTS: dict(starts)})

    def settle(self, origin: Mapping[str, Any]) -> None:
        """Record what the answers depend on; refuse a detector that would give different ones.

        Args:
            origin: the origin of a worker, plain values; None for a value that is not known.

        Raises:
            OutputError: the folder's answers are from a different detector; in one line.
        """
        known = {key: value for key, value in origin.items() if value is not None}
        self._check(known)
        self._save({**self._request, **known})

    def _check_planned(self, shard: int, counts: Counts) -> None:
        """Refuse a shard of another plan, which would repeat or lose pictures."""
        planned = self._plan.size_of(shard) if shard < self._plan.num_shards else 0
        if counts.pictures != planned:
            raise OutputError(
                f"{self.folder}: expected the plan of its shards; shard {shard} has "
                f"{counts.pictures} pictures, of which {planned} are planned: put back the folder "
                f"{PLAN_FOLDER} as it was, or choose another folder"
            )

    def _check(self, values: Mapping[str, Any]) -> None:
        others = [
            f"{key} {_shown(self._settled[key])} there, {_shown(value)} here"
            for key, value in values.items()
            if key != "model" and _differs(key, self._settled, values)
        ]
        if others:
            raise OutputError(
                f"{self.folder}: holds another job: {', '.join(others)}; choose another folder, or "
                "use the same settings"
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
        """Return the tasks that remain, in order.

        Args:
            retry_failed: whether to repeat pictures that failed in shards that are done.
        """
        tasks = []
        for shard in range(self._plan.num_shards):
            if shard not in self._done:
                tasks.append(Task(shard))
            elif retry_failed and self._done[shard].failed:
                tasks.append(Task(shard, retries=True))
        return tasks

    def num_items(self, task: Task) -> int:
        """Return the number of pictures of a task."""
        return self._done[task.shard].failed if task.retries else self._plan.size_of(task.shard)

    def items(self, task: Task) -> list[Item]:
        """Return the pictures of a task; callable from any thread."""
        planned = self._plan.read(task.shard)
        if task.retries:
            old = read_shard(self._path(task.shard))
            planned = planned.filter(old.column("error").is_valid())
        return list(items_of(planned))

    def finish(self, task: Task, answers: pa.Table) -> None:
        """Write the answers of a task, in the order of its pictures, which makes it done.

        Callable from any thread, once per task.

        Args:
            task: one of ``tasks``.
            answers: table of ``shards.SHARD_SCHEMA``, one row per item.

        Raises:
            OSError: they cannot be written.
        """
        path = self._path(task.shard)
        if task.retries:
            old = read_shard(path)
            failed = old.column("error").is_valid()
            rows = pa.concat_tables([old.filter(pc.invert(failed)), answers.cast(old.schema)])
            # The position of each old row in the joined table.
            places = _places(failed.to_numpy())
            answers = rows.take(places)
        if answers.num_rows != self._plan.size_of(task.shard):
            raise ValueError(
                f"shard {task.shard}: expected {self._plan.size_of(task.shard)} answers; got "
                f"{answers.num_rows}"
            )
        self._done[task.shard] = write_shard(path, answers, self._settled)
        lines = path.with_suffix(".ndjson")
        if self._lines or lines.exists():  # lines of an earlier run would be out of date
            write_lines(lines, answers)

    def complete_lines(self) -> None:
        """Write the lines of done shards whose lines are out of date, or missing if requested."""
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
            last_run: description of the last run, plain values.
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
    """Return whether both have a value, and the values differ."""
    return key in there and key in here and bool(there[key] != here[key])


def _places(failed: Any) -> Any:
    """Return the new position of each row of a shard if its failed rows are moved to the end.

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
    """Refuse a folder with other files than those of a job that was killed as it began."""
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
