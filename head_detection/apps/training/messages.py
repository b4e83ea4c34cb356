"""What ``train`` prints before and after training."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from head_detection.data.annotations import AnnotatedSet
    from head_detection.training.trainer import Trainer


def announce(
    trainer: "Trainer", parts: dict[str, list["AnnotatedSet"]], changes: Sequence[str]
) -> None:
    """Print the data, the number of trained parameters, and what a resumed run has changed."""
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
    for note in _notes(trainer):
        print(f"note: {note}")
    sys.stdout.flush()


def _notes(trainer: "Trainer") -> Iterator[str]:
    from head_detection.training.optimizer import num_warmup_steps

    asked = trainer.config.training.schedule.warmup_steps
    if (warmup := num_warmup_steps(trainer.config.training.schedule, trainer.total_steps)) < asked:
        yield f"the warm-up takes {warmup} steps of {asked}, a tenth of the run"
    if trainer.data.validation is None:
        yield "there are no validation pictures: the last weights are kept, not the best"
    elif trainer.selection.keeps_initial_threshold:
        yield (
            f"{trainer.data.num_validation_heads} validation heads are too few to choose a score "
            "threshold by: that of the first weights stays"
        )


def conclude(trainer: "Trainer", number: int) -> None:
    """Print where the weights are, and how to resume a run that a signal has stopped."""
    from head_detection.training.run_folder import BEST, CHECKPOINT

    progress, folder = trainer.state.progress, trainer.folder
    best, checkpoint = folder / BEST, folder / CHECKPOINT
    if number:
        print(f"stopped after step {progress.step}; go on with --resume {folder}")
        if not best.exists():
            print(f"there are no weights yet; convert release --input {checkpoint} makes some")
            return
    else:
        print(f"done: {progress.step} steps, {progress.bad_steps} skipped")
    name = trainer.config.training.best_metric
    value = "not validated" if progress.best is None else f"{name} {progress.best:.3f}"
    print(f"best weights ({value}, step {progress.best_step}): {best}; state: {checkpoint}")
    if progress.best is not None and progress.best_step == 0:
        print("note: no epoch was better than the weights that the run started from")
