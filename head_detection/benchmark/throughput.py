"""The whole command, from files to files: its rate beside the bare network's, and its memory."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from head_detection.benchmark.timing import Measurement, paired_ratio, time_in_turn
from head_detection.errors import BenchmarkError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import read_picture
from head_detection.inference.detector import HeadDetector
from head_detection.pipeline.run import Tally, run_pipeline
from head_detection.pipeline.sources import ItemSource
from head_detection.results.format_names import DEFAULT_FORMATS
from head_detection.results.formats import Sinks
from head_detection.results.record import Origin, Outcome, Record

MAX_HELD_BYTES: Final = 1024**3
"""Of decoded pictures for the bare network; files beyond this are not timed."""
MAX_RUNS: Final = 3
"""A whole command is long and has many pictures, so it needs fewer runs than single pictures."""
QUARTER: Final = 4
STATUS: Final = Path("/proc/self/status")  # only Linux has these two
REFERENCES: Final = Path("/proc/self/clear_refs")
_FORGET_PEAK: Final = "5"
_KIBIBYTE: Final = 1024


@dataclass(frozen=True)
class CommandMemory:
    """Bytes of the process while a whole command runs; None if the system does not tell.

    Attributes:
        peak: largest resident memory.
        is_from_start_of_command: whether the peak excludes the time before the command.
        after_quarter: resident memory after a quarter of the pictures.
        at_end: resident memory after all pictures.
        device_peak: largest memory of tensors on a GPU.
    """

    peak: int | None
    is_from_start_of_command: bool
    after_quarter: int | None
    at_end: int | None
    device_peak: int | None

    @property
    def growth(self) -> int | None:
        """Bytes that the last three quarters of the pictures added."""
        if self.at_end is None or self.after_quarter is None:
            return None
        return self.at_end - self.after_quarter

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "peak_bytes": self.peak,
            "peak_is_from_start_of_command": self.is_from_start_of_command,
            "after_quarter_bytes": self.after_quarter,
            "at_end_bytes": self.at_end,
            "growth_bytes": self.growth,
            "device_peak_bytes": self.device_peak,
        }


@dataclass(frozen=True)
class CommandThroughput:
    """The measurements of a whole ``test`` over files.

    Attributes:
        name: of the detector.
        num_pictures: pictures that were timed.
        num_watched: files over which memory was watched.
        num_failed: those of them that could not be read.
        rate: pictures per second of the command.
        bare: pictures per second of the network alone, on the same pictures in memory.
        ratio: of the two, run by run.
        memory: of the process during the command.
    """

    name: str
    num_pictures: int
    num_watched: int
    num_failed: int
    rate: Measurement
    bare: Measurement
    ratio: Measurement
    memory: CommandMemory

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "detector": self.name,
            "pictures": self.num_pictures,
            "pictures_watched": self.num_watched,
            "failed": self.num_failed,
            "pictures_per_second": self.rate.as_dict(),
            "bare_pictures_per_second": self.bare.as_dict(),
            "ratio": self.ratio.as_dict(),
            "memory": self.memory.as_dict(),
        }


def measure_command(
    name: str,
    detector: HeadDetector,
    files: Sequence[PictureFile],
    num_runs: int,
    folder: Path,
    advance: Callable[[], object] = lambda: None,
) -> CommandThroughput:
    """Watch the memory of one command, then time commands and the bare network in turn.

    Call it before anything else is loaded: the memory is that of the whole process.

    Args:
        name: of the detector.
        detector: runs the pictures.
        files: pictures; those that cannot be read are left out after the first command.
        num_runs: measured runs, at most ``MAX_RUNS``.
        folder: for the results of the commands.
        advance: called after each command and each pass of the bare network.

    Raises:
        BenchmarkError: no picture can be read.
    """
    memory, readable = watch_command(detector, files, folder / "watched")
    if not readable:
        raise BenchmarkError(f"expected pictures; none of {len(files)} files can be read")
    advance()
    held, pictures = hold(readable)
    batches = batches_of(detector, pictures)
    numbers = count()

    def run_bare() -> None:
        for batch in batches:
            detector.engine.detect(batch)

    works: dict[str, Callable[[], object]] = {
        "command": lambda: run_command(detector, held, folder / str(next(numbers))),
        "bare": run_bare,
    }
    seconds = time_in_turn(works, min(num_runs, MAX_RUNS), warm_up=False, advance=advance)
    rates = {key: [len(held) / value for value in values] for key, values in seconds.items()}
    return CommandThroughput(
        name=name,
        num_pictures=len(held),
        num_watched=len(files),
        num_failed=len(files) - len(readable),
        rate=Measurement("pictures/s", tuple(rates["command"])),
        bare=Measurement("pictures/s", tuple(rates["bare"])),
        ratio=paired_ratio("of the bare network", rates["command"], rates["bare"]),
        memory=memory,
    )


def run_command(
    detector: HeadDetector,
    files: Sequence[PictureFile],
    folder: Path,
    after: Callable[[int, Outcome], object] = lambda *_: None,
) -> Tally:
    """Do what ``test`` does once its weights are loaded.

    Args:
        detector: runs the pictures.
        files: pictures.
        folder: for the results.
        after: called after each picture, with its number from 1 and its outcome.
    """
    tally = Tally()
    origin = Origin(detector.origin, detector.score_threshold)
    with Sinks(DEFAULT_FORMATS, folder, origin) as sinks:
        outcomes = run_pipeline(ItemSource.of(files), detector, sinks)
        for number, outcome in enumerate(outcomes, start=1):
            tally.add(outcome)
            after(number, outcome)
    return tally


def watch_command(
    detector: HeadDetector, files: Sequence[PictureFile], folder: Path
) -> tuple[CommandMemory, list[PictureFile]]:
    """Return the memory of one command and the files that it could read."""
    watch = MemoryWatch(torch.device(detector.engine.device))
    quarter = -(-len(files) // QUARTER)
    marks: dict[int, int | None] = {}
    readable: list[PictureFile] = []

    def note(number: int, outcome: Outcome) -> None:
        if isinstance(outcome, Record):
            readable.append(files[number - 1])
        if number in (quarter, len(files)):
            marks[number] = watch.now()

    run_command(detector, files, folder, note)
    memory = CommandMemory(
        peak=watch.peak(),
        is_from_start_of_command=watch.is_from_here,
        after_quarter=marks[quarter],
        at_end=marks[len(files)],
        device_peak=watch.device_peak(),
    )
    return memory, readable


def hold(files: Sequence[PictureFile]) -> tuple[list[PictureFile], list[Tensor]]:
    """Return the first files whose pixels fit into ``MAX_HELD_BYTES``, at least one, and pixels."""
    pictures: list[Tensor] = []
    room = MAX_HELD_BYTES
    for file in files:
        pixels = torch.from_numpy(read_picture(file.path)).permute(2, 0, 1)
        room -= pixels.nbytes
        if pictures and room < 0:
            break
        pictures.append(pixels)
    return list(files[: len(pictures)]), pictures


def batches_of(detector: HeadDetector, pictures: Sequence[Tensor]) -> list[list[Tensor]]:
    """Batch pictures of similar shape, with the batch size that suits the device."""
    engine = detector.engine
    groups: dict[tuple[tuple[int, int], ...], list[Tensor]] = {}
    for picture in pictures:
        sizes = engine.padded_sizes((picture.shape[1], picture.shape[2]))
        groups.setdefault(sizes, []).append(picture)
    step = engine.batch_size
    return [
        group[start : start + step]
        for group in groups.values()
        for start in range(0, len(group), step)
    ]


class MemoryWatch:
    """The memory of this process since this object was created.

    Args:
        device: if it is a GPU, its memory is watched too.

    Attributes:
        is_from_here: whether ``peak`` covers only that time; on systems other than Linux it covers
            the process since its start.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.is_from_here = _forget_peak()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def peak(self) -> int | None:
        """Return the peak of resident bytes; None if the system does not tell."""
        return _status("VmHWM") or _peak_of_the_process()

    def now(self) -> int | None:
        """Return the bytes resident now; None if the system does not tell."""
        return _status("VmRSS")

    def device_peak(self) -> int | None:
        """Return the peak of bytes that tensors held on the GPU; None without one."""
        if self._device.type != "cuda":
            return None
        return int(torch.cuda.max_memory_allocated(self._device))


def _forget_peak() -> bool:
    try:
        REFERENCES.write_text(_FORGET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) * _KIBIBYTE if found else None


def _peak_of_the_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * _KIBIBYTE
