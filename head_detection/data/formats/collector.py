"""Collects the pictures of a set while it is read, and counts what is repaired or ignored."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from head_detection.boxes import areas
from head_detection.data.annotations import (
    AnnotatedImage,
    AnnotatedSet,
    LabelClass,
    LabelId,
    is_turned,
    reaches_outside,
)
from head_detection.errors import PictureError
from head_detection.images.reading import read_picture_size
from head_detection.structures import GroundTruth

Size = tuple[int, int]
NO_HEADS: Final = "not one head is labelled; trained on, this would teach that nobody is there"
_OUTSIDE: Final = "boxes that reach outside their picture, kept"
_EXCHANGED: Final = "pictures whose labels exchange width and height"
_NUM_SAMPLED: Final = 8
"""Pictures whose size is compared with the labels; a tool swaps the sides of all or none."""


class Collector:
    """Gathers pictures and counts.

    Args:
        leaves_out_empty: boxes without area, which published sets have and nobody can mend, are
            left out. Elsewhere they stay, for the list of problems.
        boxes_may_reach_outside: see ``AnnotatedSet``.
        expects_heads: the first note reports a set without any head.
    """

    def __init__(
        self,
        *,
        leaves_out_empty: bool = False,
        boxes_may_reach_outside: bool = False,
        expects_heads: bool = True,
    ) -> None:
        self._leaves_out_empty = leaves_out_empty
        self._boxes_may_reach_outside = boxes_may_reach_outside
        self._expects_heads = expects_heads
        self._counts: Counter[str] = Counter()
        self._images: list[AnnotatedImage] = []

    def note(self, kind: str, count: int = 1) -> None:
        """Count something that was repaired, ignored or left out."""
        if count:
            self._counts[kind] += count

    def add(
        self,
        path: Path,
        file_name: str,
        truth: GroundTruth,
        image_size: Size | None = None,
        label_id: LabelId | None = None,
    ) -> None:
        """Add a picture with its ground truth in original pixels."""
        if self._leaves_out_empty:
            truth = self._without_empty(truth)
        self.note("regions to ignore", int((truth.ignore & ~truth.distractor).sum()))
        image = AnnotatedImage(path, file_name, truth, image_size, label_id)
        self.note(_OUTSIDE, _num_outside(image))
        self._images.append(image)

    def finish(self, name: str, classes: Sequence[LabelClass] = ()) -> AnnotatedSet:
        """Return the set, with notes in the order in which their kinds first occurred.

        That there is no head in it comes first. Where its labels exchange width and height, which
        its pictures show, the sizes are put right.
        """
        self._put_sizes_right()
        named = Counter(image.file_name for image in self._images)
        again = sum(count - 1 for count in named.values())
        self.note("pictures under a name that is there already, kept", again)
        notes = [f"{kind}: {count}" for kind, count in self._counts.items() if count]
        has_heads = any(len(image.truth.head_boxes) for image in self._images)
        if self._images and self._expects_heads and not has_heads:
            notes.insert(0, f"{NO_HEADS}: {len(self._images)}")
        return AnnotatedSet(
            name,
            tuple(self._images),
            tuple(notes),
            self._boxes_may_reach_outside,
            tuple(classes),
        )

    def _put_sizes_right(self) -> None:
        """Swap the sides in the labels if a picture shows that they are swapped."""
        oblong = [i for i, image in enumerate(self._images) if _is_oblong(image)]
        suspects = [i for i in oblong if _fits_exchanged(self._images[i])]
        sampled = islice(oblong, _NUM_SAMPLED)
        if not any(_is_exchanged(self._images[i]) for i in (*suspects[:_NUM_SAMPLED], *sampled)):
            unseen = sum(not self._images[i].path.exists() for i in suspects)
            if not self._boxes_may_reach_outside:
                self.note(f"{_EXCHANGED} as it seems by their boxes", unseen)
            return
        for i in oblong:
            image = self._images[i]
            if image.image_size is not None and _is_exchanged(image):
                height, width = image.image_size
                self._images[i] = replace(image, image_size=(width, height))
                self._counts[_OUTSIDE] += _num_outside(self._images[i]) - _num_outside(image)
                self.note(f"{_EXCHANGED}, put right")

    def _without_empty(self, truth: GroundTruth) -> GroundTruth:
        keep = areas(truth.boxes) > 0
        self.note("boxes without area, left out", int(np.count_nonzero(~keep)))
        ids = None if truth.ids is None else truth.ids[keep]
        return GroundTruth(truth.boxes[keep], truth.ignore[keep], truth.distractor[keep], ids)


def _num_outside(image: AnnotatedImage, *, is_exchanged: bool = False) -> int:
    if image.image_size is None:
        return 0
    size = image.image_size[::-1] if is_exchanged else image.image_size
    return sum(reaches_outside(box, size) for box in image.truth.boxes.tolist())


def _is_oblong(image: AnnotatedImage) -> bool:
    return image.image_size is not None and image.image_size[0] != image.image_size[1]


def _fits_exchanged(image: AnnotatedImage) -> bool:
    return _num_outside(image) > 0 and _num_outside(image, is_exchanged=True) == 0


def _is_exchanged(image: AnnotatedImage) -> bool:
    """Tell whether the labels swap the sides of the picture, and not because of EXIF."""
    if image.image_size is None:
        return False
    try:
        actual = read_picture_size(image.path)
        return actual == image.image_size[::-1] and not is_turned(image.path)
    except PictureError:
        return False
