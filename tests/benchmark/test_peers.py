"""Detectors of others: made graphs, in processes of their own."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from head_detection.benchmark.peers import Peers
from head_detection.errors import BenchmarkError
from head_detection.inference.backends.extras import import_extra

pytestmark = pytest.mark.skipif(
    any(find_spec(package) is None for package in ("onnx", "onnxruntime")),
    reason="needs the export extra",
)
IMAGES = [torch.zeros(3, 40, 70, dtype=torch.uint8), torch.zeros(3, 40, 70, dtype=torch.uint8)]


def write_graph(path: Path, *inputs: tuple[str, list[Any], str]) -> Path:
    """Write a graph that gives its inputs back."""
    onnx = import_extra("onnx")
    kinds = {
        "f32": onnx.TensorProto.FLOAT, "u8": onnx.TensorProto.UINT8, "i64": onnx.TensorProto.INT64
    }  # fmt: skip
    nodes, given, made = [], [], []
    for name, shape, kind in inputs:
        given.append(onnx.helper.make_tensor_value_info(name, kinds[kind], shape))
        made.append(onnx.helper.make_tensor_value_info(f"{name}_out", kinds[kind], shape))
        nodes.append(onnx.helper.make_node("Identity", [name], [f"{name}_out"]))
    graph = onnx.helper.make_graph(nodes, "peer", given, made)
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return path


def test_a_graph_runs_at_its_own_size_or_the_given_one(tmp_path: Path) -> None:
    fixed = write_graph(
        tmp_path / "fixed.onnx", ("x", [1, 3, 64, 96], "f32"), ("size", [1, 2], "i64")
    )
    free = write_graph(tmp_path / "free.onnx", ("x", ["n", "h", "w", 3], "u8"))
    with Peers([fixed, free], None, 1) as peers:
        assert peers.size_for_all(None, (600, 800)) == (64, 96)
        assert peers.size_for_all((64, 96), (600, 800)) == (64, 96)
        with pytest.raises(BenchmarkError, match=r"fixed.onnx takes 64x96 alone, .* 40x70: leave"):
            peers.size_for_all((40, 70), (600, 800))
        first, second = peers.prepare(IMAGES)
        assert (first.name, second.name) == ("fixed", "free")
        assert "network of fixed.onnx alone, ONNX Runtime at 64x96" in first.description
        assert "at 64x96" in second.description  # 40x70, up to multiples of 32
        assert first.facts["engine"] == "onnx"
        answer: Any = first.detect(IMAGES[0])
        assert answer["seconds"] > 0
    with Peers([free], (32, 32), 1) as peers:
        assert peers.size_for_all(None, (600, 800)) == (600, 800)
        assert "at 32x32" in peers.prepare(IMAGES)[0].description


def test_what_is_no_detector_is_one_line(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(b"\x00 no graph")
    vector = write_graph(tmp_path / "vector.onnx", ("x", [1, 8], "f32"))
    eight = write_graph(tmp_path / "eight.onnx", ("x", [8, 3, 64, 64], "f32"))
    odd = write_graph(tmp_path / "odd.onnx", ("x", [1, 3, 64, 64], "f32"), ("y", [5], "f32"))
    other = write_graph(tmp_path / "other.onnx", ("x", [1, 3, 32, 32], "f32"))
    (folder := tmp_path / "folder.onnx").mkdir()
    for path, expected in (
        (garbage, "expected an .onnx file that ONNX Runtime can run"),
        (vector, r"expected a detector with one input of .* got x \[1, 8\] tensor\(float\)"),
        (eight, "expected one picture of three colours at a time"),
        (tmp_path / "gone.onnx", "gone.onnx: expected an .onnx file; got no such file"),
        (folder, "folder.onnx: expected an .onnx file; got a folder"),
    ):
        with pytest.raises(BenchmarkError, match=expected) as caught:
            Peers([path], None, 1)
        assert len(str(caught.value).splitlines()) == 1
        assert str(path) in str(caught.value)
    with Peers([odd, other], None, 1) as peers:
        with pytest.raises(
            BenchmarkError, match=r"odd.onnx takes 64x64 alone, other.onnx takes 32"
        ):
            peers.size_for_all(None, (600, 800))
        with pytest.raises(BenchmarkError, match="no input but pictures and their sizes; got y"):
            peers.prepare(IMAGES)


def test_no_peers() -> None:
    with Peers([], None, 1) as peers:
        assert peers.size_for_all(None, (600, 800)) == (600, 800)
        assert peers.prepare(IMAGES) == []
