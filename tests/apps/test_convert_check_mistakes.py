"""What a user of ``convert check`` may write wrongly."""

import pytest

from head_detection.apps.command import run_command
from head_detection.apps.convert import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "nowhere.json"], "nowhere.json: no such file"),
        (["--input", "x", "--huge", "2"], "--huge: expected above 0 and at most 1; got 2.0"),
        (["--input", "x", "--tiny", "nan"], "--tiny: expected 0 or more; got nan"),
        (["--input", "x", "--set", "a=1"], "--set: expected --cfg too"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, ["check", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--samples", "0", "1 or more; got 0"), ("--seed", "-1", "0 or more; got -1")],
)
def test_values_that_options_do_not_take(
    option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["check", "--input", "x", option, value])
    assert exit_code.value.code == 2
    assert f"argument {option}: expected {message}" in capsys.readouterr().err
