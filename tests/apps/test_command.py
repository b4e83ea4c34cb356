"""Exit codes, and one line in place of a traceback."""

import gc
import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from head_detection.apps.command import ENDING, ending_in_order, in_one_piece, run_command
from head_detection.errors import ConfigError, OutputError

FULL_DISK = (
    "expected room on its disk; No space left on device: free some, or write to another disk"
)


def failing_with(error: BaseException) -> int:
    def fail(argv: Sequence[str] | None) -> int:
        raise error

    return run_command(fail)


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
        (ConfigError("zones of me:s3cret@cam/1"), "error: zones of *@cam/1\n"),
        (FileNotFoundError(2, "No such file", "me:s3cret@cam"), "error: *@cam: No such file\n"),
        (
            FileExistsError(17, "File exists", "README.md"),
            "error: README.md: expected a folder; a file is there: choose another name\n",
        ),
        (
            NotADirectoryError(20, "Not a directory", "a.txt/b"),
            "error: a.txt/b: expected folders above it; one of them is a file: "
            "choose another place\n",
        ),
        (
            IsADirectoryError(21, "Is a directory", "runs"),
            "error: runs: expected a file; a folder is there: choose another name\n",
        ),
        (OSError(28, "No space left on device", "a.mp4"), f"error: a.mp4: {FULL_DISK}\n"),
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


POSIX = pytest.mark.skipif(os.name != "posix", reason="streams and signals as POSIX has them")
ROOT = Path(__file__).parents[2]
TALK = """
    for number in range(100000):
        print(number)
    Path("done").touch()
    return 0
"""
RESULTS = """
    while True:
        sys.stdout.buffer.write(b"result\\n")
        sys.stdout.buffer.flush()
"""
ODD_NAME = """
    print("caf\\udce9 \\u4eba")
    print("caf\\udce9 \\u4eba", file=sys.stderr)
    for _ in tqdm(range(3), file=sys.stderr):
        pass
    tqdm.write("caf\\udce9", file=sys.stderr)
    print(sys.stdout.isatty(), sys.stdout.encoding, end="")
    Path("done").touch()
    return 7
"""
RESULT_FILE = """
    with Path("result").open("w") as file:
        os.write(1, b"a library's word on standard output")
        os.write(2, b"and on standard error")
        file.write(str(file.fileno()))
    return 0
"""
WAIT = """
    try:
        print("ready", flush=True)
        for _ in range(600):
            time.sleep(0.1)
    finally:
        print("unwinding", flush=True)
        time.sleep(0.5)
        Path("unwound").touch()
        print("unwound", file=sys.stderr)
"""
AT_THE_END = """
    import atexit
    import signal
    atexit.register(os.kill, os.getpid(), signal.SIGINT)  # as libraries are unloaded
"""


def command(body: str, folder: Path) -> list[str]:
    """Write a program whose command is the body; return how it is run."""
    program = folder / "program.py"
    program.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from tqdm import tqdm\n"
        "from head_detection.apps.command import ENDING, run_command\n"
        f"def command(argv):{body}\n"
        "sys.exit(run_command(command))\n"
    )
    return [sys.executable, str(program)]


def start(words: list[str], folder: Path, **variables: str) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, env=environment
    )


@POSIX
@pytest.mark.parametrize(("body", "code"), [(TALK, 0), (RESULTS, 141)], ids=["words", "results"])
def test_a_reader_that_went_away_is_no_fault(body: str, code: int, tmp_path: Path) -> None:
    with start(command(body, tmp_path), tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() in (b"0\n", b"result\n")
        process.stdout.close()
        assert process.wait(timeout=60) == code
        assert process.stderr.read() == b""
    assert (tmp_path / "done").exists() == (code == 0)  # what is said decides nothing


@POSIX
@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_streams_decide_nothing(closed: str, encoding: str, tmp_path: Path) -> None:
    line = f"exec {shlex.join(command(ODD_NAME, tmp_path))} {closed}"
    with start(["sh", "-c", line], tmp_path, PYTHONIOENCODING=encoding) as process:
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 7
    assert (tmp_path / "done").exists()
    if closed == "":
        letter = "\u4eba" if encoding == "utf-8" else r"\u4eba"
        assert said.decode(encoding) == rf"caf\udce9 {letter}" + f"\nFalse {encoding}"
    if "2>&-" not in closed:
        assert rb"caf\udce9" in errors
        assert b"Traceback" not in errors
        assert b"3/3" in errors


@POSIX
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_takes_words_and_not_the_result(tmp_path: Path) -> None:
    for body, code in ((ODD_NAME, 7), (RESULTS, 2)):
        line = f"exec {shlex.join(command(body, tmp_path))} > /dev/full"
        with start(["sh", "-c", line], tmp_path) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == code
        assert b"Traceback" not in errors
        assert b"Exception ignored" not in errors
    assert errors.decode() == f"error: {FULL_DISK}\n"


@POSIX
def test_no_file_of_results_takes_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    line = f"exec {shlex.join(command(RESULT_FILE, tmp_path))} <&- >&- 2>&-"
    with start(["sh", "-c", line], tmp_path) as process:
        assert process.wait(timeout=60) == 0
    assert int((tmp_path / "result").read_text()) > 2


def test_results_are_not_written_to_a_stream_that_is_closed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write(argv: Sequence[str] | None) -> int:
        sys.stdout.buffer.write(b"result")
        return 0

    monkeypatch.setattr("sys.stdout", None)
    assert run_command(write) == 2
    assert sys.stdout is None
    expected = "error: standard output: expected it open, for results; it is closed\n"
    assert capsys.readouterr().err == expected


def test_a_stream_without_a_descriptor_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    class Notebook(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(32, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Notebook())
    assert run_command(lambda argv: 3 if sys.stdout.write("word") else 0) == 3


@POSIX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_from_outside_unwinds_the_work(number: signal.Signals, tmp_path: Path) -> None:
    with start(command(WAIT, tmp_path), tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == b"unwinding\n"
        process.send_signal(signal.SIGTERM)  # does not cut short what the first unwinds
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors == b"unwound\n"


@POSIX
@pytest.mark.parametrize(
    ("rest", "code", "said"),
    [("return 7", 7, b""), ("raise KeyboardInterrupt", 130, b"interrupted\n")],
)
def test_an_interrupt_at_the_end_changes_nothing(
    tmp_path: Path, rest: str, code: int, said: bytes
) -> None:
    with start(command(f"{AT_THE_END}    {rest}", tmp_path), tmp_path) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, said)


@POSIX
def test_a_closed_terminal_does_not_end_what_nohup_started(tmp_path: Path) -> None:
    with start(["nohup", *command(WAIT, tmp_path)], tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=1.5)
        assert not (tmp_path / "unwound").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143


@POSIX
@pytest.mark.parametrize(("number", "kind"), [(2, KeyboardInterrupt), (15, SystemExit)])
def test_a_signal_waits_for_what_is_done_in_one_piece(
    number: int, kind: type[BaseException]
) -> None:
    done = []

    def work(*, twice: bool) -> None:
        with in_one_piece():
            signal.raise_signal(number)
            done.append("first")
            if twice:
                signal.raise_signal(number)
                done.append("never")
        done.append("never")

    with ending_in_order():
        before = signal.getsignal(number)
        with pytest.raises(kind):
            work(twice=False)
        assert signal.getsignal(number) is before
    with ending_in_order(), pytest.raises(kind):
        work(twice=True)
    assert done == ["first", "first"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_a_signal_ends_is_left_at_once(number: signal.Signals) -> None:
    """Without the collector of cycles: cameras are left where a generator ends."""
    left = []

    def frames() -> Iterator[int]:
        try:
            yield from range(9)
        finally:
            left.append("camera")

    def work(argv: object) -> int:
        items = frames()  # as a traceback holds it
        for _ in items:
            signal.raise_signal(number)
        return 0

    gc.disable()
    try:
        with suppress(SystemExit):
            run_command(work)
        assert left == ["camera"]
    finally:
        gc.enable()


HALF_BUILT = """
    import signal
    class Bar:  # like tqdm's, whose finalizer needs what its constructor makes last
        def __init__(self):
            {ending}
            self.position = 0
        def __del__(self):
            self.position
    Bar()
"""


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("signal.raise_signal(signal.SIGINT)", 130, b"interrupted\n"),
        ("signal.raise_signal(signal.SIGTERM)", 143, b""),
    ],
)
def test_nothing_is_said_of_what_a_signal_left_half_built(
    tmp_path: Path, ending: str, code: int, said: bytes
) -> None:
    with start(command(HALF_BUILT.format(ending=ending), tmp_path), tmp_path) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (code, said)


def test_other_finalizers_that_fail_are_told(tmp_path: Path) -> None:
    body = HALF_BUILT.format(ending="raise SystemExit(3)")
    with start(command(body, tmp_path), tmp_path) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert errors.endswith(b"'Bar' object has no attribute 'position'\n")


def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, *ENDING)
    before = [signal.getsignal(number) for number in numbers]
    assert run_command(lambda argv: 0) == 0
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_loses_ends_the_command_all_the_same(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(error: Exception | None) -> Callable[[object], int]:
        def command(argv: object) -> int:
            with suppress(KeyboardInterrupt, SystemExit):
                signal.raise_signal(number)
            if error is not None:
                raise error
            return 0

        return command

    expected = (130, "interrupted\n") if number == signal.SIGINT else (143, "")
    try:  # as NumPy does while it is loaded
        code = run_command(lose(ImportError("PyCapsule_Import could not import datetime")))
    except SystemExit as ended:
        code = int(str(ended.code))
    assert (code, capsys.readouterr().err) == expected
    assert run_command(lose(None)) == 0  # whoever caught it knew what to do
    assert run_command(lose(OutputError("disk full"))) == 2
    assert capsys.readouterr().err == "error: disk full\n"


@pytest.mark.parametrize("library", ["libxcb.so.1", "libGL.so.1", "libgthread-2.0.so.0"])
def test_a_library_that_opencv_lacks_is_one_line(
    capsys: pytest.CaptureFixture[str], library: str
) -> None:
    """On a machine without a display, ``import cv2`` names them one after the other."""
    text = f"{library}: cannot open shared object file: No such file or directory"

    def fail(argv: object) -> int:
        raise ImportError(text, name="cv2", path="cv2/cv2.abi3.so")

    assert run_command(fail) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {text}: opencv-python is installed")
    assert "apt-get install libgl1 libglib2.0-0, or pip install" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'cv2'", name="cv2"),
        ImportError("libcudart.so.13: cannot open shared object file", name="torch._C"),
        ImportError("cannot import name 'x' from 'y'", name="y"),
    ],
)
def test_another_failed_import_keeps_its_traceback(error: ImportError) -> None:
    def fail(argv: object) -> int:
        raise error

    with pytest.raises(ImportError, match=re.escape(str(error))):
        run_command(fail)
