"""The output folder of a job: whose it is, its plan, what is done and what failed."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from head_detection.batch.items import Item


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
    """A job in its output folder, which is locked while it is open.

    Args:
        folder: made if need be.
        request: what the answers depend on, known before a detector is built; plain values.

    Raises:
        OutputError: the folder is another job's, in use, or holds other files. One line.
    """

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        raise NotImplementedError

    def plan(self, batches: Iterable[Any], shard_size: int) -> int:
        """Append what the plan does not have; return how many pictures that is.

        Args:
            batches: record batches of ``items.SCHEMA``.
            shard_size: pictures in a shard.
        """
        raise NotImplementedError

    def settle(self, origin: dict[str, Any]) -> None:
        """Note which detector answers, as a worker says, or refuse one that answers otherwise.

        Raises:
            OutputError: the folder's answers are of another. One line.
        """
        raise NotImplementedError

    def tasks(self, *, retry_failed: bool = False) -> list[Task]:
        """Return what is missing, in order."""
        raise NotImplementedError

    def items(self, task: Task) -> list[Item]:
        """Return the pictures of a task; from any process that sees the folder, any thread."""
        raise NotImplementedError

    def finish(self, task: Task, table: Any) -> None:
        """Write the answers to a task's pictures, in their order; the task is done then."""
        raise NotImplementedError
