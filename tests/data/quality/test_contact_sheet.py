from pathlib import Path

import numpy as np
from PIL import Image

from head_detection.data.annotations import AnnotatedImage, build_truth
from head_detection.data.quality.contact_sheet import CELL_SIZE, Cell, draw_boxes, write_sheet

GREY = 100


def cell(path: Path, *rows: tuple[list[float], bool], flagged: tuple[int, ...] = ()) -> Cell:
    return Cell(AnnotatedImage(path, path.name, build_truth(rows)), "a.png: 1 heads", flagged)


def test_colours_and_places() -> None:
    """Boxes at half scale: (20, 20, 60, 60) becomes (10, 10, 30, 30)."""
    pixels = np.full((100, 100, 3), GREY, np.uint8)
    drawn = draw_boxes(
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
    drawn = draw_boxes(pixels, far, scale=1.0)
    assert drawn[25, 25].tolist() == [154, 117, 65]


def test_a_sheet_has_a_cell_for_each_even_if_it_cannot_be_read(tmp_path: Path) -> None:
    Image.new("RGB", (20, 2000), (200, 0, 0)).save(tmp_path / "high.png")
    cells = [cell(tmp_path / "high.png"), cell(tmp_path / "gone.png"), cell(tmp_path / "high.png")]
    write_sheet(tmp_path / "sheet.jpg", cells, num_columns=2)
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        assert sheet.width == 2 * CELL_SIZE[1] + 3 * 6
        assert sheet.height == 2 * (CELL_SIZE[0] + 26 + 6) + 6
        pixels = np.asarray(sheet).astype(int)
    assert pixels[6 + 26 + 240, 6 + 320, 0] > 150, "the first cell's middle is red"
    assert pixels[6 + 26 + 240, 12 + 640 + 320, 0] < 60, "the second's is empty"
