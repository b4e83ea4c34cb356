"""``convert check``: reports the quality of one data set, or of several splits."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from head_detection.apps.arguments import not_negative, positive
from head_detection.apps.conversions.anchors import suggest
from head_detection.apps.conversions.labelled_input import (
    add_input_arguments,
    labelled_paths,
    load_input,
)
from head_detection.config import load_config
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.quality.findings import (
    KINDS,
    BoxLimits,
    Finding,
    find_in_pictures,
    find_unlabelled,
)
from head_detection.data.quality.near_duplicates import find_copies
from head_detection.data.quality.report import QualityReport, write_report
from head_detection.data.quality.survey import measure_set, pixel_statistics, survey_pictures
from head_detection.errors import ConfigError, printable

NUM_SHOWN: Final = 3
"""Worst findings of each kind on the terminal."""
NOT_CLEAN: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    limits = BoxLimits()
    add_input_arguments(parser, takes_several=True)
    parser.add_argument("--report", type=Path, help="folder for index.html, report.json and plots")
    parser.add_argument(
        "--accept", nargs="+", default=[], choices=tuple(KINDS), metavar="KIND",
        help="kinds of known problems that are reported but do not fail the check: "
        f"{', '.join(KINDS)}",
    )  # fmt: skip
    parser.add_argument(
        "--tiny", type=float, default=limits.tiny, metavar="PIXELS",
        help="report heads below this size, the square root of their area (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--huge", type=float, default=limits.huge, metavar="SHARE",
        help="report heads above this share of the picture (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--cfg", type=Path, help="suggest anchors for the resize of this experiment file"
    )
    parser.add_argument(
        "--set", action="extend", nargs="+", default=[], metavar="KEY.PATH=VALUE",
        help="replace fields of the experiment file; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=positive, default=18, help="pictures on the contact sheet (default: 18)"
    )
    parser.add_argument(
        "--seed", type=not_negative, default=0,
        help="seed that chooses these pictures (default: 0)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Print what was found, and return the exit code: 1 if anything is not accepted."""
    _check(arguments)
    experiment = load_config(arguments.cfg, arguments.set) if arguments.cfg else None
    sets = load_input(arguments)
    unlabelled, remarks = _unlabelled(arguments, sets)
    show_progress = sys.stderr.isatty()
    pictures = survey_pictures(sets, show_progress=show_progress)
    copies = find_copies(pictures, show_progress=show_progress)
    statistics = [measure_set(group) for group in sets]
    pixels = pixel_statistics(pictures)
    suggestion, marked_sizes = suggest(pictures, pixels, experiment)
    report = QualityReport(
        sets=sets,
        statistics=statistics,
        findings=[
            *(Finding("empty_set", s.name, "", "the set holds no pictures") for s in sets if not s),
            *find_in_pictures(pictures, BoxLimits(tiny=arguments.tiny, huge=arguments.huge)),
            *unlabelled,
            *(group.as_finding() for group in copies),
        ],
        copies=copies,
        accepted=tuple(arguments.accept),
        remarks=remarks,
        pixels=pixels,
        suggestion=suggestion,
    )
    if arguments.report is not None:
        write_report(
            arguments.report, report, pictures,
            num_samples=arguments.samples, seed=arguments.seed, marked_sizes=marked_sizes,
        )  # fmt: skip
    _print_summary(report, arguments.report)
    return 0 if report.is_clean else NOT_CLEAN


def _check(arguments: argparse.Namespace) -> None:
    if not arguments.tiny >= 0:
        raise ConfigError(f"--tiny: expected 0 or more; got {arguments.tiny}")
    if not 0 < arguments.huge <= 1:
        raise ConfigError(f"--huge: expected above 0 and at most 1; got {arguments.huge}")
    if arguments.set and not arguments.cfg:
        raise ConfigError("--set: expected --cfg too, the experiment that it changes")


def _unlabelled(
    arguments: argparse.Namespace, sets: Sequence[AnnotatedSet]
) -> tuple[list[Finding], list[str]]:
    """Return pictures without labels: findings for folders, a remark for a file's folder."""
    labelled = {path for given in arguments.input for path in labelled_paths(arguments, given)}
    num_splits = len(arguments.split or [None])
    found: dict[str, Finding] = {}
    remarks = []
    for number, given in enumerate(arguments.input):
        groups = sets[number * num_splits : (number + 1) * num_splits]
        paths = [image.path for group in groups for image in group.images]
        unnamed = find_unlabelled(groups[0].name, paths, labelled)
        if Path(given).is_dir():
            found |= {finding.file_name: finding for finding in unnamed}
        elif unnamed:
            remarks.append(
                f"{given}: {len(unnamed)} pictures beside its own are named by no label given here"
            )
    return list(found.values()), remarks


def _print_summary(report: QualityReport, folder: Path | None) -> None:
    for line in report.as_lines(NUM_SHOWN):
        print(printable(line))
    if folder is not None:
        print(f"report: {printable(str(folder / 'index.html'))}")
    print("healthy" if report.is_clean else "not healthy: see above")
