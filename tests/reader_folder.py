"""Lays out a folder where every command of the pages can be typed: ``reader_folder.py DIR``.

The checkout's code, and under the pages' names what their reader has: pictures and labels of their
own, data sets as their authors pack them, detections and weights made by others, runs of before.
All of it is made up and small.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402 - the checkout's own, and what it needs
import yaml  # noqa: E402
from clips import write_clip  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from head_detection.apps.main import run  # noqa: E402
from head_detection.config import DatasetConfig, ExperimentConfig, load_config  # noqa: E402
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet  # noqa: E402
from head_detection.data.formats import load_annotations, write_annotations  # noqa: E402
from head_detection.data.sequences import door_scene  # noqa: E402
from head_detection.data.synthetic import (  # noqa: E402
    lay_out,
    sample_person,
    sample_portrait,
    synthetic_set,
)
from head_detection.models.faster_rcnn import build_detector  # noqa: E402
from head_detection.models.weights import (  # noqa: E402
    WeightsDescription,
    read_weights,
    save_weights,
)

CODE: Final = (
    "LICENSE", "Makefile", "README.md", "pyproject.toml", "requirements.txt",
    "configs", "head_detection", "scripts", "weights",
)  # fmt: skip
IMAGE_SIZE: Final = (96, 128)
SMALLER: Final[dict[str, dict[str, Any]]] = {
    "scut": {
        "network": {
            "backbone": {
                "name": "mobilenet0.25", "pretrained": False, "fpn_width": 16, "context_width": 16,
            },
            "box_head": {"width": 32},
        },
        "inference": {"resize": {"min_size": 96, "max_size": 128}},
        "training": {"epochs": 2, "roi": {"ohem": 50}},
    },
}  # fmt: skip
"""What is changed in an experiment file: no download of a body, and minutes in place of hours."""
SCUT_LABEL: Final = (
    "<annotation><filename>{name}.jpg</filename><size><width>{width}</width><height>{height}"
    "</height><depth>3</depth></size>{objects}</annotation>"
)
SCUT_OBJECT: Final = (
    "<object><name>person</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def main(folder: Path) -> None:
    """Fill the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # the paths of the pages start from there
    copy_code()
    make_own_pictures()
    make_public_sets()
    make_weights()
    make_measurements()


def copy_code() -> None:
    """Copy the checkout, with experiments that take seconds."""
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, name)
    for name, changes in SMALLER.items():
        path = Path("configs", f"{name}.yaml")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump(merge(values, changes)), encoding="utf-8")


def merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the changes in, section by section."""
    merged = dict(values)
    for key, change in changes.items():
        is_section = isinstance(change, dict)
        merged[key] = merge(values.get(key, {}), change) if is_section else change
    return merged


def make_own_pictures() -> None:
    """Make ``my``, the pictures of the Python block, and others' detections in ``my/test.json``."""
    made = made_up("my/pictures", "jpg", 10, seed=10)
    labels, test = made[:6], made[6:]
    named = [replace(image, file_name=f"pictures/{image.file_name}") for image in labels]
    write("my/labels.json", "coco", named)
    write("my/test.json", "coco", test)
    labelled = json.loads(Path("my/test.json").read_text(encoding="utf-8"))
    numbers = [image["id"] for image in labelled["images"]]
    results = [
        {"image_id": number, "category_id": 1, "bbox": box, "score": 0.9}
        for number, image in zip(numbers, test, strict=True)
        for box in boxes_xywh(image)
    ]
    Path("theirs.json").write_text(json.dumps(results), encoding="utf-8")
    Image.fromarray(sample_portrait().pixels).save("classroom.jpg")
    crowd, _ = lay_out(sample_person(), 50, rows=2, columns=3)
    Image.fromarray(crowd).save("street.png")
    page = (ROOT / "docs" / "zones.md").read_text(encoding="utf-8")
    Path("zones.yaml").write_text(page.split("```text\n")[1].split("```")[0], encoding="utf-8")
    door = replace(door_scene(fps=5), duration=4.0)
    Path("door.yaml").write_text("lines: {door: [[0.5, 0.0], [0.5, 1.0]]}\n", encoding="utf-8")
    write_clip("door.mp4", (frame.pixels for frame in door.frames()), fps=5, audio=True)


def make_public_sets() -> None:
    """Make SCUT-HEAD and CrowdHuman's validation labels as their authors pack them."""
    for number, part in enumerate("AB"):
        root = Path("SCUT-HEAD", f"SCUT_HEAD_Part_{part}")
        images = made_up(root / "JPEGImages", "jpg", 6, seed=2 + number, prefix=f"Part{part}_")
        for place in ("Annotations", "ImageSets/Main"):
            (root / place).mkdir(parents=True)
        for image in images:
            name, (height, width) = image.path.stem, IMAGE_SIZE
            corners = (map(round, box) for box in image.truth.boxes.tolist())
            objects = "".join(SCUT_OBJECT.format(*box) for box in corners)
            text = SCUT_LABEL.format(name=name, width=width, height=height, objects=objects)
            (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
        names = [image.path.stem for image in images]
        splits = {"train": names[:2], "val": names[2:4], "trainval": names[:4], "test": names[4:]}
        for split, chosen in splits.items():
            (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(chosen) + "\n")
    Path("data").mkdir()  # where configs/scut.yaml has it
    Path("data", "SCUT-HEAD").symlink_to(Path("..", "SCUT-HEAD"))
    write("annotation_val.odgt", "crowdhuman", made_up("Images", "jpg", 3, seed=4))


def make_weights() -> None:
    """Make the best weights of two runs, an old file, and HeadHunter's; none of them has learnt."""
    tiny = load_config("configs/smoke.yaml")
    description = WeightsDescription(network=tiny.network, inference=tiny.inference)
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        network = build_detector(tiny.network, tiny.inference).network
        save_weights(Path("runs", "train", name, "best.safetensors"), network, description)
    save_file(
        read_weights("runs/train/a/best.safetensors")[0],
        "old.safetensors",
        metadata={"head_detection": json.dumps(version1_of(tiny))},
    )
    theirs = load_config("configs/headhunter_r50_cpm.yaml")
    state = build_detector(theirs.network, theirs.inference).network.state_dict()
    for name in [name for name in state if name.startswith("backbone.contexts.")]:
        level, _, rest = name.removeprefix("backbone.contexts.").partition(".")
        state[f"backbone.ssh{int(level) + 1}.{rest}"] = state.pop(name)
    torch.save(dict(state), "theirs.pth")


def version1_of(config: ExperimentConfig) -> dict[str, Any]:
    """Return what the header of a weights file held in this project's first format."""
    network, inference = (
        part.model_dump(mode="json") for part in (config.network, config.inference)
    )
    colours = {key: network[key] for key in ("mean", "std", "size_divisor")}
    resize = inference["resize"] | colours
    rpn = inference["proposals"]
    box_head = network["box_head"] | {"box_head_width": network["box_head"]["width"]}
    model = {
        **{key: network[key] for key in ("backbone", "anchors", "upscale")},
        "resize": resize | {"min_sizes": [resize["min_size"]]},
        "rpn": rpn | {f"{key}_test": rpn[key] for key in ("pre_nms_top_n", "post_nms_top_n")},
        "roi": inference["suppression"] | box_head,
        "more_looks": [],
        "coarse_look": {"enabled": False},
    }
    described = {"class_names": ["head"], "training": {}, "figures": {}, "licence": "unknown"}
    return {"format_version": 1, "model": model, "score_threshold": 0.5, **described}


def make_measurements() -> None:
    """Measure two detectors on ``my/test.json``: one that finds all, one that misses the first."""
    test = load_annotations(DatasetConfig(path="my/test.json", images="my/pictures"))
    for name, first in (("new", 0), ("old", 1)):
        records = [
            {
                "file": image.file_name,
                "width": IMAGE_SIZE[1],
                "height": IMAGE_SIZE[0],
                "boxes": (boxes := image.truth.boxes.tolist()[first:]),
                "scores": [0.9] * len(boxes),
            }
            for image in test.images
        ]
        content = {"schema": "head-detection/detections/2", "model": {}, "score_threshold": 0.5}
        path = Path(f"{name}.json")
        path.write_text(json.dumps(content | {"images": records, "failed": []}), encoding="utf-8")
        command = ["evaluate", "--detections", str(path), "--data", "my/test.json"]
        if run([*command, "--images", "my/pictures"]) != 0:
            raise RuntimeError(f"{path} could not be measured")


def made_up(
    folder: str | Path, suffix: str, number: int, *, seed: int, prefix: str = ""
) -> list[AnnotatedImage]:
    """Make pictures with heads in a folder, each named by its number alone."""
    made = synthetic_set(Path("made"), number, IMAGE_SIZE, seed)
    Path(folder).mkdir(parents=True)
    images = []
    for image in load_annotations(DatasetConfig(path=str(made))).images:
        name = f"{prefix}{image.path.stem}.{suffix}"
        with Image.open(image.path) as picture:
            picture.save(Path(folder, name), quality=95)
        images.append(replace(image, path=Path(folder, name), file_name=name))
    shutil.rmtree("made")
    return images


def write(path: str, form: str, images: list[AnnotatedImage]) -> None:
    """Write labels."""
    write_annotations(AnnotatedSet(Path(path).stem, tuple(images)), form, Path(path))


def boxes_xywh(image: AnnotatedImage) -> list[list[float]]:
    """Return left, top, width, height of the heads."""
    return [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in image.truth.boxes.tolist()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
