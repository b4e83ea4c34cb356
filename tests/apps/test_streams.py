"""Whatever the standard streams are, a command ends the same way and leaves the same files.

How Python itself starts with closed streams is tested with small programs in ``test_command.py``.
"""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import pytest

from head_detection.apps.main import main
from head_detection.data.synthetic import synthetic_set

NAMES = ("caf\u00e9.png", "\u4eba \U0001f600.png")
"""The first is Latin-1, the second neither that nor cp1252."""
BYTES = os.fsdecode(b"caf\xe9~.png")
"""In Latin-1, which is no UTF-8."""
Streams = tuple[TextIO | None, TextIO | None]


class Outcome(NamedTuple):
    """How a command ended, and what it left."""

    code: int
    files: dict[str, bytes]


Run = Callable[..., Outcome]


@contextmanager
def closed() -> Iterator[Streams]:
    """As ``>&- 2>&-``."""
    yield None, None


@contextmanager
def without_reader() -> Iterator[Streams]:
    """As ``2>&1 | head -1``, which then went away."""
    ends = [os.pipe() for _ in range(2)]
    for reading, _ in ends:
        os.close(reading)
    first, second = (os.fdopen(writing, "w", encoding="utf-8", buffering=1) for _, writing in ends)
    with first, second:
        yield first, second


def encoded(encoding: str) -> Callable[[], AbstractContextManager[Streams]]:
    """As ``PYTHONIOENCODING``, or the locale, has it: a letter it does not have is an error."""

    @contextmanager
    def streams() -> Iterator[Streams]:
        yield io.TextIOWrapper(io.BytesIO(), encoding), io.TextIOWrapper(io.BytesIO(), encoding)

    return streams


STREAMS = {
    "closed": closed,
    "no reader": without_reader,
    "cp1252": encoded("cp1252"),
    "ascii": encoded("ascii"),
}
every_kind = pytest.mark.parametrize("kind", STREAMS)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels, in a folder with a name that is no UTF-8, of two pictures with letters of others."""
    folder = tmp_path_factory.mktemp("made-up") / os.fsdecode(b"d\xe9\xff")
    try:
        labels = synthetic_set(folder, len(NAMES), (64, 80), seed=1)
    except OSError:
        pytest.skip("this file system has no names that are not UTF-8")
    content = json.loads(labels.read_text())
    for entry, name in zip(content["images"], NAMES, strict=True):
        shutil.move(folder / "images" / Path(entry["file_name"]).name, folder / "images" / name)
        entry["file_name"] = name
    labels.write_text(json.dumps(content))
    return labels


def files_of(folder: Path) -> dict[str, bytes]:
    """Return what a command left, but for TensorBoard's events, which hold the time."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "tensorboard" not in path.parts
    }


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command into a folder; returns its exit code and its files."""
    monkeypatch.chdir(tmp_path)

    def run(words: list[str], kind: str | None = None) -> Outcome:
        with monkeypatch.context() as patched:
            if kind is None:
                code = main([*words, "--output", "usual"])
                return Outcome(code, files_of(Path("usual")))
            with STREAMS[kind]() as (output, errors):
                patched.setattr("sys.stdout", output)
                patched.setattr("sys.stderr", errors)
                code = main([*words, "--output", "other"])
        return Outcome(code, files_of(Path("other")))

    return run


@every_kind
def test_detection(kind: str, made_up: Path, tiny_weights: Path, outcome: Run) -> None:
    folder = made_up.parent / "images"
    bad = os.fsdecode(b"bad \xe9\xff.png")
    (folder / bad).write_bytes(b"no picture")
    shutil.copyfile(folder / NAMES[0], folder / BYTES)
    words = ["test", "--weights", str(tiny_weights), "--source", str(folder)]
    words += ["--score-threshold", "0", "--save", "json,csv,lines,coco,mot,yolo,images"]
    expected = outcome(words)
    assert outcome(words, kind) == expected
    code, files = expected
    assert code == 1
    content = json.loads(files["detections.json"])
    assert [entry["file"] for entry in content["images"]] == [NAMES[0], BYTES, NAMES[1]]
    assert [entry["file"] for entry in content["failed"]] == [bad]
    lines = files["detections.csv"].decode(errors="surrogateescape").splitlines()
    assert {line.split(",")[0] for line in lines[1:]} == {*NAMES, BYTES}
    assert {f"labels/{Path(name).stem}.txt" for name in (*NAMES, BYTES)} < set(files)


def test_evaluation(made_up: Path, tiny_weights: Path, outcome: Run) -> None:
    words = ["evaluate", "--weights", str(tiny_weights), "--data", str(made_up)]
    words += ["--protocol", "coco", "--num-resamples", "2"]
    expected = outcome(words)
    assert outcome(words, "ascii") == expected
    code, files = expected
    assert code == 0
    assert json.loads(files["metrics.json"])["num_images"] == len(NAMES)


@every_kind
def test_conversion(kind: str, made_up: Path, outcome: Run) -> None:
    words = ["convert", "annotations", "--from", "coco", "--input", str(made_up), "--to", "yolo"]
    words += ["--copy-pictures"]
    expected = outcome(words)
    assert outcome(words, kind) == expected
    code, files = expected
    assert code == 0
    assert {f"images/{name}" for name in NAMES} < set(files)


def test_training(experiment: Path, outcome: Run) -> None:
    words = ["train", "--cfg", str(experiment), "--set", "name=\u4eba", "data.validation=[]"]
    expected = outcome(words)
    code, files = outcome(words, "no reader")
    assert (code, files.keys()) == (0, expected.files.keys())
    assert files["last.safetensors"] == expected.files["last.safetensors"]
