from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from head_detection.images.drawing import (
    CELL_SIZE,
    FALSE_ALARM,
    FOUND,
    MISSED,
    NOT_COUNTED,
    Cell,
    OutcomeBoxes,
    draw_labels,
    draw_outcome,
    write_contact_sheet,
)
from head_detection.structures import GroundTruth

GREY = 100
GREEN = (57, 255, 20)

OUTCOME = OutcomeBoxes(
    found=np.array([[10, 10, 50, 50]], np.float32),
    missed=np.array([[100, 10, 140, 50]], np.float32),
    false_alarms=np.array([[100, 120, 140, 160]], np.float32),
    false_scores=np.array([0.8], np.float32),
    not_counted=np.array([[200, 100, 300, 200], [210, 110, 250, 150]], np.float32),
)
"""In a picture of 800 x 400."""


def cell(path: Path, *rows: tuple[list[float], bool], flagged: tuple[int, ...] = ()) -> Cell:
    truth = GroundTruth(
        np.array([box for box, _ in rows], np.float32).reshape(-1, 4),
        np.array([is_ignored for _, is_ignored in rows], np.bool_),
    )
    return Cell(path, truth, "a.png: 1 heads", flagged)


def test_labels_have_their_colours_and_places() -> None:
    """Boxes at half scale: (20, 20, 60, 60) becomes (10, 10, 30, 30)."""
    pixels = np.full((100, 100, 3), GREY, np.uint8)
    drawn = draw_labels(
        pixels,
        cell(
            Path("a"),
            ([20, 20, 60, 60], False),
            ([100, 100, 160, 160], True),
            ([100, 20, 160, 60], False),
            flagged=(2,),
        ),
        scale=0.5,
    )
    assert drawn[10, 20].tolist() == [57, 255, 20], "a head's edge is green"
    assert drawn[20, 20].tolist() == [GREY] * 3, "and its inside as it was"
    assert drawn[9, 20].tolist() == [GREY] * 3
    assert drawn[65, 65].tolist() == [154, 117, 65], "0.65 of grey and 0.35 of orange"
    assert drawn[20, 50].tolist() == [255, 40, 40], "what is flagged is red"
    assert (pixels == GREY).all()


def test_boxes_far_outside_do_no_harm() -> None:
    pixels = np.full((50, 50, 3), GREY, np.uint8)
    far = cell(Path("a"), ([-9e6, -9e6, 9e6, 9e6], True), ([80, 80, 90, 90], True))
    drawn = draw_labels(pixels, far, scale=1.0)
    assert drawn[25, 25].tolist() == [154, 117, 65]


def test_a_sheet_has_a_cell_for_each_even_if_it_cannot_be_read(tmp_path: Path) -> None:
    Image.new("RGB", (20, 2000), (200, 0, 0)).save(tmp_path / "high.png")
    cells = [cell(tmp_path / "high.png"), cell(tmp_path / "gone.png"), cell(tmp_path / "high.png")]
    write_contact_sheet(tmp_path / "sheet.jpg", cells, num_columns=2)
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.width == 2 * CELL_SIZE[1] + 3 * 6
        assert sheet.height == 2 * (CELL_SIZE[0] + 26 + 6) + 6
        pixels = np.asarray(sheet).astype(int)
    assert pixels[6 + 26 + 240, 6 + 320, 0] > 150, "the first cell's middle is red"
    assert pixels[6 + 26 + 240, 12 + 640 + 320, 0] < 60, "the second's is empty"


def test_an_outcome_of_nothing() -> None:
    none = np.zeros((0, 4), np.float32)
    empty = OutcomeBoxes(none, none, none, none[:, 0], none)
    drawn = draw_outcome(np.zeros((400, 800, 3), np.uint8), empty, ["a.jpg"])
    assert drawn.shape[1] == 1600
    assert not (drawn[:800] != 0).any()  # the picture itself is left as it was


def test_each_outcome_has_its_colour_on_the_enlarged_picture() -> None:
    pixels = np.full((400, 800, 3), 90, np.uint8)
    drawn = draw_outcome(pixels, OUTCOME, ["a.jpg"])
    assert (pixels == 90).all()
    assert drawn.shape[:2] > (800, 1600)  # twice as large, and the legend below
    for x, y, stroke in ((60, 20, FOUND), (200, 22, MISSED), (240, 240, FALSE_ALARM)):
        patch = drawn[y - 6 : y + 6, x - 6 : x + 6].reshape(-1, 3)
        assert (patch == stroke.color).all(axis=1).any()
    edge = drawn[199:202, 400:600].reshape(-1, 3)
    assert (edge == NOT_COUNTED.color).all(axis=1).any()


def test_dashes_tell_misses_from_the_rest_without_colour() -> None:
    drawn = draw_outcome(np.full((400, 800, 3), 90, np.uint8), OUTCOME, ["a.jpg"])
    upper_edges = [drawn[20, 30:90], drawn[20, 210:270]]  # found, missed
    broken = [bool((edge == 90).all(axis=1).any()) for edge in upper_edges]
    assert broken == [False, True]


@pytest.mark.parametrize("size", [(3, 3), (40, 900), (900, 40), (2000, 3000)])
def test_pictures_of_every_shape_get_a_readable_legend(size: tuple[int, int]) -> None:
    drawn = draw_outcome(np.zeros((*size, 3), np.uint8), OUTCOME, ["a.jpg", "x" * 30])
    zoom = min(4.0, max(1.0, 1600 / max(size)))
    assert drawn.shape[0] > size[0] * zoom + 50
    assert drawn.shape[1] == max(480, round(size[1] * zoom))
    assert drawn.dtype == np.uint8
