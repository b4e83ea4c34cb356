from pathlib import Path

import pytest
import torch

from head_detection.benchmark import arithmetic
from head_detection.benchmark.arithmetic import MatrixProduct, arithmetic_of, count_operations
from head_detection.benchmark.timing import Measurement
from head_detection.models.faster_rcnn import load_detector


def test_arithmetic_over_the_peak_of_the_same_run() -> None:
    # 8e9 operations in 2 s are 4e9 a second, half of a peak of 8e9; with roi 9e9 in 3 s: 3/8.
    stages = {"dense": Measurement("ms", (2e3,)), "roi": Measurement("ms", (1e3,))}
    found = arithmetic_of({"dense": 8e9, "roi": 1e9}, stages, [8e9])
    assert found.peak.samples == (8.0,)
    assert found.dense.samples == (0.5,)
    assert found.network.samples == (3 / 8,)


def test_the_peak_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(arithmetic.SIDES, "cpu", 10)
    readings = iter([0.0, 5.0, 10.0, 12.0, 20.0, 24.0])  # products of 5, 2 and 4 s
    product = MatrixProduct("fp32", torch.device("cpu"), lambda: next(readings))
    assert product.operations_per_second() == 2 * 10**3 / 2.0


def test_operations_are_counted_by_stage(tiny_weights: Path) -> None:
    model, _ = load_detector(tiny_weights)
    image = torch.zeros((3, 64, 64), dtype=torch.uint8)
    counts = count_operations(model, [image, image])
    assert set(counts) == {"dense", "roi"}
    assert counts == count_operations(model, [image])
    # Each proposal goes through 8 x 7 x 7 inputs to 16, 16 to 16, and 16 to 2 logits + 8 deltas.
    one_proposal = 2 * (8 * 7 * 7 * 16 + 16 * 16 + 16 * 10)
    assert counts["roi"] % one_proposal == 0
