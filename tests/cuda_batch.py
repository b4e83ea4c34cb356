"""Prints what a job of ``batch`` does on a GPU: ``python tests/cuda_batch.py``, under 3 minutes.

``--device cpu --pictures 8 --times 1`` shows that it runs. Each row is what was measured, and what
it should be; 1 is returned where one is not.

It needs neither Ray nor a network. A machine that has torch, torchvision, numpy and OpenCV lacks
the wheels that ``cuda_service.py`` names before its semicolon, and pyarrow.
"""

import argparse
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from PIL import Image  # noqa: E402

from head_detection.boxes import pairwise_iou  # noqa: E402

SIZES: Final = ((800, 600), (640, 480), (1024, 768))
"""Width and height of the pictures."""
SHARDS: Final = 4
NEAR: Final = 0.02
"""A score so near the threshold may fall to the other side of it beside other pictures."""
PIXELS: Final = 1.0
"""That a box may be off."""
SAME_HEAD: Final = 0.5
ENOUGH: Final = 0.95
"""Of the rate of ``test``."""
LIMIT_SECONDS: Final = 90
MISTAKE: Final = 2
DESCRIBE: Final = (
    "import json, torch; n = torch.cuda.device_count(); one = torch.cuda.get_device_properties;"
    "print(json.dumps([torch.__version__, [[one(i).name, str(one(i).uuid)] for i in range(n)]]))"
)
Heads = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Boxes and scores of a picture."""


class Plan(NamedTuple):
    """What is run.

    Attributes:
        folder: of all that is written.
        device: it runs on.
        number: of files.
        gpus: names and UUIDs.
    """

    folder: Path
    device: str
    number: int
    gpus: list[list[str]]

    @property
    def shard_size(self) -> int:
        """Pictures of a shard."""
        return max(1, self.number // SHARDS)


class Rows:
    """Prints rows, and remembers whether all were right."""

    def __init__(self) -> None:
        self.num_wrong = 0

    def add(self, name: str, measured: str, wanted: str, *, is_right: bool = True) -> None:
        """Print one."""
        self.num_wrong += not is_right
        mark = "" if is_right else "  WRONG"
        print(f"{name:<34} {measured:<58} {wanted}{mark}", flush=True)  # noqa: T201 - a script


def write_pictures(folder: Path, number: int, times: int) -> None:
    """Write pictures that are alike to none, each under so many names."""
    folder.mkdir()
    whole = Image.open(ROOT / "docs" / "heads.jpg").convert("RGB")
    pixels = [np.asarray(whole.resize(size)) for size in SIZES]
    for index in range(number):
        file = io.BytesIO()
        Image.fromarray(np.roll(pixels[index % len(SIZES)], 7 * index, axis=1)).save(file, "JPEG")
        path = folder / f"{index}.jpg"
        path.write_bytes(file.getvalue())
        for time_number in range(1, times):
            os.link(path, folder / f"{index}-{time_number}.jpg")


def words(command: str, plan: Plan, source: str, output: str, *more: str) -> list[str]:
    """Return a command line."""
    script = [sys.executable, str(ROOT / "scripts" / f"{command}.py"), "--device", plan.device]
    places = ["--source", str(plan.folder / source), "--output", str(plan.folder / output)]
    return [*script, *places, *more]


def run(line: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; what it says is kept."""
    return subprocess.run(
        line, env=os.environ | environment, capture_output=True, text=True, check=False,
        timeout=LIMIT_SECONDS,
    )  # fmt: skip


def rates(rows: Rows, plan: Plan) -> None:
    """Run ``test`` and ``batch`` on the same files: start-up aside, and as whole commands."""
    seconds = {}
    for source in ("few", "pictures"):
        start = time.perf_counter()
        run(words("test", plan, source, f"test-{source}", "--save", "json")).check_returncode()
        seconds[source] = time.perf_counter() - start
    test = (plan.number - 1) / max(0.01, seconds["pictures"] - seconds["few"])
    for processes, wanted in ((1, f">= {ENOUGH}"), (2, "beside it")):
        output = "batch" if processes == 1 else "shared"
        start = time.perf_counter()
        options = ("--shard-size", str(plan.shard_size), "--processes", str(processes))
        done = run(words("batch", plan, "pictures", output, *options))
        took = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        last = json.loads((plan.folder / output / "summary.json").read_text())["last_run"]
        batch = plan.number / max(0.01, last["answered_seconds"] - last["ready_seconds"])
        rows.add(
            f"{plan.number} files, processes: {processes}",
            f"batch {batch:.1f} pictures/s, test {test:.1f}: {batch / test:.2f}",
            f"{wanted}, start aside",
            is_right=processes > 1 or batch >= ENOUGH * test,
        )
        ready = last["ready_seconds"]
        rows.add(
            "whole commands",
            f"batch {took:.1f} s (ready after {ready:.1f}), test {seconds['pictures']:.1f} s",
            "beside it",
        )


def same_as_test(rows: Rows, plan: Plan) -> None:
    """Compare the answers of ``batch`` with those of ``test``."""
    record = json.loads((plan.folder / "test-pictures" / "detections.json").read_text())
    expected = {image["file"]: heads_of(image) for image in record["images"]}
    add_likeness(rows, "answers beside those of test", expected, answers(plan, "batch"), record)


def killed(rows: Rows, plan: Plan) -> None:
    """Kill the process that detects, behind the first shard; the job goes on by itself."""
    line = words("batch", plan, "pictures", "killed", "--shard-size", str(plan.shard_size))
    shards, end = plan.folder / "killed" / "shards", time.time() + LIMIT_SECONDS
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        try:
            while job.poll() is None and not any(shards.glob("*.parquet")) and time.time() < end:
                time.sleep(0.01)
            first = detecting(job.pid)
            for process in first:
                os.kill(process, signal.SIGKILL)
            seen: set[int] = set()
            while job.poll() is None and time.time() < end:
                seen |= detecting(job.pid)
                time.sleep(0.1)
        finally:
            job.kill()
    found = answers(plan, "killed")
    rows.add(
        "its processes killed once",
        f"{len(first)} killed, {len(seen - first)} in their place, exit {job.returncode}, "
        f"{len(found)} answers",
        f"as many, 0, {plan.number}",
        is_right=bool(first)
        and len(seen - first) == len(first)
        and (job.returncode, len(found)) == (0, plan.number),
    )
    record = json.loads((plan.folder / "batch" / "summary.json").read_text())
    expected = answers(plan, "batch")
    add_likeness(rows, "answers beside those undisturbed", expected, found, record)


def shown(rows: Rows, plan: Plan) -> None:
    """Let ``CUDA_VISIBLE_DEVICES`` show a GPU by its UUID, and none at all."""
    by_name = run(words("batch", plan, "few", "by-uuid"), CUDA_VISIBLE_DEVICES=uuid_of(plan))
    rows.add(
        "shown by its UUID", f"exit {by_name.returncode}", "0", is_right=not by_name.returncode
    )
    none = run(words("batch", plan, "few", "none"), CUDA_VISIBLE_DEVICES="")
    said = none.stderr.strip().splitlines() or [""]
    rows.add(
        "none shown",
        f"exit {none.returncode}, {said[-1][:40]}",
        "2, error: device: ...",
        is_right=none.returncode == MISTAKE and said[-1].startswith("error: device: "),
    )


def uuid_of(plan: Plan) -> str:
    """Return the UUID of the first GPU, as the driver has it."""
    return f"GPU-{plan.gpus[0][1].removeprefix('GPU-')}"


def all_gpus(rows: Rows, plan: Plan) -> None:
    """Count the processes of ``--device cuda``."""
    line = words("batch", plan._replace(device="cuda"), "pictures", "all", "--shard-size", "1")
    most, end = 0, time.time() + LIMIT_SECONDS
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        while job.poll() is None and most < len(plan.gpus) and time.time() < end:
            most = max(most, len(detecting(job.pid)))
            time.sleep(0.1)
        job.terminate()
    wanted = min(len(plan.gpus), plan.number)
    rows.add("processes of --device cuda", str(most), str(wanted), is_right=most == wanted)


def detecting(parent: int) -> set[int]:
    """Return the processes of a job that detect."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line, state = (path / "cmdline").read_bytes(), (path / "stat").read_text()
        except OSError:
            continue
        if b"batch.detecting" in line and int(state.rpartition(")")[2].split()[1]) == parent:
            found.add(int(path.name))
    return found


def heads_of(picture: dict[str, Any]) -> Heads:
    """Return boxes and scores of a record."""
    boxes = np.array(picture["boxes"], np.float32).reshape(-1, 4)
    return boxes, np.array(picture["scores"], np.float32)


def answers(plan: Plan, output: str) -> dict[str, Heads]:
    """Return what a job has answered, by file.

    Raises:
        RuntimeError: a picture failed, or is there twice.
    """
    shards = sorted((plan.folder / output / "shards").glob("*.parquet"))
    pictures = pq.read_table(shards).to_pylist()
    found = {picture["file"]: heads_of(picture) for picture in pictures if not picture["error"]}
    if len(found) != len(pictures):
        raise RuntimeError(f"{len(pictures)} rows, {len(found)} different pictures answered")
    return found


def add_likeness(
    rows: Rows, name: str, expected: dict[str, Heads], found: dict[str, Heads], record: Any
) -> None:
    """Add a row of how answers differ."""
    threshold = record["score_threshold"]
    num_same, num_lost, shift = 0, 0, 0.0
    for file, heads in expected.items():
        others = found.get(file, heads_of({"boxes": [], "scores": []}))
        num_same += all(
            a.shape == b.shape and bool(np.allclose(a, b, atol=1e-4))
            for a, b in zip(heads, others, strict=True)
        )
        for one, other in ((heads, others), (others, heads)):
            lost, moved = unlike(one, other[0], threshold + NEAR)
            num_lost, shift = num_lost + lost, max(shift, moved)
    is_right = expected.keys() == found.keys() and num_lost == 0 and shift <= PIXELS
    rows.add(
        name,
        f"{num_same} of {len(expected)} the same, {num_lost} heads not found, {shift:.3f} px",
        f"0, <= {PIXELS:g} px",
        is_right=is_right and len(expected) > 0,
    )


def unlike(heads: Heads, boxes: npt.NDArray[np.float32], threshold: float) -> tuple[int, float]:
    """Return how many heads, sure ones, are not among boxes, and how far the others are off."""
    sure = heads[0][heads[1] >= threshold]
    if not len(boxes) or not len(sure):
        return len(sure), 0.0
    overlaps = pairwise_iou(sure, boxes)
    is_found = overlaps.max(axis=1) >= SAME_HEAD
    shifts = np.abs(sure - boxes[overlaps.argmax(axis=1)]).max(axis=1)[is_found]
    return int((~is_found).sum()), float(shifts.max(initial=0.0))


def parts(plan: Plan) -> Iterator[Callable[[Rows, Plan], None]]:
    """Yield what is done, in order."""
    yield from (rates, same_as_test, killed)
    if plan.gpus and plan.device != "cpu":
        yield from (shown, all_gpus)


def main() -> int:
    """Print all rows; 1 where one is wrong or failed."""
    parser = argparse.ArgumentParser(description="What a job of batch does on a GPU.")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--pictures", type=int, default=300, help="that are alike to none")
    parser.add_argument("--times", type=int, default=12, help="that each is there, by other names")
    arguments = parser.parse_args()
    rows, begun = Rows(), time.perf_counter()
    version, gpus = json.loads(run([sys.executable, "-c", DESCRIBE]).stdout)
    described = ", ".join(name for name, _ in gpus) or "no GPU"
    rows.add("runs on", f"{arguments.device} ({described}), torch {version}", "")
    with tempfile.TemporaryDirectory(prefix="head-detection-") as folder:
        number = arguments.pictures * arguments.times
        plan = Plan(Path(folder), arguments.device, number, gpus)
        write_pictures(plan.folder / "few", 1, 1)
        write_pictures(plan.folder / "pictures", arguments.pictures, arguments.times)
        for part in parts(plan):
            try:
                part(rows, plan)
            except Exception as error:  # noqa: BLE001 - the other rows are wanted all the more
                text = " ".join(str(error).split())
                rows.add(part.__name__, f"{type(error).__name__}: {text[:200]}", "", is_right=False)
    rows.add("all of it", f"{time.perf_counter() - begun:.0f} s", "<= 180 s")
    return int(rows.num_wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
