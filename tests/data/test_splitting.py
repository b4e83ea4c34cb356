from hypothesis import given
from hypothesis import strategies as st

from head_detection.data.splitting import Load, partition


def sums(groups: list[Load], parts: list[int], num_parts: int) -> list[tuple[int, int]]:
    return [
        (
            sum(g.num_images for g, p in zip(groups, parts, strict=True) if p == part),
            sum(g.num_heads for g, p in zip(groups, parts, strict=True) if p == part),
        )
        for part in range(num_parts)
    ]


def test_shares_are_met_to_a_picture() -> None:
    groups = [Load(1, heads) for heads in range(101)]
    (train, _), (val, _), (test, _) = sums(groups, partition(groups, [0.7, 0.2, 0.1], 3), 3)
    assert (train, val, test) == (
        71,
        20,
        10,
    )  # 70.7, 20.2, 10.1: the largest remainder is the first


def test_heads_are_shared_out_as_well() -> None:
    groups = [Load(1, 100 if number % 10 == 0 else 5) for number in range(200)]
    for seed in range(5):
        (_, train), (_, val) = sums(groups, partition(groups, [0.75, 0.25], seed), 2)
        assert abs(val / (train + val) - 0.25) < 0.01  # 29 heads


def test_a_large_group_stays_whole_where_there_is_most_room() -> None:
    groups = [Load(8, 8), Load(1, 1), Load(1, 1)]
    assert partition(groups, [0.3, 0.7], 0) == [1, 0, 0]


def test_the_seed_decides() -> None:
    groups = [Load(1, 1)] * 60
    parts = [partition(groups, [0.5, 0.5], seed) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_pictures_without_heads_and_no_pictures() -> None:
    assert sorted(partition([Load(1, 0)] * 4, [0.5, 0.5], 0)) == [0, 0, 1, 1]
    assert partition([], [0.5, 0.5], 0) == []


@given(
    st.lists(st.builds(Load, st.integers(1, 9), st.integers(0, 50)), max_size=40),
    st.integers(0, 3),
)
def test_no_part_is_over_by_more_than_the_largest_group(groups: list[Load], seed: int) -> None:
    shares = [0.6, 0.3, 0.1]
    total = sum(group.num_images for group in groups)
    largest = max((group.num_images for group in groups), default=0)
    for share, (images, _) in zip(
        shares, sums(groups, partition(groups, shares, seed), 3), strict=True
    ):
        assert images <= share * total + 1 + largest
