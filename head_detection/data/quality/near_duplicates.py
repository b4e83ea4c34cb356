"""Finds near-duplicates: saved again, resized, brightened, trimmed at the edges or mirrored."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from head_detection.data.quality.alignment import align
from head_detection.data.quality.findings import Finding
from head_detection.data.quality.survey import THUMBNAIL_SIDE, SurveyedPicture, is_blank
from head_detection.images.reading import Picture

IntArray = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

MAX_HASH_DISTANCE: Final = 16
"""Bits of 64. Of 300 pictures of SCUT-HEAD cropped by 3 %, none differs in more."""
MAX_CANDIDATES: Final = 50
"""Limit per picture, nearest hash first, since hashes of one fixed camera are all similar."""
_MAX_MISFIT: Final = 0.12
_MAX_LOCAL_MISFIT: Final = 0.36
"""Set on 300 pictures of SCUT-HEAD: of copies cropped by 3 %, over 99 % are under both; two frames
of one room where one person went elsewhere come to .4 in the block where the person was."""
_COARSE_SIDE: Final = 16
_MAX_COARSE_MISFIT: Final = 0.3
_HASH_WIDTH: Final = 9
_HASH_HEIGHT: Final = 8
_HASHES_AT_ONCE: Final = 2_000_000
_PAIRS_AT_ONCE: Final = 128
_NUM_NAMED: Final = 3


@dataclass(frozen=True)
class CopyGroup:
    """Pictures that show the same, each similar to at least one other in the group.

    Attributes:
        pictures: two or more, in the order of the sets.
        largest_misfit: largest misfit of its pairs; 0 is identical, 0.12 the maximum.
        has_mirrored: some are mirrored.
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
        # A copy in another set is the most informative.
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
    known = [
        (picture, picture.thumbnail)
        for picture in pictures
        if picture.thumbnail is not None and not is_blank(picture.thumbnail)
    ]
    if not known:
        return []
    thumbnails = np.stack([thumbnail for _, thumbnail in known])
    pairs = find_near_duplicates(thumbnails, show_progress=show_progress)
    members = connected_groups(len(known), pairs)
    group_of = {index: number for number, group in enumerate(members) for index in group}
    misfits, mirrored = [0.0] * len(members), [False] * len(members)
    for pair in pairs:
        number = group_of[pair.first]
        misfits[number] = max(misfits[number], pair.misfit)
        mirrored[number] |= pair.is_mirrored
    groups = [
        CopyGroup(tuple(known[index][0] for index in group), misfits[number], mirrored[number])
        for number, group in enumerate(members)
    ]
    return sorted(groups, key=lambda group: (not group.is_between_sets, -len(group.pictures)))


class NearDuplicate(NamedTuple):
    """Two pictures that show the same.

    Attributes:
        first: index of a picture.
        second: a higher index.
        is_mirrored: the second is a mirror image of the first.
        misfit: 0 is identical, 0.12 the maximum for a copy.
    """

    first: int
    second: int
    is_mirrored: bool
    misfit: float


def find_near_duplicates(
    thumbnails: Picture, *, show_progress: bool = False
) -> list[NearDuplicate]:
    """Find the pairs that show the same picture.

    Hashes are compared all with all; pairs whose hashes are near are aligned and compared pixel by
    pixel, at 16 x 16 and then at 64 x 64. 20,000 different pictures take some 40 s of one core, a
    thousand of one fixed camera 30 s; memory grows with the number of pictures. Turned copies and
    pictures within pictures are not found, nor a copy whose hash has more than ``MAX_CANDIDATES``
    nearer ones.

    Args:
        thumbnails: ``(N, 64, 64)`` uint8 grey, none of them blank.
        show_progress: draw bars on standard error.

    Returns:
        Each pair once, in the order of the pictures.
    """
    if not len(thumbnails):
        return []
    hashes = difference_hashes(thumbnails)
    mirrored_hashes = difference_hashes(thumbnails[:, :, ::-1])
    found: dict[tuple[int, int], NearDuplicate] = {}
    for is_mirrored, others in ((False, hashes), (True, mirrored_hashes)):
        pairs = _candidates(hashes, others)
        starts = range(0, len(pairs), _PAIRS_AT_ONCE)
        label = "mirrored copies" if is_mirrored else "copies"
        for start in tqdm(starts, desc=label, disable=not show_progress):
            chunk = pairs[start : start + _PAIRS_AT_ONCE]
            for duplicate in _verify(thumbnails, chunk, is_mirrored=is_mirrored):
                found.setdefault((duplicate.first, duplicate.second), duplicate)
    return [found[key] for key in sorted(found)]


def connected_groups(num_images: int, pairs: Sequence[NearDuplicate]) -> list[list[int]]:
    """Join pairs that share a picture; pictures without a pair are in no group.

    Returns:
        Rising indices of each group, in the order of their first.

    Example:
        >>> pairs = [NearDuplicate(0, 3, False, 0.0), NearDuplicate(3, 4, False, 0.0)]
        >>> connected_groups(5, pairs)
        [[0, 3, 4]]
    """
    ends = np.array([(pair.first, pair.second) for pair in pairs], np.int64).reshape(-1, 2).T
    links = coo_array((np.ones(ends.shape[1], np.bool_), tuple(ends)), (num_images, num_images))
    num_groups, group_of = connected_components(links, directed=False)
    members: list[list[int]] = [[] for _ in range(num_groups)]
    for index, number in enumerate(group_of.tolist()):
        members[number].append(index)
    return sorted(group for group in members if len(group) > 1)


def difference_hash(grey: Picture) -> int:
    """Return a 64-bit hash that changes in a few bits only when a picture is saved anew.

    The picture is scaled to 9 x 8; each bit tells whether a pixel is darker than its right
    neighbour, row by row, the highest bit first.

    Args:
        grey: ``(H, W)`` uint8.

    Source:
        Neal Krawetz, "Kind of Like That", hackerfactor.com, 2013 (dHash).

    Example:
        >>> rising = np.tile(np.arange(9, dtype=np.uint8), (8, 1))
        >>> hex(difference_hash(rising)), difference_hash(rising[:, ::-1])
        ('0xffffffffffffffff', 0)
    """
    small = cv2.resize(grey, (_HASH_WIDTH, _HASH_HEIGHT), interpolation=cv2.INTER_AREA)
    bits = np.packbits(small[:, :-1] < small[:, 1:])
    return int.from_bytes(bits.tobytes(), "big")


def difference_hashes(thumbnails: Picture) -> Hashes:
    """Return ``(N,)`` uint64 hashes of ``(N, H, W)`` uint8 grey pictures."""
    return np.array([difference_hash(thumbnail) for thumbnail in thumbnails], np.uint64)


def _candidates(hashes: Hashes, others: Hashes) -> IntArray:
    """Return ``(P, 2)`` pairs of different pictures with near hashes, the lower index first."""
    chosen = [row for row in _nearest(hashes, others) if len(row)]
    if not chosen:
        return np.zeros((0, 2), np.int64)
    return np.unique(np.sort(np.concatenate(chosen), axis=1), axis=0)


def _nearest(hashes: Hashes, others: Hashes) -> Iterator[IntArray]:
    num_rows = max(1, _HASHES_AT_ONCE // len(hashes))
    for start in range(0, len(hashes), num_rows):
        block = hashes[start : start + num_rows]
        distances = np.bitwise_count(block[:, None] ^ others[None])
        distances[np.arange(len(block)), start + np.arange(len(block))] = 255  # itself
        is_near = distances <= MAX_HASH_DISTANCE
        for row in np.flatnonzero(is_near.any(axis=1)):
            near = np.flatnonzero(is_near[row])
            order = np.argsort(distances[row, near], kind="stable")[:MAX_CANDIDATES]
            yield np.stack([np.full(len(order), start + row), near[order]], axis=1)


def _verify(thumbnails: Picture, pairs: IntArray, *, is_mirrored: bool) -> Iterator[NearDuplicate]:
    first, second = thumbnails[pairs[:, 0]], thumbnails[pairs[:, 1]]
    if is_mirrored:
        second = second[:, :, ::-1]
    coarse = align(_shrink(first), _shrink(second))
    is_alike = coarse.overall <= _MAX_COARSE_MISFIT
    if not is_alike.any():
        return
    misfit = align(first[is_alike], second[is_alike], coarse.motion[is_alike])
    is_copy = (misfit.overall <= _MAX_MISFIT) & (misfit.local <= _MAX_LOCAL_MISFIT)
    for (one, other), left in zip(
        pairs[is_alike][is_copy].tolist(), misfit.overall[is_copy].tolist(), strict=True
    ):
        yield NearDuplicate(one, other, is_mirrored, left)


def _shrink(thumbnails: Picture) -> Picture:
    factor = THUMBNAIL_SIDE // _COARSE_SIDE
    blocks = thumbnails.reshape(-1, _COARSE_SIDE, factor, _COARSE_SIDE, factor)
    return np.asarray(blocks.mean(axis=(2, 4)), np.uint8)
