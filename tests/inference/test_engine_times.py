"""Times of engines, kept for this processor, these releases and this network."""

import os
import time
from pathlib import Path

import pytest
import torch

from head_detection.inference import engine_times
from head_detection.inference.building import build_engine
from head_detection.inference.engine_times import (
    EngineTime,
    cache_folder,
    fastest,
    read_times,
    times_path,
    write_times,
)
from head_detection.models.weights import read_description
from head_detection.processor import Processor

TORCH = EngineTime(engine="torch", precision="fp32", milliseconds=80)
ONNX = EngineTime(engine="onnx", precision="fp32", milliseconds=60)
BF16 = EngineTime(engine="torch", precision="bf16", milliseconds=40)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_what_is_written_is_read() -> None:
    assert read_times("{}", 2) == ()
    path = write_times("{}", 2, [TORCH, ONNX])
    assert path.parent == cache_folder() / "engines"
    assert read_times("{}", 2) == (TORCH, ONNX)
    assert read_times('{"other": 1}', 2) == ()
    assert read_times("{}", 4) == ()
    path.write_bytes(path.read_bytes()[:-9])
    assert read_times("{}", 2) == ()
    path.write_text('{"format": "head-detection/engines/2", "times": []}', encoding="utf-8")
    assert read_times("{}", 2) == ()


def test_another_processor_or_release_is_measured_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    here = times_path("{}", 2)
    assert times_path("{}", 2) == here
    monkeypatch.setattr(engine_times, "_release", lambda package: f"{package} 2")
    released = times_path("{}", 2)
    monkeypatch.setattr(
        engine_times, "find_processor", lambda: Processor("", frozenset({"amx_tile"}), "")
    )
    assert len({here, released, times_path("{}", 2)}) == 3


def test_reading_takes_less_than_a_millisecond() -> None:
    write_times("{}", 2, [TORCH, ONNX])
    took = []
    for _ in range(20):
        start = time.perf_counter()
        read_times("{}", 2)
        took.append(time.perf_counter() - start)
    assert min(took) < 1e-3


@pytest.mark.parametrize(
    ("precision", "expected"), [("auto", BF16), ("fp32", ONNX), ("bf16", BF16), ("fp16", None)]
)
def test_the_fastest_of_a_precision(precision: str, expected: EngineTime | None) -> None:
    assert fastest([TORCH, BF16, ONNX], precision) == expected
    assert fastest([]) is None


@pytest.mark.skipif(os.name == "nt", reason="Windows has a folder of its own")
def test_the_folder_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(engine_times.sys, "platform", "linux")
    monkeypatch.setenv("HOME", "/somebody")
    assert cache_folder() == Path("/somebody/.cache/head-detection")
    for not_a_folder in ("", "here"):  # as if it were not set, says the standard
        monkeypatch.setenv("XDG_CACHE_HOME", not_a_folder)
        assert cache_folder() == Path("/somebody/.cache/head-detection")


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_keeps_nothing() -> None:
    assert read_times("{}", 1) == ()
    with pytest.raises(FileNotFoundError, match="this user has none"):
        write_times("{}", 1, [TORCH])


def test_auto_is_what_was_measured_else_the_files_own(tiny_weights: Path) -> None:
    network = read_description(tiny_weights).network.model_dump_json()
    plain = build_engine(tiny_weights, "auto", device="cpu").engine
    assert plain.name == "torch"
    slow = ONNX.model_copy(update={"milliseconds": 90})
    write_times(network, torch.get_num_threads(), [slow, BF16])
    chosen = build_engine(tiny_weights, "auto", device="cpu").engine
    assert (chosen.name, chosen.precision) == ("torch", "bf16")
    asked = build_engine(tiny_weights, "auto", device="cpu", precision="fp32").engine
    assert (asked.name, asked.precision) == ("onnx", "fp32")
    assert build_engine(tiny_weights, None, device="cpu", precision="fp32").engine.name == "torch"
