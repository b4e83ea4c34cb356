"""Random changes to a training picture: zoom-crop, flip, colour, blur, darkness, noise, JPEG.

All random numbers come from the given numpy generator, so a picture is a pure function of its seed
in any thread or process. The loader's threads run beside the network, where most torch operators
would start OpenMP threads of their own that compete with the network's. torchvision's resize of
uint8 pictures does not (and is faster than OpenCV's). The colours are changed by one 3x4 matrix in
OpenCV, which replaces a sequence of torchvision's operators at a hundredth of the cost.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torchvision.transforms.v2 import functional

from head_detection.boxes import areas, clipped
from head_detection.config import AugmentationConfig
from head_detection.images.reading import Picture
from head_detection.structures import FloatArray, GroundTruth

NEAR_A_HEAD: Final = 0.8
"""Share of the crops that are placed to contain a head; the others are placed anywhere."""
PADDING: Final = (124.0, 116.0, 104.0)
"""The mean colour of ImageNet, which is close to zero after the network's normalisation."""
GREY_WEIGHTS: Final = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in grey, as in torchvision."""
BLUR_SIGMA: Final = (0.4, 1.5)
DARK_GAMMA: Final = (1.3, 3.0)
"""A middle grey of 128 becomes 104 to 32: from shade to a night scene in a film."""
NOISE_DEVIATION: Final = (2.0, 12.0)
"""In values of 0 to 255: from hardly visible to a small sensor at night."""
JPEG_QUALITY: Final = (20, 80)
"""From clearly visible blocks to the usual quality on the web."""

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A square of the picture, in original pixels; it may reach outside."""

    left: int
    top: int
    side: int


def augment(
    picture: Picture, truth: GroundTruth, config: AugmentationConfig, generator: np.random.Generator
) -> tuple[Picture, GroundTruth]:
    """Change a picture and its boxes at random, as the config says.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB; not modified.
        truth: its ground truth, in its pixels.
        config: what may change and how much.
        generator: the only source of randomness.
    """
    if config.crop_size is not None:
        window = draw_window(picture.shape[:2], truth.head_boxes, config, generator)
        picture = crop_picture(picture, window, config.crop_size)
        truth = crop_truth(truth, window, config)
    if generator.random() < config.flip_probability:
        picture, truth = flip(picture, truth)
    picture = change_colours(picture, config, generator)
    return worsen(picture, config, generator), truth


def draw_window(
    image_size: tuple[int, ...],
    head_boxes: FloatArray,
    config: AugmentationConfig,
    generator: np.random.Generator,
) -> Window:
    """Draw the zoom, then the position, mostly so that a random head is inside.

    In each direction, the window stays inside a larger picture and contains a smaller one.
    """
    height, width = image_size[:2]
    low, high = config.zoom
    zoom = math.exp(generator.uniform(math.log(low), math.log(high)))
    side = max(1, round((config.crop_size or 1) / zoom))
    near = len(head_boxes) > 0 and generator.random() < NEAR_A_HEAD
    share_x, share_y = generator.random(2)
    if not near:
        return Window(_place(share_x, width, side), _place(share_y, height, side), side)
    x1, y1, x2, y2 = head_boxes[generator.integers(len(head_boxes))].tolist()
    return Window(
        _place_around((x1 + x2) / 2, share_x, width, side),
        _place_around((y1 + y2) / 2, share_y, height, side),
        side,
    )


def crop_picture(picture: Picture, window: Window, crop_size: int) -> Picture:
    """Cut out the window, pad it where it leaves the picture, and resize only this part."""
    height, width = picture.shape[:2]
    right, bottom = window.left + window.side, window.top + window.side
    inside = picture[max(window.top, 0) : bottom, max(window.left, 0) : right]
    borders = (
        max(-window.top, 0),
        max(bottom - height, 0),
        max(-window.left, 0),
        max(right - width, 0),
    )
    if any(borders):
        padded = cv2.copyMakeBorder(inside, *borders, cv2.BORDER_CONSTANT, value=PADDING)
        inside = np.asarray(padded, np.uint8)
    if window.side == crop_size:
        return np.ascontiguousarray(inside)
    planes = torch.from_numpy(np.ascontiguousarray(inside)).permute(2, 0, 1)
    resized = functional.resize(planes, [crop_size, crop_size], antialias=True)
    return np.ascontiguousarray(resized.permute(1, 2, 0).numpy())


def crop_truth(truth: GroundTruth, window: Window, config: AugmentationConfig) -> GroundTruth:
    """Transform the boxes to the crop's pixels and clip them.

    Heads that are too small or mostly cut off are ignored; boxes outside the window are left out.
    """
    crop_size = config.crop_size or window.side
    scale = crop_size / window.side
    origin = np.array([window.left, window.top] * 2, np.float32)
    whole = (truth.boxes - origin) * np.float32(scale)
    inside_boxes = clipped(whole, (crop_size, crop_size))
    area, visible = areas(whole), areas(inside_boxes)
    hidden = (visible < config.min_visible * area) | (np.sqrt(area) < config.min_head_size)
    inside = visible > 0
    return GroundTruth(inside_boxes[inside], (truth.ignore | hidden)[inside])


def flip(picture: Picture, truth: GroundTruth) -> tuple[Picture, GroundTruth]:
    """Flip horizontally."""
    x1, y1, x2, y2 = truth.boxes.T
    width = np.float32(picture.shape[1])
    boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
    return np.asarray(cv2.flip(picture, 1), np.uint8), GroundTruth(boxes, truth.ignore)


def change_colours(
    picture: Picture, config: AugmentationConfig, generator: np.random.Generator
) -> Picture:
    """Draw and apply brightness, contrast, saturation and hue, sometimes grey, sometimes a blur."""
    draws = generator.uniform(-1.0, 1.0, 4)
    strengths = (config.brightness, config.contrast, config.saturation)
    brightness, contrast, saturation = (
        max(0.0, 1.0 + strength * draw) for strength, draw in zip(strengths, draws, strict=False)
    )
    if generator.random() < config.grayscale_probability:
        saturation = 0.0
    matrix = colour_matrix(
        cv2.mean(picture)[:3], brightness, contrast, saturation, config.hue * float(draws[3])
    )
    if not np.array_equal(matrix, np.eye(3, 4)):
        picture = np.asarray(cv2.transform(picture, matrix), np.uint8)
    if generator.random() < config.blur_probability:
        sigma = generator.uniform(*BLUR_SIGMA)
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    return picture


def worsen(picture: Picture, config: AugmentationConfig, generator: np.random.Generator) -> Picture:
    """Sometimes darken, add noise, and compress, in the same order as a camera.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB; not modified.
        config: the probability of each.
        generator: the only source of randomness.
    """
    if generator.random() < config.dark_probability:
        picture = darken(picture, generator.uniform(*DARK_GAMMA))
    if generator.random() < config.noise_probability:
        noise = generator.standard_normal(picture.shape, np.float32)
        noisy = picture + np.float32(generator.uniform(*NOISE_DEVIATION)) * noise
        picture = np.rint(noisy).clip(0, 255).astype(np.uint8)
    if generator.random() < config.jpeg_probability:
        picture = compress(picture, int(generator.integers(*JPEG_QUALITY, endpoint=True)))
    return picture


def darken(picture: Picture, gamma: float) -> Picture:
    """Return the picture with each value raised to the power of gamma; black and white stay.

    Example:
        >>> darken(np.array([[[0, 128, 255]]], np.uint8), 2.0).tolist()
        [[[0, 64, 255]]]
    """
    curve = np.rint(255.0 * (np.arange(256) / 255.0) ** gamma).astype(np.uint8)
    return curve[picture]


def compress(picture: Picture, quality: int) -> Picture:
    """Return the picture after JPEG compression.

    Args:
        picture: ``(H, W, 3)`` uint8 RGB.
        quality: libjpeg's quality, 1 to 100.
    """
    _, file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def colour_matrix(
    mean_colour: npt.ArrayLike, brightness: float, contrast: float, saturation: float, hue: float
) -> Matrix:
    """Return the 3x4 matrix that changes brightness, contrast, saturation and hue, in this order.

    The factors are those of torchvision (1 changes nothing); only the result is clipped. ``hue`` is
    the share of a full turn: colours rotate about the grey axis of YIQ, which is linear, whereas
    torchvision rotates in HSV.

    Args:
        mean_colour: mean red, green and blue of the picture; contrast blends with its grey.
        brightness: factor, at least 0.
        contrast: factor, at least 0.
        saturation: factor, at least 0; 0 is grey.
        hue: in [-0.5, 0.5].

    Example:
        >>> colour_matrix((100, 100, 100), 2.0, 1.0, 1.0, 0.0)[0].tolist()
        [2.0, 0.0, 0.0, 0.0]
    """
    grey = np.array(GREY_WEIGHTS)
    matrix = np.eye(3) * brightness
    mean_grey = float(grey @ (matrix @ np.asarray(mean_colour, np.float64)))
    matrix, offset = matrix * contrast, (1.0 - contrast) * mean_grey
    if saturation != 1.0:
        matrix = (saturation * np.eye(3) + (1.0 - saturation) * np.tile(grey, (3, 1))) @ matrix
        offset *= saturation + (1.0 - saturation) * grey.sum()
    if hue != 0.0:
        matrix = _hue_rotation(hue) @ matrix
    return np.column_stack([matrix, np.full(3, offset)])


def _hue_rotation(turn: float) -> Matrix:
    """Return the rotation about the grey axis of NTSC's YIQ, which keeps grey and brightness."""
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    rotation = np.array([[1, 0, 0], [0, cosine, sine], [0, -sine, cosine]])
    return np.asarray(np.linalg.inv(to_yiq) @ rotation @ to_yiq)


def _place(share: float, length: int, side: int) -> int:
    """Place a window of ``side`` on ``length`` pixels: inside them, or around all of them."""
    return round(share * (length - side))


def _place_around(centre: float, share: float, length: int, side: int) -> int:
    if side >= length:
        return _place(share, length, side)
    return min(max(round(centre - share * side), 0), length - side)
