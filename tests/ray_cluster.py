"""A Ray cluster of this machine for tests, and jobs on it that are killed: ``make kill-ray``.

    python tests/ray_cluster.py [--kills 30] [--seed 0]

Drivers and actors are killed at random moments; at the end the job has each picture's answer
exactly once, as the local runner gives it.
"""

import argparse
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

HERE: Final = Path(__file__).resolve().parent
LIMIT_SECONDS: Final = 300
"""Machines are busy: alone it takes some seconds."""
TOKEN: Final = secrets.token_hex(32)
"""Without it nobody on this network may use the cluster."""
TRIES: Final = 3
NUM_PICTURES: Final = 40
BAD: Final = {3: b"bad", 9: b"segfault", 17: b"hang", 22: b"fault"}
KILLED_PICTURES: Final = 4000


def environment() -> dict[str, str]:
    """Return the environment in which Ray and what it starts find the fake detector."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE / "batch")]),
    }
    return {**os.environ, **settings}


def free_ports() -> list[str]:
    """Return options of ports that are free; Ray gives parts that choose theirs only 15 s."""
    names = ("dashboard-agent-listen", "dashboard-agent-grpc", "runtime-env-agent")
    names = (*names, "metrics-export", "ray-client-server")
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in names]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    return [f"--{name}-port={port}" for name, port in zip(names, ports, strict=True)]


class TooBusy(Exception):  # noqa: N818 - no fault of what is tested
    """Ray gives its own parts 15 s to start, and they took longer."""


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """Start Ray with two cores, as on the first machine of a cluster; give its address.

    Raises:
        TooBusy: it did not start, several times.
    """
    for _ in range(TRIES):
        log = folder / "head.txt"
        with log.open("wb") as output:
            head = start_head(output)
        try:
            while "--address='" not in (text := log.read_text()) and head.poll() is None:
                time.sleep(0.1)
            if head.poll() is None:
                yield text.partition("--address='")[2].partition("'")[0]
                return
        finally:
            stop(head)
        assert "timed out during startup" in log.read_text(), log.read_text()
    raise TooBusy


def start_head(output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start Ray's first machine in a session of its own; it stays until it is stopped."""
    words = ["--head", "--block", "--port=0", "--num-cpus=2", "--include-dashboard=false"]
    words += ["--object-store-memory=100000000", "--disable-usage-stats", *free_ports()]
    return subprocess.Popen(
        [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
        stdout=output,
        stderr=output,
        env=environment(),
        start_new_session=True,
    )


def stop(head: subprocess.Popen[bytes]) -> None:
    """End a machine of Ray, and all that it began."""
    head.terminate()
    with suppress(subprocess.TimeoutExpired):
        head.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait()


def start(source: Path, output: Path, address: str) -> subprocess.Popen[str]:
    """Start a driver, which says each shard that is done."""
    words = [sys.executable, str(HERE / "ray_job.py"), str(source), str(output), address]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, env=environment(), stdout=pipe, stderr=pipe, text=True)


def kill_an_actor(driver: subprocess.Popen[str], seconds: float) -> bool:
    """Kill a process of Ray that answers shards, so long after there is one; tell whether it was.

    Args:
        driver: of the job; while it runs an actor is waited for.
        seconds: to let it work.
    """
    while driver.poll() is None:
        numbers = [entry.name for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        for number in numbers:
            if is_actor(Path("/proc", number)):
                time.sleep(seconds)
                with suppress(ProcessLookupError):
                    os.kill(int(number), signal.SIGKILL)
                    return True
        time.sleep(0.2)
    return False


def is_actor(process: Path) -> bool:
    """Tell whether a process is an actor of a job of these tests."""
    try:
        name = (process / "cmdline").read_bytes()
        return b"_Answerer" in name and str(HERE).encode() in (process / "environ").read_bytes()
    except OSError:  # it has just ended, or is another user's
        return False


def write_pictures(folder: Path, number: int) -> Path:
    """Write what the fake detector takes for pictures, a few of them bad."""
    folder.mkdir()
    for index in range(number):
        (folder / f"{index}.jpg").write_bytes(BAD.get(index, b"slow" * (index % 5 + 1)))
    return folder


def kill_often(kills: int, chance: random.Random, folder: Path) -> Counter[str]:
    """Kill drivers and actors of one job so often; return what was killed."""
    from head_detection.batch.shards import answers_of, read_shard  # noqa: PLC0415

    source, output = write_pictures(folder / "pictures", KILLED_PICTURES), folder / "output"
    tally: Counter[str] = Counter()
    with cluster(folder) as address:
        while True:
            driver = start(source, output, address)
            while driver.poll() is None and tally.total() < kills:
                if chance.random() < 0.5:
                    time.sleep(chance.uniform(0, 8))
                    driver.kill()
                    driver.wait()
                    tally["drivers"] += 1
                elif kill_an_actor(driver, chance.uniform(0, 2)):
                    tally["actors"] += 1
            _, errors = driver.communicate(timeout=LIMIT_SECONDS)
            assert driver.returncode in (0, -signal.SIGKILL), errors
            if driver.returncode == 0:
                break
    shards = sorted((output / "shards").iterdir())
    answers = [answer for shard in shards for answer in answers_of(read_shard(shard))]
    names = Counter(answer["file"] for answer in answers)
    assert names == Counter(f"{number}.jpg" for number in range(KILLED_PICTURES))
    assert sum("error" in answer for answer in answers) == len(BAD)
    for answer in answers:
        index = int(answer["file"].removesuffix(".jpg"))
        assert answer.get("count") == (None if index in BAD else 4 * (index % 5 + 1))
    return tally


def main() -> None:
    """Kill as often as is asked for; say what was killed."""
    parser = argparse.ArgumentParser(description="Kill drivers and actors of a job on Ray.")
    parser.add_argument("--kills", type=int, default=30, help="in all (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    arguments = parser.parse_args()
    sys.path[:0] = [str(HERE.parent)]
    with tempfile.TemporaryDirectory(prefix="head-detection-ray-") as folder:
        chance = random.Random(arguments.seed)  # noqa: S311 - moments, no secrets
        tally = kill_often(arguments.kills, chance, Path(folder))
    killed = ", ".join(f"{count} {what}" for what, count in sorted(tally.items()))
    sys.stdout.write(f"batch on Ray: {killed} killed; each picture answered once\n")


if __name__ == "__main__":
    main()
