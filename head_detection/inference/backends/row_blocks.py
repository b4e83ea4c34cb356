"""Scoring of proposals in blocks of a few sizes.

Libraries build kernels for each number of rows and keep them, 2 MiB each in bfloat16, and nearly
every picture has a different number.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's users know
from torch import Tensor

LARGE: Final = 512
SMALL: Final = 64
"""Rows per block. The remainder is padded to a power of two: 15 sizes in all."""

Score: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]


def score_in_blocks(score: Score, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits ``(N, 2)`` and deltas ``(N, 8)`` of ``(N, C, P, P)`` pooled features.

    Args:
        score: scores a block, each row independently.
        pooled: at least one row.
    """
    scored = [score(_filled(block)) for block in pooled.split(block_rows(len(pooled)))]
    logits, deltas = (torch.cat(parts)[: len(pooled)] for parts in zip(*scored, strict=True))
    return logits, deltas


def block_rows(rows: int) -> list[int]:
    """Return the number of rows in each block; the last may be padded.

    Example:
        >>> block_rows(1243), block_rows(64)
        ([512, 512, 192, 27], [64])
    """
    large, rest = divmod(rows, LARGE)
    small, last = divmod(rest, SMALL)
    return [count for count in (*[LARGE] * large, SMALL * small, last) if count]


def _filled(block: Tensor) -> Tensor:
    if len(block) % SMALL == 0:
        return block
    rows = 1 << (len(block) - 1).bit_length()
    return F.pad(block, (0, 0, 0, 0, 0, 0, 0, rows - len(block)))
