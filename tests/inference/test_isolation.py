"""A detector in a host that forks, or that has set torch to its own taste."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from head_detection.errors import ForkError
from head_detection.inference import isolation
from head_detection.inference.detector import HeadDetector
from head_detection.inference.isolation import isolated, own_settings

NO_FORK = not hasattr(os, "fork")
FORKS = """
    import os, signal, sys
    import cv2
    import numpy as np
    import torch
    from head_detection import HeadDetector

    HANG_SECONDS = 60
    torch.set_num_threads(2)
    weights, picture = sys.argv[1:]
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    cv2.imwrite(picture, pixels)

    def load():
        return HeadDetector.from_weights(weights, device="cpu")

    def heads(detector):
        found = detector.detect([picture, pixels, torch.rand(3, 300, 400, generator=seed())])
        return [(one.boxes.tolist(), one.scores.tolist()) for one in found]

    def seed():
        return torch.Generator().manual_seed(0)

    def in_child(name, function):
        child = os.fork()
        if not child:
            signal.alarm(HANG_SECONDS)  # ends a process that hangs, also outside Python
            try:
                answer = "same heads" if function() == expected else "other heads"
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            print(f"{name}: {answer}", flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            print(f"{name}: hangs or dies", flush=True)

    detector = load()
    expected = heads(detector)
"""
CHILDREN = """
    def grandchild():
        if heads(detector) == expected:
            in_child("grandchild", lambda: heads(detector))
        return expected

    def drawn():
        results = detector.stream([torch.rand(3, 900, 1200)], keep_pixels=True)
        return expected if next(results).pixels.shape == (900, 1200, 3) else None

    streams = [detector.stream(iter([pixels] * 50)) for _ in range(2)]
    next(streams[0])
    in_child("loaded before", lambda: heads(detector))
    in_child("loaded before, once more", lambda: heads(detector))
    in_child("loaded after", lambda: heads(load()))
    in_child("child", grandchild)
    in_child("with pixels", drawn)
    in_child("stream begun before", lambda: list(streams[0]))
    in_child("stream not begun", lambda: len(list(streams[1])) == 50 and expected)
    print("parent:", "same heads" if heads(detector) == expected else "other heads")
"""
GRAPHS = """
    in_child("loaded before", lambda: heads(detector))
    in_child("loaded after", lambda: heads(load()))
    print("parent:", "same heads" if heads(detector) == expected else "other heads")
"""


def run_forks(script: str, weights: Path, folder: Path) -> dict[str, str]:
    """Run a script in a process of its own; return what each of its children said."""
    code = textwrap.dedent(FORKS) + textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(weights), str(folder / "noise.png")],
        capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return dict(line.split(": ", 1) for line in done.stdout.splitlines())


@pytest.mark.skipif(NO_FORK, reason="this system does not fork")
def test_a_forked_process_finds_the_same_heads(files: Path, tmp_path: Path) -> None:
    said = run_forks(CHILDREN, files / "tiny.safetensors", tmp_path)
    refused = said.pop("stream begun before")
    assert refused.startswith("ForkError: a stream of pictures was begun in process ")
    assert refused.endswith("begin the stream after the fork")
    assert set(said.values()) == {"same heads"}, said
    assert len(said) == 8


@pytest.mark.skipif(NO_FORK, reason="this system does not fork")
@pytest.mark.parametrize("name", ["tiny.onnx", "tiny.xml"])
def test_engines_with_threads_of_their_own_say_so_in_one_line(
    name: str, files: Path, tmp_path: Path
) -> None:
    said = run_forks(GRAPHS, files / name, tmp_path)
    assert said.pop("loaded before").startswith(
        f"ForkError: engine {'onnx' if name == 'tiny.onnx' else 'openvino'} on cpu was built in "
    )
    assert set(said.values()) == {"same heads"}, said


def test_cuda_that_was_used_before_a_fork(
    message: Callable[..., str], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    for device in ("auto", "cuda", "cuda:1"):
        with pytest.raises(ForkError, match=f"device: {device} asked for in a process .*spawn"):
            HeadDetector.from_weights(files / "tiny.safetensors", device=device)
    HeadDetector.from_weights(files / "tiny.safetensors", device="cpu")


def test_work_stays_in_its_thread_where_nothing_was_forked() -> None:
    assert isolated(threading.current_thread)() is threading.current_thread()


def test_only_a_thread_that_followed_into_a_fork_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "is_forked", lambda: True)
    thread = isolated(threading.current_thread)()
    assert thread is not threading.main_thread()
    assert isolated(threading.current_thread)() is thread

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        isolated(fail)()


def all_precisions() -> list[str]:
    backends = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul)
    return [part.fp32_precision for part in (*parts, backends.mkldnn.conv, backends)]


def old_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return "set by the new names"


def host_state() -> dict[str, Any]:
    """All of a process that a library might change.

    Not Python's own random numbers: the shapes' checks, which these tests add, draw some.
    """
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads(), cv2.getNumThreads()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": [
            (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in ("cpu", "cuda")
        ],
        "cache": torch.is_autocast_cache_enabled(),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "precision": all_precisions(),
        "old precision": old_precision(),
        "enabled": (torch.backends.mkldnn.enabled, torch.backends.cudnn.benchmark),
        "random": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy": json.dumps(np.random.get_state(legacy=True)[1].tolist()),  # noqa: NPY002
        "warnings": list(warnings.filters),
        "logging": (list(logging.root.handlers), logging.root.level),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "pillow": Image.MAX_IMAGE_PIXELS,
    }


@contextmanager
def changed(setting: Callable[[Any], None], value: Any, before: Any) -> Iterator[None]:
    setting(value)
    try:
        yield
    finally:
        setting(before)


def set_new_precision(values: tuple[str, str, str]) -> None:
    backends = torch.backends
    parts = (backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv)
    for part, value in zip(parts, values, strict=True):
        part.fp32_precision = value


def new_precision() -> Any:
    before = (
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.mkldnn.matmul.fp32_precision,
    )
    return changed(
        set_new_precision,
        ("tf32", "bf16", "bf16"),
        (*before, torch.backends.mkldnn.conv.fp32_precision),
    )


precision, dtype = torch.set_float32_matmul_precision, torch.set_default_dtype
deterministic = torch.use_deterministic_algorithms
HOSTS: dict[str, Callable[[], Any]] = {
    "as it is": nullcontext,
    "float64": lambda: changed(dtype, torch.float64, torch.float32),
    "bfloat16": lambda: changed(dtype, torch.bfloat16, torch.float32),
    "tf32": lambda: changed(precision, "high", "highest"),
    "bf16 products": lambda: changed(precision, "medium", "highest"),
    "products by the new names": new_precision,
    "deterministic": lambda: changed(deterministic, True, False),
    "default device": lambda: changed(torch.set_default_device, "meta", None),
    "device as a context": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "gradients": torch.enable_grad,
    "no oneDNN": lambda: torch.backends.mkldnn.flags(enabled=False, allow_tf32=None),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "host"),
    [
        *(("tiny.safetensors", host) for host in HOSTS),
        ("tiny.onnx", "float64"),
        ("tiny.onnx", "autocast"),
    ],
)
@pytest.mark.parametrize("is_loaded_inside", [False, True], ids=["loaded before", "loaded inside"])
def test_the_hosts_settings_change_no_head_and_are_left_as_they_were(
    name: str, host: str, files: Path, *, is_loaded_inside: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    detector = HeadDetector.from_weights(files / name, device="cpu")
    (expected,) = detector.detect([pixels])
    assert len(expected) > 3
    with HOSTS[host]():
        before = host_state()
        if is_loaded_inside:
            detector = HeadDetector.from_weights(files / name, device="cpu")
        (found,) = detector.detect([pixels])
        assert host_state() == before
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=2e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    # What was loaded there is as good outside.
    (after,) = detector.detect([pixels])
    np.testing.assert_allclose(after.boxes, expected.boxes, atol=2e-3)


def test_a_hosts_settings_are_put_back_after_an_error() -> None:
    def fail() -> None:
        assert torch.get_default_dtype() == torch.float32
        assert torch.get_float32_matmul_precision() == "highest"
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.is_autocast_enabled("cpu")
        raise KeyError("x")

    with HOSTS["float64"](), HOSTS["tf32"](), HOSTS["deterministic"](), HOSTS["autocast"]():
        before = host_state()
        with pytest.raises(KeyError):
            isolated(fail)()
        assert host_state() == before


def test_a_host_that_only_warns_is_left_alone() -> None:
    deterministic(mode=True, warn_only=True)
    try:
        with own_settings():
            pass
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        deterministic(mode=False)


def test_a_host_with_other_settings_is_given_no_threads_that_share_them(files: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = HeadDetector.from_weights(files / "tiny.safetensors", device="cpu").engine
        assert engine.concurrency == 2
        torch.set_default_dtype(torch.float64)
        assert engine.concurrency == 1
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)
    assert engine.concurrency == 2
