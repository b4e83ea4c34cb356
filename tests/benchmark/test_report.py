from dataclasses import replace
from pathlib import Path

import pytest

from head_detection.benchmark.chart import draw_stages
from head_detection.benchmark.contestants import STOCK, Contestant
from head_detection.benchmark.figure import Figure
from head_detection.benchmark.results import Results
from head_detection.benchmark.stages import arithmetic_of, stage_table
from head_detection.benchmark.table import report_lines
from head_detection.benchmark.whole import CommandFigures, CommandMemory

MIB = 1024**2


@pytest.fixture
def results() -> Results:
    names = ("fast", "large", STOCK)
    table = stage_table([(4.0, {"dense": 2.0, "score": 1.0})], num_pictures=1)
    return Results(
        command=["--runs", "2"],
        machine={
            "processor": "P", "instructions": "AVX2", "cores": 2, "threads": 1, "gpu": None,
            "torch": "2", "commit": "abc",
        },
        settings={"source": "three", "pictures": 3, "runs": 2, "size": [60, 80]},
        contestants={name: Contestant(name, f"what {name} is", print) for name in names},
        milliseconds={
            "fast": Figure("ms", (10.0, 20.0)),
            "large": Figure("ms", (50.0, 50.0)),
            STOCK: Figure("ms", (200.0, 300.0)),
        },
        stages={"fast": table},
        arithmetic={"fast": arithmetic_of({"dense": 8e9, "score": 1e9}, table, [8e9])},
        whole=CommandFigures(
            "fast", 200, 201, 1,
            Figure("pictures/s", (9.0,)), Figure("pictures/s", (10.0,)), Figure("", (0.9,)),
            CommandMemory(900 * MIB, True, 500 * MIB, 530 * MIB, None),
        ),
    )  # fmt: skip


def test_ratios_are_to_torchvision(results: Results) -> None:
    assert results.reference == STOCK
    assert results.times_as_fast["fast"].samples == (20.0, 15.0)
    assert results.times_as_fast["large"].samples == (4.0, 6.0)
    assert STOCK not in results.times_as_fast


def test_without_torchvision_they_are_to_the_first(results: Results) -> None:
    del results.milliseconds[STOCK]
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
    assert bare.as_dict()["contestants"][0]["stages"] is None


def test_the_bars_are_a_png(results: Results, tmp_path: Path) -> None:
    path = draw_stages(results.stages, tmp_path / "new")
    assert path.name == "stages.png"
    assert path.read_bytes().startswith(b"\x89PNG")
