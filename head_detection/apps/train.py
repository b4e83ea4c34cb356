"""``train``: an experiment file to weights, in a run folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from head_detection.apps.command import USER_ERROR, UsageError
from head_detection.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    RunFolderError,
    TrainingError,
)

if TYPE_CHECKING:
    from head_detection.data.annotations import AnnotatedSet
    from head_detection.training.distributed import Ranks
    from head_detection.training.run_folder import Run
    from head_detection.training.trainer import Trainer

SHOWN_PROBLEMS = 20
ON_ALL_RANKS = (ConfigError, CheckpointError, TrainingError)
"""Mistakes that every rank finds, and the first reports."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = "Train a head detector. Under torchrun the processes share every batch."
    parser.add_argument("--cfg", type=Path, metavar="FILE", help="experiment file (YAML)")
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE",
        help="replace a field of the experiment; may be given several times",
    )  # fmt: skip
    folder = parser.add_mutually_exclusive_group()
    folder.add_argument("--resume", type=Path, metavar="RUN", help="run folder to go on in")
    folder.add_argument(
        "--output", type=Path, metavar="DIR", help="run folder (default: runs/train/<name>)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")


def run(arguments: argparse.Namespace) -> int:
    """Train and return the exit code: 0 done, 130 or 143 stopped by a signal.

    Raises:
        HeadDetectionError: a mistake of the user, one line.
    """
    if arguments.resume is None and arguments.cfg is None:
        raise UsageError("expected --cfg FILE, or --resume RUN")

    from head_detection.training.distributed import joined_ranks

    with joined_ranks(arguments.device) as ranks:
        try:
            return _train(arguments, ranks)
        except ON_ALL_RANKS:
            if ranks.is_first:
                raise
            return USER_ERROR


def _train(arguments: argparse.Namespace, ranks: "Ranks") -> int:
    from head_detection.training.inputs import build_data, build_model, load_sets, set_threads
    from head_detection.training.run_folder import begin_run, code_commit
    from head_detection.training.trainer import Trainer

    folder, config, checkpoint, changes = ranks.from_first(lambda: _open_run(arguments))
    set_threads(config, ranks)
    train, validation = ranks.from_first(lambda: load_sets(config))
    ranks.from_first(lambda: _check_pictures(folder, [*train, *validation]))
    data = build_data(config, train, validation, ranks)
    model = build_model(config, loads_weights=ranks.is_first and checkpoint is None)
    trainer = Trainer(config, model, data, folder, ranks, checkpoint, code_commit())
    ranks.from_first(lambda: begin_run(folder, config))
    if ranks.is_first:
        _announce(trainer, {"train": train, "validation": validation}, changes)
    number = trainer.run()
    if ranks.is_first:
        _conclude(trainer, number)
    return 128 + number if number else 0


def _open_run(arguments: argparse.Namespace) -> "Run":
    from head_detection.training.run_folder import load_run, new_run

    if arguments.resume is not None:
        return load_run(arguments.resume, arguments.cfg, arguments.set)
    try:
        return new_run(arguments.cfg, arguments.set, arguments.output)
    except RunFolderError as error:
        raise RunFolderError(f"{error}: --resume RUN goes on, --output DIR chooses") from error


def _check_pictures(folder: Path, sets: Sequence["AnnotatedSet"]) -> None:
    """List everything that is wrong with pictures and boxes at once, before anything is trained."""
    from head_detection.data.annotations import find_problems
    from head_detection.training.run_folder import write_problems

    problems = find_problems(sets, show_progress=sys.stderr.isatty())
    if problems:
        file = write_problems(folder, problems)
        for line in problems[:SHOWN_PROBLEMS]:
            print(line, file=sys.stderr)
        raise AnnotationError(
            f"{len(problems)} problems in the annotations, all of them in {file};"
            " mend or remove them, nothing was trained"
        )


def _announce(
    trainer: "Trainer", parts: dict[str, list["AnnotatedSet"]], changes: Sequence[str]
) -> None:
    for name, sets in parts.items():
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


def _conclude(trainer: "Trainer", number: int) -> None:
    from head_detection.training.run_folder import BEST, CHECKPOINT

    progress, folder = trainer.state.progress, trainer.folder
    if number:
        print(f"stopped after step {progress.step}; go on with --resume {folder}")
        return
    best = "not validated" if progress.best_ap50 is None else f"AP50 {progress.best_ap50:.3f}"
    print(
        f"done: {progress.step} steps, {progress.bad_steps} skipped; best weights ({best}):"
        f" {folder / BEST}; training state: {folder / CHECKPOINT}"
    )
