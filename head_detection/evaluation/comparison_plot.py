"""A picture of how two detectors differ on the same pictures."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from head_detection.evaluation.comparison import Difference
from head_detection.evaluation.matching import FALSE_POSITIVE, Matching
from head_detection.files import write_bytes

DPI: Final = 120
BETTER: Final = "#0072b2"
WORSE: Final = "#d55e00"
UNSURE: Final = "#777777"
TITLES: Final = {
    "ap50": "AP50\n(higher is better)",
    "f1": "F1\n(higher is better)",
    "mae": "count MAE, heads a picture\n(lower is better)",
}
LOWER_IS_BETTER: Final = frozenset({"mae"})


def draw_comparison(
    path: Path,
    differences: Sequence[Difference],
    matchings: tuple[Sequence[Matching], Sequence[Matching]],
    thresholds: tuple[float, float],
    labels: tuple[str, str],
) -> None:
    """Write a PNG: each difference with its interval, and the mistakes of each picture by both.

    Args:
        path: of the PNG.
        differences: second minus first.
        matchings: of the first and the second, the same pictures.
        thresholds: operating points of the first and the second.
        labels: what the two are called.
    """
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    columns: npt.NDArray[np.object_] = figure.subfigures(1, 2, width_ratios=(1.1, 1), squeeze=False)
    left, right = columns[0]
    left.suptitle("B - A, with 95 % interval (pictures drawn anew)", fontsize=11)
    rows = left.subplots(max(1, len(differences)), 1, squeeze=False)[:, 0]
    for axes, difference in zip(rows, differences, strict=False):
        _draw_difference(axes, difference)
    _draw_mistakes(right.subplots(), matchings, thresholds, labels)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    write_bytes(path, file.getvalue())


def _draw_difference(axes: Axes, item: Difference) -> None:
    sign = -1 if item.name in LOWER_IS_BETTER else 1
    color = UNSURE
    if sign * item.low > 0 and sign * item.high > 0:
        color = BETTER
    elif sign * item.low < 0 and sign * item.high < 0:
        color = WORSE
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
    sides = ("A better", "B better") if sign > 0 else ("B better", "A better")
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


def count_mistakes(matchings: Sequence[Matching], score_threshold: float) -> npt.NDArray[np.int64]:
    """Return the misses and false alarms of each picture from a score on, ``(N,)``.

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
