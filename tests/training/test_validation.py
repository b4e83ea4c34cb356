import numpy as np
import pytest
import torch
from torch import nn

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet
from head_detection.data.dataset import HeadDataset
from head_detection.data.formats import load_annotations
from head_detection.structures import GroundTruth
from head_detection.training.distributed import Ranks
from head_detection.training.validation import _batches, validate


class Oracle(nn.Module):
    """A stand-in that finds, in each picture, the heads that it is told of."""

    def __init__(self, answers):
        super().__init__()
        self.answers, self.seen = answers, []

    def forward(self, images):
        self.seen.append(len(images))
        found = [self.answers[int(image.sum())] for image in images]
        return [{"boxes": boxes, "scores": torch.full((len(boxes),), 0.9)} for boxes in found]


@pytest.fixture
def dataset(labels):
    return HeadDataset([load_annotations(DatasetConfig(path=str(labels)))], None)


@pytest.fixture
def oracle(dataset):
    samples = [dataset.load(index, 0) for index in range(len(dataset))]
    return Oracle({int(sample.image.sum()): sample.target["boxes"] for sample in samples})


def test_every_picture_is_measured_once(dataset, oracle, alone):
    told = []
    oracle.train()

    def advance(*counts):
        told.append(counts)
        return True

    metrics = validate(oracle, dataset, alone, None, advance)
    assert metrics["ap50"] == pytest.approx(1.0)
    assert metrics["count_mae"] == 0.0
    assert oracle.seen == [4, 4, 2]  # ten pictures of one shape
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert not oracle.training


def test_nothing_found_is_measured_too(dataset, oracle, alone):
    oracle.answers = {key: boxes[:0] for key, boxes in oracle.answers.items()}
    metrics = validate(oracle, dataset, alone, None, lambda *_: True)
    assert metrics["ap50"] == 0.0
    num_heads = sum(len(image.truth.head_boxes) for image in dataset.images)
    assert metrics["count_mae"] == pytest.approx(num_heads / len(dataset))


def test_it_stops_when_told_to(dataset, oracle, alone):
    assert validate(oracle, dataset, alone, None, lambda done, _: done < 8) is None
    assert oracle.seen == [4, 4]


def images_of(shapes):
    truth = GroundTruth(np.zeros((0, 4), np.float32), np.zeros(0, bool))
    images = [AnnotatedImage(None, str(n), truth, shape) for n, shape in enumerate(shapes)]
    return HeadDataset([AnnotatedSet("shapes", tuple(images))], None)


def test_like_shapes_share_a_batch_and_unknown_ones_do_not(alone):
    wide, tall = (100, 200), (200, 100)
    shapes = [wide, tall, None, wide, (99, 200), tall, None, wide, wide]
    assert _batches(images_of(shapes), alone) == [[2], [6], [1, 5], [0, 3, 7, 8], [4]]


@pytest.mark.parametrize("world_size", [2, 3, 12])
def test_ranks_share_the_pictures_without_rest(world_size):
    dataset = images_of([(100, 100 + n) for n in range(10)])
    cpu = torch.device("cpu")
    shares = [
        [index for batch in _batches(dataset, Ranks(rank, world_size, cpu)) for index in batch]
        for rank in range(world_size)
    ]
    assert sorted(index for share in shares for index in share) == list(range(10))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
