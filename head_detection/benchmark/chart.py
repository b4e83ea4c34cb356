"""Where a picture's time goes, as bars."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from head_detection.benchmark.stages import ALL_STAGES, StageTable
from head_detection.files import write_bytes

FILE_NAME: Final = "stages.png"
INCHES_WIDE, INCHES_A_BAR, INCHES_AROUND = 10.0, 0.6, 1.6
DOTS_PER_INCH: Final = 120
SMALLEST_WRITTEN_SHARE: Final = 0.05
"""Narrower parts of a bar have no room for their figure."""


def draw_stages(tables: Mapping[str, StageTable], folder: Path) -> Path:
    """Write ``stages.png``, a bar for each contestant, and return its path.

    Args:
        tables: by name, at least one.
        folder: is made if need be.
    """
    height = INCHES_AROUND + INCHES_A_BAR * len(tables)
    figure = Figure(figsize=(INCHES_WIDE, height), dpi=DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = [f"{name}\n{table.whole.median:.1f} ms" for name, table in tables.items()]
    colors, begins = mpl.color_sequences["tab10"], [0.0] * len(names)
    for stage, color in zip(ALL_STAGES, colors, strict=False):
        shares = [table.shares[stage] for table in tables.values()]
        bars = axes.barh(names, shares, left=begins, color=color, label=stage)
        labels = [f"{share:.0%}" if share >= SMALLEST_WRITTEN_SHARE else "" for share in shares]
        axes.bar_label(bars, labels, label_type="center", color="white", fontsize="small")
        begins = [begin + share for begin, share in zip(begins, shares, strict=True)]
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.set(xlim=(0, 1), title="Where a picture's time goes, from its file to the results")
    figure.legend(loc="outside lower center", ncols=len(ALL_STAGES), fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(folder / FILE_NAME, content.getvalue())
    return folder / FILE_NAME
