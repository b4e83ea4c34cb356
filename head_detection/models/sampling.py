"""Sampling of the boxes that the losses use."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Generator, Tensor

from head_detection.models.matching import BACKGROUND, HEAD

NOT_A_CANDIDATE = -1.0
"""Below every random key."""


class Sampled(NamedTuple):
    """S slots per picture; the sampled boxes come first, heads before background."""

    indices: Annotated[Tensor, "b s"]
    """``(B, S)`` int64 indices into the N boxes; in an empty slot any valid index, possibly a
    repeated one."""
    is_sampled: Annotated[Tensor, "b s"]
    """``(B, S)``: whether the slot is filled; no box is sampled twice."""
    is_positive: Annotated[Tensor, "b s"]
    """``(B, S)``: whether the slot is filled with a head."""


@dataclass(frozen=True)
class BalancedSampler:
    """torchvision's ``BalancedPositiveNegativeSampler`` for a batch at once, in fixed sizes.

    Each picture gets up to ``int(samples_per_image * positive_fraction)`` heads, and is filled up
    to ``samples_per_image`` with background, as far as there are enough boxes.

    Args:
        samples_per_image: most boxes per picture.
        positive_fraction: largest share of heads among them.
    """

    samples_per_image: int
    positive_fraction: float

    @torch.no_grad()
    def sample(
        self, labels: Annotated[Tensor, "b n"], generator: Generator | None = None
    ) -> Sampled:
        """Sample uniformly, with S = min(samples_per_image, N) slots per picture.

        It selects the highest random keys instead of counting a mask, so it does not synchronise.

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
        # Background starts after the picture's heads.
        columns = torch.where(is_positive, slots, slots - num_heads + quota)
        indices = torch.cat((heads, others), dim=1).gather(1, columns)
        return Sampled(indices, slots < num_heads + num_others, is_positive)
