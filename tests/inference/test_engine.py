import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from head_detection.config import (
    AnchorConfig,
    BackboneConfig,
    BoxHeadConfig,
    BoxVotingConfig,
    InferenceConfig,
    NetworkConfig,
    ProposalConfig,
    ResizeConfig,
    SoftNmsConfig,
    SuppressionConfig,
    ViewConfig,
)
from head_detection.errors import DeviceError, DeviceMemoryError, WeightsError
from head_detection.inference.backends import torch as backends
from head_detection.inference.backends.fusion import FusedConvolution
from head_detection.inference.backends.torch import TorchRuntime
from head_detection.inference.detector import HeadDetector
from head_detection.inference.engine import TwoStageEngine, detect_tiles
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.tiles import tile_views
from head_detection.models.weights import WeightsDescription, save_weights

NETWORK = NetworkConfig(
    backbone=BackboneConfig(name="mobilenet0.25", strides=(8, 16), fpn_width=16),
    anchors=AnchorConfig(sizes=((16.0,), (32.0,))),
    box_head=BoxHeadConfig(pool_size=3, width=16),
)
INFERENCE = InferenceConfig(
    resize=ResizeConfig(min_size=64, max_size=128),
    proposals=ProposalConfig(pre_nms_top_n=50, post_nms_top_n=20),
    suppression=SuppressionConfig(score_threshold=0.3),
    score_threshold=0.4,
)


def build(network=NETWORK, **inference):
    return build_detector(network, INFERENCE.model_copy(update=inference)).eval()


@pytest.fixture
def model():
    return build()


def torch_engine(model, precision="fp32", device="cpu", score_threshold=0.0):
    divisor = model.transform.size_divisor
    backend = TorchRuntime(model.network, divisor, device=device, precision=precision)
    return TwoStageEngine(model, backend, score_threshold=score_threshold)


def pictures(*sizes):
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]


def assert_same(found, expected):
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_the_engine_gives_what_the_network_gives(model):
    images = pictures((64, 96), (50, 70))
    with torch.no_grad():
        expected = copy.deepcopy(model)(images)
    found = torch_engine(model, score_threshold=0.3).detect(images)
    assert len(found[0]) > 0
    for detections, image, truth in zip(found, images, expected, strict=True):
        assert detections.image_size == tuple(image.shape[1:])
        np.testing.assert_allclose(detections.boxes, truth["boxes"].numpy(), atol=1e-3)
        np.testing.assert_allclose(detections.scores, truth["scores"].numpy(), atol=1e-4)


def test_heads_do_not_depend_on_the_batch(model):
    engine = torch_engine(model, score_threshold=0.3)
    detector = HeadDetector(engine, 0.3, {})
    images = pictures((64, 96), (50, 70), (64, 96), (200, 100), (60, 90), (64, 96), (1, 40))
    one_by_one = detector.detect(images, batch_size=1)
    assert sum(map(len, one_by_one)) > 0
    for alone, together in zip(one_by_one, detector.detect(images, batch_size=4), strict=True):
        assert_same(together, alone)


@pytest.mark.parametrize(
    ("image_size", "padded"),
    [((64, 96), (64, 96)), ((50, 70), (64, 96)), ((128, 256), (64, 128)), ((1, 5000), (32, 128))],
)
def test_padded_size_is_what_the_network_sees(model, image_size, padded):
    engine = torch_engine(model)
    assert engine.padded_sizes(image_size) == (padded,)
    batch, _ = engine.model.transform(pictures(image_size))
    assert batch.tensors.shape[2:] == padded


def test_pictures_go_together_where_every_view_pads_them_alike():
    engine = torch_engine(build(views=(ViewConfig(scale=1.5),)))
    assert engine.padded_sizes((40, 90)) == ((64, 96), (64, 160))  # 60 and 135 in the second
    assert engine.padded_sizes((44, 90)) == ((64, 96), (96, 160))  # 66


@pytest.mark.parametrize(
    ("enlargement", "views", "expected"),
    [
        (1.0, (), (64, 96)),
        (2.0, (), (128, 192)),
        # Half of the 64 pixels that the policy asks for; a picture of 32 would be halved to 16.
        (0.5, (), (64, 96)),
        (1.0, (ViewConfig(scale=1.5), ViewConfig(scale=0.6)), (96, 144)),
    ],
)
def test_a_picture_is_read_as_large_as_any_view_needs_it(enlargement, views, expected):
    resize = INFERENCE.resize.model_copy(update={"enlargement": enlargement})
    engine = torch_engine(build(resize=resize, views=views))
    assert engine.enough_size((640, 960)) == expected


def test_a_threshold_under_the_files_own_reaches_the_network(model):
    images = pictures((64, 96))
    low = torch_engine(copy.deepcopy(model), score_threshold=0.0)
    high = torch_engine(model, score_threshold=0.99)
    assert len(low.detect(images)[0]) > 0
    assert len(high.detect(images)[0]) == 0


def test_bf16_is_close_to_fp32(model):
    images = pictures((64, 96))
    exact = torch_engine(copy.deepcopy(model))
    rough = torch_engine(model, precision="bf16")
    assert rough.precision == "bf16"
    (few,), (many,) = exact.detect(images), rough.detect(images)
    assert many.boxes.dtype == np.float32
    assert few.scores[0] == pytest.approx(many.scores[0], abs=0.05)


def test_pictures_are_given_in_the_type_of_the_network(model):
    engine = torch_engine(model, precision="bf16")
    assert next(model.backbone.parameters()).dtype == torch.bfloat16
    assert engine.model.network.dtype == torch.bfloat16


def test_nothing_is_fused_where_autocast_is_needed(monkeypatch):
    monkeypatch.setattr(backends, "can_fuse_in", lambda _dtype: True)
    backbone = NETWORK.backbone.model_copy(update={"context": "deform_ssh"})
    model = build(NETWORK.model_copy(update={"backbone": backbone}))
    engine = torch_engine(model, precision="bf16")
    assert not any(isinstance(module, FusedConvolution) for module in model.modules())
    assert len(engine.detect(pictures((64, 96)))) == 1


def test_what_the_processor_does_not_fuse_stays_apart(model, monkeypatch):
    fused = FusedConvolution.forward

    def refuse_bf16(self, maps):
        if maps.dtype == torch.bfloat16:
            raise RuntimeError("bf16 path needs the cpu support avx512bw")
        return fused(self, maps)

    monkeypatch.setattr(FusedConvolution, "forward", refuse_bf16)
    engine = torch_engine(model, precision="bf16")
    assert not any(isinstance(module, FusedConvolution) for module in model.modules())
    assert len(engine.detect(pictures((64, 96)))) == 1


def test_a_batch_too_large_for_the_device_is_halved(model, monkeypatch):
    engine = torch_engine(model, score_threshold=0.3)
    images = pictures(*[(64, 96)] * 5)
    expected = engine.detect(images)
    whole = engine._detect
    sizes = []

    def with_room_for_two(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError
        return whole(batch)

    monkeypatch.setattr(engine, "_detect", with_room_for_two)
    for found, truth in zip(engine.detect(images), expected, strict=True):
        assert_same(found, truth)
    assert sizes == [5, 2, 2, 1]
    engine.detect(images)
    assert sizes[4:] == [2, 2, 1]  # what did not fit is not tried again
    engine.detect(pictures((32, 32), (32, 32)))
    engine.detect(pictures(*[(32, 32)] * 3))
    assert sizes[7:] == [2, 3, 1, 1, 1]  # pictures of another size have a room of their own


def test_a_picture_too_large_for_the_device_is_one_line(model, monkeypatch):
    engine = torch_engine(model)

    def no_room(batch):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(engine, "_detect", no_room)
    with pytest.raises(DeviceMemoryError, match="too little memory for a picture of 8x8; use cpu"):
        engine.detect(pictures((8, 8), (8, 8)))


def test_a_detector_from_a_file_needs_the_file_alone(model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_weights(path, model.network, WeightsDescription(network=NETWORK, inference=INFERENCE))
    detector = HeadDetector.from_weights(path)
    assert detector.score_threshold == 0.4
    assert detector.origin["weights"] == "tiny.safetensors"
    assert detector.origin["backbone"] == "mobilenet0.25"
    assert HeadDetector.from_weights(path, score_threshold=0.9).score_threshold == 0.9
    engine = torch_engine(model, score_threshold=0.4)
    images = pictures((64, 96))
    assert_same(detector.detect(images)[0], engine.detect(images)[0])
    with pytest.raises(WeightsError, match="no such file"):
        HeadDetector.from_weights(tmp_path / "gone.safetensors")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_gives_the_heads_of_the_cpu(model, precision):
    images = pictures((64, 96), (64, 96))
    expected = torch_engine(copy.deepcopy(model)).detect(images)
    found = torch_engine(model, device="cuda", precision=precision).detect(images)
    for detections, truth in zip(found, expected, strict=True):
        assert detections.scores[0] == pytest.approx(truth.scores[0], abs=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("soft_nms", [False, True])
def test_every_view_runs_on_a_gpu(precision, soft_nms):
    suppression = INFERENCE.suppression.model_copy(
        update={
            "soft_nms": SoftNmsConfig(enabled=soft_nms),
            "box_voting": BoxVotingConfig(enabled=True),
        }
    )
    views = (
        ViewConfig(scale=1.5, mirrored=True),
        ViewConfig(scale=0.5, smallest_head=30, min_score=0.0),
    )
    model = build(suppression=suppression, largest_head=30, views=views)
    images = pictures((64, 96), (50, 70), (1, 1))
    expected = torch_engine(copy.deepcopy(model), score_threshold=0.3).detect(images)
    engine = torch_engine(model, device="cuda", precision=precision, score_threshold=0.3)
    for detections, truth in zip(engine.detect(images), expected, strict=True):
        assert detections.boxes.dtype == np.float32
        assert np.isfinite(detections.boxes).all()
        assert (len(detections) > 0) == (len(truth) > 0)
        if len(truth):
            assert detections.scores[0] == pytest.approx(truth.scores[0], abs=0.05)


def test_a_compiled_network_is_asked_of_torch_and_of_no_other_engine(model, tmp_path, monkeypatch):
    asked = []

    def compile_nothing(function, *, dynamic):
        asked.append((function, dynamic))
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    path = tmp_path / "tiny.safetensors"
    save_weights(path, model.network, WeightsDescription(network=NETWORK, inference=INFERENCE))
    detector = HeadDetector.from_weights(path, device="cpu", compile_network=True)
    detector.detect([np.zeros((64, 96, 3), np.uint8)])
    assert [dynamic for _, dynamic in asked] == [False]
    with pytest.raises(ValueError, match="compile: expected engine torch; got onnx"):
        HeadDetector.from_weights(path, "onnx", compile_network=True)


def test_a_network_that_cannot_be_compiled_here_is_one_line(model, monkeypatch):
    class NoCompiler(BackendCompilerFailed):
        def __init__(self):
            pass

        def __str__(self):
            return "No working C++ compiler found\nand much more"

    def refuse(_images):
        raise NoCompiler

    monkeypatch.setattr(torch, "compile", lambda _function, **_options: refuse)
    backend = TorchRuntime(model.network, 32, device="cpu", compile_network=True)
    with pytest.raises(DeviceError, match=r"here \(No working C\+\+ compiler found\); it needs"):
        TwoStageEngine(model, backend).detect(pictures((8, 8)))


def test_what_needs_no_training_may_be_set(model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_weights(path, model.network, WeightsDescription(network=NETWORK, inference=INFERENCE))
    override = "inference.resize.enlargement=2.0"
    detector = HeadDetector.from_weights(path, overrides=[override])
    assert detector.origin["set"] == [override]
    assert detector.engine.padded_sizes((60, 90)) == ((128, 192),)
    with pytest.raises(ValueError, match=r"expected inference\.KEY=VALUE"):
        HeadDetector.from_weights(path, overrides=["training.epochs=3"])


def test_heads_that_are_not_settled_are_looked_for_again(model, monkeypatch):
    engine = torch_engine(model, score_threshold=0.3)
    images = pictures((64, 96), (64, 96))
    expected = engine.detect(images)
    monkeypatch.setattr("head_detection.models.nms.ROUNDS", 1)
    engine.model.decoder = replace(engine.model.decoder, waits=False)
    for found, truth in zip(engine.detect(images), expected, strict=True):
        assert_same(found, truth)


def test_one_copy_a_batch_brings_all_heads(model, monkeypatch):
    engine = torch_engine(model, score_threshold=0.3)
    engine.model.decoder = replace(engine.model.decoder, waits=False)
    copies = []
    copy_to_cpu = torch.Tensor.cpu
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or copy_to_cpu(tensor)
    )
    images = pictures(*[(64, 96)] * 5)
    found = engine.detect(images)
    assert len(copies) == 1
    assert all(len(heads) > 0 for heads in found)


def test_a_picture_is_detected_in_tile_by_tile(engine):
    picture = torch.full((3, 100, 180), 255, dtype=torch.uint8)
    picture[:, 20:40, 84:96] = 0  # both tiles have it: 0 to 100 and 80 to 180
    read = []

    def tiles():
        for tile in tile_views(100, 180, 100, 0.2):
            read.append((tile, len(engine.batches)))
            yield tile, picture[:, tile.top : tile.bottom, tile.left : tile.right]

    found = detect_tiles(engine, tiles(), (100, 180), iou_threshold=0.5, whole=picture[:, ::4, ::4])
    assert found.image_size == (100, 180)
    assert found.boxes.tolist() == [[84, 20, 96, 40]]
    assert engine.batches == [[(100, 100)] * 2, [(25, 45)]]
    assert [batches for _, batches in read] == [0, 0]


def test_tiles_are_read_a_batch_at_a_time(engine):
    read = []

    def tiles():
        for tile in tile_views(100, 500, 100, 0.0):
            read.append(len(engine.batches))
            yield tile, torch.full((3, 100, 100), 255, dtype=torch.uint8)

    found = detect_tiles(engine, tiles(), (100, 500), iou_threshold=0.5)
    assert len(found) == 0
    assert read == [0, 0, 1, 1, 2]
