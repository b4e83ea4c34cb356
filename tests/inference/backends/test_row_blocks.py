"""Blocks of few sizes: each row is scored as if alone."""

import pytest
import torch
from torch import Tensor

from head_detection.inference.backends.row_blocks import block_rows, score_in_blocks


def sums(pooled: Tensor) -> tuple[Tensor, Tensor]:
    flat = pooled.flatten(1)
    return flat[:, :2] * 2, flat.sum(dim=1, keepdim=True).expand(-1, 8) + 1


@pytest.mark.parametrize("rows", [1, 3, 63, 64, 65, 511, 512, 600, 1243])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_rows_keep_their_scores_and_their_order(rows: int, layout: torch.memory_format) -> None:
    pooled = torch.arange(rows * 12.0).reshape(rows, 3, 2, 2).to(memory_format=layout)
    for ours, theirs in zip(score_in_blocks(sums, pooled), sums(pooled), strict=True):
        assert torch.equal(ours, theirs)


def test_there_are_few_sizes() -> None:
    met: set[int] = set()

    def score(pooled: Tensor) -> tuple[Tensor, Tensor]:
        met.add(len(pooled))
        assert pooled.is_contiguous(memory_format=torch.channels_last)
        return sums(pooled)

    for rows in range(1, 1200):
        pooled = torch.zeros(rows, 3, 2, 2).to(memory_format=torch.channels_last)
        score_in_blocks(score, pooled)
    # 1 to 32 by doubling, 64 to 512 by 64.
    assert met == {1, 2, 4, 8, 16, 32, *range(64, 513, 64)}


def test_blocks_are_all_rows_and_the_last_alone_is_odd() -> None:
    for rows in (1, 100, 512, 513, 2000):
        blocks = block_rows(rows)
        assert sum(blocks) == rows
        assert all(count % 64 == 0 for count in blocks[:-1])
    assert block_rows(2000) == [512, 512, 512, 448, 16]
