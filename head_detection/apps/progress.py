"""What a user sees while pictures are processed: a bar, failures, and a summary."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Never

from tqdm import tqdm

from head_detection.apps.command import in_one_piece
from head_detection.errors import printable
from head_detection.pipeline.sources import describe_skipped

if TYPE_CHECKING:
    from head_detection.apps.window import Window
    from head_detection.pipeline.cameras import Cameras
    from head_detection.pipeline.run import Tally
    from head_detection.pipeline.sources import Source
    from head_detection.pipeline.zones import RegionCounter
    from head_detection.results.formats import Sinks
    from head_detection.results.record import Failure, Outcome, Record

LINE_SECONDS: Final = 10.0
"""Between two lines of progress if standard error is a file."""
SHOWN_NOTES: Final = 5
"""Every picture of a folder may have a note; further ones are only counted."""
SHOWN_ALIKE: Final = 5
"""Consecutive frames of a source that fail for the same reason; further ones are only counted."""
MAX_FAILING: Final = 1000
"""Videos and cameras whose last failure is remembered."""
STATE_SECONDS: Final = 1.0
"""Between two updates of the cameras' state."""
LONGEST_NAME: Final = 60
"""Characters of a picture's name in the summary."""
VIDEOS: Final = frozenset({"video/", "blur/"})
"""Outputs that can have sound."""
BAR: Final = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


class Progress:
    """Passes results to the sinks, shows progress on standard error, then prints a summary.

    Args:
        source: the pictures and frames.
        sinks: write the results.
        folder: of the results; None for standard output, so the summary goes to standard error.
        tally: counts what was done.
        hide_from: the score from which heads are hidden; None hides none.
        window: shows the results; None for no window.
        counter: counts at lines and in zones; None for no counts.
    """

    def __init__(
        self,
        source: "Source",
        sinks: "Sinks",
        folder: Path | None,
        tally: "Tally",
        hide_from: float | None = None,
        window: "Window | None" = None,
        counter: "RegionCounter | None" = None,
    ) -> None:
        from head_detection.pipeline.cameras import Cameras

        self._source, self._sinks, self._folder = source, sinks, folder
        self._cameras = source if isinstance(source, Cameras) else None
        self.tally, self.hide_from, self.counter = tally, hide_from, counter
        self._window, self._num_notes = window, 0
        self._failing: dict[str, tuple[str, int]] = {}  # by source: the reason, how often in a row
        self._num_untold = 0
        self._state, self._state_at = "", 0.0

    @property
    def needs_pixels(self) -> bool:
        """Whether records must hold their picture."""
        is_shown = self._window is not None and self._window.needs_pixels
        return is_shown or self._sinks.needs_pixels

    def take(self, outcome: "Outcome") -> None:
        """Write and count the outcome of a picture; no signal interrupts between the two."""
        with in_one_piece():
            self._sinks.take(outcome)
            self.tally.add(outcome)

    @contextmanager
    def bar(self) -> Iterator["tqdm[Never]"]:
        """Show the bar that ``add`` advances."""
        is_terminal = sys.stderr.isatty()
        with tqdm(
            total=self._source.info.count,
            desc="Finding heads",
            unit=f" {self._source.info.unit}",
            bar_format=BAR,
            mininterval=0.1 if is_terminal else LINE_SECONDS,
            dynamic_ncols=is_terminal,
        ) as bar:
            yield bar

    def add(self, outcome: "Outcome", bar: "tqdm[Never]") -> None:
        """Show an outcome that ``take`` has counted: on the bar, in messages and in the window."""
        from head_detection.results.record import Failure

        if isinstance(outcome, Failure):
            self._tell_failure(outcome)
        else:
            self._failing.pop(outcome.file, None)
            self._tell_note(outcome)
        self.fail(self._sinks.take_failures())
        bar.set_postfix_str(f"{self.tally.heads} heads{self._camera_state()}", refresh=False)
        bar.total = self._source.expected_count()
        bar.update()
        if self._window is not None:
            self._window.show(outcome)

    def fail(self, failures: Iterable["Failure"]) -> None:
        """Count and report pictures whose results could not be written."""
        for failure in failures:
            self.tally.failed += 1
            _tell("failed", failure.name, failure.reason)

    def _tell_failure(self, failure: "Failure") -> None:
        """Report a failure, unless many frames before it failed for the same reason."""
        number = 1
        if failure.seconds is not None:
            reason, before = self._failing.pop(failure.file, ("", 0))
            number += before if reason == failure.reason else 0
            self._failing[failure.file] = failure.reason, number
            if len(self._failing) > MAX_FAILING:
                self._failing.pop(next(iter(self._failing)))
        if number <= SHOWN_ALIKE:
            _tell("failed", failure.name, failure.reason)
        else:
            self._num_untold += 1

    def _tell_note(self, record: "Record") -> None:
        """Print the note on how a picture was read, for the first few that have one."""
        if record.note is not None:
            self._num_notes += 1
            if self._num_notes <= SHOWN_NOTES:
                _tell("note", record.file, record.note)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Print the summary after the block, even if it is stopped early."""
        try:
            yield
        except (KeyboardInterrupt, SystemExit):
            self.say("stopped early; what was found till then is written")
            self.report()
            raise
        self.report()

    def report(self) -> None:
        """Print the summary, once everything is written."""
        self.fail(self._sinks.take_failures())
        tally = self.tally
        seconds = time.monotonic() - tally.start
        rate = (tally.pictures + tally.frames) / seconds if seconds else 0.0
        are_frames = tally.frames or self._cameras is not None
        unit = "frames" if are_frames or self._source.info.unit == "frames" else "pictures"
        self.say(
            f"{self._items()}, heads: {tally.heads}, failed: {tally.failed}, "
            f"seconds: {seconds:.1f} ({rate:.2f} {unit}/s)"
        )
        self._report_heads()
        for line in [] if self.counter is None else self.counter.summary():
            self.say(line)
        if self._num_untold:
            self.say(
                f"failures: {tally.failed}, of which {tally.failed - self._num_untold} were shown"
            )
        if self._num_notes > SHOWN_NOTES:
            self.say(f"notes: {self._num_notes}, of which {SHOWN_NOTES} were shown")
        notes = self._sinks.notes
        for note in notes[:SHOWN_NOTES]:
            self.say(f"note: {note}")
        if len(notes) > SHOWN_NOTES:
            self.say(f"notes of what was written: {len(notes)}, of which {SHOWN_NOTES} were shown")
        if self._cameras is not None:
            self._cameras.close()  # a signal may have come before their own context could
            self._report_cameras(self._cameras)
        if self._source.skipped:
            self.say(f"passed over: {describe_skipped(self._source.skipped)}")
        if self._folder is not None:
            self.say(f"results in {self._folder}: {', '.join(self._sinks.outputs) or 'none'}")

    def _camera_state(self) -> str:
        """Return the state of each camera, updated every ``STATE_SECONDS``."""
        if self._cameras is not None and time.monotonic() > self._state_at + STATE_SECONDS:
            self._state_at = time.monotonic()
            self._state = "".join(f"; {state}" for state in self._cameras.states())
        return self._state

    def _items(self) -> str:
        """Return how many pictures and frames were processed, in words."""
        tally, of_videos = self.tally, ""
        if self._cameras is None and tally.frames:
            of_videos = f" of {tally.videos} video{'' if tally.videos == 1 else 's'}"
        frames = f"frames: {tally.frames}{of_videos}"
        if tally.frames and tally.pictures:
            return f"pictures: {tally.pictures}, {frames}"
        has_frames = tally.frames or self._source.info.unit == "frames"
        return frames if has_frames else f"pictures: {tally.pictures}"

    def _report_cameras(self, cameras: "Cameras") -> None:
        for line in cameras.summary():
            self.say(line)
        names = ", ".join(cameras.names_with_sound())
        if names and not VIDEOS.isdisjoint(self._sinks.outputs):
            self.say(f"note: {names}: sound left out: that of files not taken live is written")

    def _report_heads(self) -> None:
        tally = self.tally
        if tally.pictures + tally.frames > 1:
            fullest = ", ".join(f"{count} in {_cut(name)}" for count, name in tally.fullest)
            self.say(f"most heads: {fullest or 'none'}; without heads: {tally.empty}")
        if self.hide_from is not None:
            self.say(
                f"hidden: {tally.hidden} heads, {tally.hidden - tally.heads} of them less likely "
                f"than those counted, down to score {self.hide_from:g} (--blur-threshold); what "
                "was not found is not hidden: look before you publish"
            )

    def say(self, line: str) -> None:
        """Print to standard output, or to standard error if results go to standard output."""
        print(printable(line), file=sys.stderr if self._folder is None else sys.stdout)


@contextmanager
def telling() -> Iterator[None]:
    """Print log messages in the block to standard error, such as a lost camera or broker."""
    handler = _LineHandler()
    loggers = [logging.getLogger(f"head_detection.{part}") for part in ("pipeline", "results")]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, (level, propagates) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagates


class _LineHandler(logging.Handler):
    """Prints each message as a line above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print it."""
        tqdm.write(printable(record.getMessage()), file=sys.stderr)


def _cut(name: str) -> str:
    return printable(name if len(name) <= LONGEST_NAME else f"...{name[-LONGEST_NAME:]}")


def _tell(kind: str, name: str, reason: str) -> None:
    tqdm.write(printable(f"{kind}: {name}: {reason}"), file=sys.stderr)
