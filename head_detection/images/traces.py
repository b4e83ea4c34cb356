"""The recent paths of heads, for drawing."""

from collections import deque
from typing import Final

import numpy as np

from head_detection.structures import Detections, FloatArray

TRACE_SECONDS: Final = 1.0
"""Length of a drawn path: longer ones get tangled in a crowd."""


class Traces:
    """Where the heads of one video or camera were in the last second.

    Example:
        >>> traces, found = Traces(), Detections.from_arrays([[0, 0, 4, 4]], [1], (9, 9), ids=[7])
        >>> traces.add(0.0, found)[7].tolist(), traces.add(1.5, found)[7].tolist()
        ([[2.0, 2.0]], [[2.0, 2.0]])
    """

    def __init__(self) -> None:
        self._frames: deque[tuple[float, dict[int, FloatArray]]] = deque()

    def add(self, seconds: float, found: Detections) -> dict[int, FloatArray]:
        """Add a frame, and return the path of each tracked head in it.

        Args:
            seconds: presentation time; if it goes backwards, all paths are forgotten.
            found: heads of the frame.

        Returns:
            By id, ``(N, 2)`` box centres in original pixels, the last one of this frame.
        """
        if self._frames and seconds < self._frames[-1][0]:
            self._frames.clear()
        while self._frames and seconds - self._frames[0][0] > TRACE_SECONDS:
            self._frames.popleft()
        keys = [] if found.ids is None else found.ids.tolist()
        centres = ((found.boxes[:, :2] + found.boxes[:, 2:]) / 2).astype(np.float32)
        here = {key: centre for key, centre in zip(keys, centres, strict=False) if key >= 0}
        self._frames.append((seconds, here))
        return {
            key: np.array([centres[key] for _, centres in self._frames if key in centres])
            for key in here
        }
