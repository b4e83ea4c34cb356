"""What all tests share."""

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce, update_wrapper
from importlib import import_module
from inspect import isclass, isfunction, signature
from operator import or_
from pathlib import Path
from pkgutil import iter_modules
from types import FunctionType, ModuleType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from beartype import beartype
from hypothesis import settings
from jaxtyping import Shaped, jaxtyped
from PIL import Image

from head_detection.config import parse_config
from head_detection.images.reading import Picture
from head_detection.models.faster_rcnn import build_detector
from head_detection.models.weights import WeightsDescription, save_weights

if not torch.cuda.is_available():  # before a kernel is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("package", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("package")

ROOT = Path(__file__).resolve().parents[1]
collect_ignore = [
    "batch/kills.py",
    "fuzz/damaged_pictures.py",
    "kill.py",
    "rtsp_server.py",
    "cuda_rows.py",
    "soak.py",
    "service_load.py",
]
"""Scripts: they import what lies beside them, which pytest does not put on the path."""
SHAPED = ("head_detection.boxes", "head_detection.evaluation", "head_detection.models")
"""Modules and packages whose ``Annotated[..., "n 4"]`` shapes are checked at every call of a test.

The shapes are jaxtyping's, in annotations that need neither it nor beartype outside the tests.
"""


def shape_hint(hint: Any) -> Any:
    """Return jaxtyping's form of an annotated array, alone, perhaps None, or in a row; else Any."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated and isinstance(hint.__metadata__[0], str):
        array = get_origin(hint.__origin__) or hint.__origin__
        return Shaped[array, hint.__metadata__[0]]
    if origin not in (UnionType, Union, tuple, Sequence):
        return Any
    hints = tuple(entry if entry in (None, NoneType, ...) else shape_hint(entry) for entry in inner)
    if not any(entry not in (None, NoneType, ..., Any) for entry in hints):
        return Any
    return reduce(or_, hints) if origin in (UnionType, Union) else origin[hints]


def with_shapes_checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with the shapes of what goes in and comes out compared at each call."""
    hints = get_type_hints(function, include_extras=True)
    hints = {name: shape_hint(hint) for name, hint in hints.items()}
    if all(hint is Any for hint in hints.values()):
        return function
    own = signature(function)
    parameters = [
        parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in own.parameters.items()
    ]

    def plain(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    update_wrapper(plain, function)
    vars(plain)["__signature__"] = own.replace(
        parameters=parameters, return_annotation=hints.get("return", Any)
    )
    checked = jaxtyped(plain, typechecker=beartype)

    is_tracing = torch.jit.is_tracing  # a network for an export: its sizes are tensors

    def call(*args: Any, **kwargs: Any) -> Any:
        return (plain if is_tracing() else checked)(*args, **kwargs)

    # With the module's own globals, or doctest would take it for one of another module.
    outer = FunctionType(call.__code__, function.__globals__, closure=call.__closure__)
    return update_wrapper(outer, function)


def modules_of(names: Iterable[str]) -> Iterator[ModuleType]:
    """Import and yield modules, of a package all modules in it."""
    for name in names:
        module = import_module(name)
        yield module
        for entry in iter_modules(getattr(module, "__path__", ())):
            yield import_module(f"{name}.{entry.name}")


def check_shapes(names: Iterable[str]) -> None:
    """Check shapes in modules and packages: of functions and methods, a dataclass' own too."""
    checked = {}
    for module in modules_of(names):
        own = [v for v in vars(module).values() if getattr(v, "__module__", "") == module.__name__]
        checked.update({value: with_shapes_checked(value) for value in own if isfunction(value)})
        for value in filter(isclass, own):
            for name, method in list(vars(value).items()):
                if isfunction(method):
                    setattr(value, name, with_shapes_checked(method))
                elif isinstance(method, staticmethod | classmethod):  # a named tuple's __new__ too
                    checks = with_shapes_checked(method.__func__)
                    setattr(value, name, type(method)(checks))
    # Other modules hold the functions that they imported by name.
    for name in [name for name in sys.modules if name.startswith("head_detection")]:
        for key, value in list(vars(sys.modules[name]).items()):
            if isfunction(value) and value in checked:
                setattr(sys.modules[name], key, checked[value])


check_shapes(SHAPED)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """A script's background jobs, and all that they start, ignore Ctrl-C until told otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def finalizers_told() -> Iterator[None]:
    """After a signal nothing is told of failing finalizers, since the process is about to end."""
    tell = sys.unraisablehook
    yield
    sys.unraisablehook = tell


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """The folder of pictures, bodies and golden files beside the checkout, or a skip."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder}, which is not here")
    return folder


@pytest.fixture(scope="session")
def draw_scene() -> Callable[[int], npt.NDArray[np.uint8]]:
    """A function from a seed to ``(180, 240, 3)`` uint8: scenes as unlike as photographs are."""

    def draw(seed: int) -> npt.NDArray[np.uint8]:
        generator = np.random.default_rng(seed)
        patches = generator.integers(50, 200, (7, 9, 3)).astype(np.uint8)
        picture = cv2.resize(patches, (240, 180), interpolation=cv2.INTER_LINEAR)
        for _ in range(6):
            x, y = generator.integers(0, (240, 180)).tolist()
            color = generator.integers(50, 200, 3).tolist()
            cv2.rectangle(picture, (x, y), (x + 40, y + 40), color, cv2.FILLED)
        return np.asarray(picture, np.uint8)

    return draw


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """A function from a Pillow image to a file of it, PNG or another format."""

    def save(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, file_format, **options)
        return file.getvalue()

    return save


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    if (
        not shutil.which("mount")
        or subprocess.run(words, capture_output=True, check=False).returncode
    ):
        pytest.skip("needs the right to mount a file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="session")
def noise() -> Callable[..., Picture]:
    """A function from height, width and a seed to a picture of noise."""

    def draw(height: int, width: int, seed: int = 0) -> Picture:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return draw


@pytest.fixture
def tiny_experiment() -> dict[str, Any]:
    """What the smallest trainings have in common: a name, a network, and what is done around it."""
    return {
        "name": "tiny",
        "network": {
            "backbone": {"name": "mobilenet0.25", "strides": [16, 32], "fpn_width": 8},
            "anchors": {"sizes": [[16], [32]], "ratios": [1.0]},
            "box_head": {"width": 16, "pool_size": 2},
        },
        "inference": {
            "resize": {"min_size": 64, "max_size": 96},
            "suppression": {"detections_per_image": 20},
        },
    }


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of an untrained network: they find nothing sensible, quickly."""
    config = parse_config(
        {},
        [
            "network.backbone.name=mobilenet0.25",
            "network.backbone.fpn_width=8",
            "network.box_head.width=16",
            "inference.suppression.score_threshold=0.0",
            "inference.suppression.detections_per_image=20",
            "network.anchors.sizes=[[8], [16], [32], [64]]",
        ],
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model = build_detector(config.network, config.inference)
    description = WeightsDescription(network=config.network, inference=config.inference)
    save_weights(path, model.network, description)
    return path
