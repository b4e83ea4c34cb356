"""Makes imitated film stills: ``python tests/film_stills.py LABELS IMAGES [...] DIR``.

Each picture of COCO labels whose largest head is 28 pixels or more becomes a cut of at most 854x480
around that head, scaled so that it is 40 to 300 pixels, and graded as film is. ``DIR/films.json``
has the labels, ``DIR/images`` the pictures. The order of the sets and the seed decide every pixel.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

SEED: Final = 7
SMALLEST: Final = 28
HEADS: Final = (40, 300)
WIDTH: Final = 854
HEIGHT: Final = 480
LARGEST_ZOOM: Final = 6.0
LEAST_SIDE: Final = 20
LEAST_SHARE: Final = 0.5
"""Pixels, and visible share, under which a head is ignored."""
Pixels = npt.NDArray[Any]


def grade(cut: Pixels, rng: np.random.Generator) -> Pixels:
    """Darken, tint, flatten, blur and add noise."""
    values = cut.astype(np.float32) / 255
    gamma = rng.uniform(1.0, 2.6)
    saturation = rng.uniform(0, 1.1) if rng.random() < 0.8 else 0
    grey = values @ np.array([0.114, 0.587, 0.299], np.float32)
    values = grey[..., None] * (1 - saturation) + values * saturation
    values = np.clip(values, 0, 1) ** gamma
    values *= rng.uniform(0.75, 1.15, 3).astype(np.float32)
    black = rng.uniform(0, 0.08)
    values = black + values * rng.uniform(0.55, 1 - black)
    if rng.random() < 0.5:
        side = int(rng.integers(3, 12))
        kernel = np.zeros((side, side), np.float32)
        if rng.random() < 0.5:
            kernel[side // 2] = 1 / side
            values = cv2.filter2D(values, -1, kernel)
        else:
            values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.8, 2.5))
    values += rng.normal(0, rng.uniform(0, 0.03), (*values.shape[:2], 1)).astype(np.float32)
    return np.asarray(np.clip(values, 0, 1) * 255, np.uint8)


def cut_around(
    pixels: Pixels, box: list[float], rng: np.random.Generator
) -> tuple[Pixels, tuple[int, int], float]:
    """Return the enlarged cut, its corner in the picture, and the scale."""
    height, width = pixels.shape[:2]
    target = np.exp(rng.uniform(np.log(HEADS[0]), np.log(HEADS[1])))
    scale = float(min(target / (box[2] * box[3]) ** 0.5, LARGEST_ZOOM))
    wide, high = min(width, WIDTH / scale), min(height, HEIGHT / scale)
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    left = int(np.clip(x - wide * rng.uniform(0.25, 0.75), 0, width - wide))
    top = int(np.clip(y - high * rng.uniform(0.25, 0.75), 0, height - high))
    cut = pixels[top : top + int(high), left : left + int(wide)]
    way = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    return cv2.resize(cut, None, fx=scale, fy=scale, interpolation=way), (left, top), scale


def moved(
    label: dict[str, Any], corner: tuple[int, int], scale: float, size: tuple[int, ...], bar: int
) -> dict[str, Any] | None:
    """Return a label in the still's pixels; None outside of it."""
    x, y, width, height = label["bbox"]
    left, top = max((x - corner[0]) * scale, 0), max((y - corner[1]) * scale, 0)
    right = min((x + width - corner[0]) * scale, size[1])
    bottom = min((y + height - corner[1]) * scale, size[0])
    if right - left < 2 or bottom - top < 2:
        return None
    area, visible = width * height * scale**2, (right - left) * (bottom - top)
    hidden = visible / area < LEAST_SHARE or area**0.5 < LEAST_SIDE or label.get("iscrowd")
    box = [left, top + bar, right - left, bottom - top]
    return {"category_id": 1, "bbox": box, "area": visible, "iscrowd": int(bool(hidden))}


def add_stills(labels: Path, images: Path, folder: Path, made: dict[str, Any], rng: Any) -> None:
    """Write the stills of a data set, and add their labels."""
    content = json.loads(labels.read_text(encoding="utf-8"))
    for image in content["images"]:
        own = [label for label in content["annotations"] if label["image_id"] == image["id"]]
        boxes = [label["bbox"] for label in own if not label.get("iscrowd")]
        largest = max(boxes, key=lambda box: box[2] * box[3], default=[0.0] * 4)
        if (largest[2] * largest[3]) ** 0.5 < SMALLEST:
            continue
        pixels = cv2.imread(str(images / image["file_name"]))
        assert pixels is not None
        cut, corner, scale = cut_around(pixels, largest, rng)
        still = grade(cut, rng)
        bar = int(still.shape[0] * rng.uniform(0.08, 0.16)) if rng.random() < 0.5 else 0
        still = cv2.copyMakeBorder(still, bar, bar, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        number = len(made["images"]) + 1
        name, quality = f"{number:04d}.jpg", int(rng.integers(40, 90))
        file = folder / "images" / name
        cv2.imwrite(str(file), still, [cv2.IMWRITE_JPEG_QUALITY, quality])
        height, width = still.shape[:2]
        made["images"].append({"id": number, "file_name": name, "width": width, "height": height})
        for label in own:
            head = moved(label, corner, scale, cut.shape, bar)
            if head is not None:
                made["annotations"].append(
                    {"id": len(made["annotations"]) + 1, "image_id": number, **head}
                )


def main() -> None:
    """Make all of them."""
    *sets, folder = map(Path, sys.argv[1:])
    (folder / "images").mkdir(parents=True, exist_ok=True)
    categories = [{"id": 1, "name": "head"}]
    made: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    rng = np.random.default_rng(SEED)
    for labels, images in zip(sets[::2], sets[1::2], strict=True):
        add_stills(labels, images, folder, made, rng)
    (folder / "films.json").write_text(json.dumps(made), encoding="utf-8")


if __name__ == "__main__":
    main()
