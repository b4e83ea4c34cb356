import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from head_detection.batch.items import Item
from head_detection.batch.shards import answers_of
from head_detection.batch.spares import Spares, take
from head_detection.batch.worker import ShardWorker, WorkerOptions
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
        assert spares.path is not None
        assert spares.path.parent.stat().st_mode & 0o077 == 0
        process = take(spares.path)
        assert process is not None
        assert take(spares.path) is None  # there is no other
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
        process = take(spares.path)
        assert process is not None
        with ShardWorker(fake, process) as worker:
            worker.start()
        assert process.wait() is None  # how, only its parent knows
        other = take(spares.path)
        assert other is not None
        assert other.stdin is not None
        assert other.stdout is not None
        other.stdin.close()  # as when an actor is killed
        other.stdout.close()
        assert ended(other.pid)
    assert not spares.path or not spares.path.exists()
    assert take(spares.path) is None


def test_what_nobody_takes_ends_with_the_spares(fake: WorkerOptions) -> None:
    with Spares(fake, 1) as spares:
        (process,) = spares._processes
    assert process.returncode == -signal.SIGKILL
    with Spares(fake, 0) as none:
        assert none.path is None
        assert take(none.path) is None


def test_a_mistake_is_told_to_whoever_takes_it(fake: WorkerOptions) -> None:
    options = replace(fake, builder="fake_detector:refuse")
    with (
        Spares(options, 1) as spares,
        ShardWorker(options, take(spares.path)) as worker,
        pytest.raises(BatchError, match="no such device"),
    ):
        worker.start()


def test_without_a_short_name_for_its_socket_there_are_none(
    fake: WorkerOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with Spares(fake, 1) as spares:
        assert spares.path is None
    assert not list(folder.iterdir())
