import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from head_detection.batch.items import batch_of
from head_detection.batch.manifest import Job, Task
from head_detection.batch.plan import Plan
from head_detection.batch.shards import Counts, answers_of, read_shard, table_of
from head_detection.errors import OutputError

REQUEST = {"version": "1", "weights": "a" * 64, "source": "/photos", "score_threshold": None}
ORIGIN = {"engine": "torch", "precision": "fp32", "score_threshold": 0.5, "model": {"weights": "m"}}
HOLD = """\
import sys
from pathlib import Path
from head_detection.batch.manifest import Job

with Job(Path(sys.argv[1]), {}):
    print("open", flush=True)
    sys.stdin.read()
"""


def found(name: str, count: int = 1) -> dict[str, Any]:
    boxes = [[1.0, 2.0, 3.0, 4.0]] * count
    values = {"width": 8, "height": 8, "count": count, "boxes": boxes, "scores": [0.5] * count}
    return {"file": name, **values}


def failed(name: str) -> dict[str, str]:
    return {"file": name, "error": "cut short"}


def fill(job: Job, *names: str, size: int = 2) -> int:
    return job.plan([batch_of(names, [f"/photos/{name}" for name in names])], size)


def begun(folder: Path, **options: Any) -> Job:
    """A job of three pictures in two shards, of which the first is done and one has failed."""
    job = Job(folder, REQUEST, **options)
    fill(job, "a", "b", "c")
    job.settle(ORIGIN)
    job.finish(Task(0), table_of([found("a"), failed("b")]))
    return job


def in_shard(job: Job, shard: int) -> list[dict[str, Any]]:
    return list(answers_of(read_shard(job.folder / "shards" / f"shard-{shard:06d}.parquet")))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match=r"out: expected a folder, .* it is a file: choose"):
        Job(tmp_path / "out", REQUEST)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_rerun_does_what_is_missing(tmp_path: Path) -> None:
    with begun(tmp_path / "out") as job:
        assert job.tasks() == [Task(1)]
    with Job(tmp_path / "out", REQUEST) as job:
        assert fill(job, "a", "b", "c") == 0
        assert job.tasks() == [Task(1)]
        assert [item.name for item in job.items(Task(1))] == ["c"]
        assert job.counts == Counts(2, 1, 1)
        job.finish(Task(1), table_of([found("c", 3)]))
        assert job.tasks() == []
        assert job.counts == Counts(3, 4, 1)


def test_input_that_has_grown_is_appended(tmp_path: Path) -> None:
    with begun(tmp_path / "out"):
        pass
    with Job(tmp_path / "out", REQUEST) as job:
        assert fill(job, "a", "a2", "b", "c", size=7) == 1
        assert job.tasks() == [Task(1), Task(2)]
        assert [item.name for item in job.items(Task(2))] == ["a2"]


def test_where_paths_start_is_remembered_with_the_plan(tmp_path: Path) -> None:
    out, starts = tmp_path / "out", {"/lists/a.txt": "/photos"}
    with Job(out, REQUEST) as job:
        found = job.starts
        assert found == {}

        def listing() -> Iterator[pa.RecordBatch]:
            yield batch_of(["a"], ["/photos/a"])
            found.update(starts)

        job.plan(listing(), 2, found)
    with Job(out, REQUEST) as job:  # no answer depends on anything yet, but the plan does
        assert job.starts == starts
    with Job(out, {**REQUEST, "source": "/others"}) as job:
        assert (job.starts, job.num_pictures) == ({}, 0)


def test_failed_pictures_are_asked_for_again_by_choice(tmp_path: Path) -> None:
    with begun(tmp_path / "out") as job:
        task = Task(0, retries=True)
        assert job.tasks(retry_failed=True) == [task, Task(1)]
        assert [item.name for item in job.items(task)] == ["b"]
        assert job.num_items(task) == 1
        job.finish(task, table_of([found("b", 2)]))
        # In the order of the plan, not behind the others.
        assert in_shard(job, 0) == [found("a"), found("b", 2)]
        assert job.tasks(retry_failed=True) == [Task(1)]


def test_retries_keep_the_order_where_several_failed(tmp_path: Path) -> None:
    with Job(tmp_path / "out", REQUEST) as job:
        fill(job, "a", "b", "c", "d", size=4)
        job.finish(Task(0), table_of([failed("a"), found("b"), failed("c"), found("d")]))
        job.finish(Task(0, retries=True), table_of([found("a", 2), failed("c")]))
        assert in_shard(job, 0) == [found("a", 2), found("b"), failed("c"), found("d")]
        assert job.counts == Counts(4, 4, 1)


def test_answers_of_another_number_are_a_fault(tmp_path: Path) -> None:
    with Job(tmp_path / "out", REQUEST) as job:
        fill(job, "a", "b")
        with pytest.raises(ValueError, match="expected 2 answers; got 1"):
            job.finish(Task(0), table_of([found("a")]))
        assert job.tasks() == [Task(0)]


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("version", "2", "version 1 there, 2 here"),
        ("weights", "b" * 64, "weights aaaaaaaa there, bbbbbbbb here"),
        ("source", "/others", "source /photos there, /others here"),
        ("score_threshold", 0.3, "score_threshold 0.5 there, 0.3 here"),
        ("engine", "onnx", "engine torch there, onnx here"),
    ],
)
def test_another_job_is_refused_and_told_what_differs(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    begun(tmp_path / "out").__exit__(None, None, None)
    with pytest.raises(OutputError, match=said) as refused:
        Job(tmp_path / "out", {**REQUEST, key: value})
    assert "\n" not in str(refused.value)
    with Job(tmp_path / "out", REQUEST) as job:  # nothing holds the lock
        assert job.num_done == 1


def test_a_worker_that_answers_otherwise_is_refused(tmp_path: Path) -> None:
    with begun(tmp_path / "out"):
        pass
    with (
        Job(tmp_path / "out", REQUEST) as job,
        pytest.raises(OutputError, match="precision fp32 there, bf16 here"),
    ):
        job.settle({**ORIGIN, "precision": "bf16"})


def test_nothing_binds_before_it_is_used(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Job(out, REQUEST):
        pass
    with Job(out, {**REQUEST, "source": "/others"}) as job:  # there is no plan
        fill(job, "a")
        job.settle(ORIGIN)
    with Job(out, {**REQUEST, "source": "/others", "score_threshold": 0.3}) as job:  # no answer
        assert job.num_shards == 1
        fill(job, "a", "a2", "a3")
    with Job(out, REQUEST) as job:  # of another source, and no answer: planned anew
        assert job.num_shards == 0
        fill(job, "b")
        job.finish(Task(0), table_of([found("b")]))
    assert [path.name for path in (out / "plan").iterdir()] == ["plan-000000.parquet"]
    with pytest.raises(OutputError, match="source /photos there, /others here"):
        Job(out, {**REQUEST, "source": "/others"})


def test_one_run_a_folder_at_a_time(tmp_path: Path, repository: Path) -> None:
    words = [sys.executable, "-c", HOLD, str(tmp_path / "out")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, cwd=repository, text=True, **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(OutputError, match="another run works on this job"):
            Job(tmp_path / "out", {})
        other.kill()  # which ends its hold
    with Job(tmp_path / "out", {}):
        pass


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="holds other files"):
        Job(tmp_path, REQUEST)
    assert os.listdir(tmp_path) == ["thesis.tex"]  # noqa: PTH208
    (tmp_path / "thesis.tex").rename(tmp_path / "job.json")
    with pytest.raises(OutputError, match="expected a job of this version"):
        Job(tmp_path, REQUEST)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    with begun(tmp_path / "out"):
        pass
    path = tmp_path / "out" / "shards" / "shard-000000.parquet"
    path.write_bytes(b"")
    with pytest.raises(OutputError, match=r"shard-000000\.parquet: expected a shard"):
        Job(tmp_path / "out", REQUEST)
    path.unlink()
    with Job(tmp_path / "out", REQUEST) as job:
        assert job.tasks() == [Task(0), Task(1)]


def test_shards_of_another_plan_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with begun(out):
        pass
    (out / "plan" / "plan-000000.parquet").unlink()
    with pytest.raises(OutputError, match=r"shard 0 has 2 pictures, of which 0 are planned: put"):
        Job(out, REQUEST)
    Plan(out / "plan").extend([batch_of(["c"], ["/photos/c"])], 2)
    with pytest.raises(OutputError, match=r"shard 0 has 2 pictures, of which 1 are planned: put"):
        Job(out, REQUEST)


def test_lines_follow_the_shards(tmp_path: Path) -> None:
    with begun(tmp_path / "out"):
        pass
    lines = tmp_path / "out" / "shards" / "shard-000000.ndjson"
    assert not lines.exists()
    with Job(tmp_path / "out", REQUEST, lines=True) as job:
        job.complete_lines()
        assert [json.loads(line) for line in lines.read_text().splitlines()] == [
            found("a"),
            failed("b"),
        ]
        job.finish(Task(0, retries=True), table_of([found("b")]))
        assert json.loads(lines.read_text().splitlines()[1]) == found("b")
    lines.write_text("older")
    os.utime(lines, ns=(0, 0))  # as a kill between the two leaves it
    with Job(tmp_path / "out", REQUEST, lines=True) as job:
        job.complete_lines()
    assert json.loads(lines.read_text().splitlines()[0]) == found("a")


def test_lines_that_are_there_follow_without_being_asked_for(tmp_path: Path) -> None:
    with begun(tmp_path / "out"):
        pass
    lines = tmp_path / "out" / "shards" / "shard-000000.ndjson"
    lines.write_text("of an earlier run")
    with Job(tmp_path / "out", REQUEST) as job:
        job.finish(Task(0, retries=True), table_of([found("b")]))
    assert json.loads(lines.read_text().splitlines()[1]) == found("b")
    lines.write_text("older")
    os.utime(lines, ns=(0, 0))
    with Job(tmp_path / "out", REQUEST) as job:
        job.complete_lines()
    assert json.loads(lines.read_text().splitlines()[1]) == found("b")


def test_the_summary_tells_the_whole_job(tmp_path: Path) -> None:
    with begun(tmp_path / "out") as job:
        job.write_summary({"pictures": 2})
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["is_complete"] is False
    told = [summary[key] for key in ("pictures", "answered", "failed", "heads")]
    assert told == [3, 1, 1, 1]
    assert (summary["shards"], summary["shards_done"]) == (2, 1)
    assert summary["last_run"] == {"pictures": 2}
    assert summary["model"] == {"weights": "m"}
