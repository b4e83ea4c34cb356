"""The logs of a run: ``log.csv``, ``curves.png`` and TensorBoard events."""

import csv
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from head_detection.evaluation.precision_recall import SIZE_NAMES
from head_detection.files import naming, replacing
from head_detection.training.step import LOSS_NAMES

TRAINING_COLUMNS = (
    "loss",
    *LOSS_NAMES,
    "gradient_norm",
    "learning_rate",
    "bad_steps",
    "pictures_per_second",
    "data_share",
)
METRIC_COLUMNS = (
    "ap50",
    "best_f1",
    "best_threshold",
    "precision",
    "recall",
    "count_mae",
    *(f"recall_{name}" for name in SIZE_NAMES),
)
COLUMNS = ("step", "epoch", "time", *TRAINING_COLUMNS, *METRIC_COLUMNS)


class RunLog:
    """The log of a run, row by row.

    A resumed run drops the rows after its checkpoint, because those steps and validations are
    repeated.

    Args:
        folder: folder of the run.
        first_step: rows of later steps are removed.
        finished_epochs: rows of later validations are removed.
    """

    def __init__(self, folder: Path, first_step: int, finished_epochs: int = 0) -> None:
        self.path = folder / "log.csv"
        self.rows = [
            row
            for row in _read(self.path)
            if int(row["step"]) <= first_step
            and (int(row["epoch"]) <= finished_epochs or not any(map(row.get, METRIC_COLUMNS)))
        ]
        with (
            replacing(self.path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        self.events = _open_events(folder, first_step)
        self._collected: dict[str, list[float]] = {}

    @property
    def lacks_tensorboard(self) -> bool:
        """Return whether TensorBoard is not installed, so that no events are written."""
        return self.events is None

    def collect(self, values: Mapping[str, float]) -> None:
        """Add the finite values of a step to the means of the next row."""
        for name, value in values.items():
            if math.isfinite(value):
                self._collected.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """Return the means of the collected values, and reset them.

        The first row of a resumed run covers only the steps since its checkpoint.
        """
        collected, self._collected = self._collected, {}
        return {name: sum(values) / len(values) for name, values in collected.items()}

    def add(self, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Append a row; columns without a finite value stay blank.

        Args:
            step: steps done.
            epoch: epochs begun, from 1; for a validation, epochs done.
            values: values by column name.

        Raises:
            OSError: it cannot be written; names the file.
        """
        numbers = {name: f"{value:.6g}" for name, value in values.items() if math.isfinite(value)}
        time = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"step": str(step), "epoch": str(epoch), "time": time, **numbers}
        self.rows.append(row)
        with (
            naming(self.path),
            self.path.open("a", newline="", encoding="utf-8") as file,
        ):
            csv.DictWriter(file, COLUMNS).writerow(row)
        if self.events is not None:
            for name in numbers:
                group = "validation" if name in METRIC_COLUMNS else "training"
                self.events.add_scalar(f"{group}/{name}", values[name], step)

    def draw(self) -> None:
        """Write ``curves.png``: losses, learning rate and validation metrics by step."""
        figure = Figure(figsize=(12, 4))
        FigureCanvasAgg(figure)
        # Fixed, because a layout that measures every label takes far longer than the drawing.
        figure.subplots_adjust(left=0.05, right=0.99, bottom=0.13, top=0.92, wspace=0.2)
        losses, rate, quality = figure.subplots(1, 3)
        panels = (
            (losses, "loss", ("loss", *LOSS_NAMES)),
            (rate, "learning rate", ("learning_rate",)),
            (quality, "validation", ("ap50", "best_f1", "precision", "recall")),
        )
        for panel, title, names in panels:
            for name in names:
                points = [(int(r["step"]), float(r[name])) for r in self.rows if r.get(name)]
                if points:
                    panel.plot(*zip(*points, strict=True), label=name, linewidth=1, marker=".")
                    panel.legend(fontsize="small")
            panel.set(title=title, xlabel="step")
            panel.grid(visible=True, alpha=0.3)
        quality.set_ylim(0, 1)
        with replacing(self.path.with_name("curves.png")) as temporary:
            figure.savefig(temporary, format="png", dpi=100)

    def close(self) -> None:
        """Flush TensorBoard's events."""
        if self.events is not None:
            self.events.close()


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Leaves out a row that a kill has cut short.
    return [row for row in rows if (row.get("step") or "").isdigit() and None not in row.values()]


def _open_events(folder: Path, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_step + 1)
