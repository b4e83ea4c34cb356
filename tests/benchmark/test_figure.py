import pytest

from head_detection.benchmark.figure import Figure, paired_ratio


def test_a_figure_keeps_its_samples() -> None:
    assert Figure("ms", (4.0, 1.0, 7.0, 2.0)).as_dict() == {
        "unit": "ms",
        "median": 3.0,
        "min": 1.0,
        "max": 7.0,
        "samples": [4.0, 1.0, 7.0, 2.0],
    }


def test_ratios_are_taken_run_by_run() -> None:
    # The machine took twice as long in the second run: the ratio does not see it.
    ratio = paired_ratio("times as fast", [30.0, 60.0], [10.0, 20.0])
    assert (ratio.minimum, ratio.maximum) == (3.0, 3.0)
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio("times as fast", [30.0, 60.0], [10.0])
