"""One step of training: compute the losses and update the weights."""

import hashlib
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from head_detection.config import TrainingConfig
from head_detection.data.dataset import Sample
from head_detection.devices import multiplies_bf16
from head_detection.errors import ConfigError
from head_detection.training.distributed import Ranks

DISTILLATION = "loss_distillation"
LOSS_NAMES = (
    "loss_classifier",
    "loss_box_reg",
    "loss_objectness",
    "loss_rpn_box_reg",
    DISTILLATION,
)
TAUGHT = ("boxes", "ignore_boxes")
"""The entries of a sample's target that the model reads."""
SMALLEST_LOSS_SCALE = 1.0
"""If a gradient overflows at a smaller scale, the cause is not the range of float16."""


@dataclass(frozen=True)
class StepOutcome:
    """The outcome of a step, the same on every rank.

    Attributes:
        losses: means over the pictures of all ranks, by name; that of a teacher only with one.
        gradient_norm: before clipping; NaN if the step was skipped because of its loss.
        is_bad: something was not finite, and the weights were not updated.
        must_stop: a rank was asked to stop.
    """

    losses: dict[str, float]
    gradient_norm: float
    is_bad: bool
    must_stop: bool

    @property
    def loss(self) -> float:
        """Return the sum of the losses."""
        return sum(self.losses.values())


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return the seed for all random numbers of a step on a rank, by a hash of the arguments."""
    digest = hashlib.sha256(f"{seed},{step},{rank}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def autocast_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the autocast type of the forward pass for ``training.precision``; None is float32.

    Example:
        >>> autocast_type("bf16", torch.device("cpu"))
        torch.bfloat16
    """
    if precision == "auto":  # not float16, whose smaller range requires loss scaling
        precision = "bf16" if multiplies_bf16(device) else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def build_scaler(config: TrainingConfig, device: torch.device) -> torch.amp.GradScaler:
    """Return the gradient scaler for fp16, which has no effect in other precisions.

    Raises:
        ConfigError: fp16 on a device other than CUDA.
    """
    if config.precision == "fp16" and device.type != "cuda":
        raise ConfigError(
            f"training.precision: fp16 needs a CUDA device, this is {device.type}; use bf16 or fp32"
        )
    return torch.amp.GradScaler(enabled=config.precision == "fp16")


class TrainingStep:
    """Forward pass, backward pass and update, synchronised over the ranks.

    The loss of each part is weighted by its share of the step's pictures, so accumulation and any
    number of ranks give the gradient of the whole batch, as far as torchvision's losses allow:
    those are means over the anchors or proposals *sampled* in the part, which equal the mean over
    the batch if every picture fills its samples. OHEM, batch norm and the samplers see only a part.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        config: TrainingConfig,
        ranks: Ranks,
    ) -> None:
        self.model, self.optimizer, self.scaler = model, optimizer, scaler
        self.config, self.ranks = config, ranks
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        has_teacher = config.teacher is not None
        self.loss_names = [name for name in LOSS_NAMES if has_teacher or name != DISTILLATION]
        self.backup = [buffer.clone() for buffer in model.buffers()]

    def run(self, samples: Sequence[Sample], step: int, *, wants_stop: bool = False) -> StepOutcome:
        """Train on this rank's share of a batch, which may be empty.

        Args:
            samples: pictures with their heads.
            step: 0 is the first of the run; seeds all random numbers.
            wants_stop: this rank was asked to stop, which is passed on to the others.
        """
        torch.manual_seed(step_seed(self.config.seed, step, self.ranks.rank))
        _copy_all(self.backup, list(self.model.buffers()))
        self.optimizer.zero_grad(set_to_none=True)
        sums = self._backward(samples)
        facts = [sums.new_full((1,), float(value)) for value in (len(samples), wants_stop)]
        totals = self.ranks.sum_in_place(torch.cat([sums, *facts]))
        self.ranks.sum_gradients(self.parameters, len(samples) / totals[-2])
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        # Synchronise with the device only once per step: copy all needed values together.
        *loss_sums, num_images, num_stops, length = torch.cat([totals, norm[None]]).tolist()
        losses = {
            name: total / num_images for name, total in zip(self.loss_names, loss_sums, strict=True)
        }
        is_finite = all(math.isfinite(loss) for loss in losses.values())
        is_bad = not is_finite or not self._update(norm, length)
        if is_bad:
            self._undo()
        else:
            self.ranks.average_buffers(self.model)
        length = length if is_finite else math.nan
        return StepOutcome(losses, length, is_bad=is_bad, must_stop=num_stops > 0)

    def _backward(self, samples: Sequence[Sample]) -> Tensor:
        """Accumulate the gradients of the parts; return each loss summed over the pictures."""
        sums = torch.zeros(len(self.loss_names), dtype=torch.float32, device=self.ranks.device)
        size = -(-len(samples) // self.config.accumulation)
        for start in range(0, len(samples), max(1, size)):
            part = samples[start : start + size]
            losses = self._losses(part)
            total = torch.stack(list(losses.values())).sum()
            self.scaler.scale(total * (len(part) / len(samples))).backward()
            nothing = torch.zeros_like(total)
            values = torch.stack([losses.get(name, nothing).detach() for name in self.loss_names])
            sums += values.to(sums.dtype) * len(part)
        return sums

    def _losses(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        images = [self._to_device(sample.image) for sample in samples]
        targets = self._targets(samples)
        precision = autocast_type(self.config.precision, self.ranks.device)
        device_type = self.ranks.device.type
        with torch.autocast(device_type, precision) if precision else nullcontext():
            losses: dict[str, Tensor] = self.model(images, targets)
        return losses

    def _targets(self, samples: Sequence[Sample]) -> list[dict[str, Tensor]]:
        """Return the model's targets, copied to the device at once for all pictures."""
        targets: list[dict[str, Tensor]] = [{} for _ in samples]
        for name in TAUGHT:
            boxes = [sample.target[name] for sample in samples if name in sample.target]
            if len(boxes) == len(samples):
                parts = self._to_device(torch.cat(boxes)).split([len(part) for part in boxes])
                for target, part in zip(targets, parts, strict=True):
                    target[name] = part
        return targets

    def _to_device(self, tensor: Tensor) -> Tensor:
        if self.ranks.device.type == "cuda":
            return tensor.pin_memory().to(self.ranks.device, non_blocking=True)
        return tensor.to(self.ranks.device)

    def _update(self, norm: Tensor, length: float) -> bool:
        """Clip the gradients and update the weights, unless the norm, ``length``, is not finite.

        In fp16, an overflow only lowers the loss scale. Return whether the step was not bad.
        """
        is_finite = math.isfinite(length)
        if is_finite and self.config.optimizer.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.config.optimizer.clip_norm, norm)
        overflowed = self.scaler.is_enabled() and self.scaler.get_scale() >= SMALLEST_LOSS_SCALE
        if is_finite or overflowed:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return is_finite or overflowed

    def _undo(self) -> None:
        """Drop the gradients and restore the batch norm statistics that the step has changed."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.scaler.is_enabled():  # resets it, since it unscales only once between updates
            self.scaler.update(self.scaler.get_scale())
        _copy_all(list(self.model.buffers()), self.backup)


@torch.no_grad()
def _copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """Copy a list of tensors, in one launch on a GPU."""
    if targets:
        torch._foreach_copy_(targets, sources)
