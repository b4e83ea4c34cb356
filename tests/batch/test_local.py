import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from head_detection.batch import local
from head_detection.batch.detecting import _num_devices
from head_detection.batch.listing import list_items
from head_detection.batch.local import FirstWorker, _others, run_local
from head_detection.batch.manifest import Job, Task
from head_detection.batch.process import WorkerOptions, start_process
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


def test_a_shard_is_written_while_the_next_is_answered(
    fake: WorkerOptions, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    next_is_answered = threading.Event()
    waited: list[bool] = []
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(fill(FILES))), 6)
        finish = job.finish

        def slowly(task: Task, answers: Any) -> None:
            waited.append(task.shard == 0 and next_is_answered.wait(30))
            finish(task, answers)

        monkeypatch.setattr(job, "finish", slowly)
        for event in run_local(job, job.tasks(), FirstWorker(fake), processes=1):
            if isinstance(event, dict) and event["file"] == "6.jpg":
                next_is_answered.set()
        assert waited == [True, False]
        assert job.num_done == 2


def test_a_full_disk_is_told_before_the_next_shard_is_answered(
    fake: WorkerOptions, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(fill({**FILES, "7.jpg": b"hang"}))), 6)
        monkeypatch.setattr(job, "finish", mock.Mock(side_effect=OSError(28, "full", "shard")))
        with pytest.raises(OSError, match="full"):
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


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_gpu_has_a_process_and_what_replaces_it_has_the_same(
    device: str, fake: WorkerOptions, fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0,GPU-1,GPU-2,GPU-3")
    source = fill({f"{n}.jpg": b"once" for n in range(4)})  # it ends who reads it, once
    options = replace(fake, builder="fake_detector:build_on_gpus", device=device)
    with Job(tmp_path / "out", {}) as job:
        job.plan(list_items(str(source)), 1)
        answers = [a for a in run_local(job, job.tasks(), FirstWorker(options)) if type(a) is dict]
    # Each of four workers has taken one; the first was built before it was known how many.
    told = sorted(answer["error"].partition(" of ") for answer in answers)
    assert [name for name, _, _ in told] == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert {shown for _, _, shown in told} == {"GPU-0,GPU-1,GPU-2,GPU-3"}
    assert not workers()


def test_processes_share_gpus_and_one_that_is_named_is_alone(monkeypatch: Any) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(local, "num_cores", lambda: 16)
    origin = {"devices": 4}

    def others(device: str, processes: int | None = None, tasks: int = 100) -> list[str]:
        options = WorkerOptions(device=device, threads=2)
        return [other.device for other in _others(options, origin, processes, tasks)]

    assert others("auto") == others("cuda") == ["cuda:1", "cuda:2", "cuda:3"]
    assert others("cuda", 6) == ["cuda:1", "cuda:2", "cuda:3", "cuda:0", "cuda:1"]
    assert others("auto", tasks=2) == ["cuda:1"]
    assert others("cuda:1") == []
    assert others("cuda:1", 2) == ["cuda:1"]
    origin["devices"] = 0  # CUDA_VISIBLE_DEVICES is empty, say
    assert others("auto") == ["auto"] * 7


def test_each_part_of_a_gpu_has_a_process_that_sees_it_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a, MIG-b,MIG-c")
    options, origin = WorkerOptions(device="cuda", threads=2), {"devices": 1}
    found = [(o.device, o.visible_devices) for o in _others(options, origin, None, 100)]
    assert found == [("cuda:0", "MIG-b"), ("cuda:0", "MIG-c")]
    with start_process(replace(options, visible_devices="MIG-b")) as process:
        try:
            told, end = b"", time.monotonic() + 10
            while b"CUDA_VISIBLE_DEVICES=MIG-b" not in told and time.monotonic() < end:
                told = Path(f"/proc/{process.pid}/environ").read_bytes()
        finally:
            process.kill()
    assert b"\0CUDA_VISIBLE_DEVICES=MIG-b\0" in told
    assert _others(replace(options, device="cpu", threads=1000), origin, None, 100) == []


def test_gpus_that_torch_counts_and_cannot_use_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(device_count=lambda: 4, is_available=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    detector: Any = SimpleNamespace(origin={"engine": "openvino"})
    assert _num_devices(detector) == 0
    detector.origin["engine"] = "torch"
    assert _num_devices(detector) == 4
    cuda.is_available = lambda: False  # a driver that is too old
    assert _num_devices(detector) == 0
