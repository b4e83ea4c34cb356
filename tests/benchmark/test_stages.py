from pathlib import Path

import pytest

from head_detection.benchmark import arithmetic
from head_detection.benchmark.detectors import DetectorSpec, prepare_detector
from head_detection.benchmark.pictures import crowd, make_pictures
from head_detection.benchmark.stages import ALL_STAGES, measure_stages, stage_table, time_stages
from head_detection.images.finding import PictureFile
from head_detection.pipeline.opening import open_source


@pytest.fixture
def files(tmp_path: Path) -> list[PictureFile]:
    make_pictures(tmp_path, crowd((48, 64)), 2)
    return [item for item in open_source(str(tmp_path)) if isinstance(item, PictureFile)]


def test_the_table_is_a_picture_in_milliseconds() -> None:
    # Two pictures in 10 s, of which 6 s dense and 3 s roi; then in 6 s, of which 4 s and 1 s.
    turns = [(10.0, {"dense": 6.0, "roi": 3.0}), (6.0, {"dense": 4.0, "roi": 1.0})]
    table = stage_table(turns, num_pictures=2)
    assert table.whole.samples == (5000.0, 3000.0)
    assert table.stages["dense"].samples == (3000.0, 2000.0)
    assert table.stages["rest"].samples == (500.0, 500.0)
    assert table.stages["nms"].samples == (0.0, 0.0)
    assert table.shares["dense"] == 10 / 16
    assert table.shares["roi"] == 4 / 16
    assert sum(table.shares.values()) == 1.0


def test_stages_sum_to_about_the_whole(tiny_weights: Path, files: list[PictureFile]) -> None:
    detector = prepare_detector(DetectorSpec("tiny", tiny_weights, "torch", "cpu", "fp32"))
    assert detector.head_detector is not None
    time_stages(detector.head_detector, files)
    whole, stages = time_stages(detector.head_detector, files)
    assert set(stages) == set(ALL_STAGES) - {"rest"}
    assert 0.5 * whole < sum(stages.values()) <= whole


def test_detectors_are_measured_in_turn(
    tiny_weights: Path, files: list[PictureFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(arithmetic.SIDES, "cpu", 64)
    detector = prepare_detector(DetectorSpec("tiny", tiny_weights, "torch", "cpu", "fp32"))
    tables, shares = measure_stages({"tiny": detector}, files, 2)
    assert list(tables) == list(shares) == ["tiny"]
    assert len(tables["tiny"].whole.samples) == 2
    assert len(shares["tiny"].dense.samples) == 2
    assert shares["tiny"].dense.minimum > 0
