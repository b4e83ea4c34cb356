"""What a user sees of a batch job: bars, the first failed pictures, and a summary."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tqdm import tqdm

from head_detection.apps.progress import BAR, LINE_SECONDS, SHOWN_NOTES
from head_detection.errors import printable
from head_detection.pipeline.sources import describe_skipped

if TYPE_CHECKING:
    from head_detection.batch.local import Event
    from head_detection.batch.manifest import Job, Task

SMOOTHING: Final = 0.02
"""Of the rate behind the remaining time: results arrive in batches, from several processes."""


class BatchProgress:
    """Shows a run on standard error, and its summary on standard output and in ``summary.json``.

    Args:
        job: an open job.
        tasks: its shards that this run processes.
        skipped: number of files in the source that were skipped, by reason.
    """

    def __init__(self, job: "Job", tasks: "Sequence[Task]", skipped: Counter[str]) -> None:
        self._job, self._tasks, self._skipped = job, tasks, skipped
        self._pictures = self._heads = self._failed = 0
        self._start = time.monotonic()
        self._start_time = time.time()
        self._ready_seconds = self._answered_seconds = 0.0

    def follow(self, events: "Iterable[Event]") -> None:
        """Show results as they arrive."""
        from head_detection.batch.local import Ready

        if not self._tasks:
            return
        total = sum(self._job.num_items(task) for task in self._tasks)
        with _bar("Finding heads", total) as bar:
            for event in events:
                self._answered_seconds = time.monotonic() - self._start
                if isinstance(event, Ready):
                    self._ready_seconds = event.time - self._start_time
                if not isinstance(event, dict):
                    continue
                self._pictures += 1
                self._heads += event.get("count", 0)
                if "error" in event:
                    self._failed += 1
                    if self._failed <= SHOWN_NOTES:
                        line = f"failed: {event['file']}: {event['error']}"
                        tqdm.write(printable(line), file=sys.stderr)
                bar.set_postfix_str(f"{self._heads} heads, {self._failed} failed", refresh=False)
                bar.update()

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Write and print the summary after the block, even if it is stopped early."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            print("stopped early; run the same command again to do what is missing")
            self._report()
            raise
        self._report()

    def _report(self) -> None:
        job, counts = self._job, self._job.counts
        seconds = time.monotonic() - self._start
        answered = self._answered_seconds
        ready = min(max(0.0, self._ready_seconds), answered)  # another machine's clock may be off
        values: dict[str, Any] = {
            "pictures": self._pictures,
            "answered": self._pictures - self._failed,
            "heads": self._heads,
            "failed": self._failed,
        }
        times = {"seconds": seconds, "ready_seconds": ready, "answered_seconds": answered}
        values |= {name: round(value, 1) for name, value in times.items()}
        values["skipped"] = dict(self._skipped)
        job.write_summary(values)
        print(
            f"this run: pictures: {self._pictures} ({_parts(self._pictures, self._failed)}), "
            f"heads: {self._heads}, seconds: {seconds:.1f} "
            f"({_rates(self._pictures, seconds, ready, answered)})"
        )
        print(
            f"the job: pictures: {counts.pictures} of {job.num_pictures} "
            f"({_parts(counts.pictures, counts.failed)}), heads: {counts.heads}, "
            f"shards: {job.num_done} of {job.num_shards}"
        )
        if counts.failed:
            print("why pictures failed is in the column error; --retry-failed asks for them again")
        if self._skipped:
            print(f"passed over: {describe_skipped(self._skipped)}")
        print(printable(f"results in {job.folder}: shards/*.parquet, summary.json"))


def listing(batches: Iterable[Any]) -> Iterator[Any]:
    """Pass record batches through, and show how many rows there have been."""
    with _bar("Listing", None) as bar:
        for batch in batches:
            bar.update(batch.num_rows)
            yield batch


def tell_left_out(skipped: Counter[str], source: str) -> None:
    """Report on standard error, before the work, files left out that may have been meant."""
    from head_detection.batch.listing import BESIDE

    if number := skipped[BESIDE]:
        line = (
            f"note: left out: {number} {BESIDE}; each kind is a job of its own: name a folder that "
            f"has no pictures, or a glob in quotes, as {source.rstrip('/')}/*.tar, and another "
            "output"
        )
        tqdm.write(printable(line), file=sys.stderr)


def _parts(number: int, failed: int) -> str:
    return f"{number - failed} answered, {failed} failed"


def _rates(pictures: int, seconds: float, ready: float, answered: float) -> str:
    """Return the rate of the whole run, and the rate from the first detector to the last result.

    Example:
        >>> _rates(12, 6.0, 1.0, 5.0)
        '2.00 pictures/s, 3.00 once a detector was ready, after 1.0 s'
    """
    whole, begun = (pictures / s if s else 0.0 for s in (seconds, answered - ready))
    if not ready:
        return f"{whole:.2f} pictures/s"
    return f"{whole:.2f} pictures/s, {begun:.2f} once a detector was ready, after {ready:.1f} s"


def _bar(what: str, total: int | None) -> "tqdm[Any]":
    is_terminal = sys.stderr.isatty()
    return tqdm(
        total=total, desc=what, unit=" pictures", smoothing=SMOOTHING, dynamic_ncols=is_terminal,
        mininterval=0.1 if is_terminal else LINE_SECONDS, bar_format=BAR if total else None,
    )  # fmt: skip
