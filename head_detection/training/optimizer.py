"""The update rule and the learning rate over time."""

import math
from bisect import bisect_right

import torch
from torch import nn

from head_detection.config import OptimizerConfig, ScheduleConfig


def build_optimizer(
    model: nn.Module, body: nn.Module, config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Build the optimizer for the trained parameters, in groups by learning rate and decay.

    Args:
        model: the whole detector.
        body: its pretrained part, with a rate scaled by ``body_learning_rate_factor``.
        config: rule, rate, momentum and decay.

    Returns:
        SGD or AdamW; each group stores its full rate as ``initial_lr``.
    """
    groups = parameter_groups(model, body, config)
    # On a GPU, a group is updated in a few launches, where PyTorch's usual way takes dozens.
    is_fused = all(parameter.is_cuda for parameter in model.parameters()) or None
    rate = config.learning_rate
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=is_fused)
    return torch.optim.AdamW(groups, lr=rate, betas=(config.momentum, 0.999), fused=is_fused)


def parameter_groups(
    model: nn.Module, body: nn.Module, config: OptimizerConfig
) -> list[dict[str, object]]:
    """Group the trained parameters by body or not, and by norms and biases or not.

    A parameter with at most one dimension belongs to a norm or is a bias, and gets
    ``norm_weight_decay``.
    """
    in_body = {id(parameter) for parameter in body.parameters()}
    members: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in in_body, parameter.ndim <= 1)
            members.setdefault(key, []).append(parameter)
    groups: list[dict[str, object]] = []
    for (is_body, is_norm), parameters in members.items():
        rate = config.learning_rate * (config.body_learning_rate_factor if is_body else 1.0)
        decay = config.norm_weight_decay if is_norm else config.weight_decay
        groups.append({"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay})
    return groups


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to this multiple of its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def learning_rate_factor(
    step: int, config: ScheduleConfig, steps_per_epoch: int, total_steps: int
) -> float:
    """Return the multiple of the full rate for a step; a pure function, so resuming needs no state.

    Args:
        step: 0 is the first of the run.
        config: the schedule; its linear warm-up, at most a tenth of the run, multiplies the other
            factor.
        steps_per_epoch: converts milestones to steps.
        total_steps: end of the cosine: the last step has ``final_factor``.

    Example:
        >>> schedule = ScheduleConfig(milestones=(2,), gamma=0.5, warmup_steps=4, warmup_factor=0.2)
        >>> [round(learning_rate_factor(step, schedule, 5, 40), 3) for step in (0, 2, 4, 9, 10)]
        [0.2, 0.6, 1.0, 1.0, 0.5]
    """
    factor = 1.0
    if config.name == "step":
        epoch = step // steps_per_epoch
        factor = config.gamma ** bisect_right(sorted(config.milestones), epoch)
    elif config.name == "cosine":
        part = min(1.0, step / max(1, total_steps - 1))
        factor = (
            config.final_factor + (1 - config.final_factor) * (1 + math.cos(math.pi * part)) / 2
        )
    warmup_steps = num_warmup_steps(config, total_steps)
    if step < warmup_steps:
        factor *= config.warmup_factor + (1 - config.warmup_factor) * step / warmup_steps
    return factor


def num_warmup_steps(config: ScheduleConfig, total_steps: int) -> int:
    """Return the steps of the warm-up, at most a tenth of the run.

    Example:
        >>> [num_warmup_steps(ScheduleConfig(warmup_steps=100), steps) for steps in (2000, 50, 5)]
        [100, 5, 0]
    """
    return min(config.warmup_steps, total_steps // 10)
