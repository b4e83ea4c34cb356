"""Options: what a mistake in one is answered with, and that the answer does not wait for torch."""

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from head_detection.apps.parser import CommandParser, add_commands, path_text

PACKAGE = "made_up_commands"


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> CommandParser:
    """Offers ``find``, which has two options, ``old``, which has the old form, and ``broken``."""
    find, old = ModuleType(f"{PACKAGE}.find"), ModuleType(f"{PACKAGE}.old")

    def add_arguments(parser: CommandParser) -> None:
        parser.add_argument("--source", required=True)
        parser.add_argument("--score-threshold", type=float)
        parser.other_names = {"--conf": "--score-threshold"}

    find.add_arguments = add_arguments  # type: ignore[attr-defined]
    find.run = lambda arguments: len(arguments.source)  # type: ignore[attr-defined]
    old.main = len  # type: ignore[attr-defined]
    for name, module in ((PACKAGE, ModuleType(PACKAGE)), ("find", find), ("old", old)):
        monkeypatch.setitem(sys.modules, name if name == PACKAGE else f"{PACKAGE}.{name}", module)
    monkeypatch.setattr(sys, "argv", ["made-up"])
    parser = CommandParser(prog="made-up")
    purposes = {"find": "find things", "old": "be old", "broken": "cannot be imported"}
    add_commands(parser, purposes, PACKAGE)
    return parser


def the_error(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def test_a_command_runs_with_its_arguments(parser: CommandParser) -> None:
    arguments = parser.parse_args(["find", "--source", "four", "--score-threshold", "-1"])
    assert arguments.score_threshold == -1.0
    assert arguments.run(arguments) == 4


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--sorce", "x"], "error: there is no option --sorce, did you mean --source?"),
        (["--sorce=x"], "error: there is no option --sorce, did you mean --source?"),
        (["-source", "x"], "error: there is no option -source, did you mean --source?"),
        (["--source", "x", "--scorethreshold", "1"], "did you mean --score-threshold?"),
        (["--source", "x", "--conf", "1"], "no option --conf, did you mean --score-threshold?"),
        (["--source", "x", "--zzz"], "error: there is no option --zzz; see made-up find --help"),
        (["--so", "x"], "error: there is no option --so, did you mean --source?"),
        (["--sourc=x"], "error: there is no option --sourc, did you mean --source?"),
        ([], "error: the following arguments are required: --source; see made-up find --help"),
        (["--score-threshold", "x"], "error: argument --score-threshold: invalid float value: 'x'"),
        (["--source", "x", "more"], "error: unrecognized arguments: more; see made-up find --help"),
    ],
)
def test_a_mistake_is_one_line(
    parser: CommandParser, capsys: pytest.CaptureFixture[str], words: list[str], line: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["find", *words])
    assert stopped.value.code == 2
    assert line in the_error(capsys)


def test_a_wrong_choice_is_corrected_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Python 3.15's argparse would put ``maybe you meant 'json'?`` before our own correction."""
    parser = CommandParser(prog="made-up")
    parser.add_argument("--save", choices=["json", "csv"])
    with pytest.raises(SystemExit):
        parser.parse_args(["--save", "jsn"])
    error = the_error(capsys)
    assert ", did you mean json?" in error
    assert error.count("json") == 2  # among the choices, and as the correction


@pytest.mark.parametrize("value", ["-", "-1", "--no option with a space"])
def test_a_value_is_not_taken_for_an_option(parser: CommandParser, value: str) -> None:
    assert parser.parse_args(["find", "--source", value]).source == value


@pytest.fixture
def labels() -> CommandParser:
    """Takes paths as commands do: as ``Path``, and as text."""
    parser = CommandParser(prog="made-up")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", type=path_text)
    return parser


@pytest.mark.skipif(sys.platform == "win32", reason="needs devices and named pipes")
@pytest.mark.parametrize("option", ["--weights", "--data"])
@pytest.mark.parametrize(("name", "kind"), [("/dev/zero", "a device"), ("pipe", "a named pipe")])
def test_what_has_no_end_is_no_file(
    labels: CommandParser, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    option: str, name: str, kind: str,
) -> None:  # fmt: skip
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(SystemExit) as stopped:
        labels.parse_args([option, str(path)])
    assert stopped.value.code == 2
    assert f"{option}: expected a file or a folder; {path} is {kind}" in the_error(capsys)


@pytest.mark.parametrize("option", ["--weights", "--data"])
def test_an_empty_text_is_not_the_working_folder(
    labels: CommandParser, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """An unset variable of a shell leaves it."""
    with pytest.raises(SystemExit):
        labels.parse_args([option, ""])
    assert f"argument {option}: expected a path; got an empty text" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux")
def test_a_pipe_of_the_shell_is_as_good_as_a_file(labels: CommandParser) -> None:
    reader, writer = os.pipe()
    try:
        path = f"/dev/fd/{reader}"
        parsed = labels.parse_args(["--weights", path, "--data", path])
        assert (parsed.weights, parsed.data) == (Path(path), path)
    finally:
        os.close(reader)
        os.close(writer)


def test_help_imports_no_command(parser: CommandParser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(["--help"])
    assert stopped.value.code == 0
    assert "broken" in capsys.readouterr().out
    with pytest.raises(ModuleNotFoundError):
        parser.parse_args(["broken"])


def test_a_script_calls_itself_by_its_own_name(
    parser: CommandParser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(Path("scripts", "find.py"))])
    parser = CommandParser(prog="made-up")
    add_commands(parser, {"find": "find things"}, PACKAGE)
    with pytest.raises(SystemExit):
        parser.parse_args(["find", "--help"])
    assert capsys.readouterr().out.startswith("usage: find.py [-h] --source")
