"""How many boxes of the first stage go on: as many as a picture asks for."""

from functools import partial

import pytest
import torch

from head_detection.models.anchors import Anchors
from head_detection.models.network import DenseMaps
from head_detection.models.proposals import GROWTH, ProposalLimits, propose

CELL = ((-2.0, -2.0, 2.0, 2.0),)
LIKELY, UNLIKELY = 4.0, 1.0
"""Logits of .98 and .73."""


def found(
    rows: list[list[float]],
    *,
    waits: bool = True,
    pre: int = 2,
    post: int = 2,
    grows: bool = True,
    room: int = 1,
    score_threshold: float = 0.0,
):
    """Propose in pictures whose only level has a row of anchors, of 4 pixels side by side."""
    objectness = torch.tensor(rows)[:, None, None]
    count, length = len(rows), len(rows[0])
    maps = DenseMaps((), (objectness,), (torch.zeros(count, 4, 1, length),))
    limits = ProposalLimits(pre, post, 0.7, score_threshold, grows=grows, room=room)
    size = (4, 4 * length)
    return propose(Anchors((CELL,)), limits, maps, size, [size] * count, waits=waits)


def counts(proposals) -> list[int]:
    return proposals.is_filled.sum(dim=1).tolist()


@pytest.mark.parametrize(("pre", "post"), [(2, 2), (9, 2), (2, 9)])
def test_either_limit_grows_until_no_likely_box_is_left_out(pre: int, post: int) -> None:
    proposals = found([[LIKELY] * 5], pre=pre, post=post)
    assert counts(proposals) == [5]
    assert proposals.is_settled is None
    assert not (proposals.is_cut is not None and proposals.is_cut.any())


def test_without_growth_the_limits_hold() -> None:
    assert counts(found([[LIKELY] * 5], grows=False)) == [2]


def test_unlikely_boxes_are_no_reason_to_grow() -> None:
    assert counts(found([[LIKELY] + [UNLIKELY] * 4])) == [2]


def test_each_picture_has_its_own_limits() -> None:
    """Two likely ones fill a limit of two, which then is four; one does not."""
    few, some, many = ([LIKELY] * number + [UNLIKELY] * (6 - number) for number in (1, 2, 5))
    proposals = found([few, some, many])
    assert counts(proposals) == [2, 4, 6]
    assert [counts(found([row]))[0] for row in (few, some, many)] == [2, 4, 6]


def test_each_level_has_its_own_limits() -> None:
    full, empty = torch.full((1, 1, 1, 6), LIKELY), torch.full((1, 1, 1, 6), UNLIKELY)
    deltas = torch.zeros(1, 4, 1, 6)
    maps = DenseMaps((), (full, empty), (deltas, deltas))
    limits = ProposalLimits(2, 100, 0.7, grows=True)
    proposals = propose(Anchors((CELL, CELL)), limits, maps, (4, 24), [(4, 24)], waits=True)
    assert counts(proposals) == [6 + 2]


def test_growth_has_an_end_and_says_so() -> None:
    rows = [[LIKELY] * (GROWTH + 4), [LIKELY] + [UNLIKELY] * (GROWTH + 3)]
    proposals = found(rows, pre=1, post=1)
    assert counts(proposals) == [GROWTH, 2]
    assert proposals.is_cut.tolist() == [True, False]
    just_so = found([[LIKELY] * (GROWTH - 1) + [UNLIKELY]], pre=1, post=1)
    assert counts(just_so) == [GROWTH]
    assert just_so.is_cut.tolist() == [False]


@pytest.mark.parametrize(("pre", "post"), [(2, 2), (9, 2), (2, 9)])
def test_a_gpu_that_is_not_waited_for_says_that_a_limit_is_in_the_way(pre: int, post: int) -> None:
    proposals = found([[LIKELY] * 5, [UNLIKELY] * 5], pre=pre, post=post, waits=False)
    assert not proposals.is_settled
    assert proposals.scores.shape == (2, 2)
    assert found([[LIKELY] + [UNLIKELY] * 4], waits=False).is_settled
    assert found([[LIKELY] * 5], waits=False, grows=False).is_settled


@pytest.mark.parametrize(("pre", "post"), [(2, 2), (9, 2), (2, 9)])
def test_with_room_a_gpu_finds_what_a_cpu_does_and_does_not_wait(
    pre: int, post: int, count_waits
) -> None:
    """One, two and five likely boxes of six: the limits of two become 2, 4 and 8."""
    rows = [
        [(LIKELY if n < number else UNLIKELY) - n / 100 for n in range(9)] for number in (1, 2, 5)
    ]
    exact = found(rows, pre=pre, post=post)
    assert counts(exact) == [2, 4, 8]
    roomy = found(rows, pre=pre, post=post, waits=False, room=4)
    assert roomy.is_settled
    width = exact.scores.shape[1]
    assert torch.equal(roomy.scores[:, :width], exact.scores)
    assert torch.equal(roomy.boxes[:, :width], exact.boxes)
    assert not roomy.is_filled[:, width:].any()
    asked = [count_waits(partial(found, rows, waits=False, room=room)) for room in (1, 4)]
    assert asked == [1, 1]  # for the numbers that ``found`` makes
    assert not found([[LIKELY] * 9], pre=pre, post=post, waits=False, room=2).is_settled


def test_usual_pictures_call_no_further_operator(operators) -> None:
    """On a CPU, where asking whether a limit is in the way is none but a view for NumPy."""
    rows = [[LIKELY] + [UNLIKELY] * 9]

    def names(*, grows: bool) -> dict[str, int]:
        called = dict(operators(lambda: found(rows, grows=grows)).names)
        return {name: count for name, count in called.items() if name != "detach"}

    assert names(grows=True) == names(grows=False)


def test_on_a_cpu_only_boxes_that_are_likely_enough_are_looked_at() -> None:
    """At .5 a logit of 0 counts, in the row's order; nothing else has a slot, nor has NaN."""
    rows = [[0.0, -0.01, 2.0, float("nan"), 0.0], [-5.0, -5.0, -5.0, -5.0, -5.0]]
    proposals = found(rows, pre=9, post=9, grows=False, score_threshold=0.5)
    assert proposals.scores.shape == (2, 3)
    assert proposals.boxes[0, :, 0].tolist() == [6.0, 0.0, 14.0]
    assert counts(proposals) == [3, 0]
    none = found([rows[1]], score_threshold=0.5)
    assert none.boxes.shape == (1, 0, 4)
    assert counts(found([rows[0]], pre=9, post=9, grows=False)) == [4]


@pytest.mark.parametrize("score_threshold", [0.0, 0.1, 1.0])
def test_on_a_cpu_the_same_boxes_stay_as_where_all_are_looked_at(score_threshold: float) -> None:
    rows = torch.randn(3, 500, generator=torch.Generator().manual_seed(0)).mul(8).tolist()
    given = {"pre": 40, "post": 30, "grows": False, "score_threshold": score_threshold}
    some, every = found(rows, **given), found(rows, waits=False, **given)
    width = some.scores.shape[1]
    assert torch.equal(some.scores, every.scores[:, :width])
    assert torch.equal(some.boxes, every.boxes[:, :width])
    assert not every.is_filled[:, width:].any()
