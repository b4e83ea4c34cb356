"""The experiment that fine-tunes trained weights on the user's own pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from head_detection.config import ExperimentConfig, parse_config
from head_detection.models.weights import read_description

NAME: Final = "fine_tuned"
DEFAULTS: Final[dict[str, Any]] = {
    "data": {"augmentation": {"crop_size": 384, "zoom": [0.5, 2.0]}},
    "training": {
        "epochs": 10,
        "batch_size": 8,
        "precision": "auto",
        "frozen_stages": 2,
        "optimizer": {
            "name": "adamw",
            "learning_rate": 2e-4,
            "body_learning_rate_factor": 0.5,
            "weight_decay": 0.05,
            "clip_norm": 10.0,
        },
        "schedule": {"name": "cosine", "warmup_steps": 100, "warmup_factor": 0.01},
        "ema": {"enabled": True, "decay": 0.998},
        "rpn": {"fg_iou_threshold": 0.6, "pre_nms_top_n": 1000, "post_nms_top_n": 600},
        "roi": {
            "samples_per_image": 128,
            "positive_fraction": 0.375,
            "box_loss": "giou",
            "box_loss_weight": 4.0,
        },
    },
}
"""As the included weights were fine-tuned (docs/experiments.md), but at less than half the learning
rate, because few pictures of one place are quickly overfitted."""


def fine_tuning_config(weights: Path, overrides: Sequence[str]) -> ExperimentConfig:
    """Return the experiment, with ``network`` and ``inference`` taken from the weights.

    Args:
        weights: a ``.safetensors`` file of this project, or a preset beside one.
        overrides: ``key.path=value`` each.

    Raises:
        WeightsError: no such file, or not a file of this project.
        ConfigError: a mistake in the overrides.
    """
    description = read_description(weights)
    network = description.network.model_dump(mode="json")
    network["backbone"]["pretrained"] = False
    values = {
        "name": NAME,
        "network": network,
        "inference": description.inference.model_dump(mode="json"),
        "data": DEFAULTS["data"],
        "training": DEFAULTS["training"] | {"initial_weights": str(weights)},
    }
    return parse_config(values, overrides, source=f"fine-tuning of {weights}")
