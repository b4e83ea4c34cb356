"""Graphs that may crash the process are tried in another one first."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from head_detection.errors import EngineError
from head_detection.inference.backends import openvino as module
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx
from head_detection.inference.backends.trial import Trial
from head_detection.inference.child_process import ChildProcess
from head_detection.inference.engine_times import cache_folder
from head_detection.processor import Processor

AMX = Processor("Xeon", frozenset({"amx_int8"}), "x86_64")
CRASHES = """
import os, signal
from head_detection.inference.child_process import answer_questions
def answer(question):
    if 544 in question["shape"]: os.kill(os.getpid(), signal.SIGSEGV)
    if 545 in question["shape"]: raise ValueError("not this one")
    return {}
answer_questions(answer)
"""


@pytest.fixture
def crashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Begins processes that die of pictures 544 pixels down; lists them."""
    (tmp_path / "crashes.py").write_text(CRASHES, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    started: list[ChildProcess] = []

    def start(_name: str) -> ChildProcess:
        started.append(ChildProcess("crashes"))
        return started[-1]

    start.started = started
    return start


@pytest.fixture
def trial(crashing, tmp_path: Path):
    for suffix in (".xml", ".bin"):
        (tmp_path / f"graph{suffix}").write_bytes(b"graph")
    return lambda release="1": Trial(tmp_path / "graph.xml", release, {}, crashing)


def test_a_shape_that_crashes_is_one_line(trial, crashing) -> None:
    own = trial()
    own.check("images", ["a"], (1, 3, 608, 800))
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            own.check("images", ["a"], (1, 3, 544, 800))
        assert "on a batch of 1x3x544x800" in str(caught.value)
        assert "died of SIGSEGV; use the .safetensors file" in str(caught.value)
        assert "with engine openvino or torch" in str(caught.value)
        assert "\n" not in str(caught.value)
    own.check("images", ["a"], (1, 3, 640, 800))
    assert len(crashing.started) == 3  # one more after each that died


@pytest.mark.parametrize("height", [544, 545])
def test_of_a_failed_trial_no_process_and_no_file_is_left(trial, crashing, height) -> None:
    own = trial()
    with pytest.raises(EngineError):
        own.check("images", ["a"], (1, 3, height, 800))
    (child,) = crashing.started
    assert child._process.poll() is not None
    assert child._process.stdout.closed
    assert child._words.closed


def test_what_passed_is_kept_for_this_release(trial, crashing) -> None:
    trial().check("images", ["a"], (1, 3, 608, 800))
    trial().check("images", ["a"], (1, 3, 608, 800))
    assert len(crashing.started) == 1
    (kept,) = (cache_folder() / "tried").iterdir()
    assert json.loads(kept.read_bytes()) == ["images 1x3x608x800"]
    trial("2").check("images", ["a"], (1, 3, 608, 800))
    assert len(crashing.started) == 2
    kept.write_bytes(b"[")
    trial().check("images", ["a"], (1, 3, 608, 800))
    assert len(crashing.started) == 3


def test_without_a_home_it_is_tried_each_time(trial, crashing, request) -> None:
    request.getfixturevalue("homeless")  # after the cache of the others
    for _ in range(2):
        trial().check("images", ["a"], (1, 3, 608, 800))
    assert len(crashing.started) == 2


needs_openvino = pytest.mark.skipif(
    any(find_spec(package) is None for package in ("onnx", "openvino")),
    reason="needs the export extra",
)


@needs_openvino
def test_int8_on_amx_is_tried_and_then_the_same(
    build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "find_processor", lambda: AMX)
    tiny = build()
    graph = from_onnx(to_onnx(tiny.network, tiny.config))
    tried, plain = (OpenVinoBackend(graph, is_int8=is_int8) for is_int8 in (True, False))
    image, pooled = torch.rand(1, 3, 64, 96), torch.rand(3, 16, 3, 3)
    for ours, theirs in zip(tried.dense(image).features, plain.dense(image).features, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(tried.score(pooled), plain.score(pooled))
    (kept,) = (cache_folder() / "tried").iterdir()
    assert json.loads(kept.read_bytes()) == ["images 1x64x96x3", "pooled 4x3x3x16"]


@needs_openvino
def test_int8_that_crashes_raises(crashing, build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_processor", lambda: AMX)
    monkeypatch.setattr(module.Trial.__init__, "__defaults__", (crashing,))
    tiny = build()
    backend = OpenVinoBackend(from_onnx(to_onnx(tiny.network, tiny.config)), is_int8=True)
    with pytest.raises(EngineError, match=r"1x544x64x3, .* died of SIGSEGV"):
        backend.dense(torch.rand(1, 3, 544, 64))


@needs_openvino
def test_float_graphs_and_other_processors_need_no_trial(
    build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Trial", None)
    tiny = build()
    graph = from_onnx(to_onnx(tiny.network, tiny.config))
    monkeypatch.setattr(module, "find_processor", lambda: AMX)
    OpenVinoBackend(graph)
    vnni = Processor("Xeon", frozenset({"avx512_vnni"}), "x86_64")
    monkeypatch.setattr(module, "find_processor", lambda: vnni)
    OpenVinoBackend(graph, is_int8=True)
