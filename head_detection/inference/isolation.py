"""A detector in a process that others set up: forked, or with other settings of torch.

What a detector computes depends on none of that, and nothing of it is changed for the host.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache, wraps
from typing import Any, Final, ParamSpec, TypeVar

import torch

from head_detection.errors import ForkError

FULL_PRECISION: Final = "ieee"
REDUCED: Final = ("tf32", "bf16")
"""What products of float32 may be rounded to, as ``torch.backends`` spells it."""
_STARTED_IN: Final = os.getpid()
_prepared: Final[set[int]] = set()
_preparing: Final[dict[int, threading.Lock]] = {}
"""By process: a forked one has its own, for a thread that does not follow may hold the other."""

P = ParamSpec("P")
R = TypeVar("R")


def isolated(function: Callable[P, R]) -> Callable[P, R]:
    """Return the function as it is in a process of its own: see ``own_settings`` and below.

    The threads that a process computes with do not follow into a fork, and the thread that did
    waits for them for ever; a new thread brings its own. So in a forked process the function runs
    in one.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        prepare_threads()
        if is_forked() and threading.current_thread() is threading.main_thread():
            return _new_thread(os.getpid()).submit(call, *args, **kwargs).result()
        with own_settings():
            return function(*args, **kwargs)

    return call


def is_forked(process: int = _STARTED_IN) -> bool:
    """Tell whether this process was forked from another since.

    Args:
        process: that a thing was begun in; by default the one that imported torch.
    """
    return os.getpid() != process


def prepare_threads() -> None:
    """Let several threads of a forked process compute; called before they start, from any.

    Torch makes a pool of its own anew when it first counts its threads there, and fails where two
    threads ask for it at once.
    """
    process = os.getpid()
    if not is_forked() or process in _prepared:
        return
    with _preparing.setdefault(process, threading.Lock()):
        if process not in _prepared:
            torch.set_num_threads(torch.get_num_threads())
            _prepared.add(process)


@cache
def _new_thread(_process: int) -> ThreadPoolExecutor:
    """Return the one thread of a forked process; a fork of that one has another."""
    return ThreadPoolExecutor(1, thread_name_prefix="after-fork")


def check_cuda(device: str) -> None:
    """Raise ForkError, one line, where CUDA was used before the fork and is asked for.

    Args:
        device: as a user names it.
    """
    if device not in ("cpu", "mps") and torch.cuda._is_in_bad_fork():  # noqa: SLF001 - no other tells
        raise ForkError(
            f"device: {device} asked for in a process that was forked from one that had used CUDA, "
            "which CUDA does not allow; start it with multiprocessing's spawn, or use cpu"
        )


@contextmanager
def own_settings() -> Iterator[None]:
    """Give the block the settings of torch that a new process has; put the others back.

    Autocast is off, tensors are float32 and on the CPU unless they say otherwise, and their
    products are not rounded further. What is to be deterministic stays so where an operation can,
    and does not raise where none can. Gradients, threads and random numbers are left alone.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(mode=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (dtype := torch.get_default_dtype()) != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        is_strict = not torch.is_deterministic_algorithms_warn_only_enabled()
        if torch.are_deterministic_algorithms_enabled() and is_strict:
            stack.callback(torch.use_deterministic_algorithms, mode=True)
            torch.use_deterministic_algorithms(mode=True, warn_only=True)
        if any(products.fp32_precision in REDUCED for products in _products()):
            stack.enter_context(_in_full_precision())
        yield


def has_own_settings() -> bool:
    """Tell whether those settings that all threads share are those of a new process.

    ``own_settings`` changes them for a while, which several threads cannot do side by side.
    """
    return (
        torch.get_default_dtype() == torch.float32
        and not torch.are_deterministic_algorithms_enabled()
        and not any(products.fp32_precision in REDUCED for products in _products())
    )


def _products() -> tuple[Any, ...]:
    """Return the settings of products that a host may lower; cuDNN's are lowered by default."""
    backends: Any = torch.backends  # whose types leave out oneDNN's
    return backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv


@contextmanager
def _in_full_precision() -> Iterator[None]:
    """Let no product of float32 be rounded to fewer bits.

    Torch has an old setting and new ones, and refuses to read the old one where they disagree.
    """
    before = [products.fp32_precision for products in _products()]
    try:
        old = torch.get_float32_matmul_precision()
    except RuntimeError:  # the host has set the new ones
        old = "highest"
    try:
        torch.set_float32_matmul_precision("highest")
        for products in _products():
            products.fp32_precision = FULL_PRECISION
        yield
    finally:
        torch.set_float32_matmul_precision(old)
        for products, precision in zip(_products(), before, strict=True):
            products.fp32_precision = precision
