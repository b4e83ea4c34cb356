"""The experiment file: strict models of every field, read from YAML, overridden by key path.

One YAML holds one experiment and names only what differs from the defaults here.
The YAML key, the field and the ``--set`` path are spelt alike.
"""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
NonNegativeFloat = Annotated[float, Field(ge=0.0)]
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
Triple = tuple[float, float, float]


_Model = TypeVar("_Model", bound=BaseModel)


class ConfigError(ValueError):
    """A mistake in an experiment file or in an override; its text is one line for the user."""


class _Section(BaseModel):
    """A part of the file: unknown keys and wrong types are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class BackboneConfig(_Section):
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


class AnchorConfig(_Section):
    """The boxes that the RPN starts from."""

    preset: Literal["scut", "crowdhuman", "combined", "crohd", "coco"] = "scut"
    layout: Literal["legacy", "paper"] = "legacy"
    """``legacy``: one size a level, the first of the preset; ``paper``: two sizes a level."""
    sizes: tuple[tuple[PositiveFloat, ...], ...] | None = None
    """Sizes of each level in network pixels; given, they replace the preset's."""
    ratios: tuple[PositiveFloat, ...] | None = None
    """Height over width; null is the preset's."""


class ResizeConfig(_Section):
    """From a picture to the network's pixels."""

    policy: Literal["never_upsample", "fit"] = "never_upsample"
    min_sizes: tuple[PositiveInt, ...] = (800,)
    """Short side: one of these at random in training, the last otherwise."""
    max_size: PositiveInt = 1400
    antialias: bool = True
    """Smooth before scaling down; HeadHunter does not."""
    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)
    size_divisor: PositiveInt = 32


class RpnConfig(_Section):
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


class SoftNmsConfig(_Section):
    """Gaussian soft-NMS in place of the hard one."""

    enabled: bool = False
    sigma: PositiveFloat = 0.25
    score_threshold: Probability = 0.001


class RoiConfig(_Section):
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
    detections_per_image: PositiveInt = 1000


class ModelConfig(_Section):
    """All that decides the network's tensors and what it does with a picture."""

    backbone: BackboneConfig = BackboneConfig()
    anchors: AnchorConfig = AnchorConfig()
    resize: ResizeConfig = ResizeConfig()
    rpn: RpnConfig = RpnConfig()
    roi: RoiConfig = RoiConfig()
    upscale: bool = False
    """Double the features before RPN and RoI pooling, as HeadHunter's ``upscale_rpn``."""


class DatasetConfig(_Section):
    """One set of labelled pictures."""

    path: str
    """A file or folder of the format; relative to the working folder."""
    format: Literal["coco", "scut", "headhunter"] = "coco"
    images: str | None = None
    """Folder that the file's picture names start from; null is the format's own place."""
    split: str | None = None
    """For ``scut``: train, val, trainval or test; null is trainval. The others have none."""
    weight: PositiveFloat = 1.0
    """How many times a picture of this set is drawn in an epoch, on average."""


class AugmentationConfig(_Section):
    """Random changes of a training picture."""

    crop_size: PositiveInt | None = None
    """Side of a square zoom-crop in pixels; null trains on whole pictures."""
    zoom: tuple[PositiveFloat, PositiveFloat] = (0.5, 2.0)
    """Range of the zoom before the crop, drawn evenly on a log scale."""
    min_head_size: NonNegativeFloat = 3.0
    """Heads under this size (square root of area, pixels after the zoom) become ignored."""
    min_visible: Probability = 0.4
    """Heads cut by the crop to less than this share become ignored."""
    flip_probability: Probability = 0.5
    brightness: NonNegativeFloat = 0.3
    contrast: NonNegativeFloat = 0.3
    saturation: NonNegativeFloat = 0.3
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.03
    grayscale_probability: Probability = 0.05
    blur_probability: Probability = 0.05

    @model_validator(mode="after")
    def _check(self) -> "AugmentationConfig":
        if self.zoom[0] > self.zoom[1]:
            raise ValueError("zoom: expected the smaller value first")
        return self


class DataConfig(_Section):
    """What is trained on and what is judged on."""

    train: tuple[DatasetConfig, ...] = ()
    validation: tuple[DatasetConfig, ...] = ()
    augmentation: AugmentationConfig = AugmentationConfig()
    workers: NonNegativeInt = 0
    """Loader processes; 0 decodes in threads beside the network."""


class OptimizerConfig(_Section):
    """The update rule."""

    name: Literal["sgd", "adamw"] = "sgd"
    learning_rate: PositiveFloat = 0.01
    body_learning_rate_factor: PositiveFloat = 1.0
    """The pretrained body learns at this multiple of ``learning_rate``."""
    momentum: Probability = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    norm_weight_decay: NonNegativeFloat = 0.0
    """For batch norm and biases."""
    clip_norm: NonNegativeFloat = 0.0
    """Gradients above this norm are scaled down; 0 leaves them."""


class ScheduleConfig(_Section):
    """The learning rate over time."""

    name: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[PositiveInt, ...] = (10, 20, 25)
    """Epochs after which the rate is multiplied by ``gamma``."""
    gamma: PositiveFloat = 0.1
    final_factor: NonNegativeFloat = 0.01
    """Where the cosine ends, as a multiple of the rate."""
    warmup_steps: NonNegativeInt = 500
    warmup_factor: PositiveFloat = 0.001


class EmaConfig(_Section):
    """A running mean of the weights, used for validation and for the saved model."""

    enabled: bool = False
    decay: Probability = 0.999
    """Reached from below as ``min(decay, (1 + step) / (10 + step))``."""


class TrainingConfig(_Section):
    """The run."""

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 2
    """Pictures a step, over all ranks."""
    accumulation: PositiveInt = 1
    """Parts that a batch is split into, one after the other, to save memory."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig = EmaConfig()
    frozen_stages: NonNegativeInt = 0
    """Stages of the body, from the picture on, that do not learn."""
    frozen_batch_norm: bool = False
    """Batch norm of the body keeps its pretrained statistics."""
    seed: NonNegativeInt = 0
    threads: NonNegativeInt = 0
    """Compute threads on CPU; 0 is one a core."""
    validate_every: PositiveInt = 1
    """Epochs between validations; the last epoch is always validated."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Minutes between checkpoints within an epoch."""
    log_steps: PositiveInt = 20
    """Steps between rows of the log."""
    max_bad_steps: PositiveInt = 10
    """Steps in a row with a non-finite loss that stop the run."""


class ExperimentConfig(_Section):
    """One experiment."""

    name: str = "experiment"
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read an experiment file, apply the overrides in order, and check every field.

    Args:
        path: YAML file; only what differs from the defaults need be in it.
        overrides: ``key.path=value`` each, the value written as YAML.

    Raises:
        ConfigError: no such file, no YAML, an unknown key, a wrong type or choice. One line.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        ...     _ = file.write("name: mine")
        ...     file.flush()
        ...     load_config(file.name, ["training.epochs=5"]).training.epochs
        5
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"{path}: expected a YAML experiment file; {reason}") from error
    return parse_config(_read_yaml(text, str(path)), overrides, source=str(path))


def parse_config(
    values: Mapping[str, Any], overrides: Sequence[str] = (), source: str = "config"
) -> ExperimentConfig:
    """Check plain values, as YAML or JSON gives them, with overrides applied.

    Raises:
        ConfigError: as for ``load_config``; the line starts with ``source``.
    """
    merged: dict[str, Any] = json.loads(json.dumps(values))
    for override in overrides:
        _apply(merged, override)
    return _validate(ExperimentConfig, merged, source)


def parse_model_config(values: Mapping[str, Any], source: str) -> ModelConfig:
    """Check a model section alone, as it is kept in a weights file.

    Raises:
        ConfigError: an unknown key, a wrong type or choice. One line.
    """
    return _validate(ModelConfig, values, source)


def dump_config(config: BaseModel) -> str:
    """Write every field, defaults too, as YAML that ``load_config`` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_yaml(text: str, source: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
        json.dumps(values)
    except RecursionError as error:
        raise ConfigError(f"{source}: not a config: nested too deeply") from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        first_line = " ".join(str(error).split())
        raise ConfigError(f"{source}: not YAML that a config can hold: {first_line}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected keys and values; got {type(values).__name__}")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key_path, equals, text = override.partition("=")
    if not equals or not key_path:
        raise ConfigError(f"--set {override}: expected key.path=value")
    *parents, last = key_path.split(".")
    section = values
    for key in parents:
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override}: {key} holds a value, not a section")
    section[last] = _read_yaml(f"value: {text}", f"--set {override}").get("value")


def _validate(model: type[_Model], values: Mapping[str, Any], source: str) -> _Model:
    try:
        return model.model_validate_json(json.dumps(values))
    except ValidationError as error:
        lines = "; ".join(_explain(model, dict(item)) for item in error.errors())
        raise ConfigError(f"{source}: {lines}") from error


def _explain(model: type[BaseModel], error: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    key_path = ".".join(location)
    if error["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        close = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known keys: {', '.join(known)}"
        return f"{key_path}: unknown key; {hint}"
    if error["type"] == "value_error":
        return f"{key_path}.{error['ctx']['error']}"
    return f"{key_path}: {error['msg']}; got {error['input']!r}"


def _known_keys(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    section: Any = model
    for part in location:
        if part.isdigit():
            continue
        annotation = section.model_fields[part].annotation
        inner = [arg for arg in get_args(annotation) if isinstance(arg, type)]
        section = inner[0] if inner else annotation
    return list(section.model_fields)
