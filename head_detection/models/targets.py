"""What a batch is taught: the heads of all its pictures in one row."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

BOX_SHAPE = (2, 4)
"""Dimensions of a picture's boxes, and numbers a box."""


@dataclass(frozen=True)
class Targets:
    """Heads and ignored regions of a batch of B pictures, those of picture 0 first.

    Flat, so that a picture of 300 heads beside seven of 10 costs 370 rows and not 2,400. How many
    rows are whose is known to the processor (``head_counts``), so that no size is asked of a GPU.

    Args:
        boxes: ``(G, 4)`` float32 xyxy, the heads, in the pixels that the owner of this value names.
        owner: ``(G,)`` int64 in 0..B-1, rising: the picture of each head.
        ignore_boxes: ``(I, 4)`` float32 xyxy in the same pixels, where nothing is taught.
        ignore_owner: ``(I,)`` int64 in 0..B-1, rising: the picture of each region.
        head_counts: B numbers whose sum is G: the heads of each picture.
    """

    boxes: Annotated[Tensor, "g 4"]
    owner: Annotated[Tensor, "g"]
    ignore_boxes: Annotated[Tensor, "i 4"]
    ignore_owner: Annotated[Tensor, "i"]
    head_counts: tuple[int, ...]

    @property
    def num_images(self) -> int:
        """B, with the pictures that have no heads."""
        return len(self.head_counts)

    def scaled(self, factors: Annotated[Tensor, "b 2"]) -> "Targets":
        """Return the targets with each picture's boxes times its own factors.

        Args:
            factors: ``(B, 2)`` floating, horizontal and vertical: network over original pixels.

        Example:
            >>> targets = collect_targets([{"boxes": torch.tensor([[1.0, 2, 3, 4]])}])
            >>> targets.scaled(torch.tensor([[2.0, 10.0]])).boxes.tolist()
            [[2.0, 20.0, 6.0, 40.0]]
        """
        of_corners = factors.to(self.boxes).repeat(1, 2)
        return replace(
            self,
            boxes=self.boxes * of_corners[self.owner],
            ignore_boxes=self.ignore_boxes * of_corners[self.ignore_owner],
        )

    def to(self, device: torch.device) -> "Targets":
        """Return the targets on the device, without waiting for it."""
        return replace(
            self,
            boxes=_move(self.boxes, device),
            owner=_move(self.owner, device),
            ignore_boxes=_move(self.ignore_boxes, device),
            ignore_owner=_move(self.ignore_owner, device),
        )

    def padded_boxes(self) -> tuple[Annotated[Tensor, "b m 4"], Annotated[Tensor, "b m"]]:
        """Return the heads as ``(B, M, 4)`` and the mask ``(B, M)`` of those that are one.

        M is the number of heads of the most crowded picture; what pads is no box of any meaning.
        """
        width = max(self.head_counts)
        device = self.owner.device
        pictures = torch.arange(self.num_images + 1, device=device)
        bounds = torch.searchsorted(self.owner, pictures)[:, None]
        slots = bounds[:-1] + torch.arange(width, device=device)
        is_head = slots < bounds[1:]
        # Without any head there is no slot either (M = 0), and nothing is taken.
        return self.boxes[slots.clamp(max=max(len(self.boxes) - 1, 0))], is_head


def collect_targets(targets: Sequence[dict[str, Tensor]]) -> Targets:
    """Return one value for the batch from torchvision's one dict a picture, in the same pixels.

    Args:
        targets: per picture ``boxes`` ``(N, 4)`` xyxy, all of them heads, and ``ignore_boxes``
            ``(M, 4)`` where there are any, on one device. Other keys are not read.

    Raises:
        ValueError: no picture, a picture without ``boxes``, or boxes of another shape.

    Example:
        >>> heads = torch.tensor([[0.0, 0, 8, 8], [9, 9, 20, 20]])
        >>> collect_targets([{"boxes": heads[:0]}, {"boxes": heads}]).owner.tolist()
        [1, 1]
    """
    if not targets:
        raise ValueError("targets: expected those of at least one picture; got none")
    heads = [_checked(target.get("boxes"), "boxes", k) for k, target in enumerate(targets)]
    nothing = heads[0][:0]
    regions = [
        _checked(target.get("ignore_boxes", nothing), "ignore_boxes", k)
        for k, target in enumerate(targets)
    ]
    boxes, owner = _join(heads)
    ignore_boxes, ignore_owner = _join(regions)
    return Targets(boxes, owner, ignore_boxes, ignore_owner, tuple(map(len, heads)))


def _checked(boxes: Tensor | None, name: str, picture: int) -> Tensor:
    if boxes is None:
        raise ValueError(f"targets: expected {name} for every picture; picture {picture} has none")
    if (boxes.dim(), boxes.shape[-1]) != BOX_SHAPE:
        raise ValueError(
            f"targets: expected {name} of shape (N, 4), (0, 4) where there are none; picture "
            f"{picture} has {tuple(boxes.shape)}"
        )
    return boxes


def _join(boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return ``(N, 4)`` float32 of all pictures and the ``(N,)`` int64 picture of each."""
    joined = torch.cat(list(boxes)).float()
    # Counted by the processor, which knows the shapes: one copy, and no question to a GPU.
    owner = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
    return joined, _move(torch.from_numpy(owner), joined.device)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; only from pinned memory does a copy to a GPU not wait for it."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
