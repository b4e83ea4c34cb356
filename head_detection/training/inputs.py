"""What a run starts from: labelled pictures, and the model with its first weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from head_detection.config import ExperimentConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.dataset import HeadDataset
from head_detection.data.formats import load_annotations
from head_detection.data.loader import TrainingBatches
from head_detection.devices import num_cores
from head_detection.errors import ConfigError, HeadDetectionError
from head_detection.models.faster_rcnn import FasterRCNN, build_detector
from head_detection.models.pretrained import load_initial
from head_detection.models.weights import read_description
from head_detection.training.distributed import Ranks, local_world_size


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is validated on.

    Attributes:
        batches: this rank's share of the training pictures.
        validation: whole pictures; None leaves validation out.
    """

    batches: TrainingBatches
    validation: HeadDataset | None


def load_sets(config: ExperimentConfig) -> tuple[list[AnnotatedSet], list[AnnotatedSet]]:
    """Read the labels of training and of validation.

    Raises:
        ConfigError: no set to train on.
        AnnotationError: a file or folder that cannot be used.
    """
    if not config.data.train:
        raise ConfigError("data.train: expected at least one data set; got none")
    train = [load_annotations(entry) for entry in config.data.train]
    return train, [load_annotations(entry) for entry in config.data.validation]


def build_data(
    config: ExperimentConfig,
    train: Sequence[AnnotatedSet],
    validation: Sequence[AnnotatedSet],
    ranks: Ranks,
) -> TrainingData:
    """Build this rank's batches of the labelled pictures.

    Args:
        config: the experiment.
        train: one set an entry of ``data.train``.
        validation: may be empty.
        ranks: who shares a batch.

    Raises:
        ConfigError: fewer pictures a step than ranks.
    """
    if config.training.batch_size < ranks.world_size:
        raise ConfigError(
            f"training.batch_size: expected at least one picture for each of"
            f" {ranks.world_size} processes; got {config.training.batch_size}"
        )
    batches = TrainingBatches(
        HeadDataset(train, config.data.augmentation),
        [entry.weight for entry in config.data.train],
        config.training.batch_size,
        config.training.seed,
        ranks.rank,
        ranks.world_size,
        config.data.workers,
    )
    return TrainingData(batches, HeadDataset(validation, None) if validation else None)


def build_model(config: ExperimentConfig, *, loads_weights: bool) -> FasterRCNN:
    """Build the detector on the CPU, with its first weights.

    Args:
        config: the experiment.
        loads_weights: False leaves out what a checkpoint or the first rank will replace: initial
            weights, and the pretrained ones of the body.

    Raises:
        ConfigError: parts that do not fit each other.
        WeightsError: weights that cannot be read or do not fit.
    """
    torch.manual_seed(config.training.seed)
    network = config.network
    initial = config.training.initial_weights if loads_weights else None
    has_body = initial is not None and _body_of(initial) == network.backbone.name
    if has_body or not loads_weights:
        backbone = network.backbone.model_copy(update={"pretrained": False})
        network = network.model_copy(update={"backbone": backbone})
    try:
        detector = build_detector(network, config.inference, config.training)
    except HeadDetectionError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if initial is not None:
        load_initial(detector.network, initial, with_body=has_body)
    return detector


def _body_of(path: str) -> str:
    return read_description(path).network.backbone.name


def set_threads(config: ExperimentConfig, ranks: Ranks) -> None:
    """Give a rank on the CPU the experiment's threads, or its share of the machine's cores."""
    if ranks.device.type == "cpu":
        share = max(1, num_cores() // local_world_size())
        torch.set_num_threads(config.training.threads or share)
