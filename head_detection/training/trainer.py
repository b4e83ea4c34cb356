"""The training loop: epochs of steps, validation, checkpoints, and a clean stop at any time."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from head_detection.config import ExperimentConfig
from head_detection.data.dataset import HeadDataset, Sample
from head_detection.errors import PictureError, TrainingError
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.training.checkpoint import Checkpoint
from head_detection.training.distributed import Ranks
from head_detection.training.inputs import TrainingData
from head_detection.training.model_selection import ModelSelection
from head_detection.training.optimizer import learning_rate_factor, set_learning_rate
from head_detection.training.progress import Pace, TrainingProgress
from head_detection.training.run_folder import CHECKPOINT
from head_detection.training.run_log import RunLog
from head_detection.training.state import TrainingState
from head_detection.training.step import StepOutcome, TrainingStep, autocast_type
from head_detection.training.validation import validate

HANG_UP = getattr(signal, "SIGHUP", None)
"""Sent when the terminal is closed or the ssh connection is lost; Windows has none."""


class StopRequest:
    """Remembers the first signal that asks to stop; a second one has its usual effect.

    SIGHUP is an exception, because a lost connection sends it twice, from the system and from the
    shell. If it is ignored, as with ``nohup``, it stays ignored.

    Example:
        >>> request = StopRequest()
        >>> with request.listening():
        ...     signal.raise_signal(signal.SIGTERM)
        >>> request.number == signal.SIGTERM
        True
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals within the block."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if HANG_UP is not None and signal.getsignal(HANG_UP) is not signal.SIG_IGN:
            numbers.append(HANG_UP)
        previous = {number: signal.getsignal(number) for number in numbers}

        def stop(number: int, _frame: FrameType | None) -> None:
            self.number = number
            if number != HANG_UP:
                signal.signal(number, previous[signal.Signals(number)])

        for number in previous:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class _Interrupted(Exception):  # noqa: N818 - a requested stop is not an error
    """Ends a validation; the epoch before it has been saved."""


class Trainer:
    """A training run in its folder.

    Args:
        config: the experiment.
        model: the detector, on any device.
        data: training and validation pictures.
        folder: folder of the run, which exists; the first rank writes ``last.safetensors``,
            ``best.safetensors``, ``log.csv``, ``curves.png`` and TensorBoard events.
        ranks: the processes that train together.
        checkpoint: checkpoint to resume from; None starts a new run.
        commit: commit of the code, saved with the weights.
        initial_threshold: operating point of the weights that a new run starts from.

    Raises:
        CheckpointError: the checkpoint does not fit model or data.
        ConfigError: a setting that device or model do not allow.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        model: FasterRCNN,
        data: TrainingData,
        folder: Path,
        ranks: Ranks,
        checkpoint: Checkpoint | None = None,
        commit: str | None = None,
        initial_threshold: float | None = None,
    ) -> None:
        self.config, self.data, self.folder, self.ranks = config, data, folder, ranks
        self.state = TrainingState(config, model, ranks, data.batches.steps_per_epoch)
        if checkpoint is not None:
            self.state.restore(checkpoint)
        elif initial_threshold is not None:
            self.state.progress.initial_threshold = initial_threshold
        self.selection = ModelSelection(
            config.training, self.state, folder, commit, data.num_validation_heads,
            data.validation_digest, writes=ranks.is_first,
        )  # fmt: skip
        self.step = TrainingStep(
            self.state.model, self.state.optimizer, self.state.scaler, config.training, ranks
        )
        self.request, self.pace = StopRequest(), Pace()
        self.learning_rate = 0.0
        self.last_save = time.monotonic()

    @property
    def total_steps(self) -> int:
        """Return the steps of the whole run."""
        return self.config.training.epochs * self.state.progress.steps_per_epoch

    def run(self) -> int:
        """Train to the end, or until a signal asks to stop.

        Returns:
            The number of the signal that stopped the run, which can be resumed from its checkpoint;
            0 if the run is complete.

        Raises:
            TrainingError: too many consecutive steps were not finite, or a loader process ended, or
                another rank has no samples; the run is saved.
            PictureError: a picture cannot be read; the run is saved.
        """
        first_step, epochs = self.state.progress.step, self.state.progress.finished_epochs
        self.show = TrainingProgress(self.total_steps, first_step, is_shown=self.ranks.is_first)
        self.log = RunLog(self.folder, first_step, epochs) if self.ranks.is_first else None
        if self.log is not None and self.log.lacks_tensorboard:
            self.show.say("tensorboard is not installed: no events are written, log.csv has it all")
        try:
            with self.request.listening():
                return self._run_epochs()
        except _Interrupted:
            return self.request.number or signal.SIGTERM
        finally:
            self.show.close()
            if self.log is not None:
                self.log.close()

    def _run_epochs(self) -> int:
        if self.state.progress.step == 0:
            self._save()  # so that an unwritable folder is noticed before the first epoch
            self._validate_initial()
        while not self._is_done():
            is_stopped = self._train_epoch()
            self._save()
            if is_stopped:
                return self.request.number or signal.SIGTERM
            self._finish_epoch()
        return 0

    def _is_done(self) -> bool:
        if self.state.progress.finished_epochs >= self.config.training.epochs:
            return True
        if self.selection.is_out_of_patience:
            self.show.say(
                f"stopped: {self.state.progress.worse_in_a_row} validations in a row gave no better"
                f" {self.config.training.best_metric} (training.patience)"
            )
            return True
        return False

    def _validate_initial(self) -> None:
        """Validate the start of a fine-tuning, for row 0 of the log and the first best weights."""
        is_fine_tuning = self.config.training.initial_weights is not None
        if is_fine_tuning and self.data.validation is not None and self.state.progress.best is None:
            self.selection.consider(self._validate(self.data.validation, 0), 0)
            self._save()

    def _train_epoch(self) -> bool:
        """Run the epoch's remaining steps; return whether a signal ended it."""
        progress = self.state.progress
        epoch = progress.finished_epochs
        first = progress.step - epoch * progress.steps_per_epoch
        self.state.model.train()
        batches = self.data.batches.batches(epoch, first)
        for number in range(first, progress.steps_per_epoch):
            self.pace.begin()
            samples = self._next(batches)
            self.pace.loaded()
            outcome = self._take_step(samples)
            self.pace.end(self.config.training.batch_size)
            if outcome.is_bad:
                self._report_bad(outcome, self.data.batches.file_names(epoch, number))
            self._report(outcome, epoch)
            if outcome.must_stop:
                return True
            if time.monotonic() - self.last_save > 60 * self.config.training.checkpoint_minutes:
                self._save()
        return False

    def _next(self, batches: Iterator[list[Sample]]) -> list[Sample]:
        """Return this rank's samples; if any rank has none, save the run and raise on all."""
        samples: list[Sample] = []
        error: PictureError | TrainingError | None = None
        try:
            samples = next(batches)
        except (PictureError, TrainingError) as raised:
            error = raised
        if not self.ranks.any(error is not None):
            return samples
        self._save()
        if not isinstance(error, PictureError) and self.request.number is not None:
            # A signal to the process group (timeout, Slurm) also ends the loader processes.
            raise _Interrupted from error
        raise error or TrainingError("another process could not load its samples, and says why")

    def _take_step(self, samples: list[Sample]) -> StepOutcome:
        progress, schedule = self.state.progress, self.config.training.schedule
        factor = learning_rate_factor(
            progress.step, schedule, progress.steps_per_epoch, self.total_steps
        )
        self.learning_rate = self.config.training.optimizer.learning_rate * factor
        set_learning_rate(self.state.optimizer, factor)
        wants_stop = self.request.number is not None
        outcome = self.step.run(samples, progress.step, wants_stop=wants_stop)
        if not outcome.is_bad:
            self.state.update_average()
        progress.step += 1
        progress.bad_steps += outcome.is_bad
        progress.bad_steps_in_a_row = progress.bad_steps_in_a_row + 1 if outcome.is_bad else 0
        return outcome

    def _report_bad(self, outcome: StepOutcome, file_names: list[str]) -> None:
        progress, names = self.state.progress, ", ".join(file_names)
        losses = ", ".join(f"{name} {value:g}" for name, value in outcome.losses.items())
        self.show.say(
            f"step {progress.step} skipped: not finite ({losses}, gradient norm"
            f" {outcome.gradient_norm:g}); {progress.bad_steps_in_a_row} in a row,"
            f" {progress.bad_steps} in all; pictures: {names}"
        )
        if progress.bad_steps_in_a_row >= self.config.training.max_bad_steps:
            self._save()
            raise TrainingError(
                f"step {progress.step}: training stopped, {progress.bad_steps_in_a_row} steps in a"
                " row were not finite; lower training.optimizer.learning_rate, use fp32, or check"
                f" the last pictures: {names}"
            )

    def _report(self, outcome: StepOutcome, epoch: int) -> None:
        step, rate = self.state.progress.step, self.learning_rate
        losses = {"loss": outcome.loss, **outcome.losses}
        if not outcome.is_bad:
            where = f"epoch {epoch + 1}/{self.config.training.epochs}"
            self.show.update(step, where, losses, {"lr": f"{rate:.2e}", **self.pace.facts()})
        is_last = step % self.state.progress.steps_per_epoch == 0
        if self.log is None:
            return
        self.log.collect({**losses, "gradient_norm": outcome.gradient_norm})
        if is_last or step % self.config.training.log_steps == 0:
            values = {
                **self.log.means(),
                "learning_rate": rate,
                "bad_steps": self.state.progress.bad_steps,
                "pictures_per_second": self.pace.images_per_second,
                "data_share": self.pace.waiting_share,
            }
            self.log.add(step, epoch + 1, values)

    def _finish_epoch(self) -> None:
        """Validate if it is due, save the best weights, and save a checkpoint."""
        epoch, every = self.state.progress.finished_epochs + 1, self.config.training.validate_every
        validation, metrics = self.data.validation, {}
        is_last = epoch == self.config.training.epochs
        if validation is not None and (is_last or epoch % every == 0):
            metrics = self._validate(validation, epoch)
            self.selection.consider(metrics, epoch)
        self.selection.keep(metrics, epoch, is_validated=validation is not None)
        self.state.progress.finished_epochs = epoch
        self._save()
        if self.log is not None:
            self.log.draw()

    def _validate(self, dataset: HeadDataset, epoch: int) -> dict[str, float]:
        def advance(num_done: int, num_images: int) -> bool:
            self.show.validated(f"epoch {epoch}", num_done, num_images)
            return self.request.number is None

        precision = autocast_type(self.config.training.precision, self.ranks.device)
        metrics = validate(self.state.kept_model, dataset, self.ranks, precision, advance)
        if metrics is None:
            raise _Interrupted
        if self.log is not None:
            self.log.add(self.state.progress.step, epoch, metrics)
        known = {name: value for name, value in metrics.items() if math.isfinite(value)}
        text = ", ".join(f"{name} {value:.3f}" for name, value in known.items())
        self.show.say(f"epoch {epoch} validation: {text}")
        return metrics

    def _save(self) -> None:
        self.last_save = time.monotonic()
        if self.ranks.is_first:
            self.state.save(self.folder / CHECKPOINT)
