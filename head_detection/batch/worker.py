"""A worker runs one detector in its own process, and survives pictures that break the process.

Both runners use it, so that a picture that hangs or breaks the process costs only that picture.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import pyarrow as pa

from head_detection.batch.items import Item
from head_detection.batch.process import Dialogue, ProcessEnd, WorkerOptions, start_process
from head_detection.batch.shards import Answer, table_of
from head_detection.errors import BatchError

START_SECONDS: Final = 600.0
"""Time to build a detector: converting it for another engine takes a minute on an idle machine."""
MAX_BREAKS_ALONE: Final = 3
"""A picture is given up if the process ends so often while working on it alone; not at the first
time, because somebody may have killed the process."""
MAX_GIVEN_UP: Final = 100
"""If so many consecutive pictures are given up, the machine is to blame, for example a lost GPU."""
MAX_BREAKS_WITHOUT: Final = 8
"""If so many consecutive processes end before they begin a picture, no other will do better."""


class WorkerClosed(Exception):  # noqa: N818 - not an error: it was told to end
    """The worker was closed while it answered."""


class ShardWorker:
    """Answers pictures with a process that is restarted when a picture breaks it.

    After a break, the pictures that the process had begun are tried one by one. A picture that
    breaks it again, or never finishes, is answered with an error. The calling process does not load
    torch, and the other process ends with it, however it ends.

    Args:
        options: options of the detector.
        process: the first process, if one was already started with these options.
    """

    def __init__(self, options: WorkerOptions, process: Dialogue | None = None) -> None:
        self.options = options
        self._process = process
        self._origin: dict[str, Any] | None = None
        self._breaks_without = self._given_up = 0
        self._is_closed = False
        self._changing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Id of the process; None if there is none."""
        return None if self._process is None else self._process.pid

    def start(self) -> dict[str, Any]:
        """Build the detector, unless it exists.

        Returns:
            ``model`` and ``score_threshold``, as in results, and ``devices``: how many GPUs it
            sees.

        Raises:
            BatchError: the detector cannot be built, its process ends again and again, or a
                replacement has different weights; in one line.
        """
        while self._origin is None or self._process is None:
            with self._changing:
                if self._is_closed:
                    raise WorkerClosed
                process = self._process = self._process or Dialogue(start_process(self.options))
            message = process.next(START_SECONDS)
            if isinstance(message, ProcessEnd):
                self._count_break(message)
            elif message["kind"] == "ready":
                self._take_origin(message)
        return self._origin

    def _take_origin(self, message: dict[str, Any]) -> None:
        """Record a process's model; a replacement must have the same."""
        origin = {key: message[key] for key in ("model", "score_threshold", "devices")}
        if self._origin is not None and self._origin["model"] != origin["model"]:
            raise BatchError(
                "expected weights and settings that stay the same while the job runs; they have "
                "changed: check them, then run the same command again"
            )
        self._origin = origin

    def run(self, items: Sequence[Item], tell: Callable[[Answer], None] | None = None) -> pa.Table:
        """Return the answers as a table of ``shards.SHARD_SCHEMA``; see ``answers``."""
        return table_of(self.answers(items, tell))

    def answers(
        self, items: Sequence[Item], tell: Callable[[Answer], None] | None = None
    ) -> list[Answer]:
        """Return the answers to pictures, in their order.

        Args:
            items: the pictures, for example of a shard; they must fit into memory.
            tell: called with each answer as it arrives, in this thread.

        Raises:
            BatchError: as for ``start``, or too many consecutive pictures were given up.
            WorkerClosed: ``close`` was called meanwhile.
        """
        answers: dict[int, Answer] = {}
        breaks: Counter[int] = Counter()
        suspects: list[int] = []

        def take(number: int, answer: Answer) -> None:
            if number not in answers:
                answers[number] = answer
                if tell is not None:
                    tell(answer)

        while len(answers) < len(items):
            asked = suspects or [n for n in range(len(items)) if n not in answers]
            begun, end = self._ask([(n, items[n]) for n in asked], take, alone=bool(suspects))
            left = [number for number in begun if number not in answers]
            if end is not None and not left:
                self._count_break(end)
            elif end is not None and suspects:
                culprit = left[0]
                breaks[culprit] += 1
                if end.is_overdue or end.is_own or breaks[culprit] == MAX_BREAKS_ALONE:
                    self._count_given_up(end)
                    take(culprit, {"file": items[culprit].name, "error": end.error})
            suspects = [n for n in (suspects or left) if n not in answers]
        return [answers[number] for number in range(len(items))]

    def close(self) -> None:
        """End the process; callable from any thread."""
        with self._changing:
            self._is_closed = True
            if self._process is not None:
                self._process.end()

    def _ask(
        self,
        items: Sequence[tuple[int, Item]],
        take: Callable[[int, Answer], None],
        *,
        alone: bool,
    ) -> tuple[list[int], ProcessEnd | None]:
        """Send pictures; return which of them were begun, and how the process ended, if it did."""
        self.start()
        process, begun = self._process, list[int]()
        if process is None:
            raise WorkerClosed
        process.ask(items, alone=alone)
        while True:
            message = process.next(self.options.picture_seconds)
            if isinstance(message, ProcessEnd):
                self._process = None
                if self._is_closed:
                    raise WorkerClosed
                return begun, message
            if message["kind"] == "begun":
                begun.append(message["number"])
            elif message["kind"] == "answer":
                self._breaks_without = self._given_up = 0
                take(message["number"], message["answer"])
            elif message["kind"] == "end":
                return begun, None

    def _count_break(self, end: ProcessEnd) -> None:
        """Count a process that ended without a picture to blame; too many end the job."""
        self._process = None
        if self._is_closed:
            raise WorkerClosed
        self._breaks_without += 1
        if self._breaks_without == MAX_BREAKS_WITHOUT:
            raise BatchError(
                f"expected a detector that starts; its process ended {MAX_BREAKS_WITHOUT} times "
                f"before the first picture: {end.reason}"
            )

    def _count_given_up(self, end: ProcessEnd) -> None:
        self._given_up += 1
        if self._given_up == MAX_GIVEN_UP:
            raise BatchError(
                f"expected answers; {MAX_GIVEN_UP} pictures in a row had none, the last of which "
                f"{end.error}: check the machine, then run the same command again"
            )
