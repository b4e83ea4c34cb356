"""Copies among many pictures: saved anew, resized, brightened, trimmed at the edges, mirrored."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from head_detection.data.quality.alignment import align
from head_detection.data.quality.fingerprint import THUMBNAIL_SIDE, Hashes, difference_hashes
from head_detection.images.reading import Picture

IntArray = npt.NDArray[np.int64]

MAX_HASH_DISTANCE: Final = 16
"""Bits of 64. Of 300 pictures of SCUT-HEAD cropped by 3 %, none differs in more."""
MAX_CANDIDATES: Final = 50
"""Looked at for each picture, nearest hash first: the hashes of one camera's pictures all agree."""
_MAX_MISFIT: Final = 0.12
_MAX_LOCAL_MISFIT: Final = 0.36
"""Set on 300 pictures of SCUT-HEAD: of copies cropped by 3 %, over 99 % are under both; two frames
of one room where one person went elsewhere come to .4 in the block where the person was."""
_COARSE_SIDE: Final = 16
_MAX_COARSE_MISFIT: Final = 0.3
_HASHES_AT_ONCE: Final = 2_000_000
_PAIRS_AT_ONCE: Final = 128


class NearDuplicate(NamedTuple):
    """Two pictures that show the same.

    Attributes:
        first: index of a picture.
        second: a higher index.
        is_mirrored: the second is the first seen in a mirror.
        misfit: 0 is the same pixels, 0.12 the most that counts as a copy.
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

    Example:
        >>> pairs = [NearDuplicate(0, 3, False, 0.0), NearDuplicate(3, 4, False, 0.0)]
        >>> connected_groups(5, pairs)
        [[0, 3, 4]]
    """
    parents = list(range(num_images))

    def root_of(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for pair in pairs:
        low, high = sorted((root_of(pair.first), root_of(pair.second)))
        parents[high] = low
    groups: dict[int, list[int]] = {}
    for index in range(num_images):
        groups.setdefault(root_of(index), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


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
