"""The run: epochs of steps, validations, checkpoints, and a clean stop at any moment."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch

from head_detection.config import ExperimentConfig
from head_detection.data.dataset import HeadDataset, Sample
from head_detection.data.loader import TrainingBatches
from head_detection.data.picture import PictureError
from head_detection.models.faster_rcnn import FasterRCNN
from head_detection.models.weights import WeightsDescription, save_weights
from head_detection.training.checkpoint import (
    Checkpoint, CheckpointError, Progress, optimizer_tensors, remove_unfinished, restore_model,
    restore_optimizer, save_checkpoint,
)  # fmt: skip
from head_detection.training.distributed import Ranks
from head_detection.training.ema import MovingAverage
from head_detection.training.optimizer import (
    build_optimizer, learning_rate_factor, set_learning_rate,
)  # fmt: skip
from head_detection.training.progress import TrainingProgress
from head_detection.training.run_log import RunLog
from head_detection.training.step import AUTOCAST_TYPES, StepOutcome, TrainingStep
from head_detection.training.validation import validate

UNVALIDATED_THRESHOLD = 0.5
"""Of weights that no validation has given an operating point."""


class TrainingError(ValueError):
    """A run that cannot go on; its text is one line for the user."""


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is judged on.

    Attributes:
        batches: this rank's share of the training pictures.
        validation: whole pictures; None leaves validation out.
    """

    batches: TrainingBatches
    validation: HeadDataset | None


class Trainer:
    """A run of training in its folder.

    Args:
        config: the experiment.
        model: on any device; moved to the ranks'.
        data: pictures.
        folder: of the run, exists; the first rank writes ``last.safetensors``, ``best.safetensors``,
            ``log.csv``, ``curves.png`` and TensorBoard events.
        ranks: the processes that train together.
        checkpoint: where to go on from; None starts anew.
        commit: of the code, kept with the weights.

    Raises:
        CheckpointError: the checkpoint does not fit model or data.
        ConfigError: a precision that the device does not have.
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
    ) -> None:
        self.config, self.data, self.folder, self.ranks = config, data, folder, ranks
        self.commit = commit
        training = config.training
        layout = torch.channels_last if training.channels_last else torch.contiguous_format
        self.model = model.to(ranks.device, memory_format=layout)
        self.model.backbone.freeze(
            frozen_stages=training.frozen_stages, frozen_batch_norm=training.frozen_batch_norm
        )
        ranks.copy_from_first(self.model)
        self.optimizer = build_optimizer(model, model.backbone.body, training.optimizer)
        self.step = TrainingStep(model, self.optimizer, training, ranks)
        self.average = MovingAverage(model, training.ema.decay) if training.ema.enabled else None
        self.progress = Progress(steps_per_epoch=data.batches.steps_per_epoch)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.stop_signal: int | None = None
        self.last_save = time.monotonic()
        self.seconds = {"total": 0.0, "waiting": 0.0}
        self.num_images = 0

    @property
    def total_steps(self) -> int:
        """Return the steps of the whole run."""
        return self.config.training.epochs * self.progress.steps_per_epoch

    def run(self) -> int:
        """Train to the end, or until a signal asks to stop.

        Returns:
            The number of the signal that stopped the run, which ``--resume`` goes on from; 0 where
            it has come to its end.

        Raises:
            TrainingError: too many steps in a row were not finite.
            PictureError: a picture cannot be read; the run is saved.
        """
        first_step = self.progress.step
        self.show = TrainingProgress(self.total_steps, first_step, is_shown=self.ranks.is_first)
        self.log = RunLog(self.folder, first_step) if self.ranks.is_first else None
        if self.log is not None and self.log.lacks_tensorboard:
            self.show.say("tensorboard is not installed: no events are written, log.csv has it all")
        try:
            with self._stoppable():
                if first_step == 0:
                    self.save()
                while self.progress.finished_epochs < self.config.training.epochs:
                    if not self._train_epoch():
                        self.save()
                        return self.stop_signal or signal.SIGTERM
                    self._finish_epoch()
            return 0
        finally:
            self.show.close()
            if self.log is not None:
                self.log.close()

    def save(self) -> None:
        """Write ``last.safetensors``, from the first rank."""
        self.last_save = time.monotonic()
        if not self.ranks.is_first:
            return
        parts = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer, self.model),
        }
        if self.average is not None:
            parts["ema"] = self.average.model.state_dict()
        if self.step.scaler.is_enabled():
            self.progress.loss_scale = self.step.scaler.get_scale()
        path = self.folder / "last.safetensors"
        remove_unfinished(path)
        save_checkpoint(path, parts, self.progress, self.config)

    def _restore(self, checkpoint: Checkpoint) -> None:
        expected, saved = self.progress.steps_per_epoch, checkpoint.progress
        if saved.steps_per_epoch != expected:
            raise CheckpointError(
                f"{checkpoint.path}: its data gave {saved.steps_per_epoch} steps an epoch, the data"
                f" of this run give {expected}; go on with the same pictures"
            )
        restore_model(self.model, checkpoint, "model")
        restore_optimizer(self.optimizer, self.model, checkpoint)
        if self.average is not None:
            restore_model(self.average.model, checkpoint, "ema")
        if saved.loss_scale is not None:
            self.step.scaler.load_state_dict(
                {**self.step.scaler.state_dict(), "scale": saved.loss_scale}
            )
        self.progress = saved.model_copy()

    def _train_epoch(self) -> bool:
        """Take the epoch's remaining steps; return whether they are done."""
        epoch = self.progress.finished_epochs
        first = self.progress.step - epoch * self.progress.steps_per_epoch
        self.model.train()
        batches = self.data.batches.batches(epoch, first)
        for number in range(first, self.progress.steps_per_epoch):
            start = time.monotonic()
            samples = self._next(batches)
            loaded = time.monotonic()
            outcome = self._take_step(samples)
            self.seconds["waiting"] += loaded - start
            self.seconds["total"] += time.monotonic() - start
            if outcome.is_bad:
                self._report_bad(outcome, self.data.batches.file_names(epoch, number))
            self._report(outcome, epoch)
            if outcome.must_stop:
                return False
            if time.monotonic() - self.last_save > 60 * self.config.training.checkpoint_minutes:
                self.save()
        return True

    def _next(self, batches: Iterator[list[Sample]]) -> list[Sample]:
        try:
            return next(batches)
        except PictureError:
            self.save()
            raise

    def _take_step(self, samples: list[Sample]) -> StepOutcome:
        step, schedule = self.progress.step, self.config.training.schedule
        factor = learning_rate_factor(
            step, schedule, self.progress.steps_per_epoch, self.total_steps
        )
        set_learning_rate(self.optimizer, factor)
        outcome = self.step.run(samples, step, wants_stop=self.stop_signal is not None)
        if not outcome.is_bad and self.average is not None:
            self.average.update(self.model, step)
        self.progress.step += 1
        self.progress.bad_steps += outcome.is_bad
        row = self.progress.bad_steps_in_a_row
        self.progress.bad_steps_in_a_row = row + 1 if outcome.is_bad else 0
        self.num_images += self.config.training.batch_size
        return outcome

    def _report_bad(self, outcome: StepOutcome, file_names: list[str]) -> None:
        names = ", ".join(file_names)
        losses = ", ".join(f"{name} {value:g}" for name, value in outcome.losses.items())
        step, in_a_row = self.progress.step, self.progress.bad_steps_in_a_row
        self.show.say(
            f"step {step} skipped: not finite ({losses}, gradient norm {outcome.gradient_norm:g});"
            f" {in_a_row} in a row, {self.progress.bad_steps} in all; pictures: {names}"
        )
        if in_a_row >= self.config.training.max_bad_steps:
            raise TrainingError(
                f"training stopped at step {step}: {in_a_row} steps in a row were not finite;"
                " lower training.optimizer.learning_rate, use fp32, or look at the last pictures:"
                f" {names}"
            )

    def _report(self, outcome: StepOutcome, epoch: int) -> None:
        step, rate = self.progress.step, self.optimizer.param_groups[-1]["lr"]
        pace = self.num_images / max(1e-9, self.seconds["total"])
        share = self.seconds["waiting"] / max(1e-9, self.seconds["total"])
        losses = {"loss": outcome.loss, **outcome.losses}
        where = f"epoch {epoch + 1}/{self.config.training.epochs}"
        facts = {"lr": f"{rate:.2e}", "pictures/s": f"{pace:.1f}", "waiting": f"{share:.0%}"}
        if not outcome.is_bad:
            self.show.update(step, where, losses, facts)
        is_due = step % self.config.training.log_steps == 0
        if not is_due and step % self.progress.steps_per_epoch:
            return
        values = {
            **losses, "gradient_norm": outcome.gradient_norm, "learning_rate": rate,
            "bad_steps": self.progress.bad_steps, "pictures_per_second": pace, "data_share": share,
        }  # fmt: skip
        if self.log is not None:
            self.log.add(step, epoch + 1, values)
        self.seconds, self.num_images = {"total": 0.0, "waiting": 0.0}, 0

    def _finish_epoch(self) -> None:
        """Validate where it is due, keep the best weights, and save."""
        self.save()
        epoch = self.progress.finished_epochs + 1
        is_last = epoch == self.config.training.epochs
        if self.data.validation is None:
            self._save_best({}, UNVALIDATED_THRESHOLD)
        elif is_last or epoch % self.config.training.validate_every == 0:
            self._validate(self.data.validation, epoch)
        self.progress.finished_epochs = epoch
        self.save()
        if self.log is not None:
            self.log.draw()

    def _validate(self, dataset: HeadDataset, epoch: int) -> None:
        precision = AUTOCAST_TYPES.get(self.config.training.precision)
        figures = validate(self._judged_model, dataset, self.ranks, precision, lambda count: None)
        if self.log is not None:
            self.log.add(self.progress.step, epoch, figures)
        known = {name: value for name, value in figures.items() if math.isfinite(value)}
        text = ", ".join(f"{name} {value:.3f}" for name, value in known.items())
        self.show.say(f"epoch {epoch} validation: {text}")
        figure = figures["ap50"] if math.isfinite(figures["ap50"]) else 0.0
        if self.progress.best_figure is None or figure > self.progress.best_figure:
            self.progress.best_figure = figure
            self._save_best(figures, figures["best_threshold"])

    @property
    def _judged_model(self) -> torch.nn.Module:
        return self.model if self.average is None else self.average.model

    def _save_best(self, figures: dict[str, float], score_threshold: float) -> None:
        if not self.ranks.is_first:
            return
        training = {
            "config": self.config.model_dump(mode="json"),
            "epoch": self.progress.finished_epochs + 1,
            "step": self.progress.step,
            "commit": self.commit,
        }
        measured = {name: value for name, value in figures.items() if math.isfinite(value)}
        description = WeightsDescription(
            model=self.config.model, score_threshold=score_threshold, training=training,
            figures={"validation": measured} if measured else {},
        )  # fmt: skip
        save_weights(self.folder / "best.safetensors", self._judged_model, description)

    @contextmanager
    def _stoppable(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the run after the step; a second one ends it at once."""

        def stop(number: int, _frame: FrameType | None) -> None:
            self.stop_signal = number
            signal.signal(number, previous[number])

        previous = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        for number in previous:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
