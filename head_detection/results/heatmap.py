"""``heatmap/``: where heads are in a video or camera, and for how long."""

import io
import math
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from head_detection.files import write_bytes
from head_detection.images.drawing import BLACK, WHITE, text_size, write_text
from head_detection.images.reading import Picture
from head_detection.results.file_names import ResultFolder
from head_detection.results.record import Origin, Record
from head_detection.results.sink import Sink
from head_detection.structures import Detections

LONGEST_SIDE: Final = 160
"""Cells along the longer side, about a head wide in a crowd: a map has at most 100 KB."""
SHOWN_SIDE: Final = 1280
"""Most pixels along the longer side of the picture."""
LONGEST_STEP: Final = 1.0
"""Most seconds that a head counts until the next frame: a camera that was away saw nobody."""
MAX_SOURCES: Final = 256
"""Maps in memory; with more, as in a folder of videos, the oldest is written."""
OPACITY: Final = 0.75
"""Opacity of the hottest cell over the picture."""
SPREAD: Final = 2.0
"""Sigma in cells of the blur in the picture, so that few heads are not dots; the array has none."""
_TEXT: Final = 16


@dataclass
class _Map:
    """The map of one source.

    Attributes:
        picture: its first frame, at most 1280 pixels, as PNG.
        index: number of that frame.
        path: the file of a video.
        cells: ``(rows, columns)`` seconds of heads.
        seconds: time of the last frame.
        waiting: ``(N, 2)`` row and column of the heads in the last frame.
        step: seconds between the last two frames.
    """

    picture: bytes
    index: int
    path: Path | None
    cells: npt.NDArray[np.float64]
    seconds: float
    waiting: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    step: float = 0.0

    def add(self, seconds: float, found: Detections) -> None:
        """Add a frame; the heads of the previous one count until its time."""
        self.step = min(max(0.0, seconds - self.seconds), LONGEST_STEP)
        self.end()
        height, width = found.image_size
        middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 / (width, height)
        rows, columns = self.cells.shape
        places = (middles[:, ::-1] * (rows, columns)).astype(np.int64)
        self.seconds, self.waiting = seconds, np.clip(places, 0, (rows - 1, columns - 1))

    def end(self) -> None:
        """Count the heads of the last frame for the length of the last step."""
        np.add.at(self.cells, (self.waiting[:, 0], self.waiting[:, 1]), self.step)


class HeatmapSink(Sink):
    """``heatmap/<name>.npy`` and ``.png`` for each video and camera, written at its end.

    The array, float32, holds the seconds of heads in each cell of a grid over the frame; its sum is
    the total time of all heads. A head counts in the cell of its box's centre, from its frame to
    the next. The PNG shows the array over the first frame. Pictures have no heatmap.

    Args:
        folder: the folder of all results; this sink creates its own in it.
        origin: not used: the files describe only their source.

    Raises:
        OutputError: its folder holds files that are not earlier results.
    """

    needs_pixels = True

    def __init__(self, folder: Path, origin: Origin) -> None:  # noqa: ARG002 - as in every sink
        self._files = ResultFolder(folder / "heatmap")
        self._maps: OrderedDict[str, _Map] = OrderedDict()

    @property
    def output(self) -> str:
        """The folder's name, or nothing if it is empty."""
        return "" if self._files.is_empty else "heatmap/"

    def write(self, record: Record) -> None:
        """Add a frame."""
        if record.seconds is None:
            return
        if record.file not in self._maps:
            if record.pixels is None:
                raise ValueError("pixels: expected in the record; got none")
            self._maps[record.file] = _begin(record, record.pixels, record.seconds)
        self._maps.move_to_end(record.file)
        self._maps[record.file].add(record.seconds, record.detections)
        if len(self._maps) > MAX_SOURCES:
            self._finish(*self._maps.popitem(last=False))

    def close(self) -> None:
        """Write the maps."""
        with ExitStack() as stack:
            stack.callback(self._files.close)
            for name, heat in self._maps.items():
                self._finish(name, heat)

    def _finish(self, name: str, heat: _Map) -> None:
        heat.end()
        cells = heat.cells.astype(np.float32)
        own = self._files.free_name(name, ".png", heat.index, is_stream=heat.path is None)
        picture, array = self._files.note([own, own.with_suffix(".npy")], heat.path)
        drawn = cv2.cvtColor(draw_heat(_decoded(heat.picture), cells), cv2.COLOR_RGB2BGR)
        write_bytes(picture, cv2.imencode(".png", drawn)[1].tobytes())
        file = io.BytesIO()
        np.save(file, cells)
        write_bytes(array, file.getvalue())


def draw_heat(pixels: Picture, cells: npt.NDArray[np.float32]) -> Picture:
    """Return the picture in grey under the smoothed cells, with the hottest cell's value as text.

    Args:
        pixels: ``(H, W, 3)`` uint8 RGB; not changed.
        cells: ``(rows, columns)`` seconds, over the whole picture.
    """
    height, width = pixels.shape[:2]
    hottest = float(cells.max(initial=0.0))
    smooth = np.asarray(cv2.GaussianBlur(cells, (0, 0), SPREAD), np.float32)
    smooth = smooth / max(float(smooth.max(initial=0.0)), 1e-9)
    share = cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR)
    heat = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    color = cv2.cvtColor(heat, cv2.COLOR_BGR2RGB).astype(np.float32)
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    opacity = (OPACITY * np.sqrt(share))[..., None]
    scene = Image.fromarray((grey * (1 - opacity) + color * opacity).astype(np.uint8))
    text = f"hottest: {hottest:.1f} s"
    size = text_size(text, _TEXT)
    canvas = ImageDraw.Draw(scene)
    canvas.rectangle((0, 0, size[0] + 8, size[1] + 4), fill=BLACK)
    write_text(canvas, (4, 2), text, _TEXT, WHITE)
    return np.asarray(scene)


def _begin(record: Record, pixels: Picture, seconds: float) -> _Map:
    height, width = pixels.shape[:2]
    cell = max(1, math.ceil(max(height, width) / LONGEST_SIDE))
    cells = np.zeros((math.ceil(height / cell), math.ceil(width / cell)))
    scale = min(1.0, SHOWN_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    picture = cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR))[1].tobytes()
    return _Map(picture, record.index, record.path, cells, seconds)


def _decoded(content: bytes) -> Picture:
    bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB), np.uint8)
