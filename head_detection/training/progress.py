"""What a run says while it works: a bar on a terminal, a line now and then in a file."""

import sys
import time
from collections import deque
from collections.abc import Mapping

from tqdm import tqdm

LINE_SECONDS = 30.0
SMOOTHED_STEPS = 50


class TrainingProgress:
    """Epoch, losses, pictures a second, learning rate, and the time left of the whole run.

    Args:
        total_steps: of the run.
        first_step: where a resumed run goes on.
        is_shown: the first rank's alone.
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
        """Tell of a step done.

        Args:
            step: steps done.
            where: the epoch.
            losses: of this step; shown as means over the last steps.
            facts: what else is worth reading.
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

    def say(self, line: str) -> None:
        """Write one line, above the bar where there is one."""
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
