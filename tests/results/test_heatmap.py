"""``heatmap/``: seconds of heads in cells."""

import numpy as np
from PIL import Image

from head_detection.results.heatmap import HeatmapSink


def test_a_head_is_in_the_cell_of_its_centre_until_the_next_frame(tmp_path, record, put) -> None:
    """Frames of 100 x 50: cells of a pixel. Steps of .5, .25 and 9 s, which count as 1."""
    boxes = [[(10, 5, 30, 45), (0, 0, 2, 2)], [(10, 5, 30, 45)], [(96, 46, 104, 54)], []]
    times = [0.0, 0.5, 0.75, 9.75]
    frames = [
        record(b, "sub/a.mp4", n, seconds=s)
        for n, (b, s) in enumerate(zip(boxes, times, strict=True))
    ]
    put(HeatmapSink, tmp_path, [record(), *frames])
    cells = np.load(tmp_path / "heatmap" / "sub" / "a.npy")
    assert (cells.shape, cells.dtype) == ((50, 100), np.float32)
    assert {(row, column): float(cells[row, column]) for row, column in np.argwhere(cells)} == {
        (25, 20): 0.75, (1, 1): 0.5, (49, 99): 1.0,
    }  # fmt: skip
    with Image.open(tmp_path / "heatmap" / "sub" / "a.png") as picture:
        assert picture.size == (100, 50)


def test_sources_have_a_map_each_however_many_there_are(tmp_path, record, put, monkeypatch) -> None:
    monkeypatch.setattr("head_detection.results.heatmap.MAX_SOURCES", 1)
    frames = [record(file=name, index=n, seconds=n / 2) for name in ("a", "b") for n in range(3)]
    put(HeatmapSink, tmp_path, [*frames, record([], "c", 0, seconds=0.0)])
    maps = {path.name: np.load(path).sum() for path in (tmp_path / "heatmap").glob("*.npy")}
    # The last frame counts for as long as the step to it.
    assert maps == {"a.npy": 1.5, "b.npy": 1.5, "c.npy": 0.0}


def test_the_name_of_a_stream_is_not_cut_at_a_dot(tmp_path, record, put) -> None:
    cameras = ("cam.1", "cam.2")
    put(HeatmapSink, tmp_path, [record(file=name, seconds=0.0) for name in cameras])
    names = {path.name for path in (tmp_path / "heatmap").glob("cam*")}
    assert names == {"cam.1.npy", "cam.1.png", "cam.2.npy", "cam.2.png"}


def test_large_frames_have_no_more_cells(tmp_path, record, put) -> None:
    pixels = np.zeros((3000, 2000, 3), np.uint8)
    frame = record(file="a.mp4", seconds=0.0, pixels=pixels)
    put(HeatmapSink, tmp_path, [frame])
    assert np.load(tmp_path / "heatmap" / "a.npy").shape == (158, 106)
