import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

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
from head_detection.errors import DeviceMemoryError
from head_detection.inference.backends.torch import TorchBackend
from head_detection.inference.cuda_graphs import CudaGraphs, Recording
from head_detection.inference.detector import HeadDetector
from head_detection.inference.engine import PATIENCE, TwoStageEngine, _as_table, with_network
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.nms import EMPTY
from head_detection.models.stages import observed
from head_detection.models.suppression import Heads

NETWORK = NetworkConfig(
    backbone=BackboneConfig(name="mobilenet0.25", strides=(8, 16), fpn_width=16),
    anchors=AnchorConfig(sizes=((16.0,), (32.0,))),
    box_head=BoxHeadConfig(pool_size=3, width=16),
)
INFERENCE = InferenceConfig(
    resize=ResizeConfig(min_size=64, max_size=128),
    proposals=ProposalConfig(pre_nms_top_n=50, post_nms_top_n=20),
    suppression=SuppressionConfig(score_threshold=0.3),
)


def build(**inference):
    return build_detector(NETWORK, INFERENCE.model_copy(update=inference)).eval()


@pytest.fixture
def model():
    return build()


def torch_engine(model, precision="fp32", device="cpu"):
    backend = TorchBackend(
        copy.deepcopy(model.network), NETWORK.size_divisor, device=device, precision=precision
    )
    return TwoStageEngine(with_network(model, backend))


def pictures(*sizes):
    return [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in sizes]


def assert_same(found, expected):
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def test_the_engine_gives_what_the_network_gives(model):
    images = pictures((64, 96), (50, 70))
    with torch.no_grad():
        expected = model(images)
    found = torch_engine(model).detect(images)
    assert len(found[0]) > 0
    for detections, image, truth in zip(found, images, expected, strict=True):
        assert detections.image_size == tuple(image.shape[1:])
        np.testing.assert_allclose(detections.boxes, truth["boxes"].numpy(), atol=1e-3)
        np.testing.assert_allclose(detections.scores, truth["scores"].numpy(), atol=1e-4)


def test_no_pictures_and_no_heads(model):
    engine = torch_engine(model)
    assert engine.detect([]) == []
    engine = torch_engine(build(proposals=ProposalConfig(score_threshold=1.0)))
    (found,) = engine.detect(pictures((50, 70)))
    assert found.boxes.shape == (0, 4)
    assert found.image_size == (50, 70)


def test_another_network_leaves_the_model_as_it_is(model):
    engine = torch_engine(model)
    assert engine.model.network is not model.network
    assert engine.model.transform is model.transform
    assert (engine.name, engine.device, engine.precision) == ("torch", "cpu", "fp32")
    model.train()
    assert not engine.model.training


def test_heads_do_not_depend_on_the_batch(model):
    detector = HeadDetector(torch_engine(model), 0.3, {})
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


class Told:
    """A model whose heads are given; notes how often it was let wait, and else the room."""

    network = TorchBackend.__new__(TorchBackend)
    network.name, network.precision, network.batch_size = "torch", "fp32", 1
    network.device, network.can_be_recorded = torch.device("cpu"), False
    network.takes_threads = False

    def __init__(self, *heads, may_wait=False):
        self._heads, self.asked = list(heads), []
        self.decoder = SimpleNamespace(may_wait_for=lambda _: may_wait)

    def eval(self):
        return self

    def detect(self, images, *, waits=None, room=1):
        self.asked.append("waits" if waits else room)
        return self._heads.pop(0)


def heads(is_settled=None):
    """Two pictures with room for two heads each, of which they have one and none."""
    boxes = torch.tensor([[[1, 2, 3, 4], [0, 0, 0, 0]], [[0, 0, 0, 0]] * 2], dtype=torch.float32)
    scores = torch.tensor([[0.5, EMPTY], [EMPTY, EMPTY]])
    settled = None if is_settled is None else torch.tensor(is_settled)
    return Heads(boxes, scores, settled)


UNSETTLED = heads(is_settled=False)


@pytest.mark.parametrize(
    ("told", "asked"),
    [
        ([heads()], [1]),
        ([heads(is_settled=True)], [1]),
        ([UNSETTLED, heads(is_settled=True)], [1, 2]),
        ([UNSETTLED, UNSETTLED, UNSETTLED, heads()], [1, 2, 4, "waits"]),
    ],
)
def test_what_is_not_settled_is_detected_again_and_empty_slots_are_no_heads(told, asked):
    model = Told(*told)
    engine = TwoStageEngine(model)
    first, second = engine._detect(pictures((8, 9), (10, 11)))
    assert model.asked == asked
    assert (first.boxes.tolist(), first.scores.tolist()) == ([[1, 2, 3, 4]], [0.5])
    assert (len(second), second.image_size) == (0, (10, 11))


def test_batches_of_several_threads_are_launched_one_at_a_time(monkeypatch):
    engine = TwoStageEngine(Told(*[heads()] * 8))
    engine._launching, inside, most = threading.Lock(), [], []

    def launch(images, room):
        inside.append(room)
        time.sleep(0.01)
        most.append(len(inside))
        inside.pop()
        return _as_table(heads())

    monkeypatch.setattr(engine, "_table", launch)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: engine._detect(pictures((8, 9), (10, 11))), range(8)))
    assert most == [1] * 8
    assert all([len(own) for own in batch] == [1, 0] for batch in found)


def test_a_crowd_begins_with_the_room_that_the_last_one_took():
    crowds = 2 * PATIENCE
    model = Told(UNSETTLED, *[heads(is_settled=True)] * (crowds + 1), may_wait=False)
    engine = TwoStageEngine(model)
    for _ in range(crowds):
        engine._detect(pictures((8, 9), (10, 11)))
    # After every 32nd batch less room is tried, which is enough here.
    assert model.asked == [1] + [2] * PATIENCE + [1] * PATIENCE


def test_a_picture_with_more_heads_than_room_has_a_note():
    full = heads()._replace(is_cut=torch.tensor([True, False]))
    first, second = TwoStageEngine(Told(full, may_wait=True))._detect(pictures((8, 9), (10, 11)))
    assert "more heads than there is room for" in first.note
    assert second.note is None
    assert first.above(0.2).scaled_to((16, 18)).note == first.note


def test_what_stays_unsettled_is_a_fault():
    model = Told(*[UNSETTLED] * 4)
    with pytest.raises(RuntimeError, match="expected them settled"):
        TwoStageEngine(model)._detect(pictures((8, 9), (10, 11)))


def test_a_recorded_batch_gives_the_same_heads_and_is_looked_at_anew(model):
    engine, plain = torch_engine(model), torch_engine(model)
    replayed = []

    def record(work, images):
        answer = work(images).clone()
        return Recording(images, answer, lambda: replayed.append(answer.copy_(work(images))))

    images = pictures((64, 96), (50, 70))
    expected = plain.detect(images)
    engine._graphs = {1: CudaGraphs(lambda images: engine._table(images, 2), record)}
    engine._is_waited_for = False
    for _ in range(4):
        for found, truth in zip(engine.detect(images), expected, strict=True):
            assert_same(found, truth)
    assert len(replayed) == 2
    with observed(lambda _: nullcontext()):  # a stopwatch sees each stage, which a graph has not
        engine.detect(images)
    assert len(replayed) == 2
    engine._upload = full_once(engine._upload)
    for found, truth in zip(engine.detect(images), expected, strict=True):
        assert_same(found, truth)
    assert not engine._graphs[1].clear()  # their memory went first
    assert engine._room == {}


def full_once(upload):
    """Return the upload of a device whose memory is full the first time."""
    failures = [torch.OutOfMemoryError("full")]

    def call(images):
        if failures:
            raise failures.pop()
        return upload(images)

    return call


def test_heads_that_are_not_settled_are_detected_again(model, monkeypatch):
    engine = torch_engine(model)
    images = pictures((64, 96), (64, 96))
    expected = engine.detect(images)
    monkeypatch.setattr("head_detection.models.nms.ROUNDS", 1)
    engine.model.decoder, engine._is_waited_for = replace(engine.model.decoder, waits=False), False
    for found, truth in zip(engine.detect(images), expected, strict=True):
        assert_same(found, truth)


def test_one_copy_a_batch_brings_all_heads(model, monkeypatch):
    engine = torch_engine(model)
    engine.model.decoder, engine._is_waited_for = replace(engine.model.decoder, waits=False), False
    copies = []
    copy_to_cpu = torch.Tensor.cpu
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda tensor: copies.append(tensor.shape) or copy_to_cpu(tensor)
    )
    found = engine.detect(pictures(*[(64, 96)] * 5))
    assert len(copies) == 1
    assert all(len(heads) > 0 for heads in found)


def test_a_batch_too_large_for_the_device_is_halved(model, monkeypatch):
    engine = torch_engine(model)
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_a_gpu_gives_the_heads_of_the_cpu(model, precision):
    images = pictures((64, 96), (64, 96))
    expected = torch_engine(model).detect(images)
    found = torch_engine(model, device="cuda", precision=precision).detect(images)
    for detections, truth in zip(found, expected, strict=True):
        assert detections.scores[0] == pytest.approx(truth.scores[0], abs=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("soft_nms", [False, True])
def test_every_view_runs_on_a_gpu(precision, soft_nms):
    suppression = SuppressionConfig(
        score_threshold=0.3,
        soft_nms=SoftNmsConfig(enabled=soft_nms),
        box_voting=BoxVotingConfig(enabled=True),
    )
    views = (
        ViewConfig(scale=1.5, mirrored=True),
        ViewConfig(scale=0.5, smallest_head=30.0, min_score=0.0),
    )
    model = build(suppression=suppression, views=views, largest_head=30.0)
    images = pictures((64, 96), (50, 70), (1, 1))
    expected = torch_engine(model).detect(images)
    engine = torch_engine(model, device="cuda", precision=precision)
    for detections, truth in zip(engine.detect(images), expected, strict=True):
        assert detections.boxes.dtype == np.float32
        assert np.isfinite(detections.boxes).all()
        assert (len(detections) > 0) == (len(truth) > 0)
        if len(truth):
            assert detections.scores[0] == pytest.approx(truth.scores[0], abs=0.05)
