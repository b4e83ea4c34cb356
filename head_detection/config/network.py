"""The network's architecture: body, pyramid, anchors, heads, colour normalisation."""

from typing import Literal

from pydantic import model_validator

from head_detection.config.section import NonNegativeFloat, PositiveFloat, PositiveInt, Section

BODIES = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "mobilenet0.25",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "cspresnet50",
    "cspresnext50",
    "cspdarknet53",
    "hrnet_w18",
    "hrnet_w32",
    "hrnet_w48",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "tf_efficientnet_lite2",
)
"""Bodies with a name of their own; any other timm body is ``timm/<name>``."""
LITE = "tf_efficientnet_lite"
PUBLISHED_EXPANSION = 6
Channels = tuple[float, float, float]
"""Red, green, blue."""


class BackboneConfig(Section):
    """The body and its feature pyramid."""

    name: str = "resnet50"
    """A body of ``create_backbone``, or ``timm/<name>``."""
    pretrained: bool | str = False
    """Initial weights of the body. False: random; true: downloaded by its library; a path: a state
    dict from elsewhere."""
    strides: tuple[PositiveInt, ...] = (4, 8, 16, 32)
    """Pyramid levels, finest first: powers of two from 4 to 64."""
    mobilenet_stem: Literal["3x3_stride2", "2x2_stride1"] = "3x3_stride2"
    """First convolution of ``mobilenet0.25``: RetinaFace's, or HeadHunter's, which halves the
    strides."""
    lite_expansion: PositiveInt = PUBLISHED_EXPANSION
    """Channels inside the inverted residuals of ``tf_efficientnet_lite0``, ``1`` and ``2``: this
    multiple of those at their inputs; 6 as published."""
    negative_slope: NonNegativeFloat = 0.0
    """Slope of LeakyReLU in ``mobilenet0.25``, the ``retinaface`` pyramid and SSH; 0 is ReLU."""
    fpn: Literal["top_down", "light", "retinaface"] = "top_down"
    """torchvision's pyramid; the same with 1x1 convolutions on the way down in place of the 3x3
    ones at its outputs; or RetinaFace's with batch norm and merge convolutions."""
    fpn_width: PositiveInt = 256
    """Channels of each pyramid level."""
    context: Literal["none", "ssh", "cpm", "deform_ssh"] = "none"
    """Module after each pyramid level that adds context from around a cell: SSH, CPM, or SSH with
    deformable convolutions."""
    context_width: PositiveInt | None = None
    """Channels inside the context module; null is as published (CPM 1024, SSH ``fpn_width``)."""
    ssh_kernels: Literal["stacked", "large"] = "stacked"
    """Build the SSH branches of stacked 3x3 convolutions, or of real 5x5 and 7x7 kernels."""

    @property
    def has_expansion(self) -> bool:
        """Return whether ``lite_expansion`` is read."""
        name = self.name.removeprefix("timm/")
        return name in BODIES and name.startswith(LITE)

    @model_validator(mode="after")
    def _check(self) -> "BackboneConfig":
        if self.name not in BODIES and not self.name.startswith("timm/"):
            known = ", ".join(BODIES)
            raise ValueError(f"name: expected {known} or timm/<name>; got {self.name!r}")
        if self.lite_expansion != PUBLISHED_EXPANSION:
            if not self.has_expansion:
                raise ValueError(
                    f"lite_expansion: only {LITE}0, 1 and 2 have one; got {self.name!r}"
                )
            if self.pretrained is True:
                raise ValueError(
                    "pretrained: expected false or a path, since published weights have a "
                    f"lite_expansion of {PUBLISHED_EXPANSION}; see convert slim"
                )
        if not self.strides or any(s not in (4, 8, 16, 32, 64) for s in self.strides):
            raise ValueError("strides: expected values of 4, 8, 16, 32, 64")
        if list(self.strides) != sorted(set(self.strides)):
            raise ValueError("strides: expected rising values without repeats")
        if self.fpn_width % 4 and self.context in ("ssh", "deform_ssh"):
            raise ValueError("fpn_width: an SSH context needs a multiple of 4")
        return self


class AnchorConfig(Section):
    """The reference boxes of the RPN."""

    preset: Literal["scut", "crowdhuman", "combined", "crohd", "coco"] = "scut"
    """Use the sizes and ratios that were clustered on this data set."""
    layout: Literal["legacy", "paper"] = "legacy"
    """``legacy``: one size per level, the first ones of the preset; ``paper``: two per level."""
    sizes: tuple[tuple[PositiveFloat, ...], ...] | None = None
    """Sizes for each level in network pixels; null takes those of the preset."""
    ratios: tuple[PositiveFloat, ...] | None = None
    """Height over width; null takes those of the preset."""


class BoxHeadConfig(Section):
    """The second stage: RoI pooling, and the layers that classify a proposal."""

    pool_size: PositiveInt = 7
    """Cells per side of the pooled features of a proposal."""
    sampling_ratio: PositiveInt = 2
    """Samples per cell in each direction."""
    canonical_scale: PositiveInt = 224
    """Heads of this size are pooled from stride 16, heads of half the size from stride 8, etc."""
    width: PositiveInt = 1024
    """Channels of the two layers after the pooling."""


class NetworkConfig(Section):
    """Everything that training fixes: changing a value here needs other weights."""

    backbone: BackboneConfig = BackboneConfig()
    anchors: AnchorConfig = AnchorConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    upscale: bool = False
    """Double the size of the feature maps before RPN and RoI pooling, like HeadHunter's
    ``upscale_rpn``."""
    mean: Channels = (0.485, 0.456, 0.406)
    """Mean of the colours, in 0..1, that the network was trained with."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    """Standard deviation of the colours, likewise."""
    size_divisor: PositiveInt = 32
    """The sides of a batch are padded to multiples of this."""
