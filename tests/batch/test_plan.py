import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from head_detection.batch.items import ITEM_SCHEMA, Item, batch_of, items_of
from head_detection.batch.plan import Plan
from head_detection.errors import OutputError

MILLION = """\
import json, resource, sys
from pathlib import Path
import pyarrow as pa
from head_detection.batch.items import ITEM_SCHEMA
from head_detection.batch.plan import Plan

def batches(total):
    for start in range(0, total, 50_000):
        names = [f"camera-{n % 97}/{n:012d}.jpg" for n in range(start, start + 50_000)]
        count = len(names)
        places = pa.array([-1] * count, pa.int64())
        texts = pa.array([""] * count)
        paths = pa.array([b"/archive/" + name.encode() for name in names])
        yield pa.record_batch([pa.array(names), paths, places, places, texts, texts], ITEM_SCHEMA)

plan = Plan(Path(sys.argv[1]))
added = plan.extend(batches(int(sys.argv[2])), 1000)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
most = int(status["VmHWM"].split()[0]) / 1024
seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime
print(json.dumps({"added": added, "shards": plan.num_shards, "MB": most, "s": seconds}))
"""


def batches(*names: str) -> Iterator[pa.RecordBatch]:
    for name in names:  # one a batch: shards are cut across them
        yield batch_of([name], [f"/photos/{name}"])


def names_in(plan: Plan, shard: int) -> list[str]:
    return [item.name for item in items_of(plan.read(shard))]


def test_shards_are_cut_in_order_and_the_last_may_be_smaller(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "plan")
    assert plan.extend(batches("a", "b", "c", "d", "e"), 2) == 5
    assert (plan.num_shards, plan.num_items) == (3, 5)
    assert [names_in(plan, shard) for shard in range(3)] == [["a", "b"], ["c", "d"], ["e"]]
    assert [plan.size_of(shard) for shard in range(3)] == [2, 2, 1]


def test_items_come_back_as_they_were(tmp_path: Path) -> None:
    items = [
        Item("a", "/photos/\udcff.jpg", problem="no permission"),
        Item("b", "s3://photos/all.tar", 512, 1024),
        Item("c", "/table.parquet", 7, -1, "picture"),
    ]
    batches = [
        batch_of([i.name], [i.location], [i.offset], [i.size], i.column, [i.problem]) for i in items
    ]
    Plan(tmp_path / "plan").extend(batches, 10)
    assert list(items_of(Plan(tmp_path / "plan").read(0))) == items


def test_what_is_new_makes_new_shards_and_the_others_stay(tmp_path: Path) -> None:
    Plan(tmp_path / "plan").extend(batches("a", "b", "c"), 2)
    before = {path.name: path.read_bytes() for path in (tmp_path / "plan").iterdir()}
    plan = Plan(tmp_path / "plan")
    assert plan.extend(batches("a", "a2", "b", "c"), 5) == 1
    assert [names_in(plan, shard) for shard in range(3)] == [["a", "b"], ["c"], ["a2"]]
    for name, content in before.items():
        assert (tmp_path / "plan" / name).read_bytes() == content
    assert plan.extend(batches("c", "b"), 5) == 0  # nothing is taken back
    assert Plan(tmp_path / "plan").num_items == 4


def test_an_empty_source_makes_no_plan(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "plan")
    assert plan.extend([], 10) == 0
    assert plan.extend([pa.RecordBatch.from_pylist([], ITEM_SCHEMA)], 10) == 0
    assert plan.num_shards == 0
    assert not list((tmp_path / "plan").iterdir())


def test_a_plan_with_a_file_missing_is_refused(tmp_path: Path) -> None:
    plan = Plan(tmp_path / "plan")
    plan.extend(batches("a"), 1)
    plan.extend(batches("b"), 1)
    (tmp_path / "plan" / "plan-000000.parquet").unlink()
    with pytest.raises(OutputError, match="from shard 0 on; got plan-000001"):
        Plan(tmp_path / "plan")


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    Plan(tmp_path / "plan").extend(batches("a"), 1)
    (tmp_path / "plan" / "plan-000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(OutputError, match="damaged"):
        Plan(tmp_path / "plan")


def test_an_error_of_the_source_leaves_no_plan(tmp_path: Path) -> None:
    def breaking() -> Iterator[pa.RecordBatch]:
        yield from batches("a", "b")
        raise OSError(5, "Input/output error", "list.txt")

    with pytest.raises(OSError, match=r"list\.txt"):
        Plan(tmp_path / "plan").extend(breaking(), 1)
    assert Plan(tmp_path / "plan").num_shards == 0


def test_very_many_paths_are_planned_in_little_memory(tmp_path: Path, repository: Path) -> None:
    """A fifth of a million: what is held grows little with their number."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux, which tells how much memory a process had at most")
    done = subprocess.run(
        [sys.executable, "-c", MILLION, str(tmp_path / "plan"), "200000"],
        cwd=repository, capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["added"], told["shards"]) == (200_000, 200)
    assert told["MB"] < 250  # with 70 MB of Arrow's code
    assert told["s"] < 5  # of a core, with the making of the paths


def held(*pictures: tuple[str, int], location: str = "/a.tar") -> Iterator[pa.RecordBatch]:
    """Pictures in a tar or table, by their names and offsets."""
    for name, offset in pictures:
        yield batch_of([name], location, [offset], [10])


def places_in(plan: Plan, shard: int) -> list[tuple[str, str, int]]:
    return [(item.name, item.location, item.offset) for item in items_of(plan.read(shard))]


def test_what_a_tar_that_is_written_anew_holds_elsewhere_is_read_there(tmp_path: Path) -> None:
    Plan(tmp_path / "plan").extend(held(("a", 512), ("b", 2048), ("c", 4096)), 2)
    before = (tmp_path / "plan" / "plan-000000.parquet").read_bytes()
    plan = Plan(tmp_path / "plan")
    assert plan.extend(held(("a", 512), ("a2", 2048), ("b", 4096), ("c", 6144)), 2) == 1
    assert places_in(plan, 0) == [("a", "/a.tar", 512), ("b", "/a.tar", 4096)]
    assert places_in(plan, 1) == [("c", "/a.tar", 6144)]
    assert places_in(plan, 2) == [("a2", "/a.tar", 2048)]
    assert (tmp_path / "plan" / "plan-000000.parquet").read_bytes() == before
    # Each run finds it out again, and a picture may move to another file.
    plan = Plan(tmp_path / "plan")
    moved = [*held(("a", 512), ("a2", 2048)), *held(("c", 1), ("b", 2), location="/b.tar")]
    assert plan.extend(moved, 2) == 0
    assert places_in(plan, 0) == [("a", "/a.tar", 512), ("b", "/b.tar", 2)]
    assert places_in(plan, 1) == [("c", "/b.tar", 1)]


def test_what_a_tar_holds_no_longer_is_a_picture_that_fails(tmp_path: Path) -> None:
    Plan(tmp_path / "plan").extend([*held(("a", 512), ("b", 2048)), *batches("c")], 3)
    plan = Plan(tmp_path / "plan")
    assert plan.extend(held(("b", 2048)), 3) == 0
    problems = [item.problem for item in items_of(plan.read(0))]
    # A file that is gone fails when it is read.
    assert problems == ["it is no longer in /a.tar, where it was planned", "", ""]
