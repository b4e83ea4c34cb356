"""What tests of the models share."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from head_detection.config import parse_config
from head_detection.devices import _cached
from head_detection.models.faster_rcnn import FasterRCNN, build_detector

TINY = [
    "network.backbone.name=mobilenet0.25",
    "network.backbone.fpn_width=16",
    "network.box_head.width=16",
    "network.anchors.sizes=[[8], [16], [32], [64]]",
]
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "unique2", "nms"}
"""Operations that on a GPU hand something to the processor or back, and wait for it."""


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        self.names[name] += 1
        self.waits[name] += name in WAITS
        places = args[1] if name.startswith("index") and isinstance(args[1], list | tuple) else ()
        by_mask = sum(isinstance(p, Tensor) and p.dtype == torch.bool for p in places)
        self.waits["index by a mask"] += by_mask
        return function(*args, **(kwargs or {}))


Operators = Callable[[Callable[[], object]], _Operators]


@pytest.fixture
def operators() -> Operators:
    """A function that lists the operators which another calls, after a first call of it."""

    def watch(work: Callable[[], object]) -> _Operators:
        work()  # what is kept, such as constants, is made
        with _Operators() as seen:
            work()
        return seen

    return watch


@pytest.fixture
def count_waits(operators: Operators) -> Callable[[Callable[[], object]], int]:
    """A function that tells how often another would wait for a GPU, seen on the CPU."""
    return lambda work: operators(work).waits.total()


@contextmanager
def _fake_gpu() -> Iterator[None]:
    _cached.cache_clear()
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode():
        patch.setattr(Tensor, "pin_memory", lambda tensor: tensor)  # it has none for these
        patch.setattr(torch.cuda, "stream", lambda _: nullcontext())
        patch.setattr("head_detection.devices._copying", lambda _: None)
        yield
    _cached.cache_clear()


@pytest.fixture
def on_fake_gpu() -> Callable[..., object]:
    """A function that runs another, given a model and bytes of pictures, on a GPU that is not here.

    PyTorch's tensors without values refuse every operator whose result has a size that depends on
    values, and every question for a value: all that makes the processor wait.
    """

    def run(
        model: FasterRCNN, sizes: list[tuple[int, int]], work: Callable[[list[Tensor]], object]
    ) -> object:
        with _fake_gpu():
            for module in model.modules():
                for name, parameter in module.named_parameters(recurse=False):
                    moved = torch.empty(parameter.shape, device="cuda")
                    module.register_parameter(name, nn.Parameter(moved))
                for name, buffer in module.named_buffers(recurse=False):
                    module.register_buffer(
                        name, torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
                    )
            images = [torch.empty(3, *size, dtype=torch.uint8, device="cuda") for size in sizes]
            return work(images)

    return run


@pytest.fixture
def tiny() -> Callable[..., FasterRCNN]:
    """A function from overrides of the config to a small untrained detector, in training mode."""

    def build(*overrides: str) -> FasterRCNN:
        torch.manual_seed(0)
        config = parse_config({}, [*TINY, *overrides])
        return build_detector(config.network, config.inference, config.training)

    return build
