"""Curves, counts and comparisons as PNG files."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from head_detection.evaluation.bootstrap import LOWER_IS_BETTER, Difference
from head_detection.evaluation.crowdhuman import REFERENCE_FPPI
from head_detection.evaluation.evaluator import Curve, Measurement
from head_detection.evaluation.matching import FALSE_POSITIVE, IntArray, Matching
from head_detection.files import write_bytes

INCHES: Final = (6.0, 4.5)
WIDE_INCHES: Final = (11.0, 5.5)
DOTS_PER_INCH: Final = 120
LOWEST_FPPI, LOWEST_MISS_RATE = 1e-3, 1e-3
"""Left and lower limits of the log axes."""
# Okabe and Ito's blue and vermilion, which colour-blind people can tell apart.
BETTER: Final = "#0072b2"
WORSE: Final = "#d55e00"
UNSURE: Final = "#777777"
TITLES: Final = {
    "ap50": "AP50\n(higher is better)",
    "f1": "F1\n(higher is better)",
    "mae": "count MAE, heads a picture\n(lower is better)",
}


def draw_plots(measurement: Measurement, folder: Path) -> list[Path]:
    """Plot precision over recall, miss rate over FPPI, F1 over threshold, and counts.

    Args:
        measurement: what to plot; an empty curve gives axes with a note.
        folder: folder of the files, created if missing.

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
        figure = _new_figure(INCHES)
        draw(figure.add_subplot(), measurement)
        paths.append(folder / f"{name}.png")
        _save(figure, paths[-1])
    return paths


def _new_figure(inches: tuple[float, float]) -> Figure:
    """Return a figure without pyplot, so that the state of a caller's notebook does not change."""
    figure = Figure(figsize=inches, dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    content = io.BytesIO()
    with mpl.rc_context({"agg.path.chunksize": 10000}):
        figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())


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


def draw_comparison(
    path: Path,
    differences: Sequence[Difference],
    matchings: tuple[Sequence[Matching], Sequence[Matching]],
    thresholds: tuple[float, float],
    labels: tuple[str, str],
) -> None:
    """Write a PNG with each difference and its interval, and both detectors' mistakes per image.

    Args:
        path: path of the PNG.
        differences: second minus first.
        matchings: of the first and the second detector, for the same images.
        thresholds: operating points of the first and the second.
        labels: names of the two.
    """
    figure = _new_figure(WIDE_INCHES)
    columns: npt.NDArray[np.object_] = figure.subfigures(1, 2, width_ratios=(1.1, 1), squeeze=False)
    left, right = columns[0]
    left.suptitle("B - A, with 95 % interval (pictures drawn anew)", fontsize=11)
    rows = left.subplots(max(1, len(differences)), 1, squeeze=False)[:, 0]
    for axes, difference in zip(rows, differences, strict=False):
        _draw_difference(axes, difference)
    _draw_mistakes(right.subplots(), matchings, thresholds, labels)
    _save(figure, path)


def _draw_difference(axes: Axes, item: Difference) -> None:
    color = {"second": BETTER, "first": WORSE, None: UNSURE}[item.better]
    reach = 1.25 * np.nanmax(np.abs([item.low, item.high, item.difference, 1e-3]))
    axes.axvline(0, color="black", linewidth=1)
    axes.plot([item.low, item.high], [0, 0], color=color, linewidth=4, solid_capstyle="butt")
    axes.plot(item.difference, 0, "o", color=color, markersize=10)
    axes.annotate(
        f"{item.difference:+.4f}", (item.difference, 0), (0, 10), textcoords="offset points",
        ha="center", color=color, fontsize=11,
    )  # fmt: skip
    axes.set(xlim=(-reach, reach), ylim=(-1, 1), yticks=[])
    axes.set_ylabel(TITLES.get(item.name, item.name), rotation=0, ha="right", va="center")
    sides = ("A better", "B better")
    if item.name in LOWER_IS_BETTER:
        sides = sides[::-1]
    axes.text(0.01, 0.04, f"← {sides[0]}", transform=axes.transAxes, color="#555555", fontsize=9)
    axes.text(
        0.99, 0.04, f"{sides[1]} →", transform=axes.transAxes, ha="right", color="#555555",
        fontsize=9,
    )  # fmt: skip
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def _draw_mistakes(
    axes: Axes,
    matchings: tuple[Sequence[Matching], Sequence[Matching]],
    thresholds: tuple[float, float],
    labels: tuple[str, str],
) -> None:
    first, second = (
        count_mistakes(group, threshold)
        for group, threshold in zip(matchings, thresholds, strict=True)
    )
    end = max(1, int(first.max(initial=0)), int(second.max(initial=0))) * 1.05
    axes.plot([0, end], [0, end], color="black", linewidth=1)
    axes.scatter(first, second, s=26, color=UNSURE, alpha=0.6, edgecolors="none")
    axes.set(xlim=(-end / 50, end), ylim=(-end / 50, end), aspect="equal")
    axes.set_xlabel(f"{labels[0]}: mistakes in a picture")
    axes.set_ylabel(f"{labels[1]}: mistakes in a picture")
    axes.set_title("Misses + false alarms, a dot a picture", fontsize=11)
    fewer = int((second < first).sum()), int((first < second).sum())
    for x, y, side, letter, color, count in (
        (0.98, 0.04, "right", "B", BETTER, fewer[0]),
        (0.02, 0.94, "left", "A", WORSE, fewer[1]),
    ):
        text = f"{letter} makes fewer: {count} pictures"
        axes.text(x, y, text, ha=side, color=color, fontsize=10, transform=axes.transAxes)


def count_mistakes(matchings: Sequence[Matching], score_threshold: float) -> IntArray:
    """Return ``(N,)``: the misses and false alarms in each image at a score threshold.

    Example:
        >>> count_mistakes([Matching(np.array([0, -1]), np.array([0.9, 0.8], np.float32), 3)], 0.5)
        array([3])
    """
    counts = []
    for matching in matchings:
        found = matching.found[matching.scores >= score_threshold]
        misses = matching.num_heads - np.count_nonzero(found >= 0)
        counts.append(misses + np.count_nonzero(found == FALSE_POSITIVE))
    return np.array(counts, np.int64)
