"""``train``: an experiment file to weights, in a run folder."""

import os

from head_detection.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    TrainingError,
    WeightsError,
)

# Threads that spin while they wait take the cores from those that decode pictures, and a step takes
# several times longer. OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from head_detection.apps.command import USER_ERROR
from head_detection.config import ExperimentConfig, load_config
from head_detection.data.annotations import AnnotatedSet, find_problems
from head_detection.data.dataset import HeadDataset
from head_detection.data.formats import load_annotations
from head_detection.data.loader import TrainingBatches
from head_detection.models.faster_rcnn import FasterRCNN, build_detector
from head_detection.models.pretrained import load_initial
from head_detection.models.weights import read_description
from head_detection.training.checkpoint import Checkpoint
from head_detection.training.distributed import Ranks, joined_ranks, local_world_size
from head_detection.training.run_folder import (
    CHECKPOINT,
    PROBLEMS,
    begin_run,
    check_unused,
    code_commit,
    load_run,
)
from head_detection.training.trainer import Trainer, TrainingData

SHOWN_PROBLEMS = 20
ON_ALL_RANKS = (ConfigError, CheckpointError, TrainingError)
"""Mistakes that every rank finds, and the first reports."""


def main(argv: Sequence[str] | None = None) -> int:
    """Train and return the exit code: 0 done, 130 or 143 stopped by a signal.

    Raises:
        ValueError: a mistake of the user, one line.
    """
    parser = _create_parser()
    arguments = parser.parse_args(argv)
    if arguments.resume is None and arguments.cfg is None:
        parser.error("expected --cfg FILE, or --resume RUN")
    if arguments.resume is not None and arguments.output is not None:
        parser.error("--resume goes on in its own folder; leave --output out")
    with joined_ranks(arguments.device) as ranks:
        try:
            return _train(arguments, ranks)
        except ON_ALL_RANKS:
            if ranks.is_first:
                raise
            return USER_ERROR


def _train(arguments: argparse.Namespace, ranks: Ranks) -> int:
    checkpoint: Checkpoint | None = None
    changes: list[str] = []
    if arguments.resume is not None:
        folder: Path = arguments.resume
        config, checkpoint, changes = ranks.from_first(
            lambda: load_run(folder, arguments.cfg, arguments.set)
        )
    else:
        config = ranks.from_first(lambda: load_config(arguments.cfg, arguments.set))
        folder = arguments.output or Path("runs", "train", config.name)
        ranks.from_first(lambda: check_unused(folder))
    _set_threads(config, ranks)
    train, validation = ranks.from_first(lambda: _load_sets(config))
    ranks.from_first(lambda: _check_pictures(folder, [*train, *validation]))
    data = _build_data(config, train, validation, ranks)
    model = _build_model(config, has_weights=ranks.is_first and checkpoint is None)
    trainer = Trainer(config, model, data, folder, ranks, checkpoint, code_commit())
    ranks.from_first(lambda: begin_run(folder, config))
    if ranks.is_first:
        _announce(trainer, train, validation, changes)
    number = trainer.run()
    if ranks.is_first:
        _conclude(trainer, number)
    return 128 + number if number else 0


def _load_sets(config: ExperimentConfig) -> tuple[list[AnnotatedSet], list[AnnotatedSet]]:
    if not config.data.train:
        raise ConfigError("data.train: expected at least one data set; got none")
    train = [load_annotations(entry) for entry in config.data.train]
    return train, [load_annotations(entry) for entry in config.data.validation]


def _check_pictures(folder: Path, sets: Sequence[AnnotatedSet]) -> None:
    """List everything that is wrong with pictures and boxes at once, before anything is trained."""
    problems = find_problems(sets, show_progress=sys.stderr.isatty())
    if problems:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PROBLEMS).write_text("".join(f"{line}\n" for line in problems), encoding="utf-8")
        for line in problems[:SHOWN_PROBLEMS]:
            print(line, file=sys.stderr)
        raise AnnotationError(
            f"{len(problems)} problems in the annotations, all of them in {folder / PROBLEMS};"
            " mend or remove them, nothing was trained"
        )


def _build_data(
    config: ExperimentConfig,
    train: Sequence[AnnotatedSet],
    validation: Sequence[AnnotatedSet],
    ranks: Ranks,
) -> TrainingData:
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


def _build_model(config: ExperimentConfig, *, has_weights: bool) -> FasterRCNN:
    """Build the detector, without pretrained weights where others will replace them anyway."""
    torch.manual_seed(config.training.seed)
    network = config.network
    initial = config.training.initial_weights if has_weights else None
    has_body = initial is not None and _body_of(initial) == network.backbone.name
    if has_body or not has_weights:
        backbone = network.backbone.model_copy(update={"pretrained": False})
        network = network.model_copy(update={"backbone": backbone})
    try:
        detector = build_detector(network, config.inference, config.training)
    except (ConfigError, WeightsError):
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if initial is not None:
        load_initial(detector.network, initial, with_body=has_body)
    return detector


def _body_of(path: str) -> str:
    return read_description(path).network.backbone.name


def _set_threads(config: ExperimentConfig, ranks: Ranks) -> None:
    if ranks.device.type == "cpu":
        num_cores = max(1, (os.cpu_count() or 1) // local_world_size())
        torch.set_num_threads(config.training.threads or num_cores)


def _announce(
    trainer: Trainer,
    train: Sequence[AnnotatedSet],
    validation: Sequence[AnnotatedSet],
    changes: Sequence[str],
) -> None:
    for name, sets in (("train", train), ("validation", validation)):
        heads = sum(group.num_heads for group in sets)
        print(f"{name}: {sum(map(len, sets))} pictures, {heads} heads")
        for group in sets:
            for note in group.notes:
                print(f"  {group.name}: {note}")
    num_parameters = sum(parameter.numel() for parameter in trainer.step.parameters)
    print(
        f"{num_parameters / 1e6:.2f} M parameters learn on {trainer.ranks.device},"
        f" {trainer.ranks.world_size} process(es); step {trainer.state.progress.step} of"
        f" {trainer.total_steps}; {trainer.folder}"
    )
    for change in changes:
        print(f"changed: {change}")
    schedule = trainer.config.training.schedule
    if schedule.warmup_steps >= trainer.total_steps:
        print(f"note: the warm-up of {schedule.warmup_steps} steps is longer than the run")
    sys.stdout.flush()


def _conclude(trainer: Trainer, number: int) -> None:
    progress, folder = trainer.state.progress, trainer.folder
    if number:
        print(f"stopped after step {progress.step}; go on with --resume {folder}")
        return
    best = "not validated" if progress.best_figure is None else f"AP50 {progress.best_figure:.3f}"
    print(
        f"done: {progress.step} steps, {progress.bad_steps} skipped; best weights ({best}):"
        f" {folder / 'best.safetensors'}; training state: {folder / CHECKPOINT}"
    )


def _create_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a head detector. Under torchrun the processes share every batch."
    )
    parser.add_argument("--cfg", type=Path, metavar="FILE", help="experiment file (YAML)")
    parser.add_argument(
        "--set",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="replace a field of the experiment; may be given several times",
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="run folder to go on in")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="run folder (default: runs/train/<name>)"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 ... (default: auto)"
    )
    return parser
