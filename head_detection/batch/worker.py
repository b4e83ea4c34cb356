"""One detector in a process of its own, answering shard after shard whatever its pictures do.

Both runners use it, so that a picture that hangs or breaks the process costs that picture alone.
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
"""For a detector to be built: a conversion for another engine takes a minute, and machines are
busy."""
MAX_BREAKS_ALONE: Final = 3
"""A picture is given up that was alone with the process so often when it ended: somebody may kill
processes, too."""
MAX_GIVEN_UP: Final = 100
"""Pictures one after another: then it is the machine, a GPU that is lost, say, and no picture."""
MAX_BREAKS_WITHOUT: Final = 8
"""Ends of processes one after another that did not get as far as a picture: none will."""


class WorkerClosed(Exception):  # noqa: N818 - no mistake: it was told to end
    """The worker was closed while it answered."""


class ShardWorker:
    """Answers pictures by a process that it starts anew when one of them breaks it.

    After a break, the pictures that the process had begun with are asked for one by one: the one
    that breaks it again, or does not come to an end, is answered with an error. The process it is
    made in loads no torch; the other ends with it, however that ends.

    Args:
        options: of the detector.
        process: the first, where it is there already, started with such options.
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
        """Of the process, where there is one."""
        return None if self._process is None else self._process.pid

    def start(self) -> dict[str, Any]:
        """Build the detector, unless it is there.

        Returns:
            ``model`` and ``score_threshold``, as results have them, and ``devices``: how many GPUs
            it sees.

        Raises:
            BatchError: it cannot be built, its process ends again and again, or the one that
                replaces it is another's. One line.
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
        """Note what a process answers with; one that replaces another has to answer alike."""
        origin = {key: message[key] for key in ("model", "score_threshold", "devices")}
        if self._origin is not None and self._origin["model"] != origin["model"]:
            raise BatchError(
                "expected a process that replaces another to answer with the same weights, in the "
                "same way; they have changed: look after them, then go on"
            )
        self._origin = origin

    def run(self, items: Sequence[Item], tell: Callable[[Answer], None] | None = None) -> pa.Table:
        """Return what ``answers`` does, as a table of ``shards.SHARD_SCHEMA``."""
        return table_of(self.answers(items, tell))

    def answers(
        self, items: Sequence[Item], tell: Callable[[Answer], None] | None = None
    ) -> list[Answer]:
        """Return the answers to pictures, in their order.

        Args:
            items: of a shard, say; they fit into memory.
            tell: is told each answer as it comes, in this thread.

        Raises:
            BatchError: as ``start``; or so many pictures are given up, one after another, that it
                is the machine.
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
        """End the process; from any thread."""
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
        """Ask for pictures; return which were begun with, and how the process ended, if it did."""
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
        """Count that a process ended with nobody to blame; too often, and the job ends."""
        self._process = None
        if self._is_closed:
            raise WorkerClosed
        self._breaks_without += 1
        if self._breaks_without == MAX_BREAKS_WITHOUT:
            raise BatchError(
                f"the process that detects ended {MAX_BREAKS_WITHOUT} times before it came to a "
                f"picture: {end.reason}"
            )

    def _count_given_up(self, end: ProcessEnd) -> None:
        self._given_up += 1
        if self._given_up == MAX_GIVEN_UP:
            raise BatchError(
                f"{MAX_GIVEN_UP} pictures one after another had no answer, the last of which "
                f"{end.error}: look after the machine, then go on"
            )
