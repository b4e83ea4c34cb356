"""The report for people: tables, and at the end in words which is which."""

from collections.abc import Iterator
from typing import Final

from head_detection.benchmark.figure import Figure
from head_detection.benchmark.results import Results
from head_detection.benchmark.stages import ALL_STAGES, DENSE
from head_detection.benchmark.whole import CommandFigures

MEBIBYTE: Final = 1024**2
GIGA: Final = 1e9
CELL: Final = max(map(len, ALL_STAGES))


def report_lines(results: Results) -> list[str]:
    """Return the whole report, a line each."""
    parts = (_heading, _speed, _stages, _arithmetic, _command, _words)
    return [line for part in parts for line in part(results)]


def _heading(results: Results) -> Iterator[str]:
    machine, settings = results.machine, results.settings
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    yield (
        f"{machine['processor']} ({machine['instructions']}), {machine['cores']} cores, "
        f"{machine['threads']} threads{gpu}; torch {machine['torch']}, commit {machine['commit']}"
    )
    yield f"pictures: {settings['source']}; {settings['runs']} counted runs, in turn"


def _speed(results: Results) -> Iterator[str]:
    if not results.milliseconds:
        return
    settings, width = results.settings, _width(results.milliseconds)
    height, broad = settings["size"]
    yield ""
    yield f"Milliseconds a picture ({settings['pictures']} of {height}x{broad}, one at a time)"
    yield _row("", ("median", "min", "max"), width)
    for name, figure in results.milliseconds.items():
        yield _row(name, _three(figure, ".1f"), width)
    if results.times_as_fast:
        yield f"Times as fast as {results.reference}, run by run"
        for name, figure in results.times_as_fast.items():
            yield _row(name, _three(figure, ".2f"), width)


def _stages(results: Results) -> Iterator[str]:
    if not results.stages:
        return
    width = _width(results.stages)
    yield ""
    yield (
        f"Where a picture's time goes, one stage after the other ({results.settings['pictures']} "
        "files as they are; share of the whole, median milliseconds)"
    )
    yield _row("", (*ALL_STAGES, "whole"), width)
    for name, table in results.stages.items():
        shares = [f"{table.shares[stage]:.1%}" for stage in ALL_STAGES]
        times = [f"{table.stages[stage].median:.1f}" for stage in ALL_STAGES]
        yield _row(name, (*shares, "100%"), width)
        yield _row("", (*times, f"{table.whole.median:.1f}"), width)


def _arithmetic(results: Results) -> Iterator[str]:
    if not results.arithmetic:
        return
    width = _width(results.arithmetic)
    yield ""
    yield (
        "Arithmetic: 10^9 operations a picture (a multiply-add is two); 10^9 a second of a large "
        "matrix product; share of it"
    )
    yield _row("", ("dense", "others", "product", "in dense", "in all"), width)
    for name, found in results.arithmetic.items():
        others = sum(found.operations.values()) - found.operations[DENSE]
        counts = [f"{count / GIGA:.1f}" for count in (found.operations[DENSE], others)]
        shares = [f"{figure.median:.1%}" for figure in (found.dense, found.network)]
        yield _row(name, (*counts, f"{found.peak.median:.0f}", *shares), width)


def _command(results: Results) -> Iterator[str]:
    whole = results.whole
    if whole is None:
        return
    width = _width(("command / bare", ""))
    yield ""
    yield f"Whole command of {whole.name}, {whole.num_pictures} files in and results out"
    if whole.num_failed:
        yield f"{whole.num_failed} of {whole.num_watched} files cannot be read and are left out"
    yield _row("", ("median", "min", "max"), width)
    yield _row("pictures/s", _three(whole.rate, ".2f"), width)
    yield _row("bare network", _three(whole.bare, ".2f"), width)
    yield _row("command / bare", _three(whole.ratio, ".3f"), width)
    yield _memory(whole)


def _memory(whole: CommandFigures) -> str:
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


def _words(results: Results) -> Iterator[str]:
    yield ""
    for name, contestant in results.contestants.items():
        yield f"{name} is {contestant.description}."
    for name, figure in results.times_as_fast.items():
        yield (
            f"{name} is {figure.median:.2f} times as fast as {results.reference} "
            f"({figure.minimum:.2f} to {figure.maximum:.2f}) on the same pictures in the same run."
        )
    if results.whole is not None:
        yield (
            f"The whole command runs at {results.whole.ratio.median:.3f} of the rate of "
            f"{results.whole.name} on pictures in memory."
        )


def _three(figure: Figure, form: str) -> tuple[str, ...]:
    return tuple(format(v, form) for v in (figure.median, figure.minimum, figure.maximum))


def _mebibytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / MEBIBYTE:.0f} MiB"


def _width(names: object) -> int:
    return max(len(str(name)) for name in names) if isinstance(names, dict | tuple) else 0


def _row(name: str, cells: tuple[str, ...], width: int) -> str:
    return f"  {name:{width}}" + "".join(f" {cell:>{CELL}}" for cell in cells)
