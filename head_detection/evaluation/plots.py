"""Curves and counts as PNG pictures."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from head_detection.evaluation.measurement import Curve, Measurement
from head_detection.evaluation.miss_rate import REFERENCE_FPPI
from head_detection.files import write_bytes

INCHES, DOTS_PER_INCH = (6.0, 4.5), 120
LOWEST_FPPI, LOWEST_MISS_RATE = 1e-3, 1e-3
"""Left and lower edge of the log axes, unless the curve goes lower than usual."""


def draw_plots(measurement: Measurement, folder: Path) -> list[Path]:
    """Draw precision over recall, miss rate over FPPI, F1 over threshold, and counts.

    Args:
        measurement: what to draw; an empty curve gives empty axes that say so.
        folder: is made if it is not there.

    Returns:
        The PNG files, in this order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Callable[[Axes, Measurement], None]] = {
        "precision_recall": _draw_precision_recall,
        "miss_rate_fppi": _draw_miss_rate,
        "f1_threshold": _draw_f1,
        "counts": _draw_counts,
    }
    paths = []
    for name, draw in drawings.items():
        # A figure of its own, without pyplot: nothing of a caller's notebook changes.
        figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        with mpl.rc_context({"agg.path.chunksize": 10000}):
            draw(axes, measurement)
            content = io.BytesIO()
            figure.savefig(content, format="png")
        paths.append(folder / f"{name}.png")
        write_bytes(paths[-1], content.getvalue())
    return paths


def _draw_precision_recall(axes: Axes, measurement: Measurement) -> None:
    curve = measurement.curves["precision_recall"]
    _draw_line(axes, curve)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), title="Precision over recall, IoU 0.5")


def _draw_miss_rate(axes: Axes, measurement: Measurement) -> None:
    curve = measurement.curves["miss_rate_fppi"]
    shown = Curve(
        curve.name,
        np.maximum(curve.x, LOWEST_FPPI),
        np.maximum(curve.y, LOWEST_MISS_RATE),
        curve.x_label,
        curve.y_label,
    )
    axes.set(xscale="log", yscale="log", title="Miss rate over false positives, CrowdHuman rule")
    _draw_line(axes, shown)
    if len(shown.x):
        first = np.searchsorted(curve.x, REFERENCE_FPPI)
        read = shown.y[np.minimum(first, len(shown.y) - 1)]
        label = "read for MR$^{-2}$"
        axes.plot(REFERENCE_FPPI, read, "o", color="tab:red", markersize=5, label=label)
        axes.legend()
        axes.set_ylim(min(0.05, float(shown.y.min()) / 1.2), 1.1)
    axes.set_xlim(LOWEST_FPPI, max(10.0, float(shown.x.max(initial=0))))


def _draw_f1(axes: Axes, measurement: Measurement) -> None:
    curve = measurement.curves["f1_threshold"]
    _draw_line(axes, curve)
    threshold = measurement.score_threshold
    label = f"operating point {threshold:.3f}"
    axes.axvline(threshold, color="tab:red", linestyle="--", label=label)
    axes.legend()
    axes.set(xlim=(0, 1), ylim=(0, 1.02), title="F1 over score threshold, IoU 0.5")


def _draw_counts(axes: Axes, measurement: Measurement) -> None:
    true, predicted = measurement.counts.T
    highest = float(measurement.counts.max(initial=1)) * 1.05
    axes.plot([0, highest], [0, highest], color="grey", linewidth=1, label="right")
    axes.plot(true, predicted, "o", markersize=4, alpha=0.6, markeredgewidth=0, label="a picture")
    axes.legend()
    title = f"Heads a picture at score {measurement.score_threshold:.3f}"
    axes.set(xlim=(0, highest), ylim=(0, highest), title=title)
    axes.set(xlabel="true count", ylabel="predicted count")
    axes.grid(alpha=0.3)


def _draw_line(axes: Axes, curve: Curve) -> None:
    axes.set(xlabel=curve.x_label, ylabel=curve.y_label)
    axes.grid(alpha=0.3, which="both")
    if not len(curve.x):
        axes.annotate("nothing to measure", (0.5, 0.5), xycoords="axes fraction", ha="center")
        return
    axes.plot(curve.x, curve.y)
