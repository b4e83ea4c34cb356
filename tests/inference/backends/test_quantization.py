from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from head_detection.errors import PictureError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.int8 import quantize
from head_detection.inference.backends.onnx import OnnxRuntime
from head_detection.inference.backends.openvino import OpenVinoRuntime
from head_detection.inference.backends.openvino_files import from_onnx
from head_detection.inference.backends.samples import inputs_of, read_sample

pytestmark = pytest.mark.skipif(
    any(find_spec(package) is None for package in ("onnx", "onnxruntime", "openvino", "nncf")),
    reason="needs the export extra",
)


@pytest.fixture
def pictures(tmp_path, draw_scene):
    paths = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(paths):
        Image.fromarray(draw_scene(seed)).save(path)
    return paths


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_both_parts_are_integers_and_close(build, describe, pictures, engine):
    model, seen = build(), []
    graph = to_onnx(model.network, describe().network)
    if engine == "openvino":
        graph = from_onnx(graph)

    def shown(paths):
        for path in paths:
            seen.append(path)
            yield path

    quantised = quantize(graph, model, pictures, shown)
    assert set(seen) == set(pictures)
    if engine == "openvino":
        kinds = [node.get_type_name() for node in quantised.get_ops()]
        assert kinds.count("FakeQuantize") > 20
        runtime = OpenVinoRuntime(quantised, is_int8=True)
    else:
        kinds = [node.op_type for node in quantised.graph.node]
        assert kinds.count("QuantizeLinear") > 20
        runtime = OnnxRuntime(quantised, is_int8=True)
    assert runtime.precision == "int8"
    inputs = inputs_of(model, read_sample(pictures[0]))
    images, pooled = torch.from_numpy(inputs["images"]), torch.from_numpy(inputs["pooled"])
    with torch.inference_mode():
        pairs = [
            *zip(runtime.dense(images).features, model.network.dense(images).features, strict=True),
            *zip(
                runtime.score(pooled.permute(0, 3, 1, 2)),
                model.network.score(pooled.permute(0, 3, 1, 2)),
                strict=True,
            ),
        ]
    for came, expected in pairs:
        assert expected.std() > 0.01
        assert 0 < (came - expected).abs().mean() < 0.1 * expected.abs().max()


def test_a_picture_gives_what_both_parts_take(build, pictures):
    model = build()
    inputs = inputs_of(model, read_sample(pictures[0]))
    assert inputs["images"].shape == (1, 3, 96, 128)  # 180 x 240 made 96 x 128
    assert inputs["pooled"].shape == (20, 3, 3, 16)
    assert all(values.dtype == np.float32 for values in inputs.values())


def test_a_picture_without_proposals_gives_one_box_of_zeros(build, pictures):
    model = build()
    limits = replace(model.decoder.limits, score_threshold=1.0)
    model.decoder = replace(model.decoder, limits=limits)
    pooled = inputs_of(model, read_sample(pictures[0]))["pooled"]
    assert pooled.shape == (1, 3, 3, 16)
    assert not pooled.any()


def test_a_broken_picture_says_so(build, describe, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    model = build()
    graph = from_onnx(to_onnx(model.network, describe().network))
    with pytest.raises(PictureError, match=r"broken\.png"):
        quantize(graph, model, [tmp_path / "broken.png"])
