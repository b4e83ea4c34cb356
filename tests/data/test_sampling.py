"""How often and in which order pictures are drawn."""

from collections import Counter

import numpy as np
import numpy.testing as npt
import pytest

from head_detection.data.sampling import EpochOrder


def test_weight_one_draws_each_picture_once() -> None:
    order = EpochOrder((5, 3), (1.0, 1.0), seed=0)
    for epoch in range(4):
        npt.assert_array_equal(np.sort(order.indices(epoch)), np.arange(8))


def test_half_of_a_set_each_epoch_and_all_of_it_in_two() -> None:
    order = EpochOrder((10,), (0.5,), seed=0)
    assert len(order) == 5
    for epoch in (0, 2, 4):
        both = np.concatenate([order.indices(epoch), order.indices(epoch + 1)])
        npt.assert_array_equal(np.sort(both), np.arange(10))


def test_any_weight_is_even_over_many_epochs() -> None:
    order = EpochOrder((7, 4), (0.3, 2.5), seed=1)
    assert len(order) == 2 + 10
    drawn = Counter(index for epoch in range(70) for index in order.indices(epoch).tolist())
    # 70 epochs take 2 x 70 = 20 x 7 of the first set, 10 x 70 = 175 x 4 of the second
    assert drawn == {**dict.fromkeys(range(7), 20), **dict.fromkeys(range(7, 11), 175)}


def test_epochs_and_seeds_differ_and_repeat() -> None:
    order, same, other = (EpochOrder((50,), (1.0,), seed=seed) for seed in (0, 0, 1))
    npt.assert_array_equal(order.indices(3), same.indices(3))
    assert not np.array_equal(order.indices(3), order.indices(4))
    assert not np.array_equal(order.indices(3), other.indices(3))


def test_sets_are_mixed() -> None:
    order = EpochOrder((500, 500), (1.0, 1.0), seed=0).indices(0)
    assert 200 < (order[:500] < 500).sum() < 300


def test_an_empty_set_gives_nothing_and_a_small_one_something() -> None:
    order = EpochOrder((0, 3, 1), (1.0, 1.0, 0.1), seed=0)
    npt.assert_array_equal(np.sort(order.indices(0)), [0, 1, 2, 3])


def test_sample_seeds_differ() -> None:
    order = EpochOrder((4,), (1.0,), seed=0)
    seeds = {order.sample_seed(epoch, position) for epoch in range(20) for position in range(50)}
    assert len(seeds) == 1000
    assert order.sample_seed(1, 2) == EpochOrder((9,), (2.0,), seed=0).sample_seed(1, 2)


@pytest.mark.parametrize(
    ("sizes", "weights", "text"),
    [
        ((), (), "at least one picture"),
        ((0,), (1.0,), "at least one picture"),
        ((2,), (), "expected one a set, 1; got 0"),
        ((2,), (1.0, 1.0), "expected one a set, 1; got 2"),
        ((2,), (0.0,), "above 0"),
        ((2,), (float("nan"),), "above 0"),
    ],
)
def test_bad_arguments(sizes: tuple[int, ...], weights: tuple[float, ...], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        EpochOrder(sizes, weights, seed=0)
