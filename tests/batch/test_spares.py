import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from head_detection.batch.items import Item
from head_detection.batch.process import WorkerOptions
from head_detection.batch.shards import answers_of
from head_detection.batch.spares import Spares, take
from head_detection.batch.worker import ShardWorker
from head_detection.errors import BatchError

Fill = Callable[[dict[str, bytes]], Path]
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux gives them away")


def ended(process: int, seconds: float = 10.0) -> bool:
    """Tell whether a process ends that its parent may not have waited for."""
    start = time.monotonic()
    while time.monotonic() < start + seconds:
        try:
            state = Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_spare_answers_whoever_takes_it_and_ends_with_its_worker(
    fake: WorkerOptions, fill: Fill
) -> None:
    folder = fill({"0.jpg": b"x", "1.jpg": b"segfault", "2.jpg": b"xx"})
    items = [Item(path.name, str(path)) for path in sorted(folder.iterdir())]
    with Spares(fake, 1) as spares:
        assert spares.name is None  # before it is known whether they are built
        spares.check()
        process = take(spares.name)
        assert process is not None
        assert take(spares.name) is None  # there is no other
        with closing(ShardWorker(fake, process)) as worker:
            assert worker.start()["model"]["engine"] == "fake"
            assert worker.pid == process.pid
            found = [a.get("count", a.get("error")) for a in answers_of(worker.run(items))]
            # The second was asked for again, by a process that the worker has started itself.
            assert found == [1, "broke the process that reads it: SIGSEGV", 2]
            assert worker.pid != process.pid
        assert ended(process.pid)


def test_a_spare_ends_with_whoever_holds_its_pipes(fake: WorkerOptions) -> None:
    with Spares(fake, 2) as spares:
        spares.check()
        process, other = take(spares.name), take(spares.name)
        assert process is not None
        assert other is not None
        with ShardWorker(fake, process) as worker:
            worker.start()
        assert process.end() is None  # how it ended, only its parent knows
        given = other._process
        assert given.stdin is not None
        given.stdin.close()  # as when an actor is killed
        assert ended(other.pid)
    assert spares.name is not None
    assert take(spares.name) is None


def test_what_nobody_takes_ends_with_the_spares(fake: WorkerOptions) -> None:
    with Spares(fake, 1) as spares:
        spares.check()
        (process,) = spares._processes
    assert process.returncode == -signal.SIGKILL
    with Spares(fake, 0) as none:
        none.check()
        assert none.name is None
        assert take(none.name) is None


def test_a_mistake_is_known_before_one_is_given_away(fake: WorkerOptions) -> None:
    with Spares(replace(fake, builder="fake_detector:refuse"), 2) as spares:
        with pytest.raises(BatchError, match=r"^no such device$"):
            spares.check()
        assert spares.name is None


def test_what_broke_is_left_to_whoever_takes_it(fake: WorkerOptions) -> None:
    with Spares(replace(fake, builder="fake_detector:break_down"), 1) as spares:
        spares.check()
        process = take(spares.name)
        assert process is not None
        with ShardWorker(fake, process) as worker:
            assert worker.start()["model"]["engine"] == "fake"  # by another of its own


def test_another_user_is_given_none(fake: WorkerOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    with Spares(fake, 1) as spares:
        spares.check()
        with monkeypatch.context() as other:
            other.setattr(os, "getuid", lambda: 1 + os.geteuid())
            assert take(spares.name) is None
        (process,) = spares._processes
        assert process.poll() is None


def test_a_run_that_is_killed_leaves_no_file(fake: WorkerOptions, tmp_path: Path) -> None:
    program = (
        "import os, signal\n"
        "from head_detection.batch.spares import Spares\n"
        "from head_detection.batch.process import WorkerOptions\n"
        "options = WorkerOptions(builder='fake_detector:build')\n"
        "with Spares(options, 1) as spares:\n"
        "    spares.check()\n"
        "    print(spares._processes[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert ended(int(run.stdout))
    assert not list(tmp_path.iterdir())
