"""What may be a head, before suppression and between looks: chosen from, and put together."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_area

from head_detection.models.transform import Target

REFINEMENT = 1.5
"""The second stage hardly ever makes a proposal's sides longer or shorter by more."""


class HeadSizes(NamedTuple):
    """The heads that a look answers for: root of area in pixels of the first look."""

    smallest: float = 0.0
    largest: float = float("inf")

    def hold(self, boxes: Tensor, *, scale: float = 1.0, slack: float = 1.0) -> Tensor:
        """Tell of each of ``(N, 4)`` xyxy boxes whether its size is one of these.

        Args:
            boxes: in the pixels of any look.
            scale: how many of these make one of the first look.
            slack: sizes may be so many times too small or too large.
        """
        sizes = box_area(boxes).sqrt() / scale
        held: Tensor = (sizes >= self.smallest / slack) & (sizes <= self.largest * slack)
        return held


ALL_HEADS = HeadSizes()


def take(found: Target, chosen: Tensor) -> Target:
    """Return what the indices or the mask ``chosen`` name of ``boxes``, ``scores`` and so on."""
    if chosen.dtype == torch.bool:  # a GPU is waited for once, not for each of the values
        chosen = chosen.nonzero().squeeze(1)
    return {key: values[chosen] for key, values in found.items()}


def pictures_with(masks: Sequence[Tensor]) -> list[int]:
    """Return the places of the pictures of whose mask ``(N,)`` anything is true.

    A GPU is asked once for all pictures: each answer is a wait.
    """
    places: list[int] = torch.stack([mask.any() for mask in masks]).nonzero().flatten().tolist()
    return places


def concatenate(parts: Sequence[Target]) -> Target:
    """Return the boxes of one picture from all parts together, which have the same fields."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def gather(looks: Sequence[tuple[HeadSizes, Target]]) -> Target:
    """Return the candidates of one picture from all looks at it.

    Args:
        looks: what each answers for, and its ``boxes`` and ``scores``, all in the same pixels.

    Returns:
        Besides these, where there are several, ``looks`` ``(N,)``, the number of the look that
        each is from, and ``sizes`` ``(L, 2)``, the smallest and largest head of each look.
    """
    parts = [found for _, found in looks]
    if len(parts) == 1:
        return parts[0]
    gathered = concatenate(parts)
    scores = gathered["scores"]
    numbers = [torch.full_like(found["scores"], at) for at, found in enumerate(parts)]
    gathered["looks"] = torch.cat(numbers).long()
    gathered["sizes"] = scores.new_tensor([sizes for sizes, _ in looks])
    return gathered
