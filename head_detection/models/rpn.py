"""The layers of the region proposal network, which finds where a head may be."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.detection.rpn import RPNHead


class FloatRPNHead(RPNHead):
    """torchvision's head, with float32 outputs under autocast for the precision of boxes."""

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return objectness ``(B, A, H, W)`` and deltas ``(B, 4A, H, W)`` of each level."""
        objectness, deltas = super().forward(features)
        return [level.float() for level in objectness], [level.float() for level in deltas]


class Upscale(nn.ConvTranspose2d):
    """Doubles the features' height and width, with the same number of channels.

    Source:
        HeadHunter's ``upscale_rpn``: a transposed convolution of kernel 8, stride 2, padding 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel_size=8, stride=2, padding=3)


class RegionProposalLayers(nn.Module):
    """The layers of torchvision's ``RegionProposalNetwork`` with tensors, with the same names.

    Args:
        channels: channels of the features.
        anchors_per_location: anchors per location on each level.
        upscale: double the features' height and width first.
    """

    def __init__(self, channels: int, anchors_per_location: int, *, upscale: bool) -> None:
        super().__init__()
        self.head = FloatRPNHead(channels, anchors_per_location)
        self.upscale = Upscale(channels) if upscale else nn.Identity()

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return objectness ``(B, A, H_i, W_i)`` and deltas ``(B, 4A, H_i, W_i)``, float32.

        Args:
            levels: ``(B, C, H_i, W_i)``, finest first.
        """
        objectness, deltas = self.head([self.upscale(level) for level in levels])
        return objectness, deltas
