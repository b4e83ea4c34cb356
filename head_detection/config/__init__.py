"""The experiment file and its sections; nothing here imports torch.

Each section has its own file; ``experiment.py`` reads and writes the whole.
"""

from head_detection.config.data import (
    LABEL_FORMATS,
    AugmentationConfig,
    DataConfig,
    DatasetConfig,
)
from head_detection.config.experiment import (
    ExperimentConfig,
    dump_config,
    load_config,
    override_inference,
    override_tracking,
    parse_config,
)
from head_detection.config.inference import (
    BoxVotingConfig,
    CalibrationConfig,
    InferenceConfig,
    ProposalConfig,
    ResizeConfig,
    SoftNmsConfig,
    SuppressionConfig,
    ViewConfig,
)
from head_detection.config.network import (
    BODIES,
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    NetworkConfig,
)
from head_detection.config.tracking import TRACKERS, TrackerName, TrackingConfig
from head_detection.config.training import (
    EmaConfig,
    OptimizerConfig,
    RoiTrainingConfig,
    RpnTrainingConfig,
    ScheduleConfig,
    TrainingConfig,
)

__all__ = [
    "BODIES",
    "LABEL_FORMATS",
    "TRACKERS",
    "AnchorConfig",
    "AugmentationConfig",
    "BackboneConfig",
    "BoxHeadConfig",
    "BoxVotingConfig",
    "CalibrationConfig",
    "DataConfig",
    "DatasetConfig",
    "EmaConfig",
    "ExperimentConfig",
    "InferenceConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "ProposalConfig",
    "ResizeConfig",
    "RoiTrainingConfig",
    "RpnTrainingConfig",
    "ScheduleConfig",
    "SoftNmsConfig",
    "SuppressionConfig",
    "TrackerName",
    "TrackingConfig",
    "TrainingConfig",
    "ViewConfig",
    "dump_config",
    "load_config",
    "override_inference",
    "override_tracking",
    "parse_config",
]
