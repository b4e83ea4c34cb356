"""The layers of the second stage, which turn pooled features into a score and a refined box."""

import copy
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

from head_detection.models.rpn import Upscale

NUM_CLASSES = 2
"""Background and head."""


class RoILayers(nn.Module):
    """The layers of torchvision's ``RoIHeads`` that have tensors, with the same names.

    Args:
        channels: channels of the features.
        pool_size: height and width of the pooled features.
        width: width of the two hidden layers.
        upscale: double the features' height and width before pooling.

    Attributes:
        keeps_type: whether the features to pool from stay in the network's type.
    """

    keeps_type = False

    def __init__(self, channels: int, pool_size: int, width: int, *, upscale: bool) -> None:
        super().__init__()
        self.box_head = TwoMLPHead(channels * pool_size**2, width)
        self.box_predictor = FastRCNNPredictor(width, NUM_CLASSES)
        self.upscale = Upscale(channels) if upscale else nn.Identity()

    def features(self, levels: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the features to pool from.

        They are float32, because RoIAlign has no bfloat16 on a CPU, unless ``keeps_type`` is set.

        Args:
            levels: ``(B, C, H_i, W_i)``, finest first.
        """
        features = tuple(self.upscale(level) for level in levels)
        return features if self.keeps_type else tuple(level.float() for level in features)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, 2)`` and deltas ``(N, 8)``, float32 for the precision of boxes.

        Args:
            pooled: ``(N, C, pool_size, pool_size)``.
        """
        logits, deltas = self.box_predictor(self.box_head(pooled))
        return logits.float(), deltas.float()


def reordered(first: nn.Linear, channels: int) -> nn.Linear:
    """Return a copy of the box head's first layer for channels last, as RoIAlign computes them.

    Args:
        first: takes ``(N, C*P*P)``; the copy takes ``(N, P*P*C)``.
        channels: C.

    Example:
        >>> first = nn.Linear(6, 1)
        >>> first.weight.data = Tensor([[1.0, 2, 3, 10, 20, 30]])
        >>> reordered(first, 2).weight.tolist()
        [[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]]
    """
    changed = copy.deepcopy(first)
    weight = first.weight.detach().unflatten(1, (channels, -1)).transpose(1, 2).flatten(1)
    changed.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    return changed
