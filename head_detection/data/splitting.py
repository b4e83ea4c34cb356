"""Distributes groups of pictures among parts by share, each group to one part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

_MAX_SWAPS: Final = 200


@dataclass(frozen=True)
class Load:
    """The numbers of pictures and heads in a group."""

    num_images: int
    num_heads: int


def partition(groups: Sequence[Load], shares: Sequence[float], seed: int) -> list[int]:
    """Distribute groups so that each part gets its share of the pictures and of the heads.

    Groups of several pictures go first, from large to small, then single pictures in an order that
    depends on the seed. Among the parts that have room for all its pictures, a group goes to the
    one that is least filled with both; if none has room, to the one with the most room. Then single
    pictures are swapped as long as that brings the heads nearer to their shares. The shares of
    pictures are exact to one picture unless groups are too large.

    Args:
        groups: groups with at least one picture each.
        shares: share of each part, above 0; their sum is 1.
        seed: seed of the order.

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
    _even_out(parts, heads - head_targets, np.where(num_images == 1, num_heads, -1))
    return [int(part) for part in parts]


def _even_out(parts: IntArray, excess: FloatArray, heads_of_singles: IntArray) -> None:
    """Swap single pictures, in place, between the parts with the most excess and missing heads.

    Args:
        parts: ``(N,)`` the part of each group.
        excess: ``(P,)`` heads of each part beyond its share.
        heads_of_singles: ``(N,)`` heads of single pictures, -1 for groups of several.
    """
    for _ in range(_MAX_SWAPS):
        over, under = excess.argmax(), excess.argmin()
        wanted = min(excess[over], -excess[under])
        givers = np.flatnonzero((parts == over) & (heads_of_singles >= 0))
        takers = np.flatnonzero((parts == under) & (heads_of_singles >= 0))
        if wanted < 1 or not len(givers) or not len(takers):
            return
        takers = takers[np.argsort(heads_of_singles[takers], kind="stable")]
        ideal = heads_of_singles[givers] - wanted
        after = np.searchsorted(heads_of_singles[takers], ideal).clip(0, len(takers) - 1)
        choices = np.stack([after, (after - 1).clip(0)])
        misses = np.abs(heads_of_singles[takers[choices]] - ideal)
        side, giver = np.unravel_index(misses.argmin(), misses.shape)
        if misses[side, giver] >= wanted:
            return
        chosen = givers[giver], takers[choices[side, giver]]
        moved = heads_of_singles[chosen[0]] - heads_of_singles[chosen[1]]
        parts[chosen[0]], parts[chosen[1]] = under, over
        excess[over] -= moved
        excess[under] += moved


def _whole_shares(total: int, shares: Sequence[float]) -> IntArray:
    """Round shares of a total to integers that add up to it, by the largest remainder."""
    exact = total * np.asarray(shares, np.float64) / sum(shares)
    whole = np.floor(exact).astype(np.int64)
    largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[largest] += 1
    return whole
