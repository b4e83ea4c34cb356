"""``train``: trains the detector that an experiment file describes, in a run folder."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from head_detection.apps.command import USER_ERROR, UsageError
from head_detection.apps.training.messages import announce, conclude
from head_detection.apps.training.options import add_options, overrides_of, with_weights_paths
from head_detection.errors import (
    AnnotationError,
    CheckpointError,
    ConfigError,
    RunFolderError,
    TrainingError,
    printable,
)
from head_detection.inference.weights_files import shipped_weights

if TYPE_CHECKING:
    from head_detection.data.annotations import AnnotatedSet
    from head_detection.training.distributed import Ranks
    from head_detection.training.run_folder import Run

SHOWN_PROBLEMS = 20
ON_ALL_RANKS = (ConfigError, CheckpointError, TrainingError)
"""Mistakes that every rank finds and only the first reports."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = (
        "Train a head detector from an experiment file, or fine-tune finished weights on --data. "
        "Under torchrun, the processes share every batch."
    )
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train and return the exit code: 0 when done, 130 or 143 if stopped by a signal.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
    """
    if arguments.resume is None and arguments.cfg is None and arguments.data is None:
        raise UsageError("expected --cfg FILE, --data PATH, or --resume RUN")

    from head_detection.training.distributed import joined_ranks

    with joined_ranks(arguments.device) as ranks:
        try:
            return _train(arguments, ranks)
        except ON_ALL_RANKS:
            if ranks.is_first:
                raise
            return USER_ERROR


def _train(arguments: argparse.Namespace, ranks: "Ranks") -> int:
    from head_detection.training.inputs import (
        build_data,
        build_model,
        initial_threshold,
        load_sets,
        set_threads,
    )
    from head_detection.training.run_folder import begin_run, code_commit
    from head_detection.training.trainer import Trainer

    folder, config, checkpoint, changes = ranks.from_first(lambda: _open_run(arguments))
    set_threads(config, ranks)
    train, validation = ranks.from_first(lambda: load_sets(config))
    ranks.from_first(lambda: _check_pictures(folder, [*train, *validation]))
    data = build_data(config, train, validation, ranks)
    model = build_model(config, loads_weights=ranks.is_first and checkpoint is None)
    threshold = ranks.from_first(lambda: initial_threshold(config) if checkpoint is None else None)
    trainer = Trainer(config, model, data, folder, ranks, checkpoint, code_commit(), threshold)
    ranks.from_first(lambda: begin_run(folder, config))
    if ranks.is_first:
        announce(trainer, {"train": train, "validation": validation}, changes)
    number = trainer.run()
    if ranks.is_first:
        conclude(trainer, number)
    return 128 + number if number else 0


def _open_run(arguments: argparse.Namespace) -> "Run":
    from head_detection.config import load_config
    from head_detection.training.fine_tuning import fine_tuning_config
    from head_detection.training.run_folder import load_run, new_run

    overrides = [*overrides_of(arguments), *arguments.set]
    if arguments.resume is not None:
        resumed = load_run(arguments.resume, arguments.cfg, overrides)
        return resumed._replace(config=with_weights_paths(resumed.config))
    if arguments.cfg is not None:
        config = load_config(arguments.cfg, overrides)
    else:
        config = fine_tuning_config(arguments.weights or shipped_weights(), overrides)
    try:
        return new_run(with_weights_paths(config), arguments.output)
    except RunFolderError as error:
        raise RunFolderError(f"{error}: --resume RUN goes on, --output DIR chooses") from error


def _remedy(sets: Sequence["AnnotatedSet"]) -> str:
    """Say what to do about problems; if a set has no picture at all, the folder is wrong."""
    is_lost = any(
        group.images and not any(image.path.is_file() for image in group.images) for group in sets
    )
    if is_lost:
        return "say where the pictures are: --images DIR, or images in an experiment file"
    return "mend or remove them"


def _check_pictures(folder: Path, sets: Sequence["AnnotatedSet"]) -> None:
    """Before training, report everything that is wrong with pictures and boxes at once."""
    from head_detection.data.annotations import find_problems
    from head_detection.training.run_folder import write_problems

    problems = find_problems(sets, show_progress=sys.stderr.isatty())
    if problems:
        file = write_problems(folder, problems)
        for line in problems[:SHOWN_PROBLEMS]:
            print(printable(line), file=sys.stderr)
        raise AnnotationError(
            f"{len(problems)} problems in the annotations, all of them in {file};"
            f" {_remedy(sets)}, nothing was trained"
        )
