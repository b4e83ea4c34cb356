"""Groups of pictures dealt out to parts by share, each group to one part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Load:
    """What a group of pictures weighs."""

    num_images: int
    num_heads: int


def partition(groups: Sequence[Load], shares: Sequence[float], seed: int) -> list[int]:
    """Deal groups out so that each part gets its share of the pictures, and of the heads.

    Groups of several pictures go first, the largest ones at the start, then the single pictures in
    an order that the seed decides. Each goes where both shares are least filled, among the parts
    that have room for all its pictures; where none has, to the one with the most room. The shares
    of pictures are met to a picture unless groups are too large for it.

    Args:
        groups: each with one picture at least.
        shares: of the parts, above 0; their sum is 1.
        seed: of the order.

    Returns:
        The part of each group.

    Example:
        >>> sorted(partition([Load(1, 5)] * 4, [0.75, 0.25], seed=0))
        [0, 0, 0, 1]
    """
    num_images = np.array([group.num_images for group in groups], np.int64)
    num_heads = np.array([group.num_heads for group in groups], np.int64)
    targets = _whole_shares(int(num_images.sum()), shares)
    head_targets = np.maximum(num_heads.sum() * np.asarray(shares, np.float64), 1)
    images, heads = np.zeros(len(shares), np.int64), np.zeros(len(shares), np.int64)
    parts = np.zeros(len(groups), np.int64)
    shuffled = np.random.default_rng(seed).permutation(len(groups))
    for index in shuffled[np.argsort(-num_images[shuffled], kind="stable")]:
        room = targets - images
        filled = images / np.maximum(targets, 1) + heads / head_targets
        has_room = room >= num_images[index]
        part = np.where(has_room, filled, np.inf).argmin() if has_room.any() else room.argmax()
        parts[index] = part
        images[part] += num_images[index]
        heads[part] += num_heads[index]
    return [int(part) for part in parts]


def _whole_shares(
    total: int, shares: Sequence[float]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Round shares of a total to whole numbers that add up to it, by largest remainder."""
    exact = total * np.asarray(shares, np.float64) / sum(shares)
    whole = np.floor(exact).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[largest] += 1
    return whole
