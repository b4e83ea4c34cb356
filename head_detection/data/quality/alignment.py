"""Aligns pairs of thumbnails by shift, scale and tone, and measures the remaining misfit.

Many pairs go through NumPy at once. OpenCV's ``findTransformECC``, a pair at a time, finds the same
copies among 300 pictures of SCUT-HEAD in 1.5 times the time for pairs that are none, which most
are; and it needs one step more, for on 16 x 16 pixels it goes astray.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from head_detection.structures import BoolArray, FloatArray

_NUM_BLURRED_ROUNDS: Final = 2
"""Only one of them if the motion is nearly known."""
_NUM_ROUNDS: Final = 2
_MAX_MOTION: Final = 1 / 16
"""Of the side, at an edge: a copy cropped by more counts as another picture."""
_DARKEST: Final = 4
_BRIGHTEST: Final = 248
"""Grey level above which a brightened copy has lost details of the original."""
_MIN_SHARE: Final = 0.4
"""Least share of pixels between black and white; with fewer, all pixels count."""
_BLOCKS: Final = 8
_MIN_GAIN: Final = 0.2
_RIDGE: Final = 1e-2


class Alignment(NamedTuple):
    """The fit of pairs of pictures; misfits are root mean squares over the contrast of the first.

    Attributes:
        motion: ``(P, 4)`` shift and growth in x, shift and growth in y, as shares of the side.
        overall: ``(P,)`` misfit: 0 is a copy, 1 has nothing in common.
        local: ``(P,)`` misfit in the worst of 8 x 8 blocks.
    """

    motion: FloatArray
    overall: FloatArray
    local: FloatArray


def align(
    first: npt.NDArray[np.uint8],
    second: npt.NDArray[np.uint8],
    motion: FloatArray | None = None,
) -> Alignment:
    """Fit the second picture of each pair to the first, and measure what does not fit.

    Gauss-Newton on shift and scale in both directions, then one curve of tones (a quadratic).
    Pixels that are black or white in either do not count.

    Args:
        first: ``(P, S, S)`` grey, S a multiple of 8.
        second: the same shape.
        motion: start values, as found on smaller pictures; None starts from zero.
    """
    side = first.shape[1]
    targets, sources = _blur(first.astype(np.float32)), _blur(second.astype(np.float32))
    moved = np.zeros((len(first), 4), np.float32) if motion is None else motion * side
    blurred = _blur(_blur(targets)), _blur(_blur(sources))
    rounds = [blurred] * (_NUM_BLURRED_ROUNDS if motion is None else 1)
    for pair in [*rounds, *[(targets, sources)] * _NUM_ROUNDS]:
        moved = np.clip(moved + _step(*pair, moved), -_MAX_MOTION * side, _MAX_MOTION * side)
    warped, inside = _warp(sources, moved)
    # After blurring, a pixel beside a white one is not reliable either.
    ranges = [_range_around(first), [_warp(part, moved)[0] for part in _range_around(second)]]
    weights = _weights(ranges, inside)
    toned = np.stack([np.ones_like(warped), warped / 255, (warped / 255) ** 2], axis=-1)
    factors = _solve(toned, weights, targets)
    left = (targets - (toned @ factors[:, None, :, None])[..., 0]) * weights
    return Alignment(moved / side, *_misfits(left, targets, weights))


def _step(targets: FloatArray, sources: FloatArray, motion: FloatArray) -> FloatArray:
    """Return the next step ``(P, 4)``: shift and growth in x, shift and growth in y."""
    warped, inside = _warp(sources, motion)
    across = np.linspace(-1, 1, targets.shape[1], dtype=np.float32)
    slope_x, slope_y = np.gradient(warped, axis=2), np.gradient(warped, axis=1)
    moved_x, moved_y = slope_x * across, slope_y * across[:, None]
    terms = [warped, np.ones_like(warped), slope_x, moved_x, slope_y, moved_y]
    weights = _weights([[targets, targets], [warped, warped]], inside)
    factors = _solve(np.stack(terms, axis=-1), weights, targets)
    return np.asarray(factors[:, 2:] / np.maximum(factors[:, :1], _MIN_GAIN), np.float32)


def _warp(sources: FloatArray, motion: FloatArray) -> tuple[FloatArray, BoolArray]:
    side = sources.shape[1]
    across = np.linspace(-1, 1, side, dtype=np.float32)
    xs = np.arange(side, dtype=np.float32) + motion[:, 0:1] + motion[:, 1:2] * across
    ys = np.arange(side, dtype=np.float32) + motion[:, 2:3] + motion[:, 3:4] * across
    inside_x, inside_y = ((at >= 0) & (at <= side - 1) for at in (xs, ys))
    rows = _interpolate(sources, ys[:, :, None], axis=1)
    warped = _interpolate(rows, xs[:, None, :], axis=2)
    return warped, inside_y[:, :, None] & inside_x[:, None, :]


def _interpolate(pictures: FloatArray, positions: FloatArray, axis: int) -> FloatArray:
    before = np.clip(np.floor(positions).astype(np.intp), 0, pictures.shape[axis] - 2)
    share = np.clip(positions - before, 0, 1).astype(np.float32)
    low = np.take_along_axis(pictures, before, axis)
    high = np.take_along_axis(pictures, before + 1, axis)
    mixed: FloatArray = low + (high - low) * share
    return mixed


def _weights(ranges: Sequence[Sequence[FloatArray]], inside: BoolArray) -> FloatArray:
    """Return 1 where the neighbourhood of a pixel is neither black nor white in both pictures."""
    shown = inside.copy()
    for darkest, brightest in ranges:
        shown &= (darkest > _DARKEST) & (brightest < _BRIGHTEST)
    is_enough = shown.mean(axis=(1, 2)) >= _MIN_SHARE
    return np.where(is_enough[:, None, None], shown, inside).astype(np.float32)


def _solve(terms: FloatArray, weights: FloatArray, targets: FloatArray) -> FloatArray:
    """Return the weighted least squares ``(P, T)`` for ``(P, S, S, T)`` terms."""
    num_pairs, num_terms = len(terms), terms.shape[-1]
    rows = terms.reshape(num_pairs, -1, num_terms)
    weighted = (rows * weights.reshape(num_pairs, -1, 1)).transpose(0, 2, 1)
    normal = (weighted @ rows).astype(np.float64) + _RIDGE * np.eye(num_terms)
    right = (weighted @ targets.reshape(num_pairs, -1, 1)).astype(np.float64)
    return np.linalg.solve(normal, right)[..., 0].astype(np.float32)


def _misfits(
    left: FloatArray, targets: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    count = np.maximum(weights.sum(axis=(1, 2)), 1)
    mean = (targets * weights).sum(axis=(1, 2)) / count
    spread = ((targets - mean[:, None, None]) ** 2 * weights).sum(axis=(1, 2)) / count
    deviation = np.sqrt(np.maximum(spread, 1))  # one grey level: below is noise
    block_count = _sum_blocks(weights)
    full = (targets.shape[1] // _BLOCKS) ** 2
    # After the shift, a block at the edge may have too few pixels to judge.
    is_enough = block_count >= full / 4
    block_square = np.where(is_enough, _sum_blocks(left**2) / np.maximum(block_count, 1), 0)
    overall = np.sqrt((left**2).sum(axis=(1, 2)) / count) / deviation
    local = np.sqrt(block_square.max(axis=(1, 2))) / deviation
    return overall.astype(np.float32), local.astype(np.float32)


def _sum_blocks(values: FloatArray) -> FloatArray:
    num_pairs, side = len(values), values.shape[1] // _BLOCKS
    blocks: FloatArray = values.reshape(num_pairs, _BLOCKS, side, _BLOCKS, side).sum(axis=(2, 4))
    return blocks


def _range_around(pictures: npt.NDArray[np.uint8]) -> list[FloatArray]:
    """Return the smallest and largest value of each pixel and its eight neighbours."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = pictures.shape[1:]
    shifted = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return [part.reduce(shifted).astype(np.float32) for part in (np.minimum, np.maximum)]


def _blur(pictures: FloatArray) -> FloatArray:
    """Smooth with (1, 2, 1) / 4 in both directions; edges are repeated."""
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    smooth = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    return np.asarray(smooth, np.float32)
