"""The experiment file and what may stand in it; no torch here.

Its sections are in ``model.py`` and ``training.py``; ``experiment.py`` reads and writes the whole.
"""

from head_detection.config.experiment import (
    ExperimentConfig,
    dump_config,
    load_config,
    override_model,
    parse_config,
    parse_model_config,
)
from head_detection.config.model import (
    BODIES,
    AnchorConfig,
    BackboneConfig,
    BoxVotingConfig,
    CoarseLookConfig,
    LookConfig,
    ModelConfig,
    ResizeConfig,
    RoiConfig,
    RpnConfig,
    SoftNmsConfig,
)
from head_detection.config.training import (
    AugmentationConfig,
    DataConfig,
    DatasetConfig,
    EmaConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)
from head_detection.errors import ConfigError

__all__ = [
    "BODIES",
    "AnchorConfig",
    "AugmentationConfig",
    "BackboneConfig",
    "BoxVotingConfig",
    "CoarseLookConfig",
    "ConfigError",
    "DataConfig",
    "DatasetConfig",
    "EmaConfig",
    "ExperimentConfig",
    "LookConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ResizeConfig",
    "RoiConfig",
    "RpnConfig",
    "ScheduleConfig",
    "SoftNmsConfig",
    "TrainingConfig",
    "dump_config",
    "load_config",
    "override_model",
    "parse_config",
    "parse_model_config",
]
