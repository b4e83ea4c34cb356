"""Exit codes, and one line in place of a traceback."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from head_detection.apps.command import run_command
from head_detection.errors import ConfigError


def failing_with(error: BaseException) -> int:
    def command(argv: Sequence[str] | None) -> int:
        raise error

    return run_command(command)


@pytest.mark.parametrize("code", [0, 1, 3])
def test_the_exit_code_is_the_commands(code: int) -> None:
    assert run_command(lambda argv: code) == code


def test_arguments_are_handed_on() -> None:
    seen: list[Sequence[str] | None] = []

    def command(argv: Sequence[str] | None) -> int:
        seen.append(argv)
        return 0

    run_command(command, ["--cfg", "x.yaml"])
    run_command(command)
    assert seen == [["--cfg", "x.yaml"], None]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("x.yaml: no such file"), "error: x.yaml: no such file\n"),
        (ConfigError("two\nlines\tand a tab"), "error: two lines and a tab\n"),
        (ConfigError(), "error: ConfigError\n"),
        (PermissionError(13, "Permission denied", "runs"), "error: runs: Permission denied\n"),
        (OSError(28, "No space left on device"), "error: No space left on device\n"),
    ],
)
def test_a_users_mistake_is_one_line(
    capsys: pytest.CaptureFixture[str], error: Exception, line: str
) -> None:
    assert failing_with(error) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line)


@pytest.mark.parametrize(
    "error", [ValueError("shapes"), KeyError("x"), RuntimeError("x"), OSError("libcudart.so")]
)
def test_a_fault_of_the_program_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        failing_with(error)


def test_an_interrupt_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing_with(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is told otherwise on this system")
def test_a_reader_that_went_away_is_no_fault(tmp_path: Path) -> None:
    script = tmp_path / "talk.py"
    script.write_text(
        "import sys\n"
        "from head_detection.apps.command import run_command\n"
        "def talk(argv):\n"
        "    for number in range(100000):\n"
        "        print(number)\n"
        "    return 0\n"
        "sys.exit(run_command(talk))\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
