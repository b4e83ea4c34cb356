"""Kills runs of batch, their workers, or both at random moments: ``make kill`` does it 200 times.

After each kill every existing shard is whole and has the same answers as in an undisturbed run. In
the end each picture has exactly one answer, and nothing else is left.

    python tests/batch/kills.py [--kills 200] [--seed 0]

The detector is a fake (``fake_detector.py``), and processes are forks of this one, which has
imported all they need. So most kills hit the work itself, and each costs a fraction of a second.
"""

import argparse
import io
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import fake_detector  # noqa: E402, F401 - for the forks

from head_detection.apps import batch as _batch  # noqa: E402, F401 - likewise
from head_detection.apps.main import main as run_command  # noqa: E402
from head_detection.batch import detecting, listing, local, manifest, worker  # noqa: E402, F401
from head_detection.batch import process as starting  # noqa: E402
from head_detection.batch.shards import answers_of, read_shard  # noqa: E402
from head_detection.images.finding import picture_extensions  # noqa: E402

FIRST, MORE, SHARD_SIZE = 60, 30, 4
"""Pictures, those that the source grows by, and of a shard."""
LIMIT: Final = 300.0
TARGETS: Final = ("run", "worker", "both", "run, in order")
ENDS: Final = (0, -signal.SIGKILL, -signal.SIGTERM, 128 + signal.SIGTERM)
"""Exit codes; SIGTERM itself ends a run that is through with its work and about to exit."""
Expected = Mapping[str, int]


class ForkedProcess:
    """What ``process`` needs of ``subprocess.Popen``, by a fork: pipes, and nothing else open."""

    def __init__(self, _words: list[str], **_options: Any) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            become(partial(_detect, theirs_in, theirs_out))
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin: Any = os.fdopen(ours_out, "wb")
        self.stdout: Any = os.fdopen(ours_in, "rb")
        self.returncode: int | None = None
        self._waiting = threading.Lock()  # as Popen has one: two threads may end it

    def kill(self) -> None:
        with self._waiting:
            if self.returncode is None:
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        with self._waiting:
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            return self.returncode


def _detect(requests: int, messages: int) -> int:
    os.setsid()
    os.dup2(requests, 0)
    os.dup2(messages, 1)
    os.closerange(3, 1024)  # the lock of the job above all, which outlives no run
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0)))
    detecting.main()
    return 0


def _run(words: list[str]) -> int:
    """Run batch in this fork, with a detector that is none."""
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.closerange(3, 1024)
    starting.subprocess.Popen = ForkedProcess  # type: ignore[misc, assignment]
    builder = "fake_detector:build"
    starting.WorkerOptions = partial(starting.WorkerOptions, builder=builder)  # type: ignore[misc, assignment]
    return run_command(["batch", *words])


def become(work: Callable[[], int]) -> None:
    """Do the work in this fork, and end with what it returns."""
    code = 1
    try:
        code = work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - all that ends a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def start(words: list[str]) -> int:
    """Run batch in a fork; return its process id."""
    child = os.fork()
    if child == 0:
        become(partial(_run, words))
    return child


def children_of(process: int) -> list[int]:
    """Return the processes that a process has started and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if int(parent) == process and state != "Z":
            found.append(int(path.name))
    return found


def finished(process: int) -> int | None:
    """Return the exit code of our child, None where it goes on."""
    ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def kill(process: int, target: str) -> bool:
    """Kill what is meant; tell whether it was there. Our child is not waited for: its id is its."""
    workers = children_of(process)
    if target == "worker" and not workers:
        return False
    doomed = {"run": [process], "worker": workers[:1], "both": [process, *workers]}
    for number in doomed.get(target, []):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            return False
    if target == "run, in order":
        os.kill(process, signal.SIGTERM)
    return True


def check(output: Path, expected: Expected) -> Counter[str]:
    """Check the shards that are there; return how often each picture has an answer."""
    seen: Counter[str] = Counter()
    for path in sorted((output / "shards").glob("shard-*.parquet")):
        for answer in answers_of(read_shard(path)):
            assert "error" not in answer, answer
            assert answer["count"] == expected[answer["file"]], answer
            seen[answer["file"]] += 1
    assert set(seen.values()) <= {1}, seen.most_common(3)
    return seen


def grow(source: Path, expected: dict[str, int], number: int) -> None:
    """Add pictures, some before the others in order."""
    source.mkdir(parents=True, exist_ok=True)
    for _ in range(number):
        name = f"{len(expected) * 7919 % 1000:03d}.jpg"
        content = b"slow" + b"x" * (len(expected) % 9)
        (source / name).write_bytes(content)
        expected[name] = len(content)


def kill_job(
    folder: Path, kills: int, seconds: float, chance: random.Random, tally: Counter[str]
) -> float:
    """Kill one job until it is done, or so often; then let it end, and check what it has left.

    Args:
        folder: of the job and its source.
        kills: at most.
        seconds: that an undisturbed run takes, in which the moments lie.
        chance: chooses moments and processes.
        tally: of what was killed, and how many kills fell between the first and the last shard.

    Returns:
        Seconds of its shortest run that came to its end: of the next job's moments.
    """
    source, output, expected = folder / "source", folder / "out", dict[str, int]()
    grow(source, expected, FIRST)
    words = ["--source", str(source), "--output", str(output), "--shard-size", str(SHARD_SIZE)]
    words += ["--processes", "2", "--picture-seconds", "60"]
    done = 0
    while True:
        process, begin, code = start(words), time.monotonic(), None
        while code is None and done < kills:
            time.sleep(chance.uniform(0, seconds))
            target = chance.choice(TARGETS)
            if (code := finished(process)) is None and kill(process, target):
                tally[target] += 1
                done += 1
                num_shards = len(list((output / "shards").glob("shard-*.parquet")))
                tally["amid shards"] += 0 < num_shards < len(expected) // SHARD_SIZE
                if target != "worker":
                    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        while code is None:
            code = finished(process)
            time.sleep(0.01)
            assert time.monotonic() < begin + LIMIT, Path("log.txt").read_text()
        assert code in ENDS, f"{code}: {Path('log.txt').read_text()}"
        check(output, expected)
        if len(expected) == FIRST and done:
            grow(source, expected, MORE)
        elif code == 0:
            seconds = min(seconds or LIMIT, time.monotonic() - begin)
            break
    assert set(check(output, expected)) == set(expected)
    left = [path for path in output.rglob("*") if path.name.endswith(".part")]
    assert not left, left
    tally["jobs"] += 1
    return seconds


def main() -> None:
    """Kill jobs in a folder of their own, and print how often."""
    parser = argparse.ArgumentParser(description="Kill batch at random moments.")
    parser.add_argument("--kills", type=int, default=200, help="in all (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    arguments = parser.parse_args()
    chance, tally, before = random.Random(arguments.seed), Counter[str](), Path.cwd()  # noqa: S311
    picture_extensions()  # loads what Pillow has
    with tempfile.TemporaryDirectory(prefix="head-detection-kills-") as name:
        os.chdir(name)
        try:
            seconds = kill_job(Path(name, "undisturbed"), 0, 0.0, chance, Counter())
            while left := arguments.kills - sum(tally[target] for target in TARGETS):
                seconds = kill_job(Path(name, str(tally["jobs"])), left, seconds, chance, tally)
        finally:
            os.chdir(before)
    counts = ", ".join(f"{target} {tally[target]}" for target in TARGETS)
    told = f"{counts}; {tally['amid shards']} amid its shards; {tally['jobs']} jobs"
    print(f"batch: {arguments.kills} kills ({told}): each picture was answered once")  # noqa: T201


if __name__ == "__main__":
    main()
