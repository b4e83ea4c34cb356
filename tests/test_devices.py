import gc
import weakref
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from head_detection import devices
from head_detection.devices import (
    _cached,
    constant,
    find_device,
    find_precision,
    kept_constants,
)
from head_detection.errors import DeviceError


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("gpu", "expected auto, cpu, cuda, cuda:N or mps; got 'gpu'"),
        ("xpu", "expected auto"),
        ("", "expected auto"),
        ("cuda:99", "cuda:99 asked for, but torch .* sees"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(name, line):
    with pytest.raises(DeviceError, match=line):
        find_device(name)


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(
    ("name", "device", "has_bf16", "expected"),
    [
        ("auto", "cpu", False, "fp32"),
        ("auto", "cpu", True, "bf16"),
        ("auto", "cuda", False, "fp16"),
        ("auto", "mps", False, "fp32"),
        ("fp32", "cpu", True, "fp32"),
        ("bf16", "cpu", False, "bf16"),
        ("fp16", "cuda", False, "fp16"),
    ],
)
def test_precision_is_what_the_device_does_well(monkeypatch, name, device, has_bf16, expected):
    monkeypatch.setattr(devices, "cpu_multiplies_bf16", lambda: has_bf16)
    assert find_precision(name, torch.device(device)) == expected


def test_a_precision_that_is_not_there_is_one_line():
    with pytest.raises(DeviceError, match="expected auto, fp32, bf16, fp16; got 'int8'"):
        find_precision("int8", torch.device("cpu"))
    with pytest.raises(DeviceError, match="fp16 needs a GPU"):
        find_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("capabilities", "cpuinfo", "expected"),
    [
        ({"avx512_bf16": True}, "", True),
        ({"avx512_bf16": False, "avx2": True}, "flags: avx512_bf16", False),
        (None, "flags : sse4_1 avx512_bf16 avx2", True),
        (None, "Features : asimd bf16", True),
        (None, "flags : avx512f avx512bw", False),
        (None, None, False),
    ],
)
def test_bf16_is_judged_on_old_and_new_torch(
    monkeypatch, tmp_path, capabilities, cpuinfo, expected
):
    if capabilities is None:
        monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    else:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr(devices, "CPU_DESCRIPTION", path)
    assert devices.cpu_multiplies_bf16() is expected


def drop_cached():
    for number in range(_cached.cache_info().maxsize):
        constant((number, 0.5), torch.device("cpu"))
    gc.collect()


def test_a_constant_that_work_repeats_outlives_the_cache():
    cpu = torch.device("cpu")
    dropped = weakref.ref(constant((1.25,), cpu))
    with kept_constants() as kept:
        held = weakref.ref(constant((2.25,), cpu))
        constant((2.25,), cpu)  # cached: used all the same
    drop_cached()
    assert dropped() is None
    assert held() is not None
    assert [numbers.tolist() for numbers in kept] == [[2.25], [2.25]]
    constant((3.25,), cpu)  # outside the block
    assert len(kept) == 2


def test_a_constant_is_on_the_gpu_before_any_stream_reads_it(monkeypatch):
    """A copy on the current stream would come too late for a view on a stream of its own."""
    device, told = torch.device("cuda:0"), []

    @contextmanager
    def within(stream):
        told.append(stream)
        yield
        told.append("end")

    def copy(where, **how):
        told.append((where, how))
        return "there"

    devices._copying.cache_clear()
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch, "tensor", lambda *_, **__: SimpleNamespace(to=copy))
    try:
        assert _cached.__wrapped__((1, 2), device, torch.float32) == "there"
    finally:
        devices._copying.cache_clear()
    # Without `non_blocking`, torch waits for the stream that copies.
    assert told == ["stream of cuda:0", (device, {}), "end"]
