"""The run of training: optimizer, schedule, what is sampled, what is saved."""

from typing import Annotated, Literal

from pydantic import Field

from head_detection.config.section import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Probability,
    Section,
)


class OptimizerConfig(Section):
    """The update rule."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent, or Adam with decoupled weight decay."""
    learning_rate: PositiveFloat = 0.01
    """After warm-up, before the schedule."""
    body_learning_rate_factor: PositiveFloat = 1.0
    """The pretrained body learns at this multiple of ``learning_rate``."""
    momentum: Probability = 0.9
    """Of ``sgd``."""
    weight_decay: NonNegativeFloat = 5e-4
    """For all but batch norm and biases."""
    norm_weight_decay: NonNegativeFloat = 0.0
    """For batch norm and biases."""
    clip_norm: NonNegativeFloat = 0.0
    """Gradients above this norm are scaled down; 0 leaves them."""


class ScheduleConfig(Section):
    """The learning rate over time."""

    name: Literal["step", "cosine", "constant"] = "step"
    """``step`` falls at ``milestones``, ``cosine`` along half a wave to ``final_factor``."""
    milestones: tuple[PositiveInt, ...] = (10, 20, 25)
    """Epochs after which the rate is multiplied by ``gamma``."""
    gamma: PositiveFloat = 0.1
    """At each of the ``milestones``."""
    final_factor: NonNegativeFloat = 0.01
    """Where the cosine ends, as a multiple of the rate."""
    warmup_steps: NonNegativeInt = 500
    """Over so many steps the rate rises in a line to its own; 0 begins with it. Whatever is given
    here, at most a tenth of the run."""
    warmup_factor: PositiveFloat = 0.001
    """Where that line begins, as a multiple of the rate."""


class EmaConfig(Section):
    """A running mean of the weights, used for validation and for the saved model."""

    enabled: bool = False
    """Validate and save the mean in place of the last weights."""
    decay: Probability = 0.999
    """Reached from below as ``min(decay, (1 + step) / (10 + step))``."""


class RpnTrainingConfig(Section):
    """What the region proposal network learns from."""

    pre_nms_top_n: PositiveInt = 2000
    """Proposals kept by score on each level before NMS, for the second stage to learn from."""
    post_nms_top_n: PositiveInt = 2000
    """Kept of a picture after NMS, likewise."""
    fg_iou_threshold: Probability = 0.7
    """An anchor that overlaps a head by this IoU is a positive, and the best of each head."""
    bg_iou_threshold: Probability = 0.3
    """One that overlaps none by this is a negative; between, neither."""
    samples_per_image: PositiveInt = 256
    """Anchors that learn."""
    positive_fraction: Probability = 0.5
    """Of the samples at most."""


class RoiTrainingConfig(Section):
    """What the second stage learns from."""

    fg_iou_threshold: Probability = 0.5
    """A proposal that overlaps a head by this IoU is a positive."""
    bg_iou_threshold: Probability = 0.5
    """One that overlaps none by this is a negative; between, neither."""
    samples_per_image: PositiveInt = 512
    """Proposals that learn."""
    positive_fraction: Probability = 0.25
    """Of the samples at most."""
    ohem: NonNegativeInt = 0
    """RoIs a batch kept by falling classification loss; 0 keeps all."""
    box_loss: Literal["smooth_l1", "giou", "ciou"] = "smooth_l1"
    """Of the offsets, or of the overlap of boxes."""
    box_loss_beta: PositiveFloat = 1.0
    """Smooth L1 is a square below this and a line above."""
    box_loss_weight: PositiveFloat = 1.0
    """Of the box loss beside the classification's."""


class TrainingConfig(Section):
    """The run."""

    min_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    """Short sides in network pixels, one at random a picture; null is the one of
    ``inference.resize``."""
    rpn: RpnTrainingConfig = RpnTrainingConfig()
    roi: RoiTrainingConfig = RoiTrainingConfig()

    initial_weights: str | None = None
    """Weights file of this project that the run starts from, as far as it fits; null is none.

    Where its body is another, the body starts as ``network.backbone.pretrained`` says.
    """
    epochs: PositiveInt = 30
    """Passes over the training pictures."""
    batch_size: PositiveInt = 2
    """Pictures a step, over all ranks."""
    accumulation: PositiveInt = 1
    """Parts that a batch is split into, one after the other, to save memory."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Of the forward pass; weights and losses are float32. ``auto`` is bf16 where the device
    multiplies it, else fp32."""
    channels_last: bool = True
    """The channels of a pixel side by side in memory: faster, the same numbers."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig = EmaConfig()
    frozen_stages: NonNegativeInt = 0
    """Stages of the body, from the picture on, that do not learn."""
    frozen_batch_norm: bool = False
    """Batch norm of the body keeps its pretrained statistics."""
    seed: NonNegativeInt = 0
    """Of everything drawn at random."""
    threads: NonNegativeInt = 0
    """Compute threads on CPU; 0 is one a core."""
    validate_every: PositiveInt = 1
    """Epochs between validations; the last epoch is always validated."""
    best_metric: Literal["ap50", "best_f1", "count_mae"] = "ap50"
    """Metric of validation that chooses the best weights; of ``count_mae`` the lowest."""
    patience: NonNegativeInt = 0
    """Validations in a row without better weights that end the run; 0 is never."""
    keep_every: NonNegativeInt = 0
    """Epochs between weights that are kept beside the best ones; 0 keeps none."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Minutes between checkpoints within an epoch."""
    log_steps: PositiveInt = 20
    """Steps between rows of the log."""
    max_bad_steps: PositiveInt = 10
    """Steps in a row with a non-finite loss that stop the run."""
