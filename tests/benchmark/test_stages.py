from pathlib import Path

import pytest
import torch

from head_detection.benchmark import peak
from head_detection.benchmark.contestants import Entry, build_contestant
from head_detection.benchmark.peak import MatrixProduct, count_operations
from head_detection.benchmark.pictures import make_pictures
from head_detection.benchmark.stages import (
    ALL_STAGES,
    arithmetic_of,
    measure_stages,
    stage_table,
    time_stages,
)
from head_detection.images.finding import PictureFile
from head_detection.models.faster_rcnn import load_detector
from head_detection.pipeline.sources import find_pictures


@pytest.fixture
def files(tmp_path: Path) -> list[PictureFile]:
    make_pictures(tmp_path, (48, 64), 2)
    return list(find_pictures([str(tmp_path)]).pictures)


def test_the_table_is_a_picture_in_milliseconds() -> None:
    # Two pictures in 10 s, of which 6 s dense and 3 s score; then in 6 s, of which 4 s and 1 s.
    turns = [(10.0, {"dense": 6.0, "score": 3.0}), (6.0, {"dense": 4.0, "score": 1.0})]
    table = stage_table(turns, num_pictures=2)
    assert table.whole.samples == (5000.0, 3000.0)
    assert table.stages["dense"].samples == (3000.0, 2000.0)
    assert table.stages["rest"].samples == (500.0, 500.0)
    assert table.stages["suppress"].samples == (0.0, 0.0)
    assert table.shares["dense"] == 10 / 16
    assert table.shares["score"] == 4 / 16
    assert sum(table.shares.values()) == 1.0


def test_arithmetic_over_the_peak_of_the_same_run() -> None:
    # 8e9 operations in 2 s are 4e9 a second, half of a peak of 8e9; with score 9e9 in 3 s: 3/8.
    table = stage_table([(4.0, {"dense": 2.0, "score": 1.0})], num_pictures=1)
    found = arithmetic_of({"dense": 8e9, "score": 1e9}, table, [8e9])
    assert found.peak.samples == (8.0,)
    assert found.dense.samples == (0.5,)
    assert found.network.samples == (3 / 8,)


def test_the_peak_is_that_of_the_fastest_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peak.SIDES, "cpu", 10)
    readings = iter([0.0, 5.0, 10.0, 12.0, 20.0, 24.0])  # products of 5, 2 and 4 s
    product = MatrixProduct("fp32", torch.device("cpu"), lambda: next(readings))
    assert product.operations_per_second() == 2 * 10**3 / 2.0


def test_operations_are_counted_by_stage(tiny_weights: Path) -> None:
    model, _ = load_detector(tiny_weights)
    image = torch.zeros((3, 64, 64), dtype=torch.uint8)
    counts = count_operations(model, [image, image])
    assert set(counts) == {"dense", "score"}
    assert counts == count_operations(model, [image])
    # Each proposal goes through 8 x 7 x 7 inputs to 16, 16 to 16, and 16 to 2 logits + 8 deltas.
    one_proposal = 2 * (8 * 7 * 7 * 16 + 16 * 16 + 16 * 10)
    assert counts["score"] % one_proposal == 0


def test_stages_sum_to_about_the_whole(tiny_weights: Path, files: list[PictureFile]) -> None:
    contestant = build_contestant(Entry("tiny", tiny_weights, "torch", "cpu", "fp32"))
    assert contestant.detector is not None
    time_stages(contestant.detector, files)
    whole, stages = time_stages(contestant.detector, files)
    assert set(stages) == set(ALL_STAGES) - {"rest"}
    assert 0.5 * whole < sum(stages.values()) <= whole


def test_contestants_are_measured_in_turn(
    tiny_weights: Path, files: list[PictureFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(peak.SIDES, "cpu", 64)
    contestant = build_contestant(Entry("tiny", tiny_weights, "torch", "cpu", "fp32"))
    tables, arithmetic = measure_stages({"tiny": contestant}, files, 2)
    assert list(tables) == list(arithmetic) == ["tiny"]
    assert len(tables["tiny"].whole.samples) == 2
    assert len(arithmetic["tiny"].dense.samples) == 2
    assert arithmetic["tiny"].dense.minimum > 0
