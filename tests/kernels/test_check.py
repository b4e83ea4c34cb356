"""Where kernels run: only where they compute what PyTorch computes."""

import logging
import subprocess
import sys

import pytest
import torch

from head_detection import kernels
from head_detection.kernels import check

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # 0 / 0, as there

COMPILE = """
import os
os.environ.pop("TRITON_INTERPRET", None)
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from head_detection.kernels import convolution as c, roi_align as r, suppression as s

def compile(kernel, constants, **types):
    names = kernel.arg_names
    types = {name: types.get(name, "constexpr") for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    for capability in (80, 90):
        triton.compile(ASTSource(kernel, types, places), target=GPUTarget("cuda", capability, 32))

i, boxes = "i32", "*fp32"
both = {"rows": 16, "columns": 128}
numbers = {"count": i, "heads": i, "threshold": "fp32"}
maps = {"maps": "*fp16", "weight": "*fp16", "bias": "*fp32", "made": "*fp16", "pixels": i}
placed = dict.fromkeys(("height", "width", "made_height", "made_width", "above", "left"), i)
compile(s._overlap_bits, {"rows": 128}, boxes=boxes, bits="*i32", count=i, threshold="fp32")
compile(s._follow, {"step": 1024}, bits="*i32", scores="*fp32", kept="*i8", count=i)
own = {"boxes": boxes, "kept": "*i64", "is_head": "*u8", "candidates": boxes}
compile(s._vote, both, **own, scores="*fp32", placed=boxes, **numbers)
compile(s._first_overlap, both, **own, first="*i64", **numbers)
sizes = {"channels": 64, "num_levels": 4, "size": 7, "ratio": 2, "cells": 8, "width": 64}
compile(r._pool, sizes, table="*fp16", boxes=boxes, image="*i64", levels="*fp64",
        pooled="*fp16", scale=i)
for many in (False, True):
    own = {"activation": 2, "many": many}
    compile(c._pointwise, {**own, "rows": 128, "columns": 128, "depth": 32}, **maps,
            inputs=i, outputs=i)
    compile(c._depthwise, {**own, "side": 5, "stride": 2, "rows": 32, "columns": 64},
            **maps, **placed, channels=i)
    compile(c._stem, {**own, "inputs": 3, "side": 3, "stride": 2, "rows": 64, "columns": 32},
            **maps, **placed, outputs=i)
print("compiled")
"""


def test_all_kernels_compute_what_pytorch_computes(device) -> None:
    assert check.find_fault(device) is None


def test_a_kernel_that_computes_something_else_is_named(device, monkeypatch) -> None:
    monkeypatch.setattr(check, "greedy_keep", lambda boxes, scores, _: scores > 1)
    assert check.find_fault(device) == "greedy_keep differs from PyTorch's"


def test_a_cpu_does_without(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "_is_right", lambda device: pytest.fail("not asked"))
    assert not kernels.can_run(torch.device("cpu"))


def test_switched_off_and_on_again(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(kernels, "_is_right", lambda device: True)
    gpu = torch.device("cuda:0")
    assert kernels.can_run(gpu)
    with kernels.switched_off():
        assert not kernels.can_run(gpu)
    assert kernels.can_run(gpu)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_driver_one_line_says_so(monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with caplog.at_level(logging.WARNING):
        assert not kernels.can_run(torch.device("cuda:0"))
    (line,) = caplog.messages
    assert line.startswith("cuda:0: own kernels are not used, which is slower: ")
    assert "\n" not in line
    kernels._is_right.cache_clear()


def test_without_triton_nothing_is_warned_of(monkeypatch, caplog) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "head_detection.kernels.check", None)
    with caplog.at_level(logging.WARNING):
        assert not kernels.can_run(torch.device("cuda:1"))
    assert not caplog.messages
    kernels._is_right.cache_clear()


def test_all_kernels_compile_for_gpus() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], capture_output=True, text=True, check=False
    )
    assert done.stdout == "compiled\n", done.stderr[-2000:]
