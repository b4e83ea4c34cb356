import logging
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from head_detection.config import ProposalConfig
from head_detection.errors import PictureError
from head_detection.inference.backends.export import to_onnx
from head_detection.inference.backends.int8 import inputs_of, quantize, read_sample
from head_detection.inference.backends.onnx import OnnxBackend
from head_detection.inference.backends.openvino import OpenVinoBackend, from_onnx
from head_detection.models.faster_rcnn import assemble

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
def test_both_parts_are_integers_and_close(build, pictures, engine):
    tiny, seen = build(), []
    graph = to_onnx(tiny.network, tiny.config)
    if engine == "openvino":
        graph = from_onnx(graph)

    def shown(paths):
        for path in paths:
            seen.append(path)
            yield path

    quantised = quantize(graph, tiny.model, pictures, shown)
    assert set(seen) == set(pictures)
    if engine == "openvino":
        kinds = [node.get_type_name() for node in quantised.get_ops()]
        assert kinds.count("FakeQuantize") > 20
        backend = OpenVinoBackend(quantised, is_int8=True)
    else:
        kinds = [node.op_type for node in quantised.graph.node]
        assert kinds.count("QuantizeLinear") > 20
        backend = OnnxBackend(quantised, is_int8=True)
    assert backend.precision == "int8"
    inputs = inputs_of(tiny.model, read_sample(pictures[0]))
    images, pooled = torch.from_numpy(inputs["images"]), torch.from_numpy(inputs["pooled"])
    pooled = pooled.permute(0, 3, 1, 2)
    with torch.inference_mode():
        maps, truth = backend.dense(images), tiny.network.dense(images)
        pairs = [
            *zip(maps.features, truth.features, strict=True),
            *zip(backend.score(pooled), tiny.network.score(pooled), strict=True),
        ]
    for came, expected in pairs:
        assert expected.std() > 0.01
        assert 0 < (came - expected).abs().mean() < 0.1 * expected.abs().max()


def test_the_way_down_of_a_light_pyramid_stays_float(build, pictures):
    tiny = build(fpn="light", strides=(8, 16, 32))
    quantised = quantize(from_onnx(to_onnx(tiny.network, tiny.config)), tiny.model, pictures)
    convolutions = {
        node.get_friendly_name(): [node.input_value(side).get_node() for side in (0, 1)]
        for node in quantised.get_ops()
        if node.get_type_name() == "Convolution"
    }
    down = [sources for name, sources in convolutions.items() if "/fpn/downs" in name]
    lateral = [sources for name, sources in convolutions.items() if "/fpn/laterals" in name]
    assert (len(down), len(lateral)) == (2, 3)
    for sources, is_integer in ((down, False), (lateral, True)):
        kinds = {node.get_type_name() for pair in sources for node in pair}
        assert ("FakeQuantize" in kinds) is is_integer


def test_a_picture_gives_what_both_parts_take(build, pictures):
    inputs = inputs_of(build().model, read_sample(pictures[0]))
    assert inputs["images"].shape == (1, 3, 96, 128)  # 180 x 240 made 96 x 128
    assert inputs["pooled"].shape == (20, 3, 3, 16)
    assert all(values.dtype == np.float32 for values in inputs.values())


def test_a_picture_without_proposals_gives_one_box_of_zeros(build, pictures):
    tiny = build()
    none = tiny.inference.model_copy(update={"proposals": ProposalConfig(score_threshold=1.0)})
    model = assemble(tiny.network, tiny.config, none)
    pooled = inputs_of(model, read_sample(pictures[0]))["pooled"]
    assert pooled.shape == (1, 3, 3, 16)
    assert not pooled.any()


def test_a_broken_picture_says_so_and_the_log_is_as_before(build, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    tiny, log = build(), logging.getLogger("nncf")
    graph, level = from_onnx(to_onnx(tiny.network, tiny.config)), log.level
    with pytest.raises(PictureError, match=r"broken\.png"):
        quantize(graph, tiny.model, [tmp_path / "broken.png"])
    assert log.level == level
