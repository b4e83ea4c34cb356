"""Near-duplicates among the pictures of sets, as groups with names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from head_detection.data.quality.findings import Finding
from head_detection.data.quality.fingerprint import is_blank
from head_detection.data.quality.near_duplicates import connected_groups, find_near_duplicates
from head_detection.data.quality.survey import SurveyedPicture

_NUM_NAMED = 3


@dataclass(frozen=True)
class CopyGroup:
    """Pictures that show the same, each alike to at least one other of the group.

    Attributes:
        pictures: two or more, in the order of the sets.
        largest_misfit: of the pairs found; 0 is the same pixels, 0.12 the most there is.
        has_mirrored: some are seen in a mirror.
    """

    pictures: tuple[SurveyedPicture, ...]
    largest_misfit: float
    has_mirrored: bool

    @property
    def is_between_sets(self) -> bool:
        """Tell whether the group spans several sets."""
        return len({picture.set_name for picture in self.pictures}) > 1

    def as_finding(self) -> Finding:
        """Return it as one finding, under the name of its first picture."""
        first, *others = self.pictures
        # What it is a copy of in another set says most.
        others.sort(key=lambda other: other.set_name == first.set_name)
        kind = "copies_between" if self.is_between_sets else "copies_within"
        names = [f"{other.set_name}: {other.image.file_name}" for other in others[:_NUM_NAMED]]
        more = f" and {len(others) - _NUM_NAMED} more" if len(others) > _NUM_NAMED else ""
        mirrored = ", some mirrored" if self.has_mirrored else ""
        message = f"shows the same as {', '.join(names)}{more}{mirrored}"
        return Finding(kind, first.set_name, first.image.file_name, message)


def find_copies(
    pictures: Sequence[SurveyedPicture], *, show_progress: bool = False
) -> list[CopyGroup]:
    """Group the near-duplicates; pictures that cannot be read or are blank are in no group.

    Args:
        pictures: of one set or several.
        show_progress: draw bars on standard error.

    Returns:
        Groups between sets first, then the largest.
    """
    judged = [
        (picture, picture.thumbnail)
        for picture in pictures
        if picture.thumbnail is not None and not is_blank(picture.thumbnail)
    ]
    if not judged:
        return []
    thumbnails = np.stack([thumbnail for _, thumbnail in judged])
    pairs = find_near_duplicates(thumbnails, show_progress=show_progress)
    members = connected_groups(len(judged), pairs)
    group_of = {index: number for number, group in enumerate(members) for index in group}
    misfits, mirrored = [0.0] * len(members), [False] * len(members)
    for pair in pairs:
        number = group_of[pair.first]
        misfits[number] = max(misfits[number], pair.misfit)
        mirrored[number] |= pair.is_mirrored
    groups = [
        CopyGroup(tuple(judged[index][0] for index in group), misfits[number], mirrored[number])
        for number, group in enumerate(members)
    ]
    return sorted(groups, key=lambda group: (not group.is_between_sets, -len(group.pictures)))
