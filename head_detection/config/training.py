"""The training run: optimizer, schedule, sampling, and what is saved."""

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


class OptimizerConfig(Section):
    """The update rule."""

    name: Literal["sgd", "adamw"] = "sgd"
    """Stochastic gradient descent, or Adam with decoupled weight decay."""
    learning_rate: PositiveFloat = 0.01
    """Learning rate after the warm-up, before the schedule lowers it."""
    body_learning_rate_factor: PositiveFloat = 1.0
    """The pretrained body learns at this multiple of ``learning_rate``."""
    momentum: Probability = 0.9
    """Momentum of ``sgd``."""
    weight_decay: NonNegativeFloat = 5e-4
    """Weight decay of everything except batch norm and biases."""
    norm_weight_decay: NonNegativeFloat = 0.0
    """Weight decay of batch norm and biases."""
    clip_norm: NonNegativeFloat = 0.0
    """Gradients with a larger norm are scaled down to it; 0 does not clip."""


class ScheduleConfig(Section):
    """The learning rate over time."""

    name: Literal["step", "cosine", "constant"] = "step"
    """``step`` drops the rate at ``milestones``; ``cosine`` lowers it along half a cosine wave to
    ``final_factor``."""
    milestones: tuple[PositiveInt, ...] = (10, 20, 25)
    """Epochs after which the rate is multiplied by ``gamma``."""
    gamma: PositiveFloat = 0.1
    """Factor at each of the ``milestones``."""
    final_factor: NonNegativeFloat = 0.01
    """End of the cosine, as a multiple of the learning rate."""
    warmup_steps: NonNegativeInt = 500
    """Steps of linear warm-up, limited to a tenth of the run; 0 starts at the full rate."""
    warmup_factor: PositiveFloat = 0.001
    """Start of the warm-up, as a multiple of the learning rate."""


class EmaConfig(Section):
    """An exponential moving average (EMA) of the weights."""

    enabled: bool = False
    """Validate and save the average instead of the current weights."""
    decay: Probability = 0.999
    """Decay per step, which starts lower: ``min(decay, (1 + step) / (10 + step))``."""


def _check_thresholds(fg_iou_threshold: float, bg_iou_threshold: float) -> None:
    if bg_iou_threshold > fg_iou_threshold:
        raise ValueError(
            "bg_iou_threshold: expected at most fg_iou_threshold, or a box is a head and none; got "
            f"{bg_iou_threshold:g} and {fg_iou_threshold:g}"
        )


class RpnTrainingConfig(Section):
    """Which proposals and anchors are used to train."""

    pre_nms_top_n: PositiveInt = 2000
    """Proposals with the highest scores that are kept per level before NMS, to train the second
    stage."""
    post_nms_top_n: PositiveInt = 2000
    """Proposals that are kept per picture after NMS, likewise."""
    fg_iou_threshold: Probability = 0.7
    """An anchor is positive if its IoU with a head is at least this or the highest of all."""
    bg_iou_threshold: Probability = 0.3
    """An anchor is negative if its IoU with every head is below this; those between are unused."""
    samples_per_image: PositiveInt = 256
    """Anchors per picture that enter the loss."""
    positive_fraction: Probability = 0.5
    """Largest share of positives among them."""

    @model_validator(mode="after")
    def _check(self) -> "RpnTrainingConfig":
        _check_thresholds(self.fg_iou_threshold, self.bg_iou_threshold)
        return self


class RoiTrainingConfig(Section):
    """Which proposals are used to train the second stage, and its losses."""

    fg_iou_threshold: Probability = 0.5
    """A proposal is positive if its IoU with a head is at least this."""
    bg_iou_threshold: Probability = 0.5
    """A proposal is negative if its IoU with every head is below this; those between are unused."""
    samples_per_image: PositiveInt = 512
    """Proposals per picture that enter the loss."""
    positive_fraction: Probability = 0.25
    """Largest share of positives among them."""
    ohem: NonNegativeInt = 0
    """Keep only this many RoIs per batch, those with the largest classification loss; 0: all."""
    box_loss: Literal["smooth_l1", "giou", "ciou"] = "smooth_l1"
    """Loss of the box offsets (``smooth_l1``) or of the overlap (``giou``, ``ciou``)."""
    box_loss_beta: PositiveFloat = 1.0
    """Smooth L1 is quadratic below this and linear above."""
    box_loss_weight: PositiveFloat = 1.0
    """Weight of the box loss relative to the classification loss."""
    score_target: Literal["head", "iou"] = "head"
    """What the score of a positive learns: 1 (``head``), or how well its box is placed (``iou``):
    from 0.4 where it overlaps its head by an IoU of 0.5 or less, to 1 from 0.9 on."""

    @model_validator(mode="after")
    def _check(self) -> "RoiTrainingConfig":
        _check_thresholds(self.fg_iou_threshold, self.bg_iou_threshold)
        return self


class TrainingConfig(Section):
    """The training run."""

    min_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    """Short sides in network pixels, one of which is drawn for each picture; null takes that of
    ``inference.resize``."""
    rpn: RpnTrainingConfig = RpnTrainingConfig()
    roi: RoiTrainingConfig = RoiTrainingConfig()

    initial_weights: str | None = None
    """Weights to start from: fast, accurate, light, a file of this project or the folder of a run;
    tensors that do not fit are left out. Null is none.

    If its body is a different one, the body starts as ``network.backbone.pretrained`` says.
    """
    teacher: str | None = None
    """Weights, named likewise, whose body is a teacher: the body learns its maps, beside the
    labels. Its maps need the same strides and channels. Null is none."""
    teacher_weight: PositiveFloat = 1.0
    """Weight of the difference from the teacher's maps, which is measured in their variances."""
    epochs: PositiveInt = 30
    """Passes over the training pictures."""
    batch_size: PositiveInt = 2
    """Pictures per step, over all ranks."""
    accumulation: PositiveInt = 1
    """Number of parts that a batch is processed in, to save memory."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "fp32"
    """Precision of the forward pass; weights and losses are float32. ``auto`` is bf16 if the device
    multiplies it in hardware, otherwise fp32."""
    channels_last: bool = True
    """Store the channels of a pixel next to each other in memory: faster, with the same results."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig = EmaConfig()
    trained: Literal["all", "second_stage"] = "all"
    """Which parts are trained. ``second_stage``: only the layers behind RoIAlign, on the proposals
    that they get in detection (``inference.proposals``), without the true heads among them."""
    frozen_stages: NonNegativeInt = 0
    """Number of stages of the body, counted from the input, that are not trained."""
    frozen_batch_norm: bool = False
    """Batch norm of the body keeps its pretrained statistics."""
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    """Seed of all random numbers."""
    threads: NonNegativeInt = 0
    """Compute threads on CPU; 0 is one per core."""
    validate_every: PositiveInt = 1
    """Epochs between validations; the last epoch is always validated."""
    best_metric: Literal["ap50", "best_f1", "count_mae"] = "ap50"
    """Validation metric that selects the best weights; ``count_mae`` is minimised."""
    patience: NonNegativeInt = 0
    """Consecutive validations without improvement that end the run; 0 never ends it early."""
    keep_every: NonNegativeInt = 0
    """Epochs between weights that are kept in addition to the best ones; 0 keeps none."""
    checkpoint_minutes: PositiveFloat = 10.0
    """Minutes between checkpoints within an epoch."""
    log_steps: PositiveInt = 20
    """Steps between rows of the log."""
    max_bad_steps: PositiveInt = 10
    """Consecutive steps with a non-finite loss that stop the run."""

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.teacher is not None and self.trained == "second_stage":
            raise ValueError(
                "teacher: expected none with trained=second_stage, which trains no body; "
                f"got {self.teacher}"
            )
        return self
