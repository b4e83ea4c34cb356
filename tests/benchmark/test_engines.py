"""Engines in turn, each in a process of its own; most processes here are only said to be."""

import json
from pathlib import Path
from typing import Any

import pytest

from head_detection.benchmark import engines
from head_detection.benchmark.engines import Candidate, list_candidates, measure_engines
from head_detection.inference.child_process import ChildError, ChildProcess
from head_detection.inference.engine_times import cache_folder

HEADS = {
    "boxes": [[[10.0 * n, 0.0, 10.0 * n + 8, 8.0] for n in range(20)]],
    "scores": [[0.9] * 20],
    "score_threshold": 0.5,
}
TORCH, ONNX, OPENVINO = (Candidate(name, "fp32") for name in ("torch", "onnx", "openvino"))


class Child:
    """Answers as a worker does, but for one engine."""

    def __init__(self, wrong: dict[str, Any]) -> None:
        self.wrong, self.engine = wrong, ""
        self.runs = 0

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        if question["do"] == "detector":
            self.engine = question["engine"]
        own = self.wrong.get(self.engine, {})
        if question["do"] in own:
            found = own[question["do"]]
            if isinstance(found, Exception):
                raise found
            return found
        return HEADS if question["do"] == "heads" else {}

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def measure(weights: Path, wrong: dict[str, Any], candidates=(TORCH, ONNX, OPENVINO)):
    return measure_engines(
        weights, (48, 64), 1, 2, candidates=candidates, start=lambda _: Child(wrong)
    )


def test_an_engine_that_dies_costs_a_line(tiny_weights: Path) -> None:
    died = ChildError("its process died of SIGSEGV")
    found = measure(tiny_weights, {"openvino": {"heads": died}, "onnx": {"run": died}})
    assert list(found.milliseconds) == ["torch fp32"]
    assert len(found.milliseconds["torch fp32"].samples) == 2
    assert found.left_out == dict.fromkeys(
        ("openvino fp32", "onnx fp32"), "its process died of SIGSEGV"
    )
    assert found.chosen is not None
    assert found.chosen.engine == "torch"
    assert found.kept_in is not None
    kept = json.loads(found.kept_in.read_text(encoding="utf-8"))
    assert [one["engine"] for one in kept["times"]] == ["torch"]
    assert found.kept_in.is_relative_to(cache_folder())


def test_an_engine_that_finds_other_heads_is_left_out(tiny_weights: Path) -> None:
    # One of twenty heads may differ, two may not.
    for count, is_right in ((19, True), (18, False)):
        fewer = {**HEADS, "boxes": [HEADS["boxes"][0][:count]], "scores": [[0.9] * count]}
        found = measure(tiny_weights, {"onnx": {"heads": fewer}})
        assert ("onnx fp32" in found.milliseconds) is is_right
    assert found.left_out["onnx fp32"] == (
        "of 20 heads that torch fp32 finds it misses 2, and finds 0 others"
    )


def test_where_none_runs_nothing_is_kept(tiny_weights: Path) -> None:
    found = measure(tiny_weights, {"torch": {"detector": ChildError("gone")}}, [TORCH])
    assert (found.chosen, found.kept_in, found.milliseconds) == (None, None, {})
    assert not cache_folder().exists()


def test_a_cache_that_cannot_be_written(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = measure(tiny_weights, {}, [TORCH])
    assert found.kept_in is None
    assert found.chosen is not None


@pytest.mark.parametrize("has_bf16", [False, True])
def test_candidates_are_what_the_processor_multiplies(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, has_bf16: bool
) -> None:
    monkeypatch.setattr(engines, "cpu_multiplies_bf16", lambda: has_bf16)
    monkeypatch.setattr(engines, "find_spec", lambda package: package != "onnxruntime" or None)
    precisions = ("fp32", "bf16") if has_bf16 else ("fp32",)
    floats = [
        Candidate(engine, precision) for engine in ("torch", "openvino") for precision in precisions
    ]
    assert list_candidates(tmp_path / "mine.safetensors") == floats
    (tmp_path / "mine-int8.xml").touch()
    int8 = Candidate("openvino", "int8")
    assert list_candidates(tmp_path / "mine.safetensors") == [*floats, int8]


def test_a_real_process(tiny_weights: Path) -> None:
    found = measure_engines(tiny_weights, (48, 64), 1, 1, candidates=[TORCH], start=ChildProcess)
    assert found.left_out == {}
    assert found.milliseconds["torch fp32"].median > 0
