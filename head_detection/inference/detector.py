"""``HeadDetector``, the public interface: pictures in any form in, heads out."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, Self, TypedDict, Unpack, cast, overload

import numpy as np
import numpy.typing as npt
from PIL import Image

from head_detection.images.finding import PictureFile
from head_detection.images.reading import MAX_PIXELS
from head_detection.inference.arguments import (
    check_batch_size,
    check_images,
    check_number,
    check_score,
)
from head_detection.inference.batching import LikeShapeBatches, PictureResult
from head_detection.inference.building import build_engine
from head_detection.inference.engine import Engine
from head_detection.inference.found import Found
from head_detection.inference.loading import (
    Color,
    FileBytes,
    ImageLike,
    IsReady,
    LoadedPicture,
    is_single,
    load_picture,
    load_pictures,
    path_of,
)
from head_detection.inference.tiling import TiledEngine
from head_detection.inference.weights_files import shipped_weights, weights_path
from head_detection.structures import Frame


class Options(TypedDict, total=False):
    """Options of ``HeadDetector.detect``."""

    batch_size: int | None
    score_threshold: float | None
    color: Color


class HeadDetector:
    """Finds heads in pictures.

    Use it from at most ``engine.concurrency`` threads at a time: one, or more on a CPU and with
    CUDA, because an engine keeps state about the device's memory. One thread may have several
    streams open; each uses that many threads. A forked process can keep using a detector that torch
    runs on a CPU; for other engines and GPUs it raises ForkError and must build its own. The host's
    torch settings (types, devices, autocast, TF32) do not affect it, and it leaves them unchanged.

    Args:
        engine: runs the network.
        score_threshold: heads scored lower are left out.
        origin: description of the model for result files.
        lowest_score: lowest threshold that a call may use; at most the score threshold.
        tiled: detects again in pictures whose heads are too small for the engine; None: never.

    Attributes:
        max_pixels: larger pictures are refused by their header; may be set to any value. Huge
            files in tiles are read in bands.

    Raises:
        TypeError: a threshold that is not a number.
        ValueError: a threshold outside 0..1.

    Example:
        ```python
        detector = HeadDetector.from_weights()
        found = detector("street.jpg")
        print(len(found), found.boxes, found.scores)
        found.save("drawn.jpg")
        for found in detector.detect(["classroom.jpg", "street.png"], score_threshold=0.3):
            print(found)  # 12 heads in 640x480
        picture = cv2.imread("street.jpg")  # blue, green, red: say so, or heads are missed
        found = detector(picture, color="bgr")
        cv2.imwrite("drawn.jpg", found.draw(picture, color="bgr"))
        ```
    """

    def __init__(
        self,
        engine: Engine,
        score_threshold: float,
        origin: dict[str, Any],
        lowest_score: float | None = None,
        tiled: TiledEngine | None = None,
    ) -> None:
        check_score("score_threshold", score_threshold)
        self.engine, self._tiled = engine, tiled
        self.score_threshold, self.origin = score_threshold, origin
        lowest_score = score_threshold if lowest_score is None else lowest_score
        self.lowest_score = min(lowest_score, score_threshold)
        self.max_pixels = MAX_PIXELS

    @classmethod
    def from_weights(
        cls,
        path: str | Path | None = None,
        engine: str | None = None,
        device: str = "auto",
        precision: str = "auto",
        score_threshold: float | None = None,
        *,
        lowest_score: float | None = None,
        overrides: Sequence[str] = (),
        compile_network: bool | None = False,
    ) -> Self:
        """Build the detector that a weights file describes.

        Args:
            path: a ``.safetensors`` file of this project, an ``.onnx`` or ``.xml`` file exported
                from one, a preset's ``.yaml``, or the name of a shipped model,
                ``"fast"``, ``"accurate"`` or ``"light"``; None is the shipped fast model.
            engine: torch, openvino or onnx; None is the file's own; auto is the fastest that
                ``benchmark`` has measured on this processor, or the file's own if nothing was
                measured. Engines other than torch convert a ``.safetensors`` file in memory.
            device: auto, cpu, cuda, cuda:N or mps; openvino and onnx run on cpu.
            precision: auto, fp32, bf16 or fp16, if the engine supports it; int8 uses an export
                beside the weights.
            score_threshold: None is the file's own, chosen on validation.
            lowest_score: also find heads down to this score, for calls that request them.
            overrides: ``inference.key=value``: changes to the file's config that need no training,
                for example ``inference.resize.enlargement=1.5``.
            compile_network: compile the network for each size of picture; for videos and cameras,
                which have one size. ``torch.compile`` takes half a minute, OpenVINO a third of a
                second; None: only with OpenVINO, if possible.

        Raises:
            WeightsError: no such file, another format, tensors that do not fit or are not numbers.
            ConfigError: an override of a field that the inference config does not have.
            EngineError: no such engine, or it does not take the file.
            MissingPackageError: the engine's package is not installed.
            DeviceError: no such device or precision here.
            ForkError: CUDA requested in a process forked from one that had used it.
            TypeError: a score that is not a number.
            ValueError: a score outside 0..1.
        """
        for name, score in (("score_threshold", score_threshold), ("lowest_score", lowest_score)):
            if score is not None:
                check_score(name, score)
        path = shipped_weights() if path is None else weights_path(path)
        return cls(
            *build_engine(
                path,
                engine,
                device=device,
                precision=precision,
                score_threshold=score_threshold,
                lowest_score=lowest_score,
                overrides=overrides,
                compile_network=compile_network,
            )
        )

    @overload
    def __call__(
        self, images: str | Path | FileBytes | Frame | Image.Image, **options: Unpack[Options]
    ) -> Found: ...

    @overload
    def __call__(
        self, images: Iterable[ImageLike], **options: Unpack[Options]
    ) -> Found | list[Found]: ...

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], **options: Unpack[Options]
    ) -> Found | list[Found]:
        """Find the heads of a picture, or of each picture in a list.

        Args:
            images: as ``detect``, or a single picture.
            options: as ``detect``.

        Returns:
            One result for a single picture, a list for a list.

        Raises:
            PictureError: as ``detect``.
            ValueError: as ``detect``.
        """
        check_images(images)
        if not is_single(images):
            return self.detect(cast("Iterable[ImageLike]", images), **options)
        (found,) = self.detect([cast("ImageLike", images)], **options)
        return found

    def detect(
        self,
        images: Iterable[ImageLike],
        batch_size: int | None = None,
        score_threshold: float | None = None,
        *,
        color: Color = "rgb",
    ) -> list[Found]:
        """Find the heads of each picture.

        Args:
            images: paths, bytes of picture files, frames, Pillow images, ``(H, W, 3)`` uint8
                arrays, ``(3, H, W)`` tensors (uint8, or floating in 0..1); kinds may be mixed.
            batch_size: most pictures per batch; None: what suits the device. A batch holds only
                pictures of equal padded shape, so its size does not change the heads.
            score_threshold: threshold for this call, at least ``lowest_score``; None is the
                detector's own.
            color: order of the colours in arrays and tensors. OpenCV reads ``"bgr"``; if it is
                passed as RGB, a fifth of the heads may be missed. Other kinds ignore this.

        Returns:
            One result per picture, in order; an empty list for no pictures.

        Raises:
            PictureError: a picture that cannot be read, or does not fit in the device's memory;
                names its path or its number in the list.
            TypeError: a single picture instead of a list, something that is no picture, or a
                number as text.
            ForkError: the process was forked, which the engine does not support.
            ValueError: a batch size under 1, a threshold under the lowest score or above 1, or
                an unknown order of colours.
        """
        found = []
        for result in self.stream(images, batch_size, score_threshold=score_threshold, color=color):
            if result.error is not None:
                raise result.error
            if result.detections is not None:
                found.append(Found.of(result.detections, path_of(result.image)))
        return found

    def stream(
        self,
        images: Iterable[ImageLike],
        batch_size: int | None = None,
        *,
        keep_pixels: bool = False,
        score_threshold: float | None = None,
        is_ready: IsReady | None = None,
        color: Color = "rgb",
    ) -> Generator[PictureResult]:
        """Find heads picture by picture, in order, in constant memory.

        Pictures are decoded ahead in threads. A picture that cannot be read, or does not fit in
        the device's memory, gives a result with ``error``.

        Args:
            images: as ``detect``; may be endless. They are read ahead, so arrays and tensors must
                not be changed before their results.
            batch_size: as ``detect``.
            keep_pixels: return the decoded pictures too, for drawing.
            score_threshold: as ``detect``.
            is_ready: tells whether the next image, or the end, is available. If not, all earlier
                results are yielded before waiting for it. For a camera it is always false, so that
                no frame waits for another. None: always available, as files are.
            color: as ``detect``; returned pixels are RGB.

        Raises:
            ValueError: as ``detect``.
            TypeError: as ``detect``.
        """
        check_images(images, are_many=True)
        batch_size = self.engine.batch_size if batch_size is None else batch_size
        check_batch_size(batch_size)
        threshold = self._checked(score_threshold)
        # Drawing needs all pixels; the network often needs fewer, which decode faster.
        enough = None if keep_pixels else self.engine.enough_size
        in_bands = None
        if isinstance(self.engine, TiledEngine) and not keep_pixels:
            in_bands = self.engine.reads_in_bands
        loaded = load_pictures(images, enough, is_ready, in_bands, self.max_pixels, color)
        concurrency = self.engine.concurrency
        batches = self._batches(batch_size, concurrency, keep_pixels=keep_pixels)
        return _above(threshold, batches.run(loaded))

    def track(
        self,
        source: str
        | Path
        | int
        | Iterable[Frame | PictureFile | npt.NDArray[np.uint8] | str | Path],
        tracker: str = "bytetrack",
        *,
        fps: float | None = None,
        batch_size: int | None = None,
        overrides: Sequence[str] = (),
    ) -> Generator[tuple[Frame, Found]]:
        """Find the heads of each frame, and give each an id that it keeps from frame to frame.

        A tracked head counts down to ``tracking.lowest_score`` (0.1), unless the detector's
        ``lowest_score`` is higher; it is 0.02 for the shipped weights. Memory is constant. A frame
        that cannot be decoded is left out. A file that is unreadable or truncated is logged.

        Args:
            source: a video, camera (0) or stream as ``test --source`` takes it; or frames, RGB
                arrays or files in order, which may be endless.
            tracker: bytetrack, ocsort, cbiou or botsort.
            fps: frames per second, for pictures without times.
            batch_size: as ``detect``.
            overrides: ``tracking.key=value``, for example ``tracking.lost_seconds=2``.

        Yields:
            The frame (``index``, ``seconds``, ``pixels``), and its heads with ``ids``, which start
            at 1 in each video; -1 for a head that is not tracked (yet).

        Raises:
            MissingPackageError: the ``track`` extra is not installed.
            SourceError: no such source.
            ConfigError: an override of a field that does not exist.
            PictureError: an array that is not ``(H, W, 3)`` uint8.
            TypeError: another kind of source, one picture, videos in a list, or ``fps`` as text.
            ValueError: an unknown tracker, or pictures without times and without ``fps``.
        """
        # The tracking loop is in a higher layer, so it is imported only here.
        from head_detection.pipeline.tracking import track_heads  # noqa: PLC0415

        options: dict[str, Any] = {"fps": fps, "batch_size": batch_size, "overrides": overrides}
        for frame, found in track_heads(self, source, tracker, **options):
            yield frame, Found.of(found, frame.path)

    def load(self, image: ImageLike, *, keep_pixels: bool = False) -> LoadedPicture:
        """Decode a picture for ``detect_loaded``; safe in any thread, also during detection.

        Args:
            image: as ``detect``.
            keep_pixels: decode at full size, for drawing; the network often needs less.

        Returns:
            The picture, or the error why it cannot be read.

        Raises:
            TypeError: something that is no picture.
        """
        enough = None if keep_pixels else self.engine.enough_size
        return load_picture(image, "picture", enough, max_pixels=self.max_pixels)

    def detect_loaded(
        self, pictures: Sequence[LoadedPicture], score_threshold: float | None = None
    ) -> list[PictureResult]:
        """Find the heads of pictures that ``load`` decoded; pictures of equal shape form a batch.

        Args:
            pictures: as many as fit in the device's memory at once; may be empty.
            score_threshold: as ``detect``.

        Returns:
            One result per picture, in order, with ``error`` if it failed. Raises as ``detect``.
        """
        threshold = self._checked(score_threshold)
        batches = self._batches(max(1, len(pictures)), 1, keep_pixels=False)
        return list(_above(threshold, batches.run(pictures)))

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: an engine's kernels and threads stay in their process."""
        raise TypeError(
            "a HeadDetector cannot be pickled or copied: build one in each process, with "
            "HeadDetector.from_weights"
        )

    def _checked(self, score_threshold: float | None) -> float:
        threshold = self.score_threshold if score_threshold is None else score_threshold
        check_number("score_threshold", threshold)
        if not self.lowest_score <= threshold <= 1.0:
            raise ValueError(
                f"score_threshold: expected {self.lowest_score:g}, the lowest that the detector "
                f"was built for, to 1; got {threshold}"
            )
        return threshold

    def _batches(self, batch_size: int, concurrency: int, *, keep_pixels: bool) -> LikeShapeBatches:
        return LikeShapeBatches(
            self.engine,
            batch_size,
            keep_pixels=keep_pixels,
            max_pixels=self.max_pixels,
            tiled=self._tiled,
            concurrency=concurrency,
        )


def _above(threshold: float, results: Iterator[PictureResult]) -> Generator[PictureResult]:
    for result in results:
        if result.detections is None:
            yield result
        else:
            kept = result.detections.above(threshold)
            yield replace(result, detections=kept)
