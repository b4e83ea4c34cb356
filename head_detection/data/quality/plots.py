"""Histograms of data sets as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from head_detection.data.quality.survey import SetStatistics
from head_detection.files import replacing

_SIZE: Final = (8.0, 4.5)
_DPI: Final = 100
_NUM_BINS: Final = 40
_SMALLEST_SIZE: Final = 0.5
_LINEAR_COUNT: Final = 100
"""Up to this many heads per picture the axis is linear; larger crowds need a logarithmic one."""


def draw_heads_per_picture(sets: Sequence[SetStatistics], path: Path) -> None:
    """Write a histogram of the number of heads per picture, one line per set."""
    figure, axes = _start("heads in a picture", "share of pictures")
    largest = max((int(part.heads_per_image.max(initial=0)) for part in sets), default=0)
    if largest <= _NUM_BINS:
        edges = np.arange(largest + 2) - 0.5
    elif largest <= _LINEAR_COUNT:
        edges = np.linspace(0, largest + 1, _NUM_BINS + 1)
    else:
        edges = np.concatenate([[0], np.geomspace(1, largest + 1, _NUM_BINS)])
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter("{x:g}")
    _draw(axes, [(part.name, part.heads_per_image) for part in sets], edges)
    _save(figure, path)


def draw_head_sizes(
    sets: Sequence[SetStatistics], path: Path, marked_sizes: Sequence[float] = ()
) -> None:
    """Write a histogram of head sizes on a logarithmic axis, one line per set.

    Args:
        sets: the sets.
        path: the PNG file.
        marked_sizes: sizes in original pixels to mark, as of anchors.
    """
    figure, axes = _start("head size (square root of area, pixels)", "share of heads")
    sizes = [(part.name, np.maximum(part.head_sizes, _SMALLEST_SIZE)) for part in sets]
    everything = np.concatenate([[1.0, 100.0], *[values for _, values in sizes if len(values)]])
    has_sizes = any(len(values) for _, values in sizes)
    shown = everything[2:] if has_sizes else everything
    edges = np.geomspace(shown.min() * 0.95, shown.max() * 1.05, _NUM_BINS + 1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(axis="x", which="minor", labelsize=7)
    _draw(axes, sizes, edges)
    for number, size in enumerate(marked_sizes):
        label = "suggested anchors" if number == 0 else None
        axes.axvline(size, color="black", linestyle=":", linewidth=1, label=label)
    axes.legend(fontsize=8)
    _save(figure, path)


def _start(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _draw(
    axes: Axes,
    values: Sequence[tuple[str, npt.NDArray[np.generic]]],
    edges: npt.NDArray[np.floating],
) -> None:
    for name, numbers in values:
        counts, _ = np.histogram(numbers, edges)
        # A name is text, not a formula, and one that starts with "_" is shown as well.
        label = f"{_plain(name)} ({len(numbers):,})"
        axes.stairs(counts / max(1, len(numbers)), edges, label=label, fill=True, alpha=0.45)
    axes.legend(fontsize=8)


def _plain(name: str) -> str:
    """Return text that every font can show, with other letters as codes."""
    text = name.encode("ascii", "backslashreplace").decode().replace("$", r"\$")
    return text if text[:1] != "_" else f" {text}"


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
