"""Batches: the same whatever the number of ranks, threads or processes."""

import gc
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from head_detection.config import AugmentationConfig
from head_detection.data.annotations import AnnotatedSet
from head_detection.data.dataset import HeadDataset, Sample
from head_detection.data.formats.coco import read_coco
from head_detection.data.loader import TrainingBatches, _clean_start
from head_detection.data.synthetic import synthetic_set
from head_detection.errors import PictureError

CROPS = AugmentationConfig(crop_size=24)


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> AnnotatedSet:
    return read_coco(synthetic_set(tmp_path_factory.mktemp("set"), 10, (32, 40), seed=0))


def assert_same(first: list[list[Sample]], second: list[list[Sample]]) -> None:
    assert [len(batch) for batch in first] == [len(batch) for batch in second]
    for one, other in zip(chain(*first), chain(*second), strict=True):
        assert_close(one.image, other.image)
        assert_close(one.target, other.target)


def ids(batches: list[list[Sample]]) -> list[list[int]]:
    return [[int(sample.target["image_id"]) for sample in batch] for batch in batches]


def test_an_epoch_holds_every_picture_and_fills_its_last_batch(annotated: AnnotatedSet) -> None:
    batches = TrainingBatches(HeadDataset([annotated], CROPS), [1.0], batch_size=4, seed=0)
    assert batches.steps_per_epoch == 3
    seen = ids(list(batches.batches(0)))
    assert [len(batch) for batch in seen] == [4, 4, 4]
    flat = list(chain(*seen))
    assert sorted(flat[:10]) == list(range(10))
    assert flat[10:] == flat[:2]


def test_a_filled_in_picture_is_changed_anew(annotated: AnnotatedSet) -> None:
    one = AnnotatedSet("one", annotated.images[:1])
    batches = TrainingBatches(HeadDataset([one], CROPS), [1.0], batch_size=2, seed=0)
    ((first, second),) = batches.batches(0)
    assert not torch.equal(first.image, second.image)


def test_batches_repeat_and_epochs_differ(annotated: AnnotatedSet) -> None:
    dataset = HeadDataset([annotated], CROPS)
    one, other = (TrainingBatches(dataset, [1.0], 4, seed=3) for _ in range(2))
    assert_same(list(one.batches(2)), list(other.batches(2)))
    assert ids(list(one.batches(2))) != ids(list(one.batches(3)))


def test_a_later_start_gives_the_rest(annotated: AnnotatedSet) -> None:
    batches = TrainingBatches(HeadDataset([annotated], CROPS), [1.0], 3, seed=0)
    assert_same(list(batches.batches(1, start_step=2)), list(batches.batches(1))[2:])
    assert list(batches.batches(1, start_step=batches.steps_per_epoch)) == []


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_same_global_batch(annotated: AnnotatedSet, world_size: int) -> None:
    dataset = HeadDataset([annotated], CROPS)
    alone = list(TrainingBatches(dataset, [1.0], 4, seed=0).batches(0))
    shares = [
        list(TrainingBatches(dataset, [1.0], 4, 0, rank, world_size).batches(0))
        for rank in range(world_size)
    ]
    for rank, share in enumerate(shares):
        assert_same(share, [batch[rank::world_size] for batch in alone])


def test_file_names_are_those_of_the_whole_batch(annotated: AnnotatedSet) -> None:
    dataset = HeadDataset([annotated], CROPS)
    batches = TrainingBatches(dataset, [1.0], 4, 0, rank=1, world_size=2)
    whole = ids(list(TrainingBatches(dataset, [1.0], 4, seed=0).batches(5)))
    for step, indices in enumerate(whole):
        expected = [annotated.images[index].file_name for index in indices]
        assert batches.file_names(5, step) == expected


def test_weights_are_one_a_set(annotated: AnnotatedSet) -> None:
    dataset = HeadDataset([annotated, annotated], None)
    batches = TrainingBatches(dataset, [1.0, 0.5], 5, seed=0)
    flat = list(chain(*ids(list(batches.batches(0)))))
    assert sum(index < 10 for index in flat) == 10
    assert sum(index >= 10 for index in flat) == 5


def test_whole_pictures_of_any_size(annotated: AnnotatedSet, tmp_path: Path) -> None:
    other = read_coco(synthetic_set(tmp_path, 2, (20, 50), seed=1))
    batches = TrainingBatches(HeadDataset([annotated, other], None), [1.0, 1.0], 12, seed=0)
    (batch,) = batches.batches(0)
    assert {tuple(sample.image.shape) for sample in batch} == {(3, 32, 40), (3, 20, 50)}


def broken(annotated: AnnotatedSet, folder: Path) -> HeadDataset:
    content = annotated.images[0].path.read_bytes()
    path = folder / "cut.png"
    path.write_bytes(content[: len(content) // 2])
    image = annotated.images[0]
    cut = type(image)(path, "cut.png", image.truth, image.image_size)
    return HeadDataset([AnnotatedSet("cut", (cut, *annotated.images[1:4]))], CROPS)


def test_a_broken_picture_is_named(annotated: AnnotatedSet, tmp_path: Path) -> None:
    batches = TrainingBatches(broken(annotated, tmp_path), [1.0], 2, seed=0)
    with pytest.raises(PictureError, match=r"cut\.png: corrupt or truncated"):
        list(batches.batches(0))


def test_any_other_error_names_the_picture(
    annotated: AnnotatedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("too much")

    dataset = HeadDataset([annotated], CROPS)
    monkeypatch.setattr(dataset, "load_arrays", fail)
    with pytest.raises(RuntimeError, match=r"\.png: MemoryError: too much"):
        list(TrainingBatches(dataset, [1.0], 2, seed=0).batches(0))


def test_only_a_few_are_loaded_ahead(
    annotated: AnnotatedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = HeadDataset([annotated], CROPS)
    loaded = []
    load = dataset.load_arrays

    def count(index: int, generator_seed: int) -> object:
        loaded.append(index)
        return load(index, generator_seed)

    monkeypatch.setattr(dataset, "load_arrays", count)
    iterator = iter(TrainingBatches(dataset, [100.0], 2, seed=0).batches(0))
    next(iterator)
    time.sleep(0.2)
    assert 2 <= len(loaded) <= 20, "of a thousand"


def test_threads_end_with_the_batches(annotated: AnnotatedSet) -> None:
    batches = TrainingBatches(HeadDataset([annotated], CROPS), [50.0], 2, seed=0)
    iterator = iter(batches.batches(0))
    next(iterator)
    assert [t for t in threading.enumerate() if t.name.startswith("loader")]
    del iterator, batches
    gc.collect()
    deadline = time.monotonic() + 10
    while [t for t in threading.enumerate() if t.name.startswith("loader")]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_processes_give_what_threads_give(annotated: AnnotatedSet, tmp_path: Path) -> None:
    dataset = broken(annotated, tmp_path)
    results = []
    for workers in (0, 1):
        batches = TrainingBatches(dataset, [4.0], 1, seed=0, workers=workers)
        loaded: list[list[Sample]] = []
        for epoch in range(2):
            with pytest.raises(PictureError, match=r"cut\.png: corrupt or truncated"):
                loaded.extend(batches.batches(epoch))
        results.append(loaded)
    assert results[0], "good pictures come before the broken one"
    assert_same(*results)


def test_processes_are_forked_from_a_server_that_has_imported_all() -> None:
    with ProcessPoolExecutor(2, _clean_start()) as pool:
        parents = {pool.submit(os.getppid).result() for _ in range(4)}
        assert len(parents) == 1
        assert os.getpid() not in parents


@pytest.mark.parametrize(
    ("batch_size", "rank", "world_size"), [(0, 0, 1), (1, 0, 2), (4, 2, 2), (4, -1, 2)]
)
def test_ranks_and_batches_must_fit(
    annotated: AnnotatedSet, batch_size: int, rank: int, world_size: int
) -> None:
    with pytest.raises(ValueError, match="at least one picture a rank"):
        TrainingBatches(HeadDataset([annotated], None), [1.0], batch_size, 0, rank, world_size)


def test_no_pictures() -> None:
    with pytest.raises(ValueError, match="expected at least one picture; got none"):
        TrainingBatches(HeadDataset([], None), [], 1, 0)
