"""Isolation from the host process, which may be forked or have changed torch's settings.

Results do not depend on the host's settings, and the host's settings are left unchanged.
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
"""Lower precisions for products of float32, as ``torch.backends`` spells them."""
_STARTED_IN: Final = os.getpid()
_prepared: Final[set[int]] = set()
_preparing: Final[dict[int, threading.Lock]] = {}
"""One lock per process: in a fork, the parent's may be held by a thread that no longer exists."""

P = ParamSpec("P")
R = TypeVar("R")


def isolated(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function run as in a new process: with ``own_settings``, and safely after a fork.

    A fork does not copy the threads that torch computes with, and the main thread would wait for
    them for ever. A new thread starts its own, so in a forked process the function runs in one.
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
    """Tell whether this process was forked from another one.

    Args:
        process: id of the process to compare with; by default the one that imported this module.
    """
    return os.getpid() != process


def prepare_threads() -> None:
    """Let several threads of a forked process compute; call it from any thread before they do.

    In a fork, torch recreates its thread pool when its threads are first counted, and fails if two
    threads do that at the same time.
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
    """Return the worker thread of a forked process; a fork of that process gets its own."""
    return ThreadPoolExecutor(1, thread_name_prefix="after-fork")


def check_cuda(device: str) -> None:
    """Raise ForkError, one line, if CUDA is requested and was used before the fork.

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
    """Run a block with the torch settings of a new process, then restore the host's.

    Autocast is off, tensors default to float32 on the CPU, and their products are computed in full
    precision. Deterministic algorithms stay enabled, but an operation that has none does not raise.
    Gradients, threads and random generators are not changed.
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
    """Tell whether the settings that all threads share are those of a new process.

    If not, ``own_settings`` changes them temporarily, which only one thread may do at a time.
    """
    return (
        torch.get_default_dtype() == torch.float32
        and not torch.are_deterministic_algorithms_enabled()
        and not any(products.fp32_precision in REDUCED for products in _products())
    )


def _products() -> tuple[Any, ...]:
    """Return the precision settings that a host may lower; cuDNN's are low by default."""
    backends: Any = torch.backends  # its type stubs lack oneDNN's settings
    return backends.cuda.matmul, backends.mkldnn.matmul, backends.mkldnn.conv


@contextmanager
def _in_full_precision() -> Iterator[None]:
    """Compute products of float32 in full precision.

    Torch has an old setting and new ones, and refuses to read the old one if they disagree.
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
