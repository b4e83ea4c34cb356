import numpy as np
import pytest

from head_detection.images.heads import ID_COLORS, LARGEST_LABEL, draw_heads
from head_detection.images.styles import Drawing
from head_detection.structures import Detections, RegionCount

GREEN = (57, 255, 20)


def detections(boxes, size):
    return Detections.from_arrays(np.array(boxes).reshape(-1, 4), [0.9] * len(boxes), size)


def test_a_box_is_drawn_where_the_head_is_and_the_picture_is_not_changed():
    pixels = np.full((300, 400, 3), 90, np.uint8)
    drawn = draw_heads(pixels, detections([(200, 100, 260, 180)], (300, 400)))
    assert drawn.shape == pixels.shape
    assert (pixels == 90).all()
    rows, columns = (drawn == GREEN).all(axis=2).nonzero()
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (200, 100, 260, 180)
    assert (drawn[110:170, 210:250] == 90).all()


def test_small_heads_in_a_large_picture_stay_visible():
    pixels = np.full((2000, 3000, 3), 90, np.uint8)
    boxes = [(x, 1000, x + 10, 1012) for x in range(500, 1500, 20)]
    drawn = draw_heads(pixels, detections(boxes, (2000, 3000)))
    assert (drawn[1004:1008, 504:506] == 90).all()


def test_a_tiny_picture_is_enlarged_by_a_whole_number():
    drawn = draw_heads(np.full((40, 60, 3), 90, np.uint8), detections([(40, 20, 50, 35)], (40, 60)))
    assert drawn.shape == (160, 240, 3)
    rows, columns = (drawn == GREEN).all(axis=2).nonzero()
    assert (columns.min(), rows.min()) == (160, 80)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (3000, 40), (300, 400)])
def test_any_size_and_no_heads(size):
    changed = draw_heads(np.full((*size, 3), 90, np.uint8), Detections.empty(size))
    assert changed.dtype == np.uint8
    assert changed.shape[0] % size[0] == 0


def test_the_count_is_written_in_the_corner():
    pixels = np.full((300, 400, 3), 90, np.uint8)
    none = draw_heads(pixels, Detections.empty((300, 400)))
    assert (none[:3, :3] == 0).all()
    assert (none[:30, :32] > 200).any()
    one = draw_heads(pixels, detections([(200, 100, 260, 180)], (300, 400)))
    assert (one[:30, :120] != none[:30, :120]).any()


def black(drawn):
    """Rows and columns of the labels' ground."""
    return (drawn == 0).all(axis=2).nonzero()


def test_a_label_is_narrow_and_on_no_box():
    """Boxes in three corners and along the top: the fourth corner is free."""
    size = (600, 1000)
    boxes = [(x, 0, x + 40, 40) for x in range(0, 1000, 50)] + [(0, 560, 40, 600)]
    found = detections(boxes, size)
    drawn = draw_heads(np.full((*size, 3), 90, np.uint8), found)
    rows, columns = black(drawn)
    assert rows.max() == 599
    assert columns.max() == 999
    assert columns.max() - columns.min() < LARGEST_LABEL * 1000
    assert rows.min() > 500
    full = [(x, y, x + 50, y + 50) for x in range(0, 1000, 50) for y in range(0, 600, 50)]
    drawn = draw_heads(np.full((*size, 3), 90, np.uint8), detections(full, size))
    assert black(drawn)[0].size == 0


@pytest.mark.parametrize("count", [0, 1, 9, 99, 2000])
@pytest.mark.parametrize("width", [240, 400, 1000, 4000])
def test_a_label_is_at_most_8_percent_wide(width, count):
    boxes = [(width - 9, 100, width - 4, 110)] * count
    drawn = draw_heads(np.full((300, width, 3), 90, np.uint8), detections(boxes, (300, width)))
    columns = black(drawn)[1]
    assert (columns.size > 0) is ((width, count) != (240, 2000))  # no room for it
    assert columns.max(initial=0) < LARGEST_LABEL * width


def test_scores_lie_beside_their_boxes_and_on_no_other():
    size = (400, 800)
    boxes = np.array([[100, 100, 160, 160], [100, 161, 160, 220], [0, 0, 60, 60]])
    found = Detections.from_arrays(boxes, [0.9, 0.8, 0.7], size)
    drawn = draw_heads(np.full((*size, 3), 90, np.uint8), found, Drawing(parts=("boxes", "scores")))
    rows, columns = black(drawn)
    for x1, y1, x2, y2 in boxes.tolist():
        inside = (columns >= x1) & (columns < x2) & (rows >= y1) & (rows < y2)
        assert not inside.any()
        beside = (columns >= x1 - 40) & (columns < x2 + 40) & (rows >= y1 - 20) & (rows < y2 + 20)
        assert beside.any()


def test_color_width_font_size_and_label():
    size = (400, 1000)
    found = detections([(200, 100, 260, 180)], size)
    pixels = np.full((*size, 3), 90, np.uint8)
    drawn = draw_heads(pixels, found, Drawing((255, 0, 0), width=6, label=""))
    rows, columns = (drawn == (255, 0, 0)).all(axis=2).nonzero()
    assert (columns.min(), rows.min()) == (197, 97)
    assert black(drawn)[0].size == 0
    heights = [
        np.ptp(black(draw_heads(pixels, found, Drawing(font_size=n, label="{count}")))[0]) + 1
        for n in (9, 30)
    ]
    assert heights == [9 + 2 + 3, 36 + 10]


@pytest.mark.parametrize(
    "options",
    [
        *({"width": 0}, {"width": 100_000}, {"font_size": 0}, {"font_size": 1001}),
        *({"label": "{heads}"}, {"label": "{count:>100000000}"}, {"label": "{count.__class__}"}),
        *({"label": "{count!r}"}, {"label": "{"}, {"parts": ("faces",)}),
    ],
)
def test_a_drawing_that_cannot_be_made(options):
    with pytest.raises(ValueError, match=r"^\w+: expected "):
        Drawing(**options)


def followed(boxes, ids, size):
    return Detections.from_arrays(boxes, [0.9] * len(boxes), size, ids=ids)


def test_heads_that_are_followed_have_colors_of_their_own_and_their_id():
    size = (300, 400)
    grey = np.full((*size, 3), 90, np.uint8)
    found = followed(
        [(50, 100, 90, 140), (150, 100, 190, 140), (250, 100, 290, 140)], [1, 2, -1], size
    )
    drawn = draw_heads(grey, found, Drawing(parts=("boxes", "ids")))
    colors = [tuple(drawn[120, x].tolist()) for x in (50, 150, 250)]
    assert colors == [ID_COLORS[1], ID_COLORS[2], GREEN]
    columns = black(drawn)[1]  # the first two have an id above them
    assert columns.min() >= 50
    assert columns.max() < 200
    again = draw_heads(grey, followed([(300, 200, 340, 240)], [2], size), Drawing(parts=("boxes",)))
    assert tuple(again[220, 300].tolist()) == ID_COLORS[2]
    one_color = draw_heads(grey, found, Drawing((255, 0, 0), parts=("boxes",)))
    assert tuple(one_color[120, 50].tolist()) == (255, 0, 0)


@pytest.mark.parametrize("size", [(180, 320), (2160, 3840)])
def test_ids_are_read_in_small_and_in_large_pictures(size):
    box = (size[1] // 2, size[0] // 2, size[1] // 2 + size[0] // 18, size[0] // 2 + size[0] // 18)
    drawn = draw_heads(
        np.full((*size, 3), 90, np.uint8), followed([box], [88], size), Drawing(parts=("ids",))
    )
    height = np.ptp(black(drawn)[0]) + 1
    assert height >= max(10, 0.02 * size[0])


def test_traces_and_zones_are_drawn_where_they_were():
    size = (300, 400)
    grey = np.full((*size, 3), 90, np.uint8)
    found = followed([(50, 100, 90, 140)], [1], size)
    ways = {1: np.array([[170, 120], [120, 120], [70, 120]], np.float32)}
    region = RegionCount("door", ((250, 280), (390, 280)), num_in=3)
    drawn = draw_heads(grey, found, Drawing(), traces=ways, regions=[region])
    assert tuple(drawn[120, 150].tolist()) == ID_COLORS[1]
    assert (drawn[280, 260:380] != 90).any()
    bare = draw_heads(grey, found, Drawing(parts=("boxes",)), traces=ways, regions=[region])
    assert (bare[120, 95:200] == 90).all()
    assert (bare[270:] == 90).all()


def test_boxes_that_no_picture_has_stop_nothing():
    size = (100, 100)
    boxes = np.array([[-1e9, 5, 1e12, 50], [3, 0, 5, 5]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), size, np.array([1, 2]))
    assert draw_heads(np.zeros((*size, 3), np.uint8), found).shape[2] == 3
