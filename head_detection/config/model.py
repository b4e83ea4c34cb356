"""The model's part of the experiment file: body, pyramid, anchors, resize, RPN, RoI heads."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from head_detection.config.section import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    Section,
)

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
    context: Literal["none", "ssh", "cpm", "deform_ssh"] = "none"
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
    layout: Literal["legacy", "paper"] = "legacy"
    """``legacy``: one size a level, the first of the preset; ``paper``: two sizes a level."""
    sizes: tuple[tuple[PositiveFloat, ...], ...] | None = None
    """Sizes of each level in network pixels; given, they replace the preset's."""
    ratios: tuple[PositiveFloat, ...] | None = None
    """Height over width; null is the preset's."""


class ResizeConfig(Section):
    """From a picture to the network's pixels."""

    policy: Literal["never_upsample", "fit"] = "never_upsample"
    min_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (800,)
    """Short side: one of these at random in training, the last otherwise."""
    max_size: PositiveInt = 1400
    enlargement: PositiveFloat = 1.0
    """Times the size that all the above gives; above 1 small heads are easier to find."""
    antialias: bool = True
    """Smooth before scaling down; HeadHunter does not."""
    mean: Channels = (0.485, 0.456, 0.406)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.229, 0.224, 0.225)
    size_divisor: PositiveInt = 32


class RpnConfig(Section):
    """The region proposal network."""

    pre_nms_top_n_train: PositiveInt = 2000
    pre_nms_top_n_test: PositiveInt = 1000
    """Kept by score on each level before NMS."""
    post_nms_top_n_train: PositiveInt = 2000
    post_nms_top_n_test: PositiveInt = 1000
    nms_iou_threshold: Probability = 0.7
    fg_iou_threshold: Probability = 0.7
    bg_iou_threshold: Probability = 0.3
    samples_per_image: PositiveInt = 256
    positive_fraction: Probability = 0.5
    score_threshold: Probability = 0.0
    """Proposals less likely are dropped, but for training: fewer go through the second stage."""


class SoftNmsConfig(Section):
    """Gaussian soft-NMS in place of the hard one."""

    enabled: bool = False
    sigma: PositiveFloat = 0.25
    score_threshold: Probability = 0.001


class BoxVotingConfig(Section):
    """Each box as the mean of those that suppression took it for."""

    enabled: bool = False
    iou_threshold: Probability = 0.65


class RoiConfig(Section):
    """The second stage: pooled features to boxes and scores."""

    pool_size: PositiveInt = 7
    sampling_ratio: PositiveInt = 2
    canonical_scale: PositiveInt = 224
    """Heads of this size are pooled from stride 16, half of it from stride 8, and so on."""
    box_head_width: PositiveInt = 1024
    fg_iou_threshold: Probability = 0.5
    bg_iou_threshold: Probability = 0.5
    samples_per_image: PositiveInt = 512
    positive_fraction: Probability = 0.25
    ohem: NonNegativeInt = 0
    """RoIs a batch kept by falling classification loss; 0 keeps all."""
    box_loss: Literal["smooth_l1", "giou", "ciou"] = "smooth_l1"
    box_loss_beta: PositiveFloat = 1.0
    box_loss_weight: PositiveFloat = 1.0
    score_threshold: Probability = 0.05
    nms_iou_threshold: Probability = 0.5
    soft_nms: SoftNmsConfig = SoftNmsConfig()
    box_voting: BoxVotingConfig = BoxVotingConfig()
    detections_per_image: PositiveInt = 1000


class LookConfig(Section):
    """One more look at the picture; its boxes are suppressed and vote with the first look's."""

    enlargement: PositiveFloat = 1.0
    """Times the size of the first look."""
    mirrored: bool = False
    smallest_head: PositiveFloat | None = None
    """Smaller heads, root of area in pixels of the first look, are left to the other looks, and so
    is a picture in which the first found none of twice this size; null leaves nothing."""
    largest_head: PositiveFloat | None = None
    """Larger heads likewise, and a picture in which the first found none of half this size."""

    @model_validator(mode="after")
    def _check(self) -> "LookConfig":
        smallest, largest = self.smallest_head, self.largest_head
        if smallest is not None and largest is not None and smallest > largest / 4:
            raise ValueError(
                "smallest_head: expected at most a quarter of largest_head, or no picture is "
                f"looked at again; got {smallest:g} and {largest:g}"
            )
        return self


class CoarseLookConfig(Section):
    """A second look at the picture made small, for heads larger than those trained on."""

    enabled: bool = False
    factor: PositiveInt = 6
    """Sides are so many times smaller."""
    smallest_head: PositiveFloat = 224.0
    """Heads from this size on, root of area in network pixels, are the coarse look's."""
    smallest_picture: PositiveInt = 512
    """Batches with no side of so many network pixels get no second look."""


class ModelConfig(Section):
    """All that decides the network's tensors and what it does with a picture."""

    backbone: BackboneConfig = BackboneConfig()
    anchors: AnchorConfig = AnchorConfig()
    resize: ResizeConfig = ResizeConfig()
    rpn: RpnConfig = RpnConfig()
    roi: RoiConfig = RoiConfig()
    more_looks: tuple[LookConfig, ...] = ()
    """Each finds a little more and takes the time of another picture of its size."""
    coarse_look: CoarseLookConfig = CoarseLookConfig()
    upscale: bool = False
    """Double the features before RPN and RoI pooling, as HeadHunter's ``upscale_rpn``."""
