"""The data's and the run's part of the experiment file."""

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


class DatasetConfig(Section):
    """One set of labelled pictures."""

    path: str
    """A file or folder of the format; relative to the working folder."""
    format: Literal[
        "coco",
        "voc",
        "scut",
        "crowdhuman",
        "crohd",
        "hollywood",
        "brainwash",
        "headhunter",
        "yolo",
        "folder",
    ] = "coco"
    images: str | None = None
    """Folder that the file's picture names start from; null is the format's own place."""
    split: str | None = None
    """train, val, trainval or test; null is trainval, or all where the set has no lists.
    ``voc`` takes any list's name and ``crohd`` any sub-folder's; ``coco``, ``headhunter`` and
    ``folder`` have no splits."""
    weight: PositiveFloat = 1.0
    """How many times a picture of this set is drawn in an epoch, on average."""


class AugmentationConfig(Section):
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


class DataConfig(Section):
    """What is trained on and what is judged on."""

    train: tuple[DatasetConfig, ...] = ()
    validation: tuple[DatasetConfig, ...] = ()
    augmentation: AugmentationConfig = AugmentationConfig()
    workers: NonNegativeInt = 0
    """Loader processes; 0 decodes in threads beside the network."""


class OptimizerConfig(Section):
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


class ScheduleConfig(Section):
    """The learning rate over time."""

    name: Literal["step", "cosine", "constant"] = "step"
    milestones: tuple[PositiveInt, ...] = (10, 20, 25)
    """Epochs after which the rate is multiplied by ``gamma``."""
    gamma: PositiveFloat = 0.1
    final_factor: NonNegativeFloat = 0.01
    """Where the cosine ends, as a multiple of the rate."""
    warmup_steps: NonNegativeInt = 500
    warmup_factor: PositiveFloat = 0.001


class EmaConfig(Section):
    """A running mean of the weights, used for validation and for the saved model."""

    enabled: bool = False
    decay: Probability = 0.999
    """Reached from below as ``min(decay, (1 + step) / (10 + step))``."""


class TrainingConfig(Section):
    """The run."""

    initial_weights: str | None = None
    """Weights file of this project that the run starts from, as far as it fits; null is none.

    Where its body is another, the body starts as ``model.backbone.pretrained`` says.
    """
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
