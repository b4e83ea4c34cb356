"""The inputs of a run: labelled pictures, and the model with its initial weights."""

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch

from head_detection.config import BackboneConfig, DatasetConfig, ExperimentConfig
from head_detection.cores import num_cores
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.dataset import HeadDataset
from head_detection.data.formats import FORMATS, load_annotations
from head_detection.data.loader import TrainingBatches
from head_detection.errors import AnnotationError, ConfigError, HeadDetectionError, WeightsError
from head_detection.models.distillation import Teacher
from head_detection.models.faster_rcnn import FasterRCNN, build_detector, load_detector
from head_detection.models.pretrained import load_initial, some_names
from head_detection.models.weights import read_description
from head_detection.training.distributed import Ranks, local_world_size

SHOWN_PICTURES: Final = 3
SECOND_STAGE: Final = "roi_heads."

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingData:
    """The pictures that a run trains and validates on.

    Attributes:
        batches: this rank's share of the training pictures.
        validation: whole pictures; None skips validation.
    """

    batches: TrainingBatches
    validation: HeadDataset | None

    @property
    def num_validation_heads(self) -> int:
        """Return the number of heads in the validation pictures."""
        images = () if self.validation is None else self.validation.images
        return sum(len(image.truth.head_boxes) for image in images)

    @property
    def validation_digest(self) -> str | None:
        """Return a digest of the names and the labels of the validation pictures; None without."""
        if self.validation is None:
            return None
        digest = hashlib.sha256()
        for image in self.validation.images:
            digest.update(image.file_name.encode(errors="surrogateescape") + b"\0")
            digest.update(image.truth.boxes.tobytes() + image.truth.ignore.tobytes())
        return digest.hexdigest()


def load_sets(config: ExperimentConfig) -> tuple[list[AnnotatedSet], list[AnnotatedSet]]:
    """Read the labels for training and validation.

    Raises:
        ConfigError: no set to train on, no head in any of them, or pictures in both.
        AnnotationError: a file or folder that cannot be used.
    """
    train = load_training_sets(config)
    validation = [_load_part(entry, "val") for entry in config.data.validation]
    if not any(group.num_heads for group in train):
        names = ", ".join(entry.path for entry in config.data.train)
        raise ConfigError(
            f"data.train: expected heads to learn from; got {sum(map(len, train))} pictures without"
            f" any label of a head: {names}; give the labels, as data.yaml or a .json file"
        )
    if not config.data.allow_overlap:
        _check_overlap(train, validation)
    return train, validation


def load_training_sets(config: ExperimentConfig) -> list[AnnotatedSet]:
    """Read the sets to train on, which may be without labels.

    Raises:
        ConfigError: no set.
        AnnotationError: a file or folder that cannot be used.
    """
    if not config.data.train:
        raise ConfigError("data.train: expected at least one data set; got none")
    return [_load_part(entry, "train") for entry in config.data.train]


def _load_part(entry: DatasetConfig, part: str) -> AnnotatedSet:
    """Read the part of a set that fits its use, or the whole set if it has no such part."""
    if entry.split is None and FORMATS[entry.format].has_splits:
        try:
            return load_annotations(entry.model_copy(update={"split": part}))
        except AnnotationError as error:
            # The part is missing or invalid; a note says what is read instead.
            whole = load_annotations(entry)
            note = f"no part {part!r} of its own, all of it is taken ({error})"
            return replace(whole, notes=(*whole.notes, note))
    return load_annotations(entry)


def _check_overlap(train: Sequence[AnnotatedSet], validation: Sequence[AnnotatedSet]) -> None:
    learnt = {os.path.realpath(image.path) for group in train for image in group.images}
    both = [
        image.file_name
        for group in validation
        for image in group.images
        if os.path.realpath(image.path) in learnt
    ]
    if both:
        more = ", ..." if len(both) > SHOWN_PICTURES else ""
        raise ConfigError(
            f"data.validation: expected pictures that are not trained on; got {len(both)} of"
            f" data.train too: {', '.join(both[:SHOWN_PICTURES])}{more}; convert split parts a set,"
            " data.allow_overlap=true validates on them all the same"
        )


def build_data(
    config: ExperimentConfig,
    train: Sequence[AnnotatedSet],
    validation: Sequence[AnnotatedSet],
    ranks: Ranks,
) -> TrainingData:
    """Build this rank's batches of the labelled pictures.

    Args:
        config: the experiment.
        train: one set per entry of ``data.train``.
        validation: sets to validate on; may be empty.
        ranks: the processes that share a batch.

    Raises:
        ConfigError: fewer pictures per step than ranks.
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
    """Build the detector on the CPU, with its initial weights.

    Args:
        config: the experiment.
        loads_weights: False skips weights that a checkpoint or the first rank will replace: the
            initial ones, and the pretrained ones of the body.

    Raises:
        ConfigError: parts that do not fit together, or a second stage that is to learn alone,
            without initial weights.
        WeightsError: weights that cannot be read or do not fit.
    """
    torch.manual_seed(config.training.seed)
    network = config.network
    learns_alone = config.training.trained == "second_stage"
    if learns_alone and config.training.initial_weights is None:
        raise ConfigError(
            "training.initial_weights: expected the weights of a detector, because "
            "training.trained=second_stage trains nothing before its second stage; got none"
        )
    initial = config.training.initial_weights if loads_weights else None
    has_body = initial is not None and _has_body(initial, network.backbone)
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
        missing = load_initial(detector.network, initial, with_body=has_body)
        if learns_alone:
            _check_first_stage(initial, missing)
    if config.training.teacher is not None and detector.losses is not None:
        teacher = _build_teacher(config, detector, config.training.teacher)
        detector.losses = replace(detector.losses, teacher=teacher)
    return detector


def _build_teacher(config: ExperimentConfig, detector: FasterRCNN, path: str) -> Teacher:
    try:
        other, description = load_detector(path)
    except WeightsError as error:
        raise ConfigError(f"training.teacher: {error}") from error
    wants, has = ((part.mean, part.std) for part in (config.network, description.network))
    if wants != has:
        raise ConfigError(
            f"training.teacher: expected a network.mean and std of {wants[0]} and {wants[1]}, as "
            f"this experiment has; {path} has {has[0]} and {has[1]}"
        )
    if config.training.channels_last:
        other.backbone.to(memory_format=torch.channels_last)
    teacher = Teacher(other.backbone, config.training.teacher_weight)
    try:
        teacher.check(detector.backbone)
    except ValueError as error:
        raise ConfigError(f"{error}; from {path}") from error
    return teacher


def initial_threshold(config: ExperimentConfig) -> float | None:
    """Return the operating point of the weights that a run starts from; None without weights.

    Raises:
        WeightsError: weights that cannot be read.
    """
    initial = config.training.initial_weights
    return None if initial is None else read_description(initial).inference.score_threshold


def _has_body(path: str, backbone: BackboneConfig) -> bool:
    name = read_description(path).network.backbone.name
    if name != backbone.name and not backbone.pretrained:
        logger.warning("%s has the body %s; %s starts at random", path, name, backbone.name)
    return name == backbone.name


def _check_first_stage(path: str, missing: list[str]) -> None:
    """Refuse layers that would keep their random start, if only the second stage learns."""
    first = [name for name in missing if not name.startswith(SECOND_STAGE)]
    if first:
        raise WeightsError(
            f"{path}: expected weights for all layers before the second stage, because "
            f"training.trained=second_stage does not train them; none fit {len(first)} tensors: "
            f"{some_names(first)}"
        )


def set_threads(config: ExperimentConfig, ranks: Ranks) -> None:
    """Set the threads of a rank on the CPU: the experiment's, or its share of the cores."""
    if ranks.device.type == "cpu":
        share = max(1, num_cores() // local_world_size())
        torch.set_num_threads(config.training.threads or share)
