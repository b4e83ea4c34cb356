"""Progress of a run: a bar on a terminal, or a line at intervals in a file."""

import sys
import time
from collections import deque
from collections.abc import Mapping

from tqdm import tqdm

LINE_SECONDS = 30.0
SMOOTHED_STEPS = 50


class Pace:
    """Pictures per second and the share of time spent waiting for them, over the last steps."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float, float]] = deque(maxlen=SMOOTHED_STEPS)
        self._begun = self._loaded = time.monotonic()

    def begin(self) -> None:
        """Mark the start of a step, which waits for its pictures."""
        self._begun = time.monotonic()

    def loaded(self) -> None:
        """Mark that the pictures are loaded."""
        self._loaded = time.monotonic()

    def end(self, num_images: int) -> None:
        """Mark the end of the step."""
        now = time.monotonic()
        self._steps.append((num_images, now - self._begun, self._loaded - self._begun))

    @property
    def images_per_second(self) -> float:
        """Return the rate over all ranks; 0 before the first step."""
        seconds = sum(total for _, total, _ in self._steps)
        return sum(count for count, _, _ in self._steps) / seconds if seconds else 0.0

    @property
    def waiting_share(self) -> float:
        """Return the share of time spent waiting for pictures, 0 to 1."""
        seconds = sum(total for _, total, _ in self._steps)
        return sum(waiting for _, _, waiting in self._steps) / seconds if seconds else 0.0

    def facts(self) -> dict[str, str]:
        """Return both as text."""
        return {
            "pictures/s": f"{self.images_per_second:.1f}",
            "waiting": f"{self.waiting_share:.0%}",
        }


class TrainingProgress:
    """Shows epoch, losses, pictures per second, learning rate, and the time left in the run.

    Args:
        total_steps: steps of the run.
        first_step: step at which a resumed run continues.
        is_shown: whether to show anything; only the first rank does.
    """

    def __init__(self, total_steps: int, first_step: int, *, is_shown: bool) -> None:
        self.total_steps, self.first_step, self.is_shown = total_steps, first_step, is_shown
        self.has_bar = is_shown and sys.stderr.isatty()
        self.bar = tqdm(
            total=total_steps, initial=first_step, unit="step", disable=not self.has_bar
        )
        self.losses: deque[Mapping[str, float]] = deque(maxlen=SMOOTHED_STEPS)
        self.start = self.last_line = time.monotonic()

    def update(
        self, step: int, where: str, losses: Mapping[str, float], facts: Mapping[str, str]
    ) -> None:
        """Report a step.

        Args:
            step: steps done.
            where: the epoch.
            losses: losses of this step; shown as means over the last steps.
            facts: further values to show.
        """
        if not self.is_shown:
            return
        self.losses.append(losses)
        is_due = time.monotonic() - self.last_line >= LINE_SECONDS or step == self.total_steps
        if self.has_bar:
            self.bar.set_description(where, refresh=False)
            self.bar.set_postfix_str(self._facts(facts), refresh=False)
            self.bar.update(step - self.bar.n)
        elif is_due:
            self.last_line = time.monotonic()
            parts = f"step {step}/{self.total_steps}, {self._facts(facts)}"
            self.say(f"{where}, {parts}, {self._time_left(step)} left")

    def validated(self, where: str, num_done: int, num_images: int) -> None:
        """Report the number of validated pictures in this rank's share."""
        text = f"{where}: validated {num_done} of {num_images} pictures"
        if self.has_bar:
            self.bar.set_description(text)
        elif time.monotonic() - self.last_line >= LINE_SECONDS:
            self.last_line = time.monotonic()
            self.say(text)

    def say(self, line: str) -> None:
        """Write one line, above the bar if there is one."""
        if self.is_shown:
            self.bar.clear()
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
            self.bar.refresh()

    def close(self) -> None:
        """End the bar."""
        self.bar.close()

    def _facts(self, facts: Mapping[str, str]) -> str:
        means = {
            name: sum(losses[name] for losses in self.losses) / len(self.losses)
            for name in self.losses[-1]
        }
        parts = [f"{name.removeprefix('loss_')} {mean:.3f}" for name, mean in means.items()]
        return ", ".join([*parts, *(f"{name} {fact}" for name, fact in facts.items())])

    def _time_left(self, step: int) -> str:
        seconds = (time.monotonic() - self.start) / max(1, step - self.first_step)
        return str(tqdm.format_interval(seconds * (self.total_steps - step)))
