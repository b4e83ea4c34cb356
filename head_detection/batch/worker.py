"""One detector in a process of its own, answering shard after shard whatever its pictures do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from head_detection.batch.items import Item
from head_detection.batch.shards import Row


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker answers; plain values, for another process.

    Attributes:
        weights: a path, or the name of shipped ones; None is the shipped fast model.
        engine: as ``HeadDetector.from_weights`` takes it, and so the next five.
        device: of it.
        precision: of it.
        score_threshold: of it.
        overrides: of it.
        compile_network: of it.
        max_pixels: larger pictures are refused.
        batch_size: pictures of like shape at once; None is what suits the device.
        threads: that compute; None is left to torch.
        picture_seconds: a picture without an answer for so long is given up.
        builder: ``module:function`` that makes the detector of these options.
    """

    weights: str | None = None
    engine: str | None = None
    device: str = "auto"
    precision: str = "auto"
    score_threshold: float | None = None
    overrides: tuple[str, ...] = ()
    compile_network: bool = False
    max_pixels: int | None = None
    batch_size: int | None = None
    threads: int | None = None
    picture_seconds: float = 60.0
    builder: str = "head_detection.batch.detecting:build_detector"


class ShardWorker:
    """Answers pictures in a process that it starts anew when one of them breaks it.

    It owns a child process; the one that it is made in loads no torch.

    Args:
        options: of the detector.
    """

    def __init__(self, options: WorkerOptions) -> None:
        self.options = options

    def start(self) -> dict[str, Any]:
        """Build the detector; return its origin: ``model``, ``score_threshold``, ``devices``.

        Raises:
            HeadDetectionError: a mistake of the user. One line.
        """
        raise NotImplementedError

    def run(self, items: Sequence[Item], tell: Callable[[Row], None] | None = None) -> Any:
        """Return the answers to pictures as a table of ``shards.SHARD_SCHEMA``, in their order.

        Args:
            items: of a shard.
            tell: is told each row as it comes, from this thread.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End the process."""
        raise NotImplementedError
