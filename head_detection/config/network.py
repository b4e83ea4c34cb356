"""What decides the network's tensors: body, pyramid, anchors, heads, colours."""

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
"""Bodies by their own name; any other timm body is ``timm/<name>``."""
Channels = tuple[float, float, float]
"""Red, green, blue."""


class BackboneConfig(Section):
    """The body and the pyramid on it."""

    name: str = "resnet50"
    """A body of ``create_backbone``, or ``timm/<name>``."""
    pretrained: bool | str = False
    """False: random; true: the library's own download; a path: a state dict made by others."""
    strides: tuple[PositiveInt, ...] = (4, 8, 16, 32)
    """Pyramid levels, finest first: powers of two from 4 to 64."""
    mobilenet_stem: Literal["3x3_stride2", "2x2_stride1"] = "3x3_stride2"
    """First convolution of ``mobilenet0.25``: RetinaFace's, or HeadHunter's at half the strides."""
    negative_slope: NonNegativeFloat = 0.0
    """Slope of LeakyReLU in ``mobilenet0.25``, the ``retinaface`` pyramid and SSH; 0 is ReLU."""
    fpn: Literal["top_down", "retinaface"] = "top_down"
    """torchvision's pyramid, or RetinaFace's with batch norm and merge convolutions."""
    fpn_width: PositiveInt = 256
    """Channels of each pyramid level."""
    context: Literal["none", "ssh", "cpm", "deform_ssh"] = "none"
    """A module behind each level that looks around a cell: SSH, CPM, or SSH with deformable
    convolutions."""
    context_width: PositiveInt | None = None
    """Inner width of the context module; null is the original's (CPM 1024, SSH the pyramid's)."""
    ssh_kernels: Literal["stacked", "large"] = "stacked"
    """SSH branches of stacked 3x3 convolutions, or of real 5x5 and 7x7 kernels."""

    @model_validator(mode="after")
    def _check(self) -> "BackboneConfig":
        if self.name not in BODIES and not self.name.startswith("timm/"):
            known = ", ".join(BODIES)
            raise ValueError(f"name: expected {known} or timm/<name>; got {self.name!r}")
        if not self.strides or any(s not in (4, 8, 16, 32, 64) for s in self.strides):
            raise ValueError("strides: expected values of 4, 8, 16, 32, 64")
        if list(self.strides) != sorted(set(self.strides)):
            raise ValueError("strides: expected rising values without repeats")
        if self.fpn_width % 4 and self.context in ("ssh", "deform_ssh"):
            raise ValueError("fpn_width: an SSH context needs a multiple of 4")
        return self


class AnchorConfig(Section):
    """The boxes that the RPN starts from."""

    preset: Literal["scut", "crowdhuman", "combined", "crohd", "coco"] = "scut"
    """Sizes and ratios that were clustered on the data set of this name."""
    layout: Literal["legacy", "paper"] = "legacy"
    """``legacy``: one size a level, the first of the preset; ``paper``: two sizes a level."""
    sizes: tuple[tuple[PositiveFloat, ...], ...] | None = None
    """Sizes of each level in network pixels; given, they replace the preset's."""
    ratios: tuple[PositiveFloat, ...] | None = None
    """Height over width; null is the preset's."""


class BoxHeadConfig(Section):
    """The second stage: what is pooled of a proposal, and the layers that score it."""

    pool_size: PositiveInt = 7
    """Cells a side of what is pooled of a proposal."""
    sampling_ratio: PositiveInt = 2
    """Samples a cell and direction."""
    canonical_scale: PositiveInt = 224
    """Heads of this size are pooled from stride 16, half of it from stride 8, and so on."""
    width: PositiveInt = 1024
    """Of the two layers behind the pooling."""


class NetworkConfig(Section):
    """All that training fixes: another value here asks for other weights."""

    backbone: BackboneConfig = BackboneConfig()
    anchors: AnchorConfig = AnchorConfig()
    box_head: BoxHeadConfig = BoxHeadConfig()
    upscale: bool = False
    """Double the features before RPN and RoI pooling, as HeadHunter's ``upscale_rpn``."""
    mean: Channels = (0.485, 0.456, 0.406)
    """Of the colours, in 0..1, that the network was trained with."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    """Of the colours likewise."""
    size_divisor: PositiveInt = 32
    """Sides of a batch are padded to multiples of it."""
