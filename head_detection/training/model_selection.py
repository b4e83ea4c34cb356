"""Selects which weights of a run are kept: the best by validation, and those at intervals."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from head_detection.config import TrainingConfig
from head_detection.training.run_folder import BEST, EPOCH
from head_detection.training.state import TrainingState

UNVALIDATED_THRESHOLD: Final = 0.5
"""Operating point of weights without a validation."""
FEWEST_HEADS: Final = 100
"""With fewer heads, the threshold cannot be measured, and that of the initial weights stays: the F1
of 100 heads is known to about .03 at best, more than the usual difference between thresholds of .3
and .7."""
LOWER_IS_BETTER: Final = frozenset({"count_mae"})


class ModelSelection:
    """Saves weights in the folder of a run.

    Args:
        config: training config of the run.
        state: state of the run, whose progress records the best value on every rank.
        folder: folder of the run.
        commit: commit of the code, saved with the weights.
        num_heads: number of heads in the validation pictures.
        digest: of these pictures; on others than before, the best so far does not count.
        writes: whether this rank writes the files.
    """

    def __init__(
        self,
        config: TrainingConfig,
        state: TrainingState,
        folder: Path,
        commit: str | None,
        num_heads: int,
        digest: str | None,
        *,
        writes: bool,
    ) -> None:
        self.config, self.state, self.folder, self.commit = config, state, folder, commit
        self.num_heads, self.writes = num_heads, writes
        progress = state.progress
        if digest is not None and progress.best_of not in (None, digest):
            progress.best, progress.worse_in_a_row = None, 0
        progress.best_of = digest or progress.best_of

    @property
    def is_out_of_patience(self) -> bool:
        """Return whether the run ends after ``patience`` validations without improvement."""
        patience = self.config.patience
        return 0 < patience <= self.state.progress.worse_in_a_row

    @property
    def keeps_initial_threshold(self) -> bool:
        """Return whether the operating point of the initial weights is kept."""
        return self.state.progress.initial_threshold is not None and self.num_heads < FEWEST_HEADS

    def consider(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Save the weights if their validation is the best so far.

        Args:
            metrics: metrics of ``validate``.
            epoch: epochs done; 0 is before the first.
        """
        name, progress = self.config.best_metric, self.state.progress
        value = metrics.get(name, math.nan)
        if progress.best is not None and not _is_better(value, progress.best, name):
            progress.worse_in_a_row += 1
            return
        progress.best = value if math.isfinite(value) else 0.0
        progress.best_step, progress.worse_in_a_row = progress.step, 0
        self._write(BEST, metrics, epoch)

    def keep(self, metrics: Mapping[str, float], epoch: int, *, is_validated: bool) -> None:
        """Save an epoch's weights at ``keep_every``, and as the best if there is no validation.

        Args:
            metrics: metrics of its validation; empty without one.
            epoch: epochs done.
            is_validated: whether validation selects the best weights.
        """
        if not is_validated:
            self.state.progress.best_step = self.state.progress.step
            self._write(BEST, {}, epoch)
        if self.config.keep_every and epoch % self.config.keep_every == 0:
            self._write(EPOCH.format(epoch), metrics, epoch)

    def _write(self, name: str, metrics: Mapping[str, float], epoch: int) -> None:
        if self.writes:
            threshold = self._threshold(metrics)
            self.state.save_weights(self.folder / name, metrics, threshold, self.commit, epoch)

    def _threshold(self, metrics: Mapping[str, float]) -> float:
        initial = self.state.progress.initial_threshold
        if initial is not None and (self.keeps_initial_threshold or not metrics):
            return initial
        return metrics.get("best_threshold", UNVALIDATED_THRESHOLD)


def _is_better(value: float, best: float, metric: str) -> bool:
    """Tell whether a value is better; NaN is not.

    Example:
        >>> _is_better(0.6, 0.5, "ap50"), _is_better(0.6, 0.5, "count_mae")
        (True, False)
    """
    return value < best if metric in LOWER_IS_BETTER else value > best
