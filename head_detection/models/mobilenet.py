"""MobileNetV1 at a quarter of its width, as RetinaFace and HeadHunter use it."""

from torch import Tensor, nn

from head_detection.models.convolution import activation, conv_bn


class MobileNetV1(nn.Module):
    """The body only: no pooling, no classifier.

    Args:
        stem: ``3x3_stride2`` is RetinaFace's; ``2x2_stride1`` is HeadHunter's, which makes every
            map twice as large, plus one row and column.
        negative_slope: slope of LeakyReLU; 0 is ReLU. HeadHunter trained with 0.1, the public
            ImageNet and WIDER FACE weights with 0.

    Source:
        Howard et al., MobileNets, arXiv 1704.04861, with the widths of biubug6/Pytorch_Retinaface.
    """

    def __init__(self, stem: str = "3x3_stride2", negative_slope: float = 0.0) -> None:
        super().__init__()
        kernel, stride = (3, 2) if stem == "3x3_stride2" else (2, 1)

        def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            return _separable(inputs, outputs, stride, negative_slope)

        self.stage1 = nn.Sequential(
            conv_bn(3, 8, kernel, stride=stride, padding=1, negative_slope=negative_slope),
            separable(8, 16, 1),
            separable(16, 32, 2),
            separable(32, 32, 1),
            separable(32, 64, 2),
            separable(64, 64, 1),
        )
        self.stage2 = nn.Sequential(
            separable(64, 128, 2), *(separable(128, 128, 1) for _ in range(5))
        )
        self.stage3 = nn.Sequential(separable(128, 256, 2), separable(256, 256, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the last map, ``(B, 256, H', W')``, for ``(B, 3, H, W)``."""
        features: Tensor = self.stage3(self.stage2(self.stage1(images)))
        return features


def _separable(inputs: int, outputs: int, stride: int, negative_slope: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        activation(negative_slope),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        activation(negative_slope),
    )
