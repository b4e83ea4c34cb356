"""The report of one run: ``report.json``, text tables, and a chart of the stages."""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from tabulate import tabulate

from head_detection.benchmark.arithmetic import Arithmetic
from head_detection.benchmark.detectors import BASELINE, BenchmarkedDetector
from head_detection.benchmark.engines import INT8_NAME, EngineFigures
from head_detection.benchmark.stages import ALL_STAGES, StageTable
from head_detection.benchmark.throughput import CommandThroughput
from head_detection.benchmark.timing import DENSE, Measurement, paired_ratio
from head_detection.files import write_bytes

SCHEMA: Final = "head-detection/benchmark/2"
JSON_NAME: Final = "report.json"
CHART_NAME: Final = "stages.png"
INCHES_WIDE, INCHES_A_BAR, INCHES_AROUND = 10.0, 0.6, 1.6
DOTS_PER_INCH: Final = 120
SMALLEST_WRITTEN_SHARE: Final = 0.05
"""Narrower parts of a bar have no room for a number."""
MEBIBYTE: Final = 1024**2
GIGA: Final = 1e9


@dataclass
class Results:
    """All measurements of a run; those that were not asked for are empty.

    Attributes:
        command: the words that were typed.
        machine: what it ran on.
        settings: pictures, sizes and runs.
        detectors: by name, in the order of the tables.
        milliseconds: per picture, by detector.
        stages: by detector.
        arithmetic: by detector.
        whole: the whole command with the first detector.
        engines: times for the first detector's weights, each engine in its own process.
    """

    command: Sequence[str]
    machine: dict[str, Any]
    settings: dict[str, Any]
    detectors: dict[str, BenchmarkedDetector]
    milliseconds: dict[str, Measurement] = field(default_factory=dict)
    stages: dict[str, StageTable] = field(default_factory=dict)
    arithmetic: dict[str, Arithmetic] = field(default_factory=dict)
    whole: CommandThroughput | None = None
    engines: EngineFigures | None = None

    @property
    def reference(self) -> str | None:
        """The detector that others are compared with: torchvision's, else the first of several."""
        if len(self.milliseconds) < 2:  # noqa: PLR2004 - nothing to compare with
            return None
        return BASELINE if BASELINE in self.milliseconds else next(iter(self.milliseconds))

    @property
    def times_as_fast(self) -> dict[str, Measurement]:
        """The reference's time over each other detector's, run by run."""
        if self.reference is None:
            return {}
        slow = self.milliseconds[self.reference].samples
        return {
            name: paired_ratio("times as fast", slow, measured.samples)
            for name, measured in self.milliseconds.items()
            if name != self.reference
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, every measurement with its samples."""
        return {
            "schema": SCHEMA,
            "command": list(self.command),
            "machine": self.machine,
            "settings": self.settings,
            "reference": self.reference,
            "detectors": [self._of(detector) for detector in self.detectors.values()],
            "whole_command": None if self.whole is None else self.whole.as_dict(),
            "engines": None if self.engines is None else self.engines.as_dict(),
        }

    def _of(self, detector: BenchmarkedDetector) -> dict[str, Any]:
        parts: dict[str, Mapping[str, Measurement | StageTable | Arithmetic]] = {
            "milliseconds": self.milliseconds,
            "times_as_fast": self.times_as_fast,
            "stages": self.stages,
            "arithmetic": self.arithmetic,
        }
        found = {key: part.get(detector.name) for key, part in parts.items()}
        return {
            **detector.facts,
            **{key: None if part is None else part.as_dict() for key, part in found.items()},
        }


def write_results(folder: Path, results: Results) -> Path:
    """Write ``report.json`` and return its path."""
    text = json.dumps(results.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / JSON_NAME, f"{text}\n".encode())
    return folder / JSON_NAME


def report_lines(results: Results) -> list[str]:
    """Return the lines of the whole report."""
    parts = (_heading, _speed, _stages, _arithmetic, _command, _engines, _words)
    return [line for part in parts for line in part(results)]


def _heading(results: Results) -> Iterator[str]:
    machine, settings = results.machine, results.settings
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    yield (
        f"{machine['processor']} ({machine['products']}), {machine['cores']} cores, "
        f"{machine['threads']} threads{gpu}; torch {machine['torch']}, commit {machine['commit']}"
    )
    yield f"pictures: {settings['source']}; {settings['runs']} counted runs, in turn"


def _speed(results: Results) -> Iterator[str]:
    if not results.milliseconds:
        return
    settings = results.settings
    height, width = settings["size"]
    yield ""
    yield f"Milliseconds a picture ({settings['pictures']} of {height}x{width}, one at a time)"
    yield from _spreads(results.milliseconds, ".1f")
    if results.times_as_fast:
        yield f"Times as fast as {results.reference}, run by run"
        yield from _spreads(results.times_as_fast, ".2f")


def _stages(results: Results) -> Iterator[str]:
    if not results.stages:
        return
    yield ""
    yield (
        f"Where a picture's time goes, one stage after the other ({results.settings['pictures']} "
        "files as they are; share of the whole, median milliseconds)"
    )
    rows = []
    for name, table in results.stages.items():
        shares = [f"{table.shares[stage]:.1%}" for stage in ALL_STAGES]
        times = [f"{table.stages[stage].median:.1f}" for stage in ALL_STAGES]
        rows.append((name, *shares, "100%"))
        rows.append(("", *times, f"{table.whole.median:.1f}"))
    yield from _table((*ALL_STAGES, "whole"), rows)


def _arithmetic(results: Results) -> Iterator[str]:
    if not results.arithmetic:
        return
    yield ""
    yield (
        "Arithmetic: 10^9 operations a picture (a multiply-add is two); 10^9 a second of a large "
        "matrix product; share of it"
    )
    rows = []
    for name, found in results.arithmetic.items():
        others = sum(found.operations.values()) - found.operations[DENSE]
        counts = [f"{count / GIGA:.1f}" for count in (found.operations[DENSE], others)]
        shares = [f"{share.median:.1%}" for share in (found.dense, found.network)]
        rows.append((name, *counts, f"{found.peak.median:.0f}", *shares))
    yield from _table(("dense", "others", "product", "in dense", "in all"), rows)


def _command(results: Results) -> Iterator[str]:
    whole = results.whole
    if whole is None:
        return
    yield ""
    yield f"Whole command of {whole.name}, {whole.num_pictures} files in and results out"
    if whole.num_failed:
        yield f"{whole.num_failed} of {whole.num_watched} files cannot be read and are left out"
    rates = {"pictures/s": whole.rate, "bare network": whole.bare, "command / bare": whole.ratio}
    yield from _spreads(rates, ".3f")
    yield _memory(whole)


def _memory(whole: CommandThroughput) -> str:
    memory = whole.memory
    since = "while it ran" if memory.is_from_start_of_command else "since the process began"
    on_device = (
        "" if memory.device_peak is None else f", {_mebibytes(memory.device_peak)} on the GPU"
    )
    return (
        f"memory over {whole.num_watched} pictures: {_mebibytes(memory.peak)} at most {since}"
        f"{on_device}; {_mebibytes(memory.after_quarter)} after a quarter of them, "
        f"{_mebibytes(memory.at_end)} at the end"
    )


def _engines(results: Results) -> Iterator[str]:
    engines = results.engines
    if engines is None:
        return
    yield ""
    yield (
        f"Engines on {engines.processor}: milliseconds a picture of a made crowd, each in a "
        "process of its own, in turn"
    )
    if engines.milliseconds:
        yield from _spreads(engines.milliseconds, ".1f")
    for name, why in engines.left_out.items():
        yield f"{name} is left out: {why}."
    chosen = engines.chosen
    if chosen is None:
        yield "none ran: --engine auto stays the file's own."
        return
    name = f"{chosen.engine} {chosen.precision}"
    medians = {key: taken.median for key, taken in engines.milliseconds.items()}
    others = [median for key, median in medians.items() if key not in (name, INT8_NAME)]
    ahead = (
        f", the next took {min(others) / chosen.milliseconds:.2f} times as long" if others else ""
    )
    kept = "it could not be kept" if engines.kept_in is None else f"kept in {engines.kept_in}"
    yield f"--engine auto is {name} here: the least median{ahead}; {kept}."
    if INT8_NAME in medians:
        share = medians[INT8_NAME] / chosen.milliseconds
        yield f"--precision int8 takes {share:.2f} of its time, and finds not quite the same heads."


def _words(results: Results) -> Iterator[str]:
    yield ""
    for name, detector in results.detectors.items():
        yield f"{name} is {detector.description}."
    for name, measured in results.times_as_fast.items():
        yield (
            f"{name} is {measured.median:.2f} times as fast as {results.reference} "
            f"({measured.minimum:.2f} to {measured.maximum:.2f}) on the same pictures in the same "
            "run."
        )
    if results.whole is not None:
        yield (
            f"The whole command runs at {results.whole.ratio.median:.3f} of the rate of "
            f"{results.whole.name} on pictures in memory."
        )


def _spreads(measurements: Mapping[str, Measurement], form: str) -> list[str]:
    rows = [
        (name, *(format(value, form) for value in (m.median, m.minimum, m.maximum)))
        for name, m in measurements.items()
    ]
    return _table(("median", "min", "max"), rows)


def _table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table: the columns' names, then the rows, each with its own name."""
    sides = ("left", *("right" for _ in columns))
    text = tabulate(rows, ("", *columns), "plain", disable_numparse=True, colalign=sides)
    return [f"  {line}" for line in text.splitlines()]


def _mebibytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / MEBIBYTE:.0f} MiB"


def draw_stages(tables: Mapping[str, StageTable], folder: Path) -> Path:
    """Write ``stages.png``, with a bar for each detector, and return its path.

    Args:
        tables: by name, at least one.
        folder: created if necessary.
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
    write_bytes(folder / CHART_NAME, content.getvalue())
    return folder / CHART_NAME
