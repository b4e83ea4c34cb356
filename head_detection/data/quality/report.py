"""All that is known of the health of some sets, as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from head_detection.data.annotations import AnnotatedSet
from head_detection.data.quality.copies import CopyGroup
from head_detection.data.quality.findings import Finding, count_kinds
from head_detection.data.quality.statistics import SetStatistics, spread
from head_detection.data.quality.survey import Channels

SCHEMA: Final = "head-detection/health/1"


@dataclass(frozen=True)
class HealthReport:
    """The outcome of a check.

    Attributes:
        sets: what was checked.
        statistics: of each set.
        findings: everything wrong.
        copies: near-duplicates, which ``findings`` has as well.
        accepted: kinds of finding that are known and do not make the data unhealthy.
        remarks: what else is good to know, a line each.
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
        """Return how much of each kind was found."""
        return count_kinds(self.findings)

    @property
    def is_healthy(self) -> bool:
        """Tell whether nothing was found but what is accepted."""
        return not set(self.counts) - set(self.accepted)

    def worst(self, kind: str, limit: int) -> list[Finding]:
        """Return the findings of a kind with the most boxes first."""
        chosen = [finding for finding in self.findings if finding.kind == kind]
        return sorted(chosen, key=lambda finding: -finding.count)[:limit]

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON's types."""
        return {
            "schema": SCHEMA,
            "healthy": self.is_healthy,
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
