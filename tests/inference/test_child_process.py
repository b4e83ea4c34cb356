"""A process of its own: what it answers, and what is told where it cannot."""

from pathlib import Path

import pytest

from head_detection.inference import child_process
from head_detection.inference.child_process import ChildError, ChildProcess

ANSWERS = """
import os, signal, sys, time
from head_detection.inference.child_process import answer_questions
def answer(question):
    print("a library's words")
    match question["do"]:
        case "crash": os.kill(os.getpid(), signal.SIGSEGV)
        case "end": sys.stderr.write("no room\\n"); sys.stderr.flush(); os._exit(3)
        case "sleep": time.sleep(60)
        case "raise": raise ValueError("not\\nthis")
    return {"done": question["do"]}
answer_questions(answer)
"""


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "answers.py").write_text(ANSWERS, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda **options: ChildProcess("answers", **options)


def test_a_child_answers_until_it_dies(start) -> None:
    with start() as child:
        assert child.ask({"do": "this"}) == {"done": "this"}
        with pytest.raises(ChildError, match=r"^not this$"):
            child.ask({"do": "raise"})
        assert child.ask({"do": "that"}) == {"done": "that"}
        with pytest.raises(ChildError, match=r"^its process died of SIGSEGV$"):
            child.ask({"do": "crash"})
        with pytest.raises(ChildError, match=r"^its process died of SIGSEGV$"):
            child.ask({"do": "this"})


def test_the_last_words_of_a_child_are_told(start) -> None:
    with (
        start() as child,
        pytest.raises(ChildError, match=r"^its process ended with code 3: no room"),
    ):
        child.ask({"do": "end"})


def test_half_an_answer_is_none(start, tmp_path: Path) -> None:
    """A child that is ended while it writes a long one."""
    half = 'import os; input(); os.write(1, b\'{"done": "th\'); os._exit(4)'
    (tmp_path / "halves.py").write_text(half, encoding="utf-8")
    with (
        ChildProcess("halves") as child,
        pytest.raises(ChildError, match=r"^its process ended with code 4$"),
    ):
        child.ask({"do": "this"})


def test_a_child_that_hangs_is_ended(start) -> None:
    with (
        start(seconds=1.0) as child,
        pytest.raises(ChildError, match=r"^it gave no answer in 1 s$"),
    ):
        child.ask({"do": "sleep"})


def test_a_child_knows_this_package_and_no_module_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(7)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(child_process, "CLOSE_SECONDS", 60.0)
    with ChildProcess("head_detection.cores") as child:
        pass
    assert child._process.returncode == 0
