"""The pictures of a set as a reader comes upon them, with a count of all it repairs or ignores."""

from collections import Counter
from pathlib import Path

import numpy as np

from head_detection.boxes import areas
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, reaches_outside
from head_detection.structures import GroundTruth

Size = tuple[int, int]


class Collector:
    """Gathers pictures and counts.

    Args:
        leaves_out_empty: boxes without area, which published sets have and nobody can mend, are
            left out. Elsewhere they stay, for the list of problems.
        boxes_may_reach_outside: see ``AnnotatedSet``.
    """

    def __init__(
        self, *, leaves_out_empty: bool = False, boxes_may_reach_outside: bool = False
    ) -> None:
        self._leaves_out_empty = leaves_out_empty
        self._boxes_may_reach_outside = boxes_may_reach_outside
        self._counts: Counter[str] = Counter()
        self._images: list[AnnotatedImage] = []

    def note(self, kind: str, count: int = 1) -> None:
        """Count something that was repaired, ignored or left out."""
        if count:
            self._counts[kind] += count

    def add(
        self, path: Path, file_name: str, truth: GroundTruth, image_size: Size | None = None
    ) -> None:
        """Add a picture with its truth in original pixels."""
        if self._leaves_out_empty:
            truth = self._without_empty(truth)
        self.note("regions to ignore", int((truth.ignore & ~truth.distractor).sum()))
        if image_size is not None:
            outside = sum(reaches_outside(box, image_size) for box in truth.boxes.tolist())
            self.note("boxes that reach outside their picture, kept", outside)
        self._images.append(AnnotatedImage(path, file_name, truth, image_size))

    def finish(self, name: str) -> AnnotatedSet:
        """Return the set; its notes are in the order in which their kinds came up."""
        named = Counter(image.file_name for image in self._images)
        again = sum(count - 1 for count in named.values())
        self.note("pictures under a name that is there already, kept", again)
        return AnnotatedSet(
            name,
            tuple(self._images),
            tuple(f"{kind}: {count}" for kind, count in self._counts.items()),
            self._boxes_may_reach_outside,
        )

    def _without_empty(self, truth: GroundTruth) -> GroundTruth:
        keep = areas(truth.boxes) > 0
        self.note("boxes without area, left out", int(np.count_nonzero(~keep)))
        return GroundTruth(truth.boxes[keep], truth.ignore[keep], truth.distractor[keep])
