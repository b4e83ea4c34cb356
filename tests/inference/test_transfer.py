"""Batches to a device: one copy, one buffer. No GPU: what is pinned is plain memory here."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from head_detection.inference.transfer import Download, Upload

CPU = torch.device("cpu")


class Calls(TorchDispatchMode):
    """Counts operators."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.counts[function._schema.name] += 1
        return function(*args, **(kwargs or {}))


def pictures(*sizes: tuple[int, int]) -> list[Tensor]:
    """Return pictures as files are decoded: a pixel's colours side by side."""
    return [torch.randint(256, (*size, 3), dtype=torch.uint8).permute(2, 0, 1) for size in sizes]


@pytest.fixture
def pinned() -> list[int]:
    return []


@pytest.fixture
def upload(pinned: list[int]) -> Upload:
    def pin(size: int) -> Tensor:
        pinned.append(size)
        return torch.zeros(size, dtype=torch.uint8)

    return Upload(CPU, pin)


def test_pictures_arrive_as_they_are(upload: Upload) -> None:
    decoded, planar = pictures((5, 7))[0], torch.randint(256, (3, 4, 9), dtype=torch.uint8)
    floating = torch.rand(3, 3, 5)
    cut = torch.rand(3, 8, 8)[:, 1:4, 2:5]
    sent = [decoded, planar, floating, cut]
    came = upload(sent)
    for image, own in zip(sent, came, strict=True):
        assert own.dtype == image.dtype
        assert torch.equal(own, image)
    assert came[0].stride() == decoded.stride()
    again = upload(pictures((5, 7)))
    assert torch.equal(came[0], decoded)  # the next batch does not write into this one
    assert not torch.equal(again[0], decoded)


def test_memory_is_pinned_once_for_the_largest_batch(upload: Upload, pinned: list[int]) -> None:
    for _ in range(10):
        upload(pictures(*[(60, 80)] * 8))
    # Eight of 14,400 bytes, a multiple of 64, are 115,200: up to the next power of two.
    assert pinned == [131_072]
    for height in range(1, 60):
        upload(pictures(*[(height, 80)] * 8))
    assert pinned == [131_072]
    upload(pictures(*[(80, 80)] * 8))
    assert pinned == [131_072, 262_144]


def test_a_batch_is_one_copy_to_the_device(upload: Upload) -> None:
    upload(pictures(*[(60, 80)] * 8))
    for count in (1, 8):
        with Calls() as calls:
            upload(pictures(*[(60, 80)] * count))
        assert calls.counts["aten::_to_copy"] == 1
        assert calls.counts["aten::copy_"] == 0  # NumPy fills the buffer, in this thread alone


def test_without_a_gpu_nothing_is_copied() -> None:
    sent = pictures((5, 7), (3, 4))
    came = Upload(CPU)(sent)
    assert [own.data_ptr() for own in came] == [image.data_ptr() for image in sent]


def test_heads_come_as_they_are() -> None:
    table = torch.rand(2, 3, 5)
    assert Download(table).values().tolist() == table.tolist()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_download_keeps_what_was_there_when_it_began() -> None:
    table = torch.arange(1000.0, device="cuda")
    downloads = []
    for _ in range(5):
        downloads.append(Download(table))
        table += 1
    assert [own.values()[0] for own in downloads] == [0, 1, 2, 3, 4]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_the_same() -> None:
    upload = Upload(torch.device("cuda"))
    for _ in range(3):
        sent = pictures((64, 80), (32, 48))
        for image, own in zip(sent, upload(sent), strict=True):
            assert own.is_cuda
            assert torch.equal(own.cpu(), image)
