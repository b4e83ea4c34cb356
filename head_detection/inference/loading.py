"""Loading pictures of any form as tensors, decoded in threads ahead of the network."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from head_detection.errors import ForkError, PictureError
from head_detection.images.finding import PictureFile
from head_detection.images.reading import (
    MAX_PIXELS,
    EnoughSize,
    ReducedPicture,
    decode_picture,
    read_picture_size,
    read_reduced,
)
from head_detection.inference.isolation import is_forked, prepare_threads
from head_detection.structures import Frame

FileBytes = bytes | bytearray | memoryview
"""The content of a picture file, as received from sockets, requests and shared memory."""
ImageLike = str | Path | FileBytes | PictureFile | Frame | Image.Image | npt.NDArray[Any] | Tensor
"""The accepted forms of a picture: a file, the bytes of one, a frame, a Pillow image,
``(H, W, 3)`` uint8 RGB, or a ``(3, H, W)`` tensor, uint8 or floating in 0..1."""

Color = Literal["rgb", "bgr"]
"""Order of the colours of an array or a tensor; OpenCV reads blue, green, red."""
PICTURE_DIMENSIONS: Final = 3
"""Height, width and colours, in either order."""
NUM_COLORS: Final = 3
NO_FILE: Final = ", which cv2.imread gives where it finds no picture file"
"""Added to the error message for a ``None``."""
MAX_THREADS: Final = 16
"""A GPU takes pictures faster than a few cores decode them."""
READ_AHEAD_BYTES: Final = 256 * 1024**2
"""Limit on the memory of waiting decoded pictures; a picture of 12 megapixels is 36 MB."""
IsReady = Callable[[], bool]
"""Tells whether the next picture, or the end, is available without waiting."""
_pillow_locks: Final[dict[int, threading.Lock]] = {}
"""Prevent two threads from decoding the same lazily opened image. One lock per process: in a fork,
the parent's may be held by a thread that no longer exists."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class LoadedPicture:
    """A picture as the network takes it, or the error why it could not be read.

    Attributes:
        image: the picture as given by the caller.
        name: its name in errors: its path, or its number among the pictures.
        tensor: ``(3, H, W)`` RGB, uint8 or floating in 0..1; None if ``error`` or ``file`` is set.
        error: names the picture.
        image_size: (height, width) of the whole picture, if it was decoded smaller or not yet.
        file: a picture that will be read in bands, neither decoded nor failed.
        note: as ``ReducedPicture``.
    """

    image: ImageLike
    name: str
    tensor: Tensor | None
    error: PictureError | None = None
    image_size: tuple[int, int] | None = None
    file: Path | None = None
    note: str | None = None

    @property
    def num_bytes(self) -> int:
        """Memory of the pixels in bytes."""
        return 0 if self.tensor is None else self.tensor.nbytes

    @property
    def pixels(self) -> npt.NDArray[np.uint8] | None:
        """``(H, W, 3)`` uint8 RGB, if there is a tensor."""
        if self.tensor is None:
            return None
        values: npt.NDArray[Any] = self.tensor.permute(1, 2, 0).cpu().numpy()
        if self.tensor.is_floating_point():
            # With NumPy, because torch cannot compute in the caller's thread after a fork.
            values = np.rint(values * 255)
        return values.astype(np.uint8, copy=False)


def load_pictures(
    images: Iterable[ImageLike],
    enough: EnoughSize | None = None,
    is_ready: IsReady | None = None,
    in_bands: Callable[[tuple[int, int]], bool] | None = None,
    max_pixels: int = MAX_PIXELS,
    color: Color = "rgb",
) -> Iterator[LoadedPicture | None]:
    """Decode pictures in a few threads, ahead by a bounded number of bytes; keep their order.

    Args:
        images: in any form of ``ImageLike``.
        enough: as ``read_reduced``; None reads every picture in full.
        is_ready: as ``read_ahead``.
        in_bands: tells from a file's (height, width) whether to leave it unread, as ``file``.
        max_pixels: larger pictures are refused.
        color: order of the colours in arrays and tensors; other forms ignore it.

    Yields:
        As ``read_ahead``; never None without ``is_ready``.

    Raises:
        TypeError: something that is no picture.
        ValueError: an unknown order of the colours.
        ForkError: as ``read_ahead``.
    """
    if color not in get_args(Color):
        raise ValueError(f"color: expected rgb or bgr; got {color}")
    numbered = zip(count(), images, strict=False)
    yield from read_ahead(
        numbered,
        lambda item: load_picture(
            item[1], f"images[{item[0]}]", enough, in_bands, max_pixels, color
        ),
        size_of=lambda picture: picture.num_bytes,
        is_ready=is_ready,
    )


def read_ahead(
    items: Iterable[T],
    load: Callable[[T], R],
    size_of: Callable[[R], int],
    is_ready: IsReady | None = None,
    max_size: int = READ_AHEAD_BYTES,
) -> Iterator[R | None]:
    """Yield ``load(item)`` in the order of the items, loading a few ahead in threads.

    A loaded item is never held back to wait for an item that is not available yet.

    Args:
        items: read one by one, only as far as needed.
        load: called in threads; its exceptions are raised here.
        size_of: size of a result, such as its bytes; always the same for the same result.
        is_ready: tells whether the next item, or the end, is available; None: always.
        max_size: nothing more is loaded ahead while the waiting results together are larger.

    Yields:
        The results; None before waiting for an item that is not available, so that a caller that
        gathers batches can run an incomplete one.

    Raises:
        ForkError: continued in a forked process, which lacks the threads. One line.
    """
    prepare_threads()
    ahead = _Ahead(load, size_of, max_size)

    def may_take() -> bool:
        return ahead.has_room and (is_ready is None or is_ready())

    try:
        for item in items:
            ahead.submit(item)
            while ahead.waiting and not may_take():
                yield ahead.take()
            if not ahead.waiting and is_ready is not None and not is_ready():
                yield None
        while ahead.waiting:
            yield ahead.take()
    finally:
        ahead.close()


class _Ahead(Generic[T, R]):
    """What threads load or have loaded, in order; used as ``read_ahead`` says.

    Attributes:
        waiting: not yet taken.
    """

    def __init__(self, load: Callable[[T], R], size_of: Callable[[R], int], max_size: int) -> None:
        self._load, self._size_of, self._max_size = load, size_of, max_size
        self._num_threads, self._process = min(MAX_THREADS, os.cpu_count() or 1), os.getpid()
        self._pool = ThreadPoolExecutor(self._num_threads, thread_name_prefix="pictures")
        self._size, self._lock = 0, threading.Lock()
        self.waiting: deque[Future[R]] = deque()

    @property
    def has_room(self) -> bool:
        """Whether one more may be loaded."""
        return len(self.waiting) < 2 * self._num_threads and self._size <= self._max_size

    def submit(self, item: T) -> None:
        """Load an item in the next free thread."""
        self.waiting.append(self._pool.submit(self._load_one, item))

    def take(self) -> R:
        """Return the oldest once it is loaded."""
        if is_forked(self._process):
            raise ForkError(
                f"a stream of pictures was begun in process {self._process}, and this one was "
                "forked from it, where nobody reads them: begin the stream after the fork"
            )
        result = self.waiting.popleft().result()
        self._add(-self._size_of(result))
        return result

    def close(self) -> None:
        """Load nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _load_one(self, item: T) -> R:
        result = self._load(item)
        self._add(self._size_of(result))
        return result

    def _add(self, size: int) -> None:
        with self._lock:
            self._size += size


def load_picture(
    image: ImageLike,
    position: str,
    enough: EnoughSize | None = None,
    in_bands: Callable[[tuple[int, int]], bool] | None = None,
    max_pixels: int = MAX_PIXELS,
    color: Color = "rgb",
) -> LoadedPicture:
    """Decode one picture, in any thread; one that cannot be read is returned with its error.

    Args:
        image: in any form of ``ImageLike``.
        position: name in errors of a picture that is not a file.
        enough: as ``load_pictures``.
        in_bands: as ``load_pictures``.
        max_pixels: as ``load_pictures``.
        color: as ``load_pictures``.

    Raises:
        TypeError: something that is no picture.
    """
    name = _name(image, position)
    try:
        path = path_of(image)
        if in_bands is not None and path is not None:
            size = read_picture_size(path, max_pixels)
            if in_bands(size):
                return LoadedPicture(image, name, None, image_size=size, file=path)
        match image:
            case (
                PictureFile()
                | str()
                | Path()
                | bytes()
                | bytearray()
                | memoryview()
                | Image.Image()
            ):
                picture = _read(image, position, enough, max_pixels)
                tensor = _channels_first(picture.pixels)
                size, note = picture.image_size, picture.note
                return LoadedPicture(image, name, tensor, image_size=size, note=note)
            case _:
                return LoadedPicture(image, name, _to_tensor(image, position, color))
    except PictureError as error:
        return LoadedPicture(image, name, None, error)


def is_single(images: object) -> bool:
    """Tell a picture from a list of pictures; an array counts as one unless it has four axes."""
    if isinstance(images, np.ndarray) and images.dtype.kind not in "buif":
        return False
    if isinstance(images, np.ndarray | Tensor):
        return images.ndim != PICTURE_DIMENSIONS + 1
    return isinstance(images, str | FileBytes | Path | PictureFile | Frame | Image.Image)


def path_of(image: ImageLike) -> Path | None:
    """Return the path of a picture that is a readable file; None for any other."""
    match image:
        case PictureFile():
            return None if image.problem is not None else image.path
        case str() | Path():
            return Path(image)
        case _:
            return None


def _name(image: ImageLike, position: str) -> str:
    match image:
        case PictureFile():
            return str(image.path)
        case str() | Path():
            return str(image)
        case Frame():
            return frame_name(image)
        case _:
            return position


def frame_name(frame: Frame) -> str:
    """Return the name of a frame in errors; a frame without a time is a picture.

    Example:
        >>> frame_name(Frame("street.mp4", 50, 2.0)), frame_name(Frame("sample", 0))
        ('street.mp4: frame 50', 'sample')
    """
    return frame.name if frame.seconds is None else f"{frame.name}: frame {frame.index}"


def _read(
    image: PictureFile | str | Path | FileBytes | Image.Image,
    position: str,
    enough: EnoughSize | None,
    max_pixels: int,
) -> ReducedPicture:
    match image:
        case Image.Image():
            with _pillow_locks.setdefault(os.getpid(), threading.Lock()):
                return decode_picture(image, position, max_pixels)
        case PictureFile():
            if image.problem is not None:
                raise PictureError(f"{image.path}: {image.problem}")
            return read_reduced(image.path, enough, max_pixels)
        case str() | Path():
            return read_reduced(Path(image), enough, max_pixels)
    try:
        return read_reduced(image, enough, max_pixels)
    except PictureError as error:
        raise PictureError(f"{position}: {str(error).partition(': ')[2]}") from error


def _to_tensor(image: ImageLike, position: str, color: Color) -> Tensor:
    match image:
        case Frame():
            if image.pixels is None:
                raise PictureError(f"{_name(image, position)}: it could not be decoded")
            return _from_array(image.pixels, _name(image, position))
        case np.ndarray():
            return _from_array(image[..., ::-1] if color == "bgr" else image, position)
        case Tensor():
            tensor = _from_tensor(image, position)
            return tensor.flip(0) if color == "bgr" else tensor
        case _:
            raise TypeError(
                f"{position}: expected a path, bytes, a frame, a Pillow image, an array or a "
                "tensor; "
                f"got {type(image).__name__}{NO_FILE if image is None else ''}"
            )


def check_array(array: npt.NDArray[Any], position: str) -> None:
    """Check that an array is a picture.

    Args:
        array: of any shape and type.
        position: its name in errors.

    Raises:
        PictureError: not ``(H, W, 3)`` uint8, or H or W is 0. One line.
    """
    if array.shape[2:] != (NUM_COLORS,) or array.dtype != np.uint8 or 0 in array.shape:
        is_grey = array.ndim == PICTURE_DIMENSIONS - 1 and array.dtype == np.uint8
        remedy = "; np.stack([grey] * 3, axis=-1) makes one of a grey picture" if is_grey else ""
        raise PictureError(
            f"{position}: expected an (H, W, 3) uint8 RGB array; "
            f"got {array.shape} {array.dtype}{remedy}"
        )


def _from_array(array: npt.NDArray[Any], position: str) -> Tensor:
    check_array(array, position)
    # Torch shares the memory, and supports neither read-only arrays nor negative strides.
    return _channels_first(np.require(array, requirements=["C", "W"]))


def _from_tensor(tensor: Tensor, position: str) -> Tensor:
    is_picture = tensor.ndim == PICTURE_DIMENSIONS and tensor.shape[0] == NUM_COLORS
    is_known_type = tensor.dtype == torch.uint8 or tensor.is_floating_point()
    if not is_picture or not is_known_type or 0 in tensor.shape:
        raise PictureError(
            f"{position}: expected a (3, H, W) uint8 or floating tensor; "
            f"got {tuple(tensor.shape)} {tensor.dtype}"
        )
    if tensor.is_floating_point() and not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise PictureError(f"{position}: expected a floating tensor in 0..1; got other values")
    return tensor.detach() if tensor.dtype == torch.uint8 else tensor.detach().float()


def _channels_first(pixels: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)
