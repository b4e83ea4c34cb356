"""A command's process: started again, once, and only where nothing else holds it."""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from head_detection.apps import start
from head_detection.apps.start import RESTARTED, restart_with_fewer_holes

ROOT = Path(__file__).parents[2]
LISTS_OFF = "glibc.malloc.tcache_count=0"
PROGRAM = """\
import json, os, signal, sys
with open("starts", "a") as file:
    print(os.getpid(), file=file)
from head_detection.apps.start import restart_with_fewer_holes
restart_with_fewer_holes()
facts = {
    "environment": dict(os.environ),
    "arguments": sys.argv,
    "warnings": sys.warnoptions,
    "input": sys.stdin.read(),
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "hangup": signal.getsignal(signal.SIGHUP) is signal.SIG_IGN,
}
print(json.dumps(facts))
"""
needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
Started = tuple[list[int], int, dict[str, Any]]
Start = Callable[..., Started]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run a program in a folder whose name has a space: its starts, its number, what it found."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "my program.py").write_text(PROGRAM, encoding="utf-8")
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(*words: str, **options: Any) -> Started:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        output, errors = process.communicate("as it was", timeout=60)
        assert process.returncode == 0, errors
        starts = [int(line) for line in (folder / "starts").read_text().split()]
        return starts, process.pid, json.loads(output)

    return run


@needs_glibc
@pytest.mark.parametrize(
    "flags", [(), ("-u",), ("-uX", "dev"), ("-Xdev", "-W", "ignore::UserWarning", "-sB")]
)
def test_it_starts_again_once_as_it_was(started: Start, flags: tuple[str, ...]) -> None:
    starts, number, facts = started(*flags, "my program.py", "two words", "", "--", "-m", "x")
    assert starts == [number, number]
    assert facts["environment"]["GLIBC_TUNABLES"] == LISTS_OFF
    assert RESTARTED not in facts["environment"]
    assert facts["arguments"] == ["my program.py", "two words", "", "--", "-m", "x"]
    assert ("ignore::UserWarning" in facts["warnings"]) == ("-W" in flags)
    assert facts["input"] == "as it was"


@needs_glibc
def test_signals_that_are_ignored_or_held_back_stay_so(started: Start) -> None:
    def as_nohup_does() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])

    starts, _, facts = started("my program.py", preexec_fn=as_nohup_does)
    assert len(starts) == 2
    assert facts["hangup"] is True
    assert facts["blocked"] == [signal.SIGUSR1]


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "cProfile", "-o", "profile", "my program.py"),
        ("-m", "runpy_of_another", "my program.py"),
        ("-c", "import runpy; runpy.run_path('my program.py')"),
        ("runs another.py", "my program.py"),
    ],
)
def test_it_does_not_where_something_else_runs_it(
    started: Start, tmp_path: Path, words: tuple[str, ...]
) -> None:
    another = (
        "import runpy, sys\ndel sys.argv[0]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    for name in ("runs another.py", "runpy_of_another.py"):
        (tmp_path / "a folder" / name).write_text(another, encoding="utf-8")
    starts, number, facts = started(*words)
    assert starts == [number]
    assert "GLIBC_TUNABLES" not in facts["environment"]


@pytest.mark.parametrize("given", ["glibc.malloc.tcache_count=7", f"a.b=1:{LISTS_OFF}"])
def test_what_the_user_said_of_the_lists_stands(
    started: Start, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", given)
    starts, number, facts = started("my program.py")
    assert starts == [number]
    assert facts["environment"]["GLIBC_TUNABLES"] == given


@needs_glibc
def test_what_the_user_said_of_other_things_stays(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=4")
    starts, _, facts = started("my program.py")
    assert len(starts) == 2
    assert facts["environment"]["GLIBC_TUNABLES"] == f"glibc.malloc.arena_max=4:{LISTS_OFF}"


@needs_glibc
def test_it_ends_where_the_setting_never_arrives(
    started: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful = tmp_path / "forgetful"
    forgetful.mkdir()
    forget = "import os\nos.environ.pop('GLIBC_TUNABLES', None)\n"
    (forgetful / "sitecustomize.py").write_text(forget, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(forgetful), str(ROOT))))
    starts, number, facts = started("my program.py")
    assert starts == [number, number]
    assert "GLIBC_TUNABLES" not in facts["environment"]


def refuse(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("has_glibc", [True, False])
def test_it_goes_on_where_it_may_not_or_need_not(
    monkeypatch: pytest.MonkeyPatch, has_glibc: bool
) -> None:
    tried: list[object] = []
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(start, "_has_glibc", lambda: has_glibc)
    monkeypatch.setattr(start, "_is_plain", lambda *_: True)
    monkeypatch.setattr(os, "execve", lambda *words: (tried.append(words), refuse()))
    restart_with_fewer_holes()
    assert bool(tried) is has_glibc


@pytest.mark.parametrize(
    "answer", [AttributeError, ValueError, OSError, lambda: None, lambda: "musl"]
)
def test_other_c_libraries_are_no_glibc(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], object]
) -> None:
    def confstr(_name: str) -> object:
        said = answer()
        if isinstance(said, Exception):
            raise said
        return said

    monkeypatch.setattr(os, "confstr", confstr, raising=False)
    assert start._has_glibc() is False


def test_a_traced_program_is_left_to_its_debugger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    assert start._is_plain(["python", "a.py"], ["a.py"])
    monkeypatch.setattr(sys, "gettrace", lambda: refuse)
    assert not start._is_plain(["python", "a.py"], ["a.py"])


@pytest.mark.parametrize(
    ("words", "arguments", "expected"),
    [
        (["-m", "head_detection", "test"], ["/x/__main__.py", "test"], True),
        (["-Om", "head_detection"], ["/x/__main__.py"], True),
        (["-mhead_detection", "-m"], ["/x/__main__.py", "-m"], True),
        (["--check-hash-based-pycs", "never", "a.py"], ["a.py"], True),
        (["-Wmodule", "-X", "m", "a.py"], ["a.py"], True),
        (["/venv/bin/coverage", "run", "a.py"], ["a.py"], False),
        (["-m", "debugpy", "--listen", "1", "a.py"], ["a.py"], False),
        (["-m", "head_detection_other"], ["/x/__main__.py"], False),
        (["-um", "pdb", "a.py"], ["a.py"], False),
        (["-"], ["-"], False),
        ([], [""], False),
        (["--words"], ["frozen", "--words"], False),
        (["a.py", "given"], ["a.py", "changed"], False),
    ],
)
def test_what_is_before_the_arguments_tells_who_runs_it(
    words: list[str], arguments: list[str], expected: bool
) -> None:
    assert start._is_plain(["python", *words], arguments) is expected


@needs_glibc
@pytest.mark.parametrize(
    "words", [("-m", "head_detection", "--version"), ("scripts/test.py", "--help")]
)
def test_commands_have_it_by_themselves(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    starts = []
    for given in ("", LISTS_OFF):
        monkeypatch.setenv("GLIBC_TUNABLES", given)
        done = subprocess.run(
            [sys.executable, "-X", "importtime", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        starts.append(sum(line.endswith("| site") for line in done.stderr.splitlines()))
    assert starts == [2, 1]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="not on Windows")
def test_ctrl_c_waits_until_a_line_can_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def restart() -> None:
        held.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        signal.raise_signal(signal.SIGINT)  # as it would come in the midst of Python's own start

    monkeypatch.setattr(start, "restart_with_fewer_holes", restart)
    monkeypatch.setattr(sys, "argv", ["head-detection", "--version"])
    assert start.start() == 130
    assert held == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("script", ["test", "batch", "serve"])
def test_ctrl_c_before_a_script_has_begun_is_one_line(script: str) -> None:
    def interrupted() -> None:  # before Python has begun; it tells as soon as somebody heeds it
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        os.kill(os.getpid(), signal.SIGINT)

    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / f"{script}.py"), "--help"],
        preexec_fn=interrupted,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
