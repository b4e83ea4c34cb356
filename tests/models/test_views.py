import math

import pytest
import torch
from torchvision.models.detection.image_list import ImageList

from head_detection.config import parse_config
from head_detection.models.nms import EMPTY
from head_detection.models.proposals import SizeRange
from head_detection.models.suppression import Candidates
from head_detection.models.views import EVERYTHING, View, ViewCandidates, build_views, merge

RESIZE = "inference.resize={min_size: 64, max_size: 128}"


def views(text, *overrides):
    config = parse_config({}, [RESIZE, f"inference.views={text}", *overrides])
    return build_views(config.network, config.inference)


def view(text, *overrides):
    (only,) = views(f"[{text}]", *overrides)
    return only


def found(*rows):
    values = torch.tensor(rows).reshape(1, -1, 5)
    return Candidates(values[..., :4], values[..., 4])


def batch_of(tensors):
    sizes = [(tensors.shape[2], tensors.shape[3])] * len(tensors)
    return ImageList(tensors, sizes)


def test_boxes_come_back_from_an_enlarged_mirror_by_hand():
    own = view("{scale: 1.5, mirrored: true}")
    picture = torch.zeros(3, 32, 64)
    picture[:, :, :8] = 1.0
    batch = own.batch([picture], batch_of(picture[None]))
    assert batch.image_sizes == [(48, 96)]
    assert batch.tensors[0, 0, 24, 90] > batch.tensors[0, 0, 24, 5]  # the bright side is right now
    placed = own.place(torch.tensor([[[84.0, 3, 96, 48]]]), [(48, 96)], [(32, 64)])
    assert placed.tolist() == [[[0, 2, 8, 32]]]


def test_the_size_of_the_first_view_counts():
    own = view("{scale: 0.75}", "inference.resize.enlargement=2.0")
    picture = torch.zeros(3, 40, 50)
    assert own.batch([picture], batch_of(picture[None])).image_sizes == [(60, 75)]


def test_a_view_has_proposals_of_its_sizes_by_hand():
    # A proposal of 45 pixels may still become a head of 30, which are 20 in the first view.
    assert view("{scale: 1.5, largest_head: 20}").proposal_sizes == SizeRange(0, 45)
    assert view("{scale: 0.75, smallest_head: 20}").proposal_sizes == SizeRange(10, math.inf)
    assert view("{mirrored: true}").proposal_sizes is None
    small = view("{scale: 0.25, smallest_head: 100}", "inference.largest_head=100")
    assert small.proposal_sizes.smallest == pytest.approx(100 / (1.25 * 1.5 * 4))


@pytest.mark.parametrize(
    ("side", "score", "is_wanted"),
    [(10.0, 0.3, True), (10.1, 0.9, False), (9.9, 0.29, False), (50.0, 1.0, False)],
)
def test_a_view_for_small_heads_is_made_where_there_surely_is_one(side, score, is_wanted):
    first = found((0.0, 0, 90, 90, 0.9), (5, 5, 5 + side, 5 + side, score), (0, 0, 0, 0, EMPTY))
    assert view("{scale: 1.5, largest_head: 20}").is_wanted(first).tolist() == [is_wanted]


@pytest.mark.parametrize(
    ("side", "score", "is_wanted"),
    # Heads are large from 100 pixels on; a part of one, half as large, is likely at all.
    [(50.0, 0.1, True), (49.0, 0.9, False), (50.0, 0.09, False), (180.0, 0.5, True)],
)
def test_a_view_for_large_heads_is_made_where_there_may_be_a_part_of_one(side, score, is_wanted):
    own = view("{scale: 0.25, smallest_head: 100, min_score: 0.1}", "inference.largest_head=100")
    first = found((0.0, 0, 9, 9, 0.9), (0, 0, side, side, score))
    assert own.is_wanted(first).tolist() == [is_wanted]


def test_a_view_for_all_sizes_is_made_of_every_picture():
    assert view("{scale: 1.5}").is_wanted(found()) is None


@pytest.mark.parametrize(("side", "fits"), [(352, True), (320, False)])
def test_what_has_too_few_pixels_when_reduced_is_left_out(side, fits):
    own = view("{scale: 0.25, smallest_head: 100}")  # 88 and 80 pixels
    assert own.fits(batch_of(torch.zeros(1, 3, 32, side))) is fits
    assert view("{scale: 0.75}").fits(batch_of(torch.zeros(1, 3, 32, 32)))


def test_a_batch_is_reduced_to_means_on_padding_by_hand():
    own = view("{scale: 0.25}")
    tensors = torch.zeros(1, 3, 128, 160)
    tensors[:, :, 0, :4] = torch.tensor([4.0, 8.0, 12.0, 16.0])
    small = own.batch([], ImageList(tensors, [(126, 157)]))
    assert small.tensors.shape == (1, 3, 32, 64)
    assert small.image_sizes == [(32, 40)]
    assert small.tensors[0, 0, 0, 0] == 40 / 16  # four pixels of a square of sixteen
    placed = own.place(torch.tensor([[[1.0, 2, 40, 32]]]), [(32, 40)], [(126, 157)])
    assert placed.tolist() == [[[4, 8, 157, 126]]]  # ends at the picture


def test_the_last_row_of_a_batch_is_not_lost():
    tensors = torch.zeros(1, 3, 64, 64)
    tensors[:, :, 63] = 9.0
    small = view("{scale: 0.3333}").batch([], ImageList(tensors, [(64, 64)]))
    assert small.image_sizes == [(22, 22)]
    assert small.tensors[0, 0, 21, 0] == 9  # the one row that is left of three


def test_a_reduced_mirror_is_the_mirror_of_the_picture_not_of_its_padding():
    picture = torch.zeros(3, 32, 40)
    picture[:, :, :8] = 1.0  # padded to 64 columns
    own = view("{scale: 0.25, mirrored: true}")
    small = own.batch([picture], ImageList(torch.zeros(1, 3, 32, 64), [(32, 40)])).tensors
    assert small[0, 0, 0, 9] > small[0, 0, 0, 0]
    placed = own.place(torch.tensor([[[8.0, 0, 10, 8]]]), [(8, 10)], [(32, 40)])
    assert placed.tolist() == [[[0, 0, 8, 32]]]


def test_a_reduced_mirror_whose_last_column_is_not_whole_is_not_shifted():
    own = view("{scale: 0.25, mirrored: true}")
    # Columns 0 to 8 of 42 are 34 to 42 in the mirror, and 8.5 to 10.5 of 11 there.
    placed = own.place(torch.tensor([[[8.5, 0, 10.5, 8]]]), [(8, 11)], [(32, 42)])
    assert placed.tolist() == [[[0, 0, 8, 32]]]


def merged(first, *others, largest_head=math.inf):
    candidates = merge([ViewCandidates(EVERYTHING, first), *others], largest_head)
    is_kept = candidates.scores[0] > EMPTY
    rows = torch.cat((candidates.boxes[0, is_kept], candidates.view[0, is_kept, None]), dim=1)
    return rows.tolist(), candidates.sizes[0].tolist()


def test_each_view_keeps_heads_of_its_sizes_by_hand():
    first = found((0.0, 0, 90, 90, 0.9))
    second = found((0.0, 0, 20, 20, 0.5), (0, 0, 20.1, 20, 0.9))
    rows, sizes = merged(first, ViewCandidates(SizeRange(0, 20), second))
    assert rows == [[0, 0, 90, 90, 0], [0, 0, 20, 20, 1]]
    assert sizes == [[0, math.inf], [0, 20]]


def test_what_is_found_in_a_picture_that_a_view_was_not_made_of_is_nothing():
    seen = ViewCandidates(SizeRange(0, 20), found((0.0, 0, 20, 20, 0.5)), torch.tensor([False]))
    rows, sizes = merged(found((0.0, 0, 90, 90, 0.9)), seen)
    assert rows == [[0, 0, 90, 90, 0]]
    assert sizes == [[0, math.inf], [math.inf, 20]]


@pytest.mark.parametrize("is_made", [True, False])
def test_large_heads_are_left_to_the_view_for_them_where_it_was_made(is_made):
    first = found((0.0, 0, 50, 50, 0.9), (0, 0, 120, 120, 0.8), (0, 0, 130, 130, 0.7))
    mirrored = found((0.0, 0, 300, 300, 0.9))
    large = found((0.0, 0, 79, 79, 0.9), (0, 0, 81, 81, 0.8), (0, 0, 200, 200, 0.7))
    rows, sizes = merged(
        first,
        ViewCandidates(EVERYTHING, mirrored),
        ViewCandidates(SizeRange(100), large, torch.tensor([is_made]), slack=1.25),
        largest_head=100,
    )
    if is_made:  # a quarter more and less than 100 is kept on both sides
        assert [row[2:] for row in rows] == [[50, 50, 0], [120, 120, 0], [81, 81, 2], [200, 200, 2]]
        # They answer for all that they keep: nine tenths of their largest are 125.
        answered = [0, pytest.approx(125 / 0.9)]
        assert sizes == [answered, answered, [100, math.inf]]
    else:
        assert [row[2] for row in rows] == [50, 120, 130, 300]
        assert sizes == [[0, math.inf], [0, math.inf], [math.inf, math.inf]]


def test_one_view_is_merged_with_nothing():
    first = found((0.0, 0, 90, 90, 0.9))
    assert merge([ViewCandidates(EVERYTHING, first)], 50.0) is first


def test_views_are_built_as_the_config_says():
    small, large = views(
        "[{scale: 1.5, mirrored: true, largest_head: 48}, "
        "{scale: 0.1667, smallest_head: 224, min_score: 0.1}]",
        "inference.largest_head=224",
    )
    assert isinstance(small, View)
    assert (small.scale, small.mirrored, small.sizes) == (1.5, True, SizeRange(0, 48))
    assert (small.step, small.min_score, small.slack) == (1, 0.3, 1.0)
    assert (large.step, large.min_score, large.slack) == (6, 0.1, 1.25)
    assert (small.reasons, large.reasons) == (SizeRange(0, 24), SizeRange(112))
    assert large.sizes == SizeRange(224)


VIEWS = "inference.views=[{scale: 1.5, largest_head: 400}]"
PERMISSIVE = [
    "inference.suppression.score_threshold=0.05", "inference.suppression.nms_iou_threshold=1.0",
    "inference.suppression.detections_per_image=3000", RESIZE,
]  # fmt: skip


def shapes_seen(model):
    seen = []
    model.backbone.register_forward_hook(
        lambda _module, inputs, _maps: seen.append(tuple(inputs[0].shape))
    )
    return seen


def test_only_the_pictures_that_want_it_are_viewed_again(tiny, monkeypatch):
    alone, again = tiny(*PERMISSIVE).eval(), tiny(*PERMISSIVE, VIEWS).eval()
    shapes = shapes_seen(again)
    wanted = torch.tensor([False, True])
    monkeypatch.setattr(View, "is_wanted", lambda _view, _first: wanted)
    pictures = [torch.rand(3, 64, 96), torch.rand(3, 64, 96)]
    with torch.no_grad():
        first, second = alone(pictures)
        same, more = again(pictures)
        wanted = torch.tensor([False, False])
        unseen = again(pictures)
    assert shapes == [(2, 3, 64, 96), (1, 3, 96, 160), (2, 3, 64, 96)]
    assert torch.equal(same["boxes"], first["boxes"])
    assert len(more["boxes"]) > len(second["boxes"])
    assert torch.equal(unseen[1]["boxes"], second["boxes"])


def test_where_nothing_waits_all_are_viewed_and_the_heads_are_the_same(tiny, monkeypatch):
    model = tiny(*PERMISSIVE, VIEWS).eval()
    monkeypatch.setattr(View, "is_wanted", lambda _view, _first: torch.tensor([False, True]))
    pictures = [torch.rand(3, 64, 96), torch.rand(3, 64, 96)]
    shapes = shapes_seen(model)
    with torch.no_grad():
        ways = [model.detect(pictures, waits=waits) for waits in (True, False)]
    assert shapes[2:] == [(2, 3, 64, 96), (2, 3, 96, 160)]
    width = ways[0].scores.shape[1]
    torch.testing.assert_close(ways[1].scores[:, :width], ways[0].scores)
    assert not (ways[1].scores[:, width:] > EMPTY).any()


def test_a_mirrored_view_makes_a_picture_and_its_mirror_equal(tiny):
    """Every box of one view is found in the other picture's, which has the same two views."""
    picture = torch.rand(3, 64, 96)
    alone = tiny(*PERMISSIVE).eval()
    both = tiny(*PERMISSIVE, "inference.views=[{mirrored: true}]").eval()
    for model, are_equal in ((alone, False), (both, True)):
        with torch.no_grad():
            (straight,), (mirrored,) = model([picture]), model([picture.flip(-1)])
        boxes = mirrored["boxes"][:, [2, 1, 0, 3]]
        boxes[:, [0, 2]] = 96 - boxes[:, [0, 2]]
        distances = (boxes[:, None] - straight["boxes"]).abs().amax(dim=2)
        assert len(boxes) > 3
        assert bool((distances.amin(dim=1) < 1e-3).all()) is are_equal


def test_a_view_that_is_no_other_changes_nothing(tiny):
    voting = "inference.suppression.box_voting.enabled=true"
    alone = tiny(RESIZE, voting).eval()
    twice = tiny(RESIZE, voting, "inference.views=[{}]").eval()
    pictures = [torch.rand(3, 64, 96)]
    with torch.no_grad():
        (once,), (same,) = alone(pictures), twice(pictures)
    assert len(once["scores"]) > 3
    for key in ("boxes", "scores"):
        torch.testing.assert_close(same[key], once[key])
