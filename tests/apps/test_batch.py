import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from PIL import Image

from head_detection.apps.main import main
from head_detection.batch.local import FirstWorker
from head_detection.batch.shards import answers_of, read_shard
from head_detection.errors import BatchError

Draw = Callable[[int], npt.NDArray[Any]]


@pytest.fixture
def photos(tmp_path: Path, draw_scene: Draw) -> Path:
    """Pictures of two sizes, one in a folder of its own, and one that is none."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(5):
        picture = Image.fromarray(draw_scene(number))
        picture.crop((0, 0, 240 - 40 * (number % 2), 180)).save(folder / f"{number}.png")
    shutil.move(folder / "3.png", folder / "sub" / "3.png")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "more.tar").write_bytes(b"never opened")
    return folder


def test_answers_are_those_of_test(
    photos: Path, tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    source = ["--source", str(photos), "--weights", str(tiny_weights), "--score-threshold", "0.1"]
    words = ["batch", *source, "--output", str(out), "--shard-size", "4", "--ndjson"]
    assert main(words) == 1
    told = capsys.readouterr()
    assert "this run: pictures: 6 (5 answered, 1 failed), heads: " in told.out
    assert "the job: pictures: 6 of 6 (5 answered, 1 failed), heads: " in told.out
    assert "failed: cut.jpg: " in told.err
    note = "note: left out: 1 tars and Parquet files beside pictures; "
    assert [note in line for line in told.err.splitlines()].count(True) == 1
    assert main(["test", *source, "--save", "json", "--output", str(tmp_path / "usual")]) == 1
    usual = json.loads((tmp_path / "usual" / "detections.json").read_text())
    expected = {picture["file"]: picture for picture in [*usual["images"], *usual["failed"]]}
    assert sum(picture.get("count", 0) for picture in expected.values()) > 0
    shards = sorted((out / "shards").glob("*.parquet"))
    assert [pq.read_metadata(shard).num_rows for shard in shards] == [4, 2]
    answers = [answer for shard in shards for answer in answers_of(read_shard(shard))]
    assert {answer["file"]: answer for answer in answers} == expected
    lines = "".join(path.read_text() for path in sorted((out / "shards").glob("*.ndjson")))
    assert [json.loads(line) for line in lines.splitlines()] == answers
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["pictures"], summary["answered"], summary["failed"]) == (6, 5, 1)
    assert summary["is_complete"]
    times = [summary["last_run"][f"{name}seconds"] for name in ("ready_", "answered_", "")]
    assert 0 < times[0] <= times[1] <= times[2]
    assert summary["model"] == usual["model"]
    assert summary["score_threshold"] == usual["score_threshold"]
    # Nothing is left to do: no process is started.
    assert main(words) == 1
    assert "this run: pictures: 0 (0 answered, 0 failed), " in capsys.readouterr().out
    assert main([*words, "--score-threshold", "0.2"]) == 2
    told = capsys.readouterr()
    assert "score_threshold 0.1 there, 0.2 here" in told.err
    assert told.err.count("error: ") == 1
    assert main([*words, "--name-column", "key"]) == 2
    assert "columns none there, name key here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--source", "nowhere"], "nowhere"),
        (["--source", ".", "--weights", "none.safetensors"], "expected a weights file"),
        (["--source", ".", "--shard-size", "0"], "expected 1 or more"),
        (["--source", ".", "--shard-size", "9" * 20], "expected 1,000,000,000,000,000 at most"),
        (["--source", ""], "expected a path or a URL; got an empty text"),
        (["--source", ".", "--picture-seconds", "0"], "expected 0.1 to 86400"),
        (["--source", ".", "--output", "s3://b/x"], "expected a folder of this machine"),
        (["--source", ".", "--ray-address", "host"], "expected HOST:PORT or auto; got 'host'"),
        (["--source", ".", "--ray-address", "host:"], "expected HOST:PORT or auto; got 'host:'"),
        (["--source", ".", "--output", ""], "expected a folder; got an empty text"),
        (["--source", "/dev/null"], "/dev/null: expected a file or a folder; it is a device"),
    ],
)
@pytest.mark.usefixtures("in_an_empty_folder")
def test_mistakes_are_told_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(["batch", "--output", "out", *words])
    except SystemExit as end:
        code = end.code
    assert code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]


def refuse(worker: FirstWorker) -> None:
    raise BatchError(f"device: {worker.options.device} asked for")


@pytest.mark.parametrize(("runner", "device"), [("local", "cuda:99"), ("ray", "cuda")])
def test_a_gpu_that_is_not_there_is_told_before_all_is_listed(
    runner: str,
    device: str,
    photos: Path,
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(FirstWorker, "begin", lambda worker: None)
    monkeypatch.setattr(FirstWorker, "start", refuse)
    out = photos.parent / "out"
    words = ["batch", "--source", str(photos), "--output", str(out), "--runner", runner]
    assert main([*words, "--weights", str(tiny_weights), "--device", device]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: device: {device} asked for")
    assert told.count("\n") == 1
    assert not list((out / "plan").iterdir())


def test_a_package_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert main(["batch", "--source", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "pip install 'head-detection[batch]'" in capsys.readouterr().err


def test_sigterm_ends_in_order(photos: Path, repository: Path, tmp_path: Path) -> None:
    """Before the detector is there: what comes later is killed in tests/batch/kills.py."""
    out = tmp_path / "out"
    words = ["--source", str(photos), "--output", str(out)]
    script = [sys.executable, str(repository / "scripts" / "batch.py"), *words]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not list((out / "plan").glob("plan-*.parquet")) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        told, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert b"stopped early" in told
    assert b"Traceback" not in errors
    assert json.loads((out / "summary.json").read_text())["is_complete"] is False
