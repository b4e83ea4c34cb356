"""All that one run of ``benchmark`` measured, as JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from head_detection.benchmark.contestants import STOCK, Contestant
from head_detection.benchmark.figure import Figure, paired_ratio
from head_detection.benchmark.stages import Arithmetic, StageTable
from head_detection.benchmark.whole import CommandFigures
from head_detection.files import write_bytes

SCHEMA: Final = "head-detection/benchmark/1"
FILE_NAME: Final = "report.json"


@dataclass
class Results:
    """What was measured; what was not asked for is empty.

    Attributes:
        command: the words that were typed.
        machine: what it ran on.
        settings: pictures, sizes and runs.
        contestants: by name, in the order of the tables.
        milliseconds: a picture, by contestant.
        stages: by contestant.
        arithmetic: by contestant.
        whole: the whole command of the first contestant.
    """

    command: Sequence[str]
    machine: dict[str, Any]
    settings: dict[str, Any]
    contestants: dict[str, Contestant]
    milliseconds: dict[str, Figure] = field(default_factory=dict)
    stages: dict[str, StageTable] = field(default_factory=dict)
    arithmetic: dict[str, Arithmetic] = field(default_factory=dict)
    whole: CommandFigures | None = None

    @property
    def reference(self) -> str | None:
        """What the others are compared with: torchvision's, else the first of several."""
        if len(self.milliseconds) < 2:  # noqa: PLR2004 - nothing to compare with
            return None
        return STOCK if STOCK in self.milliseconds else next(iter(self.milliseconds))

    @property
    def times_as_fast(self) -> dict[str, Figure]:
        """The reference's time over each other contestant's, run by run."""
        if self.reference is None:
            return {}
        slow = self.milliseconds[self.reference].samples
        return {
            name: paired_ratio("times as fast", slow, figure.samples)
            for name, figure in self.milliseconds.items()
            if name != self.reference
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, every figure with its samples."""
        return {
            "schema": SCHEMA,
            "command": list(self.command),
            "machine": self.machine,
            "settings": self.settings,
            "reference": self.reference,
            "contestants": [self._of(contestant) for contestant in self.contestants.values()],
            "whole_command": None if self.whole is None else self.whole.as_dict(),
        }

    def _of(self, contestant: Contestant) -> dict[str, Any]:
        parts: dict[str, Mapping[str, Figure | StageTable | Arithmetic]] = {
            "milliseconds": self.milliseconds,
            "times_as_fast": self.times_as_fast,
            "stages": self.stages,
            "arithmetic": self.arithmetic,
        }
        found = {key: part.get(contestant.name) for key, part in parts.items()}
        return {
            **contestant.facts,
            **{key: None if part is None else part.as_dict() for key, part in found.items()},
        }


def write_results(folder: Path, results: Results) -> Path:
    """Write ``report.json`` and return its path."""
    text = json.dumps(results.as_dict(), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / FILE_NAME, f"{text}\n".encode())
    return folder / FILE_NAME
