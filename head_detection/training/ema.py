"""A running mean of the weights."""

import copy

import torch
from torch import nn


class MovingAverage:
    """A second model that follows the first: parameters and batch norm statistics.

    Source:
        The warm-up of the decay, ``min(decay, (1 + step) / (10 + step))``, is that of
        TensorFlow's ``ExponentialMovingAverage``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the model after the step (0 is the first); counters are copied."""
        weight = 1.0 - min(self.decay, (1 + step) / (10 + step))
        current = model.state_dict()
        for name, mean in self.model.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(current[name], weight)
            else:
                mean.copy_(current[name])
