import mmap
from pathlib import Path

import pytest
import torch

from head_detection.benchmark import throughput
from head_detection.benchmark.pictures import crowd, make_pictures
from head_detection.benchmark.throughput import (
    CommandMemory,
    MemoryWatch,
    batches_of,
    hold,
    measure_command,
)
from head_detection.errors import BenchmarkError
from head_detection.images.finding import PictureFile
from head_detection.inference.detector import HeadDetector
from head_detection.pipeline.opening import open_source


@pytest.fixture
def detector(tiny_weights: Path) -> HeadDetector:
    return HeadDetector.from_weights(tiny_weights, device="cpu", precision="fp32")


def pictures(folder: Path, count: int) -> list[PictureFile]:
    folder.mkdir()
    make_pictures(folder, crowd((48, 64)), count)
    return [item for item in open_source(str(folder)) if isinstance(item, PictureFile)]


def test_a_command_is_timed_beside_the_bare_network(detector: HeadDetector, tmp_path: Path) -> None:
    files = pictures(tmp_path / "in", 5)
    files[1].path.write_bytes(b"broken")
    found = measure_command("tiny", detector, files, 2, tmp_path / "out")
    assert (found.num_pictures, found.num_watched, found.num_failed) == (4, 5, 1)
    expected = [a / b for a, b in zip(found.rate.samples, found.bare.samples, strict=True)]
    assert list(found.ratio.samples) == expected
    assert len(expected) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["0", "1", "watched"]
    drawn = (tmp_path / "out" / "0" / "images").glob("*.jpg")
    assert len(list(drawn)) == 4


def test_a_folder_of_broken_pictures_is_one_line(detector: HeadDetector, tmp_path: Path) -> None:
    files = pictures(tmp_path / "in", 1)
    files[0].path.write_bytes(b"broken")
    with pytest.raises(BenchmarkError, match="none of 1 files"):
        measure_command("tiny", detector, files, 1, tmp_path / "out")


def test_pictures_in_memory_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pictures(tmp_path / "in", 3)
    monkeypatch.setattr(throughput, "MAX_HELD_BYTES", 2 * 3 * 48 * 64)
    held, tensors = hold(files)
    assert held == files[:2]
    assert [tuple(tensor.shape) for tensor in tensors] == [(3, 48, 64)] * 2
    monkeypatch.setattr(throughput, "MAX_HELD_BYTES", 1)
    assert len(hold(files)[0]) == 1


def test_the_bare_network_gets_batches_of_like_shape(detector: HeadDetector) -> None:
    detector.engine.batch_size = 2
    sizes = [(64, 64), (64, 128), (64, 64), (60, 64), (64, 128)]
    images = [torch.zeros((3, *size), dtype=torch.uint8) for size in sizes]
    batches = batches_of(detector, images)
    shapes = [[tuple(image.shape[1:]) for image in batch] for batch in batches]
    assert shapes == [[(64, 64), (64, 64)], [(60, 64)], [(64, 128), (64, 128)]]


def test_growth_is_what_the_last_three_quarters_added() -> None:
    found = CommandMemory(900, True, 500, 530, None)
    assert found.growth == 30
    assert found.as_dict()["growth_bytes"] == 30
    assert CommandMemory(900, False, None, None, None).growth is None


@pytest.mark.skipif(not throughput.STATUS.exists(), reason="needs Linux's /proc")
def test_the_peak_sees_what_came_and_went() -> None:
    watch = MemoryWatch(torch.device("cpu"))
    size = 64 * 1024**2
    before = watch.now()
    assert before is not None
    with mmap.mmap(-1, size) as pages:  # a tensor may get memory that was freed before
        for start in range(0, size, mmap.PAGESIZE):
            pages[start] = 1
    peak = watch.peak()
    assert peak is not None
    assert peak >= before + size * 0.9
    if watch.is_from_here:
        later = MemoryWatch(torch.device("cpu")).peak()
        assert later is not None
        assert later < peak
    assert watch.device_peak() is None


def test_without_proc_the_system_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "STATUS", tmp_path / "none")
    monkeypatch.setattr(throughput, "REFERENCES", tmp_path / "no folder" / "none")
    watch = MemoryWatch(torch.device("cpu"))
    assert not watch.is_from_here
    assert watch.now() is None
    assert (watch.peak() or 0) > 10 * 1024**2
