"""Kills test, train and convert at random moments, and looks at what they leave: ``make kill``.

After each kill every file of results that is there is whole and says what it says of an
uninterrupted run; what goes on ends bit for bit as that does, and no temporary file stays.

    python tests/kill.py [--kills 200] [--seed 0] [--only convert]

Torch is imported once, and every command runs in a fork of this process, as with
``warm_python.py``: so most of the moments lie in the command's own work.
"""

import argparse
import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Final

from warm_python import SLOW, become

from head_detection.cores import set_wait_policy

ROOT: Final = Path(__file__).resolve().parents[1]
SIGNALS: Final = (signal.SIGKILL, signal.SIGTERM)
UNDISTURBED: Final = 6
"""Each so manieth run is let end, for it to be compared."""
LIMIT_SECONDS: Final = 300
PREPARE: Final = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from head_detection.data.synthetic import synthetic_set
synthetic_set(Path("set"), 10, (64, 96), seed=0)
"""
EXPERIMENT: Final = """\
name: killed
network:
  backbone: {name: mobilenet0.25, strides: [16, 32], fpn_width: 8}
  anchors: {sizes: [[16], [32]], ratios: [1.0]}
  box_head: {width: 16, pool_size: 2}
inference:
  resize: {min_size: 64, max_size: 96}
  suppression: {detections_per_image: 20, score_threshold: 0.0}
data:
  train: [{path: set/annotations.json}]
  validation: [{path: set/annotations.json}]
  allow_overlap: true
  workers: 0
training:
  epochs: 2
  threads: 1
  log_steps: 1
  checkpoint_minutes: 0.0001
  rpn: {pre_nms_top_n: 20, post_nms_top_n: 10}
"""
Files = dict[str, bytes]


class Trial(ABC):
    """A command that is killed again and again.

    Attributes:
        name: of the command.
        seconds: that it takes if it is left alone.
    """

    name: str
    seconds: float

    def __init__(self) -> None:
        self.output, self.usual = Path(self.name), Path(f"usual-{self.name}")

    @abstractmethod
    def words(self, output: Path) -> list[str]:
        """Return the arguments of the next run into a folder."""

    @abstractmethod
    def check_left(self) -> None:
        """Check what a killed run has left."""

    def check_whole(self) -> None:
        """Check what a run has left that came to its end, after others that did not."""
        assert read(self.output) == self.expected

    def measure(self) -> None:
        """Run twice, undisturbed: the first time the files that are read are not in memory yet."""
        code, errors = run(self.words(self.usual))
        assert code == 0, errors
        self.expected = read(self.usual)
        start = time.monotonic()
        finish(self)
        self.seconds = time.monotonic() - start


class Testing(Trial):
    """Each run writes over what the one before left."""

    name = "test"

    def words(self, output: Path) -> list[str]:
        weights = "usual-train/best.safetensors"
        saved = "json,csv,lines,coco,mot,yolo,images"
        source = ["--source", "set/images", "--weights", weights]
        return ["test", *source, "--save", saved, "--overwrite", "--output", str(output)]

    def check_left(self) -> None:
        for name, content in read(self.output, with_temporary=False).items():
            if content == self.expected[name] or Path(name).name.startswith(".head-detection"):
                continue
            if name == "detections.json":
                assert set(records(content)) <= set(records(self.expected[name]))
            elif name == "coco.json":
                found, expected = json.loads(content), json.loads(self.expected[name])
                assert found == expected[: len(found)]
            elif name == "coco-images.json":
                found, expected = json.loads(content), json.loads(self.expected[name])
                assert found["images"] == expected["images"][: len(found["images"])]
            else:  # row by row the same, and each row whole
                assert name in ("detections.csv", "detections.ndjson", "mot.txt"), name
                rows, expected = content.splitlines(), self.expected[name].splitlines()
                assert rows == expected[: len(rows)], name
                assert content.endswith(b"\n") or not content


class Training(Trial):
    """Each run goes on where the one before was killed."""

    name = "train"

    def words(self, output: Path) -> list[str]:
        if (output / "config.yaml").exists():
            return ["train", "--resume", str(output)]
        return ["train", "--cfg", "experiment.yaml", "--output", str(output)]

    def check_left(self) -> None:
        from safetensors.torch import load  # noqa: PLC0415 - as late as all of torch

        left = read(self.output, with_temporary=False)
        for name in ("last.safetensors", "best.safetensors"):
            if name in left:
                assert load(left[name])
        if "curves.png" in left:
            from PIL import Image  # noqa: PLC0415

            Image.open(io.BytesIO(left["curves.png"])).load()
        if "log.csv" in left:
            assert left["log.csv"].startswith(b"step,epoch,")

    def check_whole(self) -> None:
        left = read(self.output)
        for name in ("last.safetensors", "best.safetensors", "config.yaml"):
            assert left[name] == self.expected[name], f"{name} is another than without kills"
        assert left.keys() == self.expected.keys()
        logged, expected = steps(left["log.csv"]), steps(self.expected["log.csv"])
        assert logged == expected, f"{sorted(set(logged) ^ set(expected))} {len(logged)}"
        shutil.rmtree(self.output)


class Converting(Trial):
    """A folder of labels and pictures is there whole or not at all."""

    name = "convert"

    def words(self, output: Path) -> list[str]:
        source = ["--from", "coco", "--input", "set/annotations.json", "--copy-pictures"]
        return ["convert", "annotations", *source, "--to", "yolo", "--output", str(output)]

    def check_left(self) -> None:
        if self.output.exists():
            self.check_whole()

    def check_whole(self) -> None:
        super().check_whole()
        shutil.rmtree(self.output)


def records(content: bytes) -> list[str]:
    """Return the pictures of a detections.json."""
    return [json.dumps(record) for record in json.loads(content)["images"]]


def steps(log: bytes) -> list[tuple[str, str]]:
    """Return what a log says that is the same on each machine: step and loss."""
    rows = csv.DictReader(io.StringIO(log.decode()))
    return [(row["step"], row["loss"]) for row in rows]


def is_temporary(path: Path) -> bool:
    """Tell whether a name is one of a file that is being written, ours or a library's."""
    return any(part.endswith(".part") or part.startswith(".tmp") for part in path.parts)


def temporary_files() -> set[Path]:
    """Return what lies in the working folder unfinished."""
    return {path for path in Path().rglob("*") if is_temporary(path)}


def read(folder: Path, *, with_temporary: bool = True) -> Files:
    """Return the files below a folder, but for TensorBoard's, which hold the time."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "tensorboard" not in path.parts
        and (with_temporary or not is_temporary(path))
    }


def start(arguments: list[str]) -> int:
    """Run Python with these arguments in a fork; return its process id."""
    child = os.fork()
    if child:
        return child
    code: object = 1
    try:
        become(arguments, ".", "output.txt", "errors.txt", LIMIT_SECONDS)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - all that ends a process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def run(words: list[str], kill: tuple[float, signal.Signals] | None = None) -> tuple[int, str]:
    """Run a command, and kill it after so many seconds; return its exit code and its errors."""
    process = start([str(ROOT / "scripts" / f"{words[0]}.py"), *words[1:]])
    if kill is not None:
        time.sleep(kill[0])
        os.kill(process, kill[1])  # it is not waited for yet, so the number is its own
    _, status = os.waitpid(process, 0)
    errors = Path("errors.txt").read_text(errors="replace") if Path("errors.txt").exists() else ""
    return os.waitstatus_to_exitcode(status), errors


def kill_often(trial: Trial, kills: int, chance: random.Random) -> Counter[str]:
    """Kill a command so often, and check what it leaves; then let it end.

    Returns:
        How many runs ended how.
    """
    trial.measure()
    tally: Counter[str] = Counter()
    while sum(tally[number.name] for number in SIGNALS) < kills:
        if tally.total() % UNDISTURBED == UNDISTURBED - 1:
            finish(trial)
            tally["let end"] += 1
            continue
        number, before = chance.choice(SIGNALS), temporary_files()
        code, errors = run(trial.words(trial.output), (chance.uniform(0, trial.seconds), number))
        assert "Traceback" not in errors, errors
        if code == 0:
            trial.check_whole()
            tally["ended before"] += 1
            continue
        assert code in (-number, 128 + number), f"{code}: {errors}"
        tally[number.name] += 1
        trial.check_left()
        if code > 0:  # the work was unwound
            assert temporary_files() <= before
    finish(trial)
    return tally


def finish(trial: Trial) -> None:
    """Let a run end, and check that nothing is left of those that were killed."""
    code, errors = run(trial.words(trial.output))
    assert code == 0, errors
    trial.check_whole()
    left = temporary_files()
    assert not left, left


def main() -> None:
    """Kill the three commands in a folder of their own, and print how often."""
    parser = argparse.ArgumentParser(description="Kill commands at random moments.")
    parser.add_argument("--kills", type=int, default=200, help="in all (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--only", choices=("train", "convert"), help="one command alone")
    arguments = parser.parse_args()
    set_wait_policy(os.environ)
    for name in SLOW if arguments.only != "convert" else ():
        import_module(name)
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="head-detection-kill-") as folder:
        os.chdir(folder)
        try:
            kill_all(arguments.kills, random.Random(arguments.seed), arguments.only)  # noqa: S311
        finally:
            os.chdir(before)


def kill_all(kills: int, chance: random.Random, only: str | None) -> None:
    """Make up data, then kill the commands so often in all."""
    _, status = os.waitpid(start(["-c", PREPARE]), 0)
    assert status == 0, Path("errors.txt").read_text()
    Path("experiment.yaml").write_text(EXPERIMENT)
    # The second has its weights of the first, which takes the longest.
    shares = {Training(): kills // 5, Testing(): kills // 5 * 2, Converting(): 0}
    if only is not None:
        shares = {trial: 0 for trial in shares if trial.name == only}
    *_, last = shares
    shares[last] = kills - sum(shares.values())
    for trial, share in shares.items():
        begin = time.monotonic()
        tally = kill_often(trial, share, chance)
        ends = ", ".join(f"{name} {count}" for name, count in sorted(tally.items()))
        seconds = time.monotonic() - begin
        took = f"{trial.seconds:.1f} s undisturbed, {seconds:.0f} s in all"
        print(f"{trial.name}: {ends}; {took}", flush=True)  # noqa: T201
    print(f"kill: {kills} kills, all that was left is whole")  # noqa: T201


if __name__ == "__main__":
    main()
