"""The quality report of data sets: as lines, as JSON, and as a folder with an HTML page."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from head_detection import files
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.quality.findings import KINDS, Finding, count_kinds
from head_detection.data.quality.near_duplicates import CopyGroup
from head_detection.data.quality.plots import draw_head_sizes, draw_heads_per_picture
from head_detection.data.quality.survey import (
    Channels,
    SetStatistics,
    SurveyedPicture,
    join_statistics,
    spread,
)
from head_detection.images.drawing import Cell, write_contact_sheet

SCHEMA: Final = "head-detection/quality/1"
MAX_ROWS: Final = 50
"""Most rows per kind on the page; report.json has all."""
MAX_CELLS: Final = 12
"""Pictures on the sheet of boxes to look at, and groups on that of copies."""
_NAME_LETTERS: Final = 44


@dataclass(frozen=True)
class QualityReport:
    """The outcome of a check.

    Attributes:
        sets: what was checked.
        statistics: of each set.
        findings: all problems.
        copies: near-duplicates, which ``findings`` has as well.
        accepted: kinds of finding that are known and do not count.
        remarks: further useful facts, one line each.
        pixels: mean and standard deviation of the pixels, red, green, blue in [0, 1].
        suggestion: lines for the experiment file.
    """

    sets: Sequence[AnnotatedSet]
    statistics: Sequence[SetStatistics]
    findings: Sequence[Finding]
    copies: Sequence[CopyGroup]
    accepted: Sequence[str]
    remarks: Sequence[str]
    pixels: tuple[Channels, Channels] | None
    suggestion: str

    @property
    def counts(self) -> dict[str, int]:
        """Return the count of each kind of finding."""
        return count_kinds(self.findings)

    @property
    def is_clean(self) -> bool:
        """Tell whether all findings are of accepted kinds."""
        return not set(self.counts) - set(self.accepted)

    def worst(self, kind: str, limit: int) -> list[Finding]:
        """Return the findings of a kind with the most boxes first."""
        chosen = [finding for finding in self.findings if finding.kind == kind]
        return sorted(chosen, key=lambda finding: -finding.count)[:limit]

    def as_lines(self, num_shown: int) -> Iterator[str]:
        """Yield a summary: statistics, notes, the worst of each kind of finding, the suggestion.

        Names are as in the labels: escape them before printing, or they may control a terminal.

        Args:
            num_shown: findings to show per kind.
        """
        together = join_statistics("all", self.statistics)
        for measured in [*self.statistics, *([together] if len(self.statistics) > 1 else [])]:
            sizes = spread(measured.head_sizes)
            size = f", size {sizes['min']:g} to {sizes['max']:g} px" if sizes else ""
            median = f", median {sizes['median']:g}" if sizes else ""
            ignored = f", {measured.num_ignored} ignored" if measured.num_ignored else ""
            yield (
                f"{measured.name}: {len(measured.heads_per_image)} pictures, "
                f"{int(measured.heads_per_image.sum())} heads{ignored}{size}{median}"
            )
        yield from (f"note: {group.name}: {note}" for group in self.sets for note in group.notes)
        yield from (f"remark: {remark}" for remark in self.remarks)
        for kind, count in self.counts.items():
            yield f"{count} {KINDS[kind]}{' (accepted)' if kind in self.accepted else ''}"
            for finding in self.worst(kind, num_shown):
                where = ": ".join(part for part in (finding.set_name, finding.file_name) if part)
                yield f"    {where}: {finding.message}"
        yield from self.suggestion.splitlines()

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON's types."""
        return {
            "schema": SCHEMA,
            "healthy": self.is_clean,
            "problems": self.counts,
            "accepted": list(self.accepted),
            "sets": [
                _set_entry(group, measured)
                for group, measured in zip(self.sets, self.statistics, strict=True)
            ],
            "remarks": list(self.remarks),
            "pixels": None if self.pixels is None else dict(
                zip(("mean", "std"), map(list, self.pixels), strict=True)
            ),
            "suggestion": self.suggestion,
            "findings": [_finding_entry(finding) for finding in self.findings],
            "copies": [_group_entry(group) for group in self.copies],
        }  # fmt: skip


class Illustration(NamedTuple):
    """A picture beside the page."""

    file_name: str
    heading: str
    legend: str


def write_report(
    folder: Path,
    report: QualityReport,
    pictures: Sequence[SurveyedPicture],
    *,
    num_samples: int,
    seed: int,
    marked_sizes: Sequence[float] = (),
) -> None:
    """Write ``index.html``, ``report.json``, plots and sheets, replacing those of an earlier check.

    Args:
        folder: is made if need be.
        report: what to tell.
        pictures: those that were checked.
        num_samples: pictures on the sheet of a random choice.
        seed: of the choice.
        marked_sizes: sizes in original pixels to mark in the plot of head sizes.
    """
    shown = _write_sheets(folder, report, pictures, _sample(pictures, num_samples, seed))
    draw_heads_per_picture(report.statistics, folder / "heads_per_picture.png")
    draw_head_sizes(report.statistics, folder / "head_sizes.png", marked_sizes)
    shown += [
        Illustration("heads_per_picture.png", "Heads in a picture", "Ignored ones do not count."),
        Illustration("head_sizes.png", "Head sizes", "Square root of area in original pixels."),
    ]
    content = json.dumps(report.as_json(), indent=1)
    files.write_bytes(folder / "report.json", content.encode())
    page = render_page(report, shown)
    files.write_bytes(folder / "index.html", page.encode("utf-8", "backslashreplace"))


def render_page(report: QualityReport, pictures: Sequence[Illustration]) -> str:
    """Return the HTML; it needs nothing but the pictures beside it."""
    environment = Environment(
        loader=PackageLoader("head_detection.data.quality", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        report=report,
        kinds=KINDS,
        sets=report.as_json()["sets"],
        notes=[f"{group.name}: {note}" for group in report.sets for note in group.notes],
        pictures=pictures,
        max_rows=MAX_ROWS,
    )


def _write_sheets(
    folder: Path,
    report: QualityReport,
    pictures: Sequence[SurveyedPicture],
    sample: Sequence[Cell],
) -> list[Illustration]:
    sheets = [
        (
            Illustration(
                "sample.jpg", "Sample",
                "A random choice: heads in green, regions to ignore in orange.",
            ),
            sample, 3,
        ),
        (
            Illustration(
                "flagged.jpg", "Boxes to look at", "In red; the pictures with the most of them."
            ),
            _flagged(report, pictures), 3,
        ),
        (
            Illustration("copies.jpg", "Near-duplicates", "Two pictures of a group in a row."),
            _copies(report.copies), 2,
        ),
    ]  # fmt: skip
    for illustration, cells, num_columns in sheets:
        path = folder / illustration.file_name
        if cells:
            write_contact_sheet(path, cells, num_columns)
        else:  # an earlier check may have had some
            path.unlink(missing_ok=True)
    return [illustration for illustration, cells, _ in sheets if cells]


def _sample(pictures: Sequence[SurveyedPicture], count: int, seed: int) -> list[Cell]:
    readable = [picture for picture in pictures if picture.error is None]
    order = np.random.default_rng(seed).permutation(len(readable))[:count]
    return [_cell(readable[index]) for index in sorted(order.tolist())]


def _flagged(report: QualityReport, pictures: Sequence[SurveyedPicture]) -> list[Cell]:
    flagged: dict[tuple[str, str], set[int]] = {}
    for finding in report.findings:
        if finding.boxes:
            flagged.setdefault((finding.set_name, finding.file_name), set()).update(finding.boxes)
    worst = sorted(flagged, key=lambda name: -len(flagged[name]))[:MAX_CELLS]
    by_name = {(picture.set_name, picture.image.file_name): picture for picture in pictures}
    return [_cell(by_name[name], flagged=tuple(sorted(flagged[name]))) for name in worst]


def _copies(groups: Sequence[CopyGroup]) -> list[Cell]:
    cells = []
    for number, group in enumerate(groups[:MAX_CELLS], start=1):
        first, *others = group.pictures
        # For a group between sets, one picture of each set is the most informative.
        second = next((p for p in others if p.set_name != first.set_name), others[0])
        cells += [_cell(picture, f"group {number}: ") for picture in (first, second)]
    return cells


def _cell(picture: SurveyedPicture, prefix: str = "", flagged: tuple[int, ...] = ()) -> Cell:
    name = ascii(picture.image.file_name)[1:-1]
    shown = name if len(name) <= _NAME_LETTERS else f"...{name[-_NAME_LETTERS:]}"
    truth = picture.image.truth
    caption = f"{prefix}{shown}: {len(truth.head_boxes)} heads"
    return Cell(picture.image.path, truth, caption, flagged)


def _set_entry(group: AnnotatedSet, measured: SetStatistics) -> dict[str, Any]:
    return {
        "name": group.name,
        "pictures": len(group),
        "heads": int(measured.heads_per_image.sum()),
        "ignored": measured.num_ignored,
        "pictures_without_heads": int((measured.heads_per_image == 0).sum()),
        "heads_per_picture": spread(measured.heads_per_image),
        "head_size": spread(measured.head_sizes),
        "notes": list(group.notes),
    }


def _finding_entry(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "set": finding.set_name,
        "file": finding.file_name,
        "message": finding.message,
        "boxes": list(finding.boxes),
    }


def _group_entry(group: CopyGroup) -> dict[str, Any]:
    return {
        "between_sets": group.is_between_sets,
        "mirrored": group.has_mirrored,
        "largest_misfit": round(group.largest_misfit, 4),
        "pictures": [
            {
                "set": picture.set_name,
                "file": picture.image.file_name,
                "heads": len(picture.image.truth.head_boxes),
            }
            for picture in group.pictures
        ],
    }
