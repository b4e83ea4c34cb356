import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from head_detection.batch.items import Item
from head_detection.batch.process import WorkerOptions, start_process
from head_detection.batch.shards import answers_of
from head_detection.batch.worker import ShardWorker, WorkerClosed
from head_detection.errors import BatchError

HERE = Path(__file__).resolve().parent
Fill = Callable[[dict[str, bytes]], Path]


@pytest.fixture(scope="module")
def worker() -> Iterator[ShardWorker]:
    """One for the tests that leave it as it was: to start a process is most of their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(HERE))
        with ShardWorker(WorkerOptions(builder="fake_detector:build", threads=1)) as worker:
            yield worker


def items_in(folder: Path) -> list[Item]:
    return [Item(path.name, str(path)) for path in sorted(folder.glob("*.jpg"))]


def told(answers: Any) -> dict[str, Any]:
    return {a["file"]: a.get("error", a.get("count")) for a in answers}


def test_pictures_that_hang_break_or_cannot_be_read_are_answers_with_an_error(
    fake: WorkerOptions, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("head_detection.batch.worker.MAX_BREAKS_ALONE", 1)  # each is a start
    files = {f"{number}.jpg": b"x" * number for number in range(9)}
    files |= {"1.jpg": b"hang", "3.jpg": b"segfault", "5.jpg": b"bad", "7.jpg": b"fault"}
    seen: list[Any] = []
    with ShardWorker(replace(fake, picture_seconds=1.5)) as worker:
        folder = fill(files)
        # The first takes long to import what it needs, which is none of the picture's time.
        origin = worker.start()
        assert (origin["model"]["engine"], origin["devices"]) == ("fake", 0)
        table = worker.run([*items_in(folder), Item("gone.jpg", str(folder / "gone"))], seen.append)
    assert told(answers_of(table)) == {
        "0.jpg": 0,
        "1.jpg": "gave no answer within 1.5 s",
        "2.jpg": 2,
        "3.jpg": "broke the process that reads it: SIGSEGV",
        "4.jpg": 4,
        "5.jpg": "bad",
        "6.jpg": 6,
        "7.jpg": "broke the process that reads it: RuntimeError: two lines",
        "8.jpg": 8,
        "gone.jpg": "missing",
    }
    # Each was told once, although some were asked for several times.
    assert sorted(a["file"] for a in seen) == sorted(told(answers_of(table)))


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_a_process_leaves_fewer_holes_in_its_memory(
    fake: WorkerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    expected, told, end = (
        b"GLIBC_TUNABLES=glibc.malloc.tcache_count=0",
        [b""],
        time.monotonic() + 10,
    )
    with start_process(fake) as process:
        while expected not in told and time.monotonic() < end:  # until it is another program
            told = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        process.kill()
    assert expected in told


def test_a_process_that_somebody_kills_costs_no_answer(worker: ShardWorker, fill: Fill) -> None:
    folder = fill({"0.jpg": b"x", "1.jpg": b"once", "2.jpg": b"xx"})
    expected = {"0.jpg": 1, "1.jpg": 4, "2.jpg": 2}
    first = worker.start() and worker.pid
    assert told(answers_of(worker.run(items_in(folder)))) == expected
    assert worker.pid != first
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)  # while it waits
    assert told(answers_of(worker.run(items_in(folder)))) == expected


def test_a_problem_that_is_known_is_the_answer(worker: ShardWorker) -> None:
    item = Item("a.jpg", "/photos/a.jpg", problem="no permission to read it")
    assert told(answers_of(worker.run([item]))) == {"a.jpg": "no permission to read it"}
    assert worker.run([]).num_rows == 0


def test_a_detector_that_cannot_be_built_ends_the_job_in_one_line(fake: WorkerOptions) -> None:
    options = replace(fake, builder="fake_detector:refuse")
    with ShardWorker(options) as worker, pytest.raises(BatchError, match="no such device"):
        worker.start()


def test_a_process_that_replaces_another_answers_with_the_same_weights(
    fake: WorkerOptions, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.write_text("1" * 64)
    options = replace(fake, builder="fake_detector:build_as_written", weights=str(weights))
    with ShardWorker(options) as worker:
        first = worker.start()
        for changed in (False, True):
            if changed:
                weights.write_text("2" * 64)
            assert worker._process is not None
            worker._process.end()
            worker._process = None
            if not changed:
                assert worker.start() == first
        with pytest.raises(BatchError, match="expected weights and settings that stay the same"):
            worker.start()


def test_a_process_that_ends_again_and_again_ends_the_job(
    fake: WorkerOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("head_detection.batch.worker.MAX_BREAKS_WITHOUT", 2)
    options = replace(fake, builder="fake_detector:break_down")
    with (
        ShardWorker(options) as worker,
        pytest.raises(BatchError, match="2 times before the first picture: SIGKILL"),
    ):
        worker.start()


def test_a_machine_that_breaks_with_every_picture_ends_the_job(
    worker: ShardWorker, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("head_detection.batch.worker.MAX_GIVEN_UP", 2)
    folder = fill({f"{number}.jpg": b"fault" for number in range(3)})
    with pytest.raises(BatchError, match="expected answers; 2 pictures in a row had none"):
        worker.run(items_in(folder))


def test_closing_ends_the_process_wherever_it_is(fake: WorkerOptions, fill: Fill) -> None:
    folder = fill({"0.jpg": b"hang"})
    worker = ShardWorker(fake)
    worker.start()
    ended: list[BaseException] = []

    def work() -> None:
        try:
            worker.run(items_in(folder))
        except WorkerClosed as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)
    worker.close()
    thread.join(30)
    assert len(ended) == 1
    with pytest.raises(WorkerClosed):
        worker.run(items_in(folder))
