"""Finds which class in a file of detections is the head, with the help of the labels."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from head_detection.data.annotations import LabelClass, LabelId
from head_detection.data.formats.class_names import SHOWN, listed, means_head
from head_detection.errors import DetectionFileError

SHOWN_CLASSES: Final = 8


@dataclass(frozen=True)
class StatedClass:
    """The class that a detection states.

    Attributes:
        label_id: its number, or a text instead; None if the detection has none.
        name: its name, which takes precedence over the number; None if it has none.
    """

    label_id: LabelId | None = None
    name: str | None = None


class HeadClasses:
    """Tells heads from detections of other classes, and counts the others.

    If there are no classes, or only one that nothing names, all detections are heads.

    Args:
        path: path of the detections, for errors.
        kind: the format's word for a class.
        known: classes of the labels, if they are numbered in the same way; may be empty.
        stated: the classes of all detections.

    Raises:
        DetectionFileError: the labels know none of the classes, or there are several without names.

    Example:
        >>> known = [LabelClass("coco", 1, "person", False), LabelClass("coco", 2, "head", True)]
        >>> classes = HeadClasses(Path("a"), "category", known, [StatedClass(1), StatedClass(2)])
        >>> classes.is_head(StatedClass(1), "a: [0]"), classes.is_head(StatedClass(2), "a: [1]")
        (False, True)
        >>> classes.notes
        ("detections of the category 'person', no heads, left out: 1",)
    """

    def __init__(
        self, path: Path, kind: str, known: Sequence[LabelClass], stated: Iterable[StatedClass]
    ) -> None:
        self._kind = kind
        self._known = {entry.label_id: entry for entry in known}
        self._head_names = {entry.name for entry in known if entry.is_head}
        self._counts: Counter[str] = Counter()
        unnamed = dict.fromkeys(entry.label_id for entry in stated if entry.name is None)
        self._are_numbered = any(label_id is not None for label_id in unnamed)
        numbers = [label_id for label_id in unnamed if label_id is not None]
        if not self._are_numbered:
            return
        got = ", ".join(repr(number)[:SHOWN] for number in numbers[:SHOWN_CLASSES])
        if known and not any(number in self._known for number in numbers):
            heads = [f"{e.label_id} ({e.name[:SHOWN]!r})" for e in known if e.is_head]
            raise DetectionFileError(
                f"{path}: expected detections of the {kind} that is the head in the labels,"
                f" {listed(heads)}; got {got}, which the labels do not have"
            )
        if not known and len(numbers) > 1:
            raise DetectionFileError(
                f"{path}: expected detections of heads alone, or labels that say which {kind} is"
                f" the head; got {got}, none of which the labels name"
            )

    def is_head(self, stated: StatedClass, where: str) -> bool:
        """Tell whether a detection is a head, and count it if not.

        Args:
            stated: its class.
            where: file and position, for errors.

        Raises:
            DetectionFileError: it has no class, although others have one.
        """
        if stated.name is not None:
            is_head = means_head(stated.name) or stated.name in self._head_names
            return is_head or self._leave_out(repr(stated.name[:SHOWN]))
        if stated.label_id is None:
            if self._are_numbered:
                raise DetectionFileError(f"{where}: expected its {self._kind}, as others have one")
            return True
        if not self._known:
            return True
        entry = self._known.get(stated.label_id)
        if entry is None:
            shown = repr(stated.label_id)[:SHOWN]
            return self._leave_out(f"{shown}, which the labels do not name")
        return entry.is_head or self._leave_out(repr(entry.name[:SHOWN]))

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each class that was left out."""
        return tuple(
            f"detections of the {self._kind} {shown}, no heads, left out: {count}"
            for shown, count in self._counts.items()
        )

    def _leave_out(self, shown: str) -> bool:
        self._counts[shown] += 1
        return False
