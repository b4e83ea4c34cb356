import copy

import numpy as np
import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed

from head_detection.errors import DeviceError
from head_detection.inference.backends import torch as module
from head_detection.inference.backends.cpu_fusion import FusedConvolution
from head_detection.inference.backends.torch import CompiledDense, TorchBackend
from head_detection.inference.engine import TwoStageEngine, with_network
from head_detection.models.network import DenseMaps

PICTURE = torch.arange(3 * 64 * 96).remainder(256).to(torch.uint8).view(3, 64, 96)


def engine_of(tiny, **options):
    backend = TorchBackend(tiny.network, tiny.config.size_divisor, device="cpu", **options)
    return TwoStageEngine(with_network(tiny.model, backend))


def test_bf16_is_close_to_fp32(build):
    exact, rough = engine_of(build(), precision="fp32"), engine_of(build(), precision="bf16")
    assert rough.precision == "bf16"
    (few,), (many,) = exact.detect([PICTURE]), rough.detect([PICTURE])
    assert many.boxes.dtype == np.float32
    assert few.scores[0] == pytest.approx(many.scores[0], abs=0.05)


def test_pictures_are_normalised_in_float32_whatever_the_network_is(build):
    tiny = build()
    picture = torch.full((3, 64, 96), 124, dtype=torch.uint8)
    engine = engine_of(tiny, precision="bf16")
    assert next(tiny.network.parameters()).dtype == torch.bfloat16
    for transform in engine.model.transforms:
        batch, _ = transform([picture])
        # bfloat16 has .484 for the mean of .485, and gives 0.0083.
        expected = (124 / 255 - 0.485) / 0.229
        torch.testing.assert_close(batch.tensors[0, 0, 0, 0], torch.tensor(expected))


def test_nothing_is_fused_where_autocast_is_needed(build, monkeypatch):
    monkeypatch.setattr(module, "can_fuse_in", lambda _dtype: True)
    tiny = build(context="deform_ssh")
    engine = engine_of(tiny, precision="bf16")
    assert not any(isinstance(part, FusedConvolution) for part in tiny.network.modules())
    assert len(engine.detect([PICTURE])) == 1


def test_what_the_processor_does_not_fuse_stays_apart(build, monkeypatch):
    fused = FusedConvolution.forward

    def refuse_bf16(self, maps):
        if maps.dtype == torch.bfloat16:
            raise RuntimeError("bf16 path needs the cpu support avx512bw")
        return fused(self, maps)

    monkeypatch.setattr(FusedConvolution, "forward", refuse_bf16)
    tiny = build()
    engine = engine_of(tiny, precision="bf16")
    assert not any(isinstance(part, FusedConvolution) for part in tiny.network.modules())
    assert len(engine.detect([PICTURE])) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "expected auto, cpu, cuda, cuda:N or mps; got 'tpu'"),
        ({"device": "cpu", "precision": "fp16"}, "fp16 needs a GPU"),
        ({"device": "cpu", "precision": "int8"}, "got 'int8'"),
    ],
)
def test_what_this_machine_lacks_is_one_line(build, options, message):
    with pytest.raises(DeviceError, match=message) as caught:
        TorchBackend(build().network, 32, **options)
    assert "\n" not in str(caught.value)


def compile_nothing(monkeypatch):
    """Let ``torch.compile`` give the function back; return the shapes it is called with."""
    shapes = []

    def compiled(function, *, dynamic):
        assert dynamic is False

        def run(images):
            shapes.append(tuple(images.shape))
            return function(images)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    return shapes


@pytest.fixture
def compiled(monkeypatch):
    """The network as it is, and the shapes that would each have been compiled for."""
    shapes = compile_nothing(monkeypatch)
    return CompiledDense(
        lambda images: DenseMaps((2 * images,), (images,), (-images.repeat(1, 4, 1, 1),))
    ), shapes


def test_a_smaller_batch_is_filled_up_and_gives_its_own_maps(compiled):
    dense, shapes = compiled
    images = torch.rand(4, 3, 8, 16)
    for count in (4, 1, 3, 4):
        maps = dense(images[:count])
        assert torch.equal(maps.features[0], 2 * images[:count])
        assert torch.equal(maps.objectness[0], images[:count])
        assert torch.equal(maps.deltas[0], -images[:count].repeat(1, 4, 1, 1))
    assert set(shapes) == {(4, 3, 8, 16)}


def test_another_size_has_batches_of_its_own(compiled):
    dense, shapes = compiled
    dense(torch.rand(4, 3, 8, 16))
    dense(torch.rand(2, 3, 8, 8))
    dense(torch.rand(1, 3, 8, 8))
    dense(torch.rand(3, 3, 8, 8))
    assert shapes == [(4, 3, 8, 16), (2, 3, 8, 8), (2, 3, 8, 8), (3, 3, 8, 8)]


def test_a_compiled_network_gives_its_heads_and_fuses_nothing(build, monkeypatch):
    shapes, tiny = compile_nothing(monkeypatch), build()
    network = copy.deepcopy(tiny.network)
    engine = engine_of(tiny, precision="fp32", compile_network=True)
    (found,) = engine.detect([PICTURE])
    plain = tiny._replace(model=with_network(tiny.model, network))
    (expected,) = engine_of(plain, precision="fp32").detect([PICTURE])
    assert shapes == [(1, 3, 64, 96)]
    assert not any(isinstance(part, FusedConvolution) for part in tiny.network.modules())
    assert len(found) == len(expected) > 0


def test_a_network_that_cannot_be_compiled_here_is_one_line(build, monkeypatch):
    class NoCompiler(BackendCompilerFailed):
        def __init__(self):
            pass

        def __str__(self):
            return "No working C++ compiler found\nand much more"

    def refuse(_images):
        raise NoCompiler

    monkeypatch.setattr(torch, "compile", lambda _function, **_options: refuse)
    engine = engine_of(build(), compile_network=True)
    with pytest.raises(DeviceError, match=r"here \(No working C\+\+ compiler found\)") as failed:
        engine.detect([PICTURE])
    assert "a C++ compiler and Python's headers" in str(failed.value)
