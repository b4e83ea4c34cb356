"""The report folder of ``convert check``: JSON, one page, plots and sheets of pictures."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from head_detection import files
from head_detection.data.quality.contact_sheet import Cell, write_sheet
from head_detection.data.quality.copies import CopyGroup
from head_detection.data.quality.page import render_page
from head_detection.data.quality.plots import draw_head_sizes, draw_heads_per_picture
from head_detection.data.quality.report import HealthReport
from head_detection.data.quality.survey import SurveyedPicture

MAX_CELLS: Final = 12
"""Pictures on the sheet of boxes to look at, and groups on that of copies."""
_NAME_LETTERS: Final = 44


def write_report(
    report: HealthReport,
    pictures: Sequence[SurveyedPicture],
    arguments: argparse.Namespace,
    marked_sizes: Sequence[float],
) -> None:
    """Write everything into ``arguments.report``; files of an earlier check are replaced."""
    folder: Path = arguments.report
    shown: dict[str, tuple[str, str]] = {}
    sheets = {
        "sample.jpg": (
            "Sample", "A random choice: heads in green, regions to ignore in orange.",
            _sample(pictures, arguments.samples, arguments.seed), 3,
        ),
        "flagged.jpg": (
            "Boxes to look at", "In red; the pictures with the most of them.",
            _flagged(report, pictures), 3,
        ),
        "copies.jpg": (
            "Near-duplicates", "Two pictures of a group in a row.", _copies(report.copies), 2,
        ),
    }  # fmt: skip
    for file_name, (heading, legend, cells, num_columns) in sheets.items():
        if cells:
            write_sheet(folder / file_name, cells, num_columns)
            shown[heading] = (file_name, legend)
        else:  # an earlier check may have had some
            (folder / file_name).unlink(missing_ok=True)
    draw_heads_per_picture(report.statistics, folder / "heads_per_picture.png")
    draw_head_sizes(report.statistics, folder / "head_sizes.png", marked_sizes)
    shown |= {
        "Heads in a picture": ("heads_per_picture.png", "Ignored ones do not count."),
        "Head sizes": ("head_sizes.png", "Square root of area in original pixels."),
    }
    content = json.dumps(report.as_json(), indent=1)
    files.write_bytes(folder / "report.json", content.encode())
    page = render_page(report, shown)
    files.write_bytes(folder / "index.html", page.encode("utf-8", "backslashreplace"))


def _sample(pictures: Sequence[SurveyedPicture], count: int, seed: int) -> list[Cell]:
    readable = [picture for picture in pictures if picture.error is None]
    order = np.random.default_rng(seed).permutation(len(readable))[:count]
    return [_cell(readable[index]) for index in sorted(order.tolist())]


def _flagged(report: HealthReport, pictures: Sequence[SurveyedPicture]) -> list[Cell]:
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
        # Of a group between sets, one picture of each says most.
        second = next((p for p in others if p.set_name != first.set_name), others[0])
        cells += [_cell(picture, f"group {number}: ") for picture in (first, second)]
    return cells


def _cell(picture: SurveyedPicture, prefix: str = "", flagged: tuple[int, ...] = ()) -> Cell:
    name = ascii(picture.image.file_name)[1:-1]
    shown = name if len(name) <= _NAME_LETTERS else f"...{name[-_NAME_LETTERS:]}"
    num_heads = len(picture.image.truth.head_boxes)
    return Cell(picture.image, f"{prefix}{shown}: {num_heads} heads", flagged)
