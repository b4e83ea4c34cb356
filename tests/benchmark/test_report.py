from dataclasses import replace
from pathlib import Path

import pytest

from head_detection.benchmark.arithmetic import arithmetic_of
from head_detection.benchmark.detectors import BASELINE, BenchmarkedDetector
from head_detection.benchmark.report import Results, draw_stages, report_lines
from head_detection.benchmark.stages import stage_table
from head_detection.benchmark.throughput import CommandMemory, CommandThroughput
from head_detection.benchmark.timing import Measurement

MIB = 1024**2


@pytest.fixture
def results() -> Results:
    names = ("fast", "large", BASELINE)
    table = stage_table([(4.0, {"dense": 2.0, "roi": 1.0})], num_pictures=1)
    return Results(
        command=["--runs", "2"],
        machine={
            "processor": "P", "products": "AVX2", "cores": 2, "threads": 1, "gpu": None,
            "torch": "2", "commit": "abc",
        },
        settings={"source": "three", "pictures": 3, "runs": 2, "size": [60, 80]},
        detectors={name: BenchmarkedDetector(name, f"what {name} is", print) for name in names},
        milliseconds={
            "fast": Measurement("ms", (10.0, 20.0)),
            "large": Measurement("ms", (50.0, 50.0)),
            BASELINE: Measurement("ms", (200.0, 300.0)),
        },
        stages={"fast": table},
        arithmetic={"fast": arithmetic_of({"dense": 8e9, "roi": 1e9}, table.stages, [8e9])},
        whole=CommandThroughput(
            "fast", 200, 201, 1,
            Measurement("pictures/s", (9.0,)), Measurement("pictures/s", (10.0,)),
            Measurement("", (0.9,)),
            CommandMemory(900 * MIB, True, 500 * MIB, 530 * MIB, None),
        ),
    )  # fmt: skip


def test_ratios_are_to_torchvision(results: Results) -> None:
    assert results.reference == BASELINE
    assert results.times_as_fast["fast"].samples == (20.0, 15.0)
    assert results.times_as_fast["large"].samples == (4.0, 6.0)
    assert BASELINE not in results.times_as_fast


def test_without_torchvision_they_are_to_the_first(results: Results) -> None:
    del results.milliseconds[BASELINE]
    assert results.reference == "fast"
    assert results.times_as_fast["large"].samples == (0.2, 0.4)
    del results.milliseconds["large"]
    assert results.reference is None
    assert results.times_as_fast == {}


def test_the_report_says_which_is_which(results: Results) -> None:
    text = "\n".join(report_lines(results))
    assert "fast is what fast is." in text
    assert "fast is 17.50 times as fast as torchvision (15.00 to 20.00)" in text
    assert "0.900 of the rate of fast on pictures in memory" in text
    assert "900 MiB at most while it ran; 500 MiB after a quarter of them, 530 MiB" in text
    assert "1 of 201 files cannot be read" in text
    dense = next(line for line in text.splitlines() if "50.0%" in line)
    assert dense.split()[:4] == ["fast", "0.0%", "0.0%", "50.0%"]


def test_parts_that_were_not_measured_are_not_reported(results: Results) -> None:
    bare = replace(results, milliseconds={}, stages={}, arithmetic={}, whole=None)
    text = "\n".join(report_lines(bare))
    assert "Milliseconds" not in text
    assert "Whole command" not in text
    assert bare.as_dict()["whole_command"] is None
    assert bare.as_dict()["detectors"][0]["stages"] is None


def test_the_bars_are_a_png(results: Results, tmp_path: Path) -> None:
    path = draw_stages(results.stages, tmp_path / "new")
    assert path.name == "stages.png"
    assert path.read_bytes().startswith(b"\x89PNG")
