"""Distillation: a body learns to compute the maps that another detector's body computes."""

from collections.abc import Sequence
from typing import Annotated, Final

import torch
from torch import Tensor

from head_detection.models.backbones import BackBoneWithFPN

LEAST_SHARE: Final = 0.01
"""Of a map's whole variance, added to that of each channel: one that never varies in the teacher,
as many do behind a ReLU, would count without limit."""
LEAST_VARIANCE: Final = 1e-6
"""Added to both, for maps that are all one value."""


class Teacher:
    """The body of a trained detector, whose maps another body learns.

    It is not a module, so that the detector that learns neither trains nor saves it.

    Args:
        backbone: the trained detector's; only its body is used.
        weight: factor of the loss.

    Source:
        Romero et al., FitNets, ICLR 2015, on every map that the pyramid takes; a smaller body keeps
        the channels of those maps, so that no further layers are needed.
    """

    def __init__(self, backbone: BackBoneWithFPN, weight: float = 1.0) -> None:
        self.backbone = backbone.eval().requires_grad_(requires_grad=False)
        self.weight = weight

    def check(self, backbone: BackBoneWithFPN) -> None:
        """Check that another body gives maps of the same strides and channels.

        Raises:
            ValueError: it does not.
        """
        theirs, own = self.backbone.feature_channels, backbone.feature_channels
        if theirs != own:
            raise ValueError(
                "training.teacher: expected a body with the channels "
                f"{_shown(own)}, as network.backbone has; got {_shown(theirs)}"
            )

    def loss(
        self, images: Annotated[Tensor, "b 3 h w"], features: Sequence[Annotated[Tensor, "b _ _ _"]]
    ) -> Annotated[Tensor, ""]:
        """Return the mean squared difference from the teacher's maps, in variances, float32.

        Each channel's squares are divided by its variance in the teacher's map of this batch, and
        a hundredth of that of the whole map; each map counts alike.

        Args:
            images: ``(B, 3, H, W)``, normalised.
            features: ``(B, C_i, H_i, W_i)``, the other body's maps of them, finest first.
        """
        with torch.no_grad():
            wanted = self.backbone.to(images.device).features(images)
        losses = [_difference(*pair) for pair in zip(features, wanted, strict=True)]
        return self.weight * torch.stack(losses).mean()


def _difference(own: Tensor, wanted: Tensor) -> Tensor:
    own, wanted = own.float(), wanted.float()
    variance = wanted.var((0, 2, 3), correction=0, keepdim=True)
    scale = variance + LEAST_SHARE * wanted.var(correction=0) + LEAST_VARIANCE
    return ((own - wanted).square() / scale).mean()


def _shown(channels: dict[int, int]) -> str:
    return ", ".join(f"{count} at stride {stride}" for stride, count in channels.items())
