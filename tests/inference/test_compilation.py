import pytest
import torch

from head_detection.inference.backends.compilation import CompiledDense
from head_detection.models.network import DenseMaps


@pytest.fixture
def compiled(monkeypatch):
    """The network as it is, and the shapes that would each have been compiled for."""
    shapes = []

    def compile_nothing(function, *, dynamic):
        assert dynamic is False

        def run(images):
            shapes.append(tuple(images.shape))
            return function(images)

        return run

    monkeypatch.setattr(torch, "compile", compile_nothing)
    return CompiledDense(lambda images: DenseMaps((2 * images,), (images,), (-images,))), shapes


def test_a_smaller_batch_is_filled_up_and_gives_its_own_maps(compiled):
    dense, shapes = compiled
    images = torch.rand(4, 3, 8, 16)
    for count in (4, 1, 3, 4):
        maps = dense(images[:count])
        assert torch.equal(maps.features[0], 2 * images[:count])
        assert torch.equal(maps.objectness[0], images[:count])
        assert torch.equal(maps.deltas[0], -images[:count])
    assert set(shapes) == {(4, 3, 8, 16)}


def test_another_size_has_batches_of_its_own(compiled):
    dense, shapes = compiled
    dense(torch.rand(4, 3, 8, 16))
    dense(torch.rand(2, 3, 8, 8))
    dense(torch.rand(1, 3, 8, 8))
    dense(torch.rand(3, 3, 8, 8))
    assert shapes == [(4, 3, 8, 16), (2, 3, 8, 8), (2, 3, 8, 8), (3, 3, 8, 8)]
