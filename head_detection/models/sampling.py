"""Which boxes of a batch the losses see."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Generator, Tensor

from head_detection.models.matching import BACKGROUND, HEAD

NOT_A_CANDIDATE = -1.0
"""Below every random key."""


class Sampled(NamedTuple):
    """S slots a picture; the sampled boxes come first, heads before background."""

    indices: Annotated[Tensor, "b s"]
    """``(B, S)`` int64 into the N boxes. Where a slot is not taken, any valid one, perhaps a
    second time."""
    is_sampled: Annotated[Tensor, "b s"]
    """``(B, S)``: whether the slot is taken; no box is sampled twice."""
    is_positive: Annotated[Tensor, "b s"]
    """``(B, S)``: whether it is taken by a head."""


@dataclass(frozen=True)
class BalancedSampler:
    """torchvision's ``BalancedPositiveNegativeSampler`` for a batch at once, in fixed sizes.

    Each picture gets up to ``int(samples_per_image * positive_fraction)`` heads, and as much
    background as fills it up to ``samples_per_image``, or all that there is of either.

    Args:
        samples_per_image: boxes a picture, at most.
        positive_fraction: the share of heads among them, at most.
    """

    samples_per_image: int
    positive_fraction: float

    @torch.no_grad()
    def sample(
        self, labels: Annotated[Tensor, "b n"], generator: Generator | None = None
    ) -> Sampled:
        """Return a uniform choice with S = min(samples_per_image, N) slots a picture.

        Nothing waits for a device: the highest of random keys are taken, never what a mask counts.

        Args:
            labels: ``(B, N)``: ``HEAD``, ``BACKGROUND`` or ``NEITHER``, which is not sampled.
            generator: of the labels' device; torch's own where None.
        """
        count = min(self.samples_per_image, labels.shape[1])
        quota = min(int(self.samples_per_image * self.positive_fraction), count)
        keys = torch.rand(labels.shape, device=labels.device, generator=generator)
        is_head, is_background = labels == HEAD, labels == BACKGROUND
        heads = keys.masked_fill(~is_head, NOT_A_CANDIDATE).topk(quota, dim=1).indices
        others = keys.masked_fill(~is_background, NOT_A_CANDIDATE).topk(count, dim=1).indices
        num_heads = is_head.sum(dim=1, keepdim=True).clamp(max=quota)
        num_others = is_background.sum(dim=1, keepdim=True)
        slots = torch.arange(count, device=labels.device).expand(len(labels), -1)
        is_positive = slots < num_heads
        # The background begins where the heads of the picture end.
        columns = torch.where(is_positive, slots, slots - num_heads + quota)
        indices = torch.cat((heads, others), dim=1).gather(1, columns)
        return Sampled(indices, slots < num_heads + num_others, is_positive)
