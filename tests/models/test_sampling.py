import pytest
import torch
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from head_detection.models.sampling import BalancedSampler


def labels_with(heads: int, background: int, neither: int) -> torch.Tensor:
    parts = (torch.ones(heads), torch.zeros(background), -torch.ones(neither))
    labels = torch.cat(parts).long()
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize(("samples", "fraction"), [(16, 0.25), (16, 0.5), (7, 0.3), (99, 1.0)])
@pytest.mark.parametrize(
    "counts",
    [(3, 60, 1), (40, 20, 4), (64, 0, 0), (0, 64, 0), (0, 0, 64), (1, 2, 61), (60, 3, 1)],
    ids=str,
)
def test_counts_are_torchvisions(
    samples: int, fraction: float, counts: tuple[int, int, int]
) -> None:
    labels = labels_with(*counts)
    heads, background = BalancedPositiveNegativeSampler(samples, fraction)([labels])
    expected = int(heads[0].sum()), int(background[0].sum())
    sampled = BalancedSampler(samples, fraction).sample(labels.repeat(3, 1))
    assert sampled.indices.shape == (3, min(samples, 64))
    for indices, is_sampled, is_positive in zip(*sampled, strict=True):
        taken = indices[is_sampled]
        assert len(taken.unique()) == len(taken)
        assert (labels[indices[is_positive]] == 1).all()
        assert (labels[indices[is_sampled & ~is_positive]] == 0).all()
        assert (int(is_positive.sum()), len(taken) - int(is_positive.sum())) == expected
        assert is_sampled.tolist() == sorted(is_sampled.tolist(), reverse=True)
        assert is_positive.tolist() == sorted(is_positive.tolist(), reverse=True)


def test_each_picture_has_its_own_counts() -> None:
    labels = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], [-1, -1, -1, -1, -1, 1]])
    sampled = BalancedSampler(4, 0.5).sample(labels)
    assert sampled.is_positive.sum(dim=1).tolist() == [2, 1, 1]
    assert sampled.is_sampled.sum(dim=1).tolist() == [4, 4, 1]


def test_every_candidate_is_as_likely() -> None:
    labels = labels_with(20, 20, 10)
    generator = torch.Generator().manual_seed(0)
    sampled = BalancedSampler(10, 0.5).sample(labels.repeat(4000, 1), generator)
    taken = torch.bincount(sampled.indices[sampled.is_sampled], minlength=50)
    # 5 of 20 of each kind: 1000 of 4000, give or take 27; five times that has one chance in 10^6.
    assert (taken[labels != -1] - 1000).abs().max() < 137
    assert (taken[labels == -1] == 0).all()


def test_a_seed_decides_and_pictures_differ() -> None:
    labels = labels_with(50, 50, 0).repeat(2, 1)
    sampler = BalancedSampler(10, 0.5)
    torch.manual_seed(3)
    first = sampler.sample(labels).indices
    torch.manual_seed(3)
    assert torch.equal(first, sampler.sample(labels).indices)
    assert not torch.equal(first, sampler.sample(labels).indices)
    assert set(first[0].tolist()) != set(first[1].tolist())
    mine = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert torch.equal(*(sampler.sample(labels, one).indices for one in mine))


def test_nothing_to_sample() -> None:
    indices, is_sampled, is_positive = BalancedSampler(8, 0.5).sample(torch.zeros(2, 0))
    assert indices.shape == is_sampled.shape == is_positive.shape == (2, 0)
