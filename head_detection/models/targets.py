"""Training targets: the heads of all pictures of a batch in flat tensors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

BOX_SHAPE = (2, 4)
"""Number of dimensions of a picture's boxes, and numbers per box."""


@dataclass(frozen=True)
class Targets:
    """Heads and ignored regions of a batch of B pictures, those of picture 0 first.

    They are flat, so that a picture with 300 heads and seven with 10 take 370 rows, not 2,400. The
    number of heads per picture is known on the CPU (``head_counts``), so that no size needs to be
    read from a GPU.

    Args:
        boxes: ``(G, 4)`` float32 xyxy heads, in original or network pixels as the user states.
        owner: ``(G,)`` int64 in 0..B-1, ascending: the picture of each head.
        ignore_boxes: ``(I, 4)`` float32 xyxy regions in the same pixels, left out of the losses.
        ignore_owner: ``(I,)`` int64 in 0..B-1, ascending: the picture of each region.
        head_counts: B numbers whose sum is G: the number of heads per picture.
    """

    boxes: Annotated[Tensor, "g 4"]
    owner: Annotated[Tensor, "g"]
    ignore_boxes: Annotated[Tensor, "i 4"]
    ignore_owner: Annotated[Tensor, "i"]
    head_counts: tuple[int, ...]

    @property
    def num_images(self) -> int:
        """B, including pictures without heads."""
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
        """Return the targets on the device, without synchronising."""
        return replace(
            self,
            boxes=_move(self.boxes, device),
            owner=_move(self.owner, device),
            ignore_boxes=_move(self.ignore_boxes, device),
            ignore_owner=_move(self.ignore_owner, device),
        )

    def padded_boxes(self) -> tuple[Annotated[Tensor, "b m 4"], Annotated[Tensor, "b m"]]:
        """Return the heads as ``(B, M, 4)`` and the mask ``(B, M)`` of filled slots.

        M is the number of heads in the most crowded picture; padding holds arbitrary boxes.
        """
        width = max(self.head_counts)
        device = self.owner.device
        pictures = torch.arange(self.num_images + 1, device=device)
        bounds = torch.searchsorted(self.owner, pictures)[:, None]
        slots = bounds[:-1] + torch.arange(width, device=device)
        is_head = slots < bounds[1:]
        # Without any head there are no slots (M = 0), so nothing is indexed.
        return self.boxes[slots.clamp(max=max(len(self.boxes) - 1, 0))], is_head


def collect_targets(targets: Sequence[dict[str, Tensor]]) -> Targets:
    """Collect torchvision's targets, one dict per picture, into one value, in the same pixels.

    Args:
        targets: per picture ``boxes`` ``(N, 4)`` xyxy, all of them heads, and optionally
            ``ignore_boxes`` ``(M, 4)``, on one device. Other keys are not read.

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
    """Return ``(N, 4)`` float32 boxes of all pictures and the ``(N,)`` int64 picture of each."""
    joined = torch.cat(list(boxes)).float()
    # Computed on the CPU, which knows the shapes: one copy, and no synchronising.
    owner = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
    return joined, _move(torch.from_numpy(owner), joined.device)


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to the device; a copy to a GPU is asynchronous only from pinned memory."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
