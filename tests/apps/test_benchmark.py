from pathlib import Path

import pytest

from head_detection.apps.benchmark import main


def test_one_contestant_is_timed(tiny_weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--weights", str(tiny_weights), "--size", "64x96", "--runs", "2"]
    assert main([*arguments, "--against", "nothing"]) == 0
    printed = capsys.readouterr().out
    assert "1 pictures of 64x96" in printed
    assert "this" in printed
    assert "ratio" not in printed


def test_the_ratio_to_the_stock_model_is_given(
    tiny_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--weights", str(tiny_weights), "--size", "64x64", "--runs", "1"]) == 0
    assert "fasterrcnn_resnet50_fpn" in capsys.readouterr().out


@pytest.mark.parametrize("size", ["640", "0x10", "axb", "-1x5"])
def test_a_size_that_is_none(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([f"--size={size}"])
    assert exit_info.value.code == 2
    assert "HEIGHTxWIDTH" in capsys.readouterr().err
