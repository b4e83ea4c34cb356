"""The state of a run: weights, their moving average, the optimizer, and the progress."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from head_detection.config import ExperimentConfig, parse_config
from head_detection.errors import CheckpointError, ConfigError
from head_detection.models.faster_rcnn import FasterRCNN, build_detector
from head_detection.models.weights import WeightsDescription, save_weights
from head_detection.training.checkpoint import (
    Checkpoint,
    Progress,
    load_checkpoint,
    optimizer_tensors,
    restore_model,
    restore_optimizer,
    save_checkpoint,
)
from head_detection.training.depthwise import use_fast_gradients
from head_detection.training.distributed import Ranks
from head_detection.training.optimizer import build_optimizer
from head_detection.training.step import autocast_type, build_scaler


class TrainingState:
    """The model of a run and everything that changes with it.

    Args:
        config: the experiment.
        model: on any device; moved to the rank's device in the experiment's memory layout, with the
            first rank's weights on all ranks.
        ranks: the processes that train together.
        steps_per_epoch: steps per epoch of the data.

    Raises:
        ConfigError: more frozen stages than the body has, a setting that the optimizer refuses, or
            a precision that the device does not support.
    """

    def __init__(
        self, config: ExperimentConfig, model: FasterRCNN, ranks: Ranks, steps_per_epoch: int
    ) -> None:
        self.config = config
        training = config.training
        layout = torch.channels_last if training.channels_last else torch.contiguous_format
        self.model = model.to(ranks.device).to(memory_format=layout)
        backbone = self.model.backbone
        try:
            backbone.freeze(
                frozen_stages=training.frozen_stages, frozen_batch_norm=training.frozen_batch_norm
            )
            if training.trained == "second_stage":
                self.model.freeze_first_stage()
            self.optimizer = build_optimizer(self.model, backbone.body, training.optimizer)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        ranks.copy_from_first(self.model)
        is_bf16 = autocast_type(training.precision, ranks.device) == torch.bfloat16
        if is_bf16 and ranks.device.type == "cpu":
            use_fast_gradients(self.model)
        ema = training.ema
        self.average = build_average(self.model, ema.decay) if ema.enabled else None
        self.scaler = build_scaler(training, ranks.device)
        self.progress = Progress(steps_per_epoch=steps_per_epoch)

    @property
    def kept_model(self) -> FasterRCNN:
        """Return the model that is validated and saved: the average if there is one."""
        return self.model if self.average is None else cast("FasterRCNN", self.average.module)

    def update_average(self) -> None:
        """Update the average after a step, before the step is counted in ``progress``."""
        if self.average is not None:
            # The run's own count, including skipped steps, so resuming needs no other. It starts at
            # 1, because at 0 AveragedModel would copy the model.
            self.average.n_averaged.fill_(self.progress.step + 1)
            self.average.update_parameters(self.model)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restore the state from a checkpoint.

        Raises:
            CheckpointError: it does not fit the model or the data.
        """
        expected, saved = self.progress.steps_per_epoch, checkpoint.progress
        if saved.steps_per_epoch != expected:
            raise CheckpointError(
                f"{checkpoint.path}: its data gave {saved.steps_per_epoch} steps an epoch, the data"
                f" of this run give {expected}; go on with the same pictures"
            )
        restore_model(self.model, checkpoint, "model")
        restore_optimizer(self.optimizer, self.model, checkpoint)
        if self.average is not None:
            restore_model(self.average.module, checkpoint, "ema")
        if saved.loss_scale is not None and self.scaler.is_enabled():
            scaler_state = self.scaler.state_dict() | {"scale": saved.loss_scale}
            self.scaler.load_state_dict(scaler_state)
        self.progress = saved.model_copy()

    def save(self, path: Path) -> None:
        """Write a checkpoint for ``restore``.

        Raises:
            CheckpointError: as in ``save_checkpoint``.
        """
        parts: dict[str, Mapping[str, Tensor]] = {
            "model": self.model.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer, self.model),
        }
        if self.average is not None:
            parts["ema"] = self.average.module.state_dict()
        if self.scaler.is_enabled():
            self.progress.loss_scale = self.scaler.get_scale()
        save_checkpoint(path, parts, self.progress, self.config)

    def save_weights(
        self,
        path: Path,
        metrics: Mapping[str, float],
        score_threshold: float,
        commit: str | None,
        epoch: int,
    ) -> None:
        """Write ``kept_model`` with its description, as weights for detection.

        Args:
            path: a ``.safetensors`` file.
            metrics: validation metrics; NaN, if there was nothing to measure, is left out.
            score_threshold: the operating point.
            commit: commit of the code.
            epoch: epochs done.
        """
        description = describe_weights(
            self.config, self.progress.step, epoch, metrics, score_threshold, commit
        )
        save_weights(path, self.kept_model.network, description)


def describe_weights(
    config: ExperimentConfig,
    step: int,
    epoch: int,
    metrics: Mapping[str, float],
    score_threshold: float,
    commit: str | None,
) -> WeightsDescription:
    """Return the description in a weights file of a run; arguments as in ``save_weights``."""
    measured = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return WeightsDescription(
        network=config.network,
        inference=config.inference.model_copy(update={"score_threshold": score_threshold}),
        training={
            "config": config.model_dump(mode="json"),
            "data": [entry.model_dump(mode="json") for entry in config.data.train],
            "epoch": epoch,
            "step": step,
            "commit": commit,
        },
        metrics={"validation": measured} if measured else {},
    )


def load_state(path: Path) -> tuple[FasterRCNN, WeightsDescription]:
    """Build the detector of a run's checkpoint for detection, from the average if there is one.

    Its threshold is that of the run's initial weights, otherwise that of ``inference``.

    Raises:
        CheckpointError: not a complete checkpoint, or one of another version of this package. One
            line.
    """
    checkpoint = load_checkpoint(path)
    try:
        config = parse_config(checkpoint.config, source=str(path))
    except ConfigError as error:
        raise CheckpointError(f"{error}; another version of this package trained it") from error
    backbone = config.network.backbone.model_copy(update={"pretrained": False})
    network = config.network.model_copy(update={"backbone": backbone})
    config = config.model_copy(update={"network": network})
    model = build_detector(network, config.inference)
    restore_model(model, checkpoint, "ema" if config.training.ema.enabled else "model")
    progress = checkpoint.progress
    threshold = progress.initial_threshold
    if threshold is None:
        threshold = config.inference.score_threshold
    description = describe_weights(
        config, progress.step, progress.finished_epochs, {}, threshold, None
    )
    return model.eval(), description


def build_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of the model, in evaluation mode.

    Parameters and batch norm statistics are averaged, counters are copied. The decay is
    ``min(decay, n / (9 + n))``, where n is ``n_averaged``, the step from 1.

    Source:
        The warm-up of the decay is that of TensorFlow's ``ExponentialMovingAverage``, which counts
        steps from 0.
    """

    @torch.no_grad()
    def follow(means: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        # 1 - min(decay, n / (9 + n)), as a tensor, because reading the count would synchronise.
        weight = (9 / (9 + torch.as_tensor(count))).clamp(min=1 - decay).to(means[0].dtype)
        # All tensors are of one type; one operator for each would take a tenth of a step on a GPU.
        kept, seen = list(means), list(values)
        if kept[0].is_floating_point():
            moves = torch._foreach_sub(seen, kept)  # noqa: SLF001 - the optimizers' own
            torch._foreach_mul_(list(moves), weight)
            torch._foreach_add_(kept, list(moves))
        else:
            torch._foreach_copy_(kept, seen)

    average = AveragedModel(model, multi_avg_fn=follow, use_buffers=True)
    return average.eval().requires_grad_(requires_grad=False)
