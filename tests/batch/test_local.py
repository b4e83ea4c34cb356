import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from head_detection.batch.listing import list_items
from head_detection.batch.local import FirstWorker, run_local
from head_detection.batch.manifest import Job
from head_detection.batch.process import WorkerOptions
from head_detection.batch.shards import answers_of, read_shard
from head_detection.errors import BatchError, OutputError

Fill = Callable[[dict[str, bytes]], Path]
FILES = {f"{number}.jpg": b"x" * (number % 5) for number in range(12)}


def workers() -> list[str]:
    """What of this process' children detects."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words, parent = (path / "cmdline").read_bytes(), (path / "stat").read_text()
        except OSError:
            continue
        if b"batch.detecting" in words and int(parent.rpartition(")")[2].split()[1]) == os.getpid():
            found.append(path.name)
    return found


def test_several_processes_answer_each_picture_once(
    fake: WorkerOptions, fill: Fill, tmp_path: Path
) -> None:
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(fill(FILES))), 3)
        events = list(run_local(job, job.tasks(), FirstWorker(fake), processes=2))
        assert [e for e in events if not isinstance(e, dict)] != []
        names = [e["file"] for e in events if isinstance(e, dict)]
        assert sorted(names) == sorted(FILES)
        assert job.tasks() == []
        in_files = [
            (a["file"], a["count"])
            for path in sorted((tmp_path / "out" / "shards").iterdir())
            for a in answers_of(read_shard(path))
        ]
        assert in_files == [(f"{n}.jpg", n % 5) for n in range(12)]
        assert list(run_local(job, [], FirstWorker(fake))) == []
    assert not workers()


def test_what_the_first_worker_is_refused_for_is_known_before_all_is_listed(
    fake: WorkerOptions,
) -> None:
    with closing(FirstWorker(replace(fake, builder="fake_detector:refuse"))) as first:
        assert list(first.watched(iter("ab"))) == ["a", "b"]  # it has not begun
        first.begin()
        with pytest.raises(BatchError, match="no such device"):
            first.start()
        with pytest.raises(BatchError, match="no such device"):
            next(first.watched(iter("ab")))
    assert not workers()


def test_who_stops_reading_ends_the_processes(
    fake: WorkerOptions, fill: Fill, tmp_path: Path
) -> None:
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(fill({**FILES, "7.jpg": b"hang"}))), 3)
        with closing(run_local(job, job.tasks(), FirstWorker(fake), processes=1)) as events:
            next(events)
            assert len(workers()) == 1
        assert not workers()


def test_mistakes_of_workers_and_of_writing_are_raised_once(
    fake: WorkerOptions, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(fill(FILES))), 3)
        refused = WorkerOptions(builder="fake_detector:refuse")
        with pytest.raises(BatchError, match="no such device"):
            list(run_local(job, job.tasks(), FirstWorker(refused)))

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device", "shard")

        monkeypatch.setattr(job, "finish", full)
        with pytest.raises(OSError, match="No space left"):
            list(run_local(job, job.tasks(), FirstWorker(fake), processes=1))
    assert not workers()


def test_a_job_of_another_detector_is_refused_before_it_answers(
    fake: WorkerOptions, fill: Fill, tmp_path: Path
) -> None:
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(fill(FILES))), 3)
        list(run_local(job, job.tasks()[:1], FirstWorker(fake)))
        job.settle({})
        job._settled["precision"] = "bf16"
        with pytest.raises(OutputError, match="precision bf16 there, fp32 here"):
            list(run_local(job, job.tasks(), FirstWorker(fake)))
        assert job.num_done == 1
