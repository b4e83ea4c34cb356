"""A window that shows results while a command runs."""

import os
import sys
from types import TracebackType
from typing import Final, Self

import cv2

from head_detection.apps.command import UsageError
from head_detection.images.heads import draw_heads
from head_detection.images.styles import Drawing
from head_detection.images.traces import Traces
from head_detection.results.record import Failure, Outcome

DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")
"""Variables that name a display on Linux; without one, OpenCV's windows end the process."""
ENDING_KEYS: Final = (ord("q"), 27)
"""Q and Esc."""
MILLISECONDS: Final = 1
"""Time per frame for the window's own events."""
FILES: Final = "heads"
"""Name of the one window for all pictures and videos that are files."""
KEY_BITS: Final = 0xFF


class Window:
    """A window for each camera, and one for files; leaving the context closes them.

    Args:
        drawing: how heads are marked; None shows nothing.

    Attributes:
        needs_pixels: whether records must hold their picture.

    Raises:
        UsageError: there is no display, or OpenCV was built without windows.
    """

    def __init__(self, drawing: Drawing | None) -> None:
        self.needs_pixels = drawing is not None
        self._drawing = drawing
        self._traces: dict[str, Traces] = {}
        self._open: set[str] = set()
        if drawing is None:
            return
        is_linux = sys.platform.startswith("linux")
        if is_linux and not any(os.environ.get(name) for name in DISPLAYS):
            raise UsageError(
                "--show: expected a display; got none ($DISPLAY is not set): leave it out, and "
                "look at what --save video writes"
            )
        _try_windows()

    def show(self, outcome: Outcome) -> None:
        """Show a picture or a frame; a failure shows nothing.

        Raises:
            KeyboardInterrupt: Q or Esc was pressed or a window was closed, which acts as Ctrl-C.
        """
        if self._drawing is None or isinstance(outcome, Failure) or outcome.pixels is None:
            return
        name, ways = FILES, None
        if outcome.seconds is not None:
            name = FILES if outcome.path is not None else outcome.file
            ways = self._traces.setdefault(name, Traces()).add(outcome.seconds, outcome.detections)
        drawn = draw_heads(
            outcome.pixels,
            outcome.detections,
            self._drawing,
            traces=ways,
            regions=outcome.regions or (),
        )
        if name not in self._open:
            cv2.namedWindow(name, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            cv2.resizeWindow(name, drawn.shape[1], drawn.shape[0])
            self._open.add(name)
        cv2.imshow(name, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        key = cv2.waitKey(MILLISECONDS) & KEY_BITS
        if key in ENDING_KEYS or cv2.getWindowProperty(name, cv2.WND_PROP_VISIBLE) < 1:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._open:
            cv2.destroyAllWindows()


def _try_windows() -> None:
    try:
        cv2.destroyAllWindows()
    except cv2.error as error:
        raise UsageError(
            "--show: expected an OpenCV with windows; got one without: "
            "pip uninstall opencv-python-headless, then pip install opencv-python"
        ) from error
