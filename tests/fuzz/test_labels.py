"""Label files and detections with random damage: each is read, or refused in one line.

The seed is fixed, so that every run tries the same files. ``FUZZ_ROUNDS`` tries as many times more,
others each time.
"""

import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, LabelClass, build_truth
from head_detection.data.formats import load_annotations
from head_detection.errors import HeadDetectionError
from head_detection.results.formats import read_detection_file

SEED = 20_240_229
NUM_PER_KIND = 148  # 17 kinds: 2,516 files
LONGEST_LINE = 1200
ROUNDS = int(os.environ.get("FUZZ_ROUNDS", "1"))
NAMES = ("a", "b/c")
XML = (
    '<annotation xmlns="u"><filename>a.jpg</filename>'
    "<size><width>40</width><height>30</height></size>\n"
    "<object><name>head</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    "<xmax>10</xmax><ymax>20.5</ymax></bndbox></object><object/></annotation>"
)
COCO = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30},
        {"id": 2, "file_name": "b/c.jpg", "width": 40, "height": 30},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "head", "supercategory": "x"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 10, 20.5], "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [1, 2, 10, 20], "ignore": 1},
    ],
    "info": {"boxes_may_reach_outside": True},
}
RECORD = {
    "file": "a.jpg", "width": 40, "height": 30, "count": 1,
    "boxes": [[1, 2, 10, 20.5]], "scores": [0.5],
}  # fmt: skip
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3.0, 1e400, -1e400, float("nan"), 10**30, 1e-300, 2**63),
    *("", " ", "3.0", "007", "\ud800", "a\nb", "\0", "../a.jpg", "/a.jpg", "C:\\a", "x" * 5000),
    *("9" * 4000, "head", "\u202e", "caf\u00e9", [], {}, [[]], [None], {"a": 1}, [1, 2, 3, 4]),
)
TOKENS = (
    *(b"", b"nan", b"-inf", b"1e999", b"-1", b"0", b"3.0", b"9" * 25, b"9" * 4400, b"head", b"~"),
    *(b'"', b"'", b"{", b"}", b"[", b"]", b"<", b">", b"&x;", b",", b":", b";", b"#", b"%", b"\\"),
    *(b"\n", b"\r", b"\t", b" ", b"\0", b"\xff", b"\xff\xfe", b"\xe2\x80\xa8", b"\xed\xa0\x80"),
    *(b"../", b"/", b"- ", b"*a", b"!!x ", b"---\n", b"? [1] : 2\n", b"<!DOCTYPE a>"),
)


@dataclass(frozen=True)
class Kind:
    """A sound set or file of detections.

    Attributes:
        files: what it is made of.
        read: reads it from its folder.
        pictures: the names of its pictures.
    """

    files: dict[str, str]
    read: Callable[[Path], object]
    pictures: tuple[str, ...] = ()


def labels(kind: str, place: str = ".", split: str | None = None) -> Callable[[Path], object]:
    config = {"format": kind, "split": split}
    return lambda folder: load_annotations(DatasetConfig(path=str(folder / place), **config))


def detections(place: str) -> Callable[[Path], object]:
    classes = tuple(
        LabelClass(scheme, number, name, name == "head")
        for scheme in ("coco", "yolo")
        for number, name in enumerate(("person", "head"), start=scheme == "coco")
    )
    images = tuple(
        AnnotatedImage(Path("none"), f"{name}.jpg", build_truth([]), (30, 40), number)
        for number, name in enumerate(NAMES, start=1)
    )
    labelled = AnnotatedSet("set", images, classes=classes)
    return lambda folder: read_detection_file(folder / place, labelled)


def records() -> dict[str, Any]:
    second = RECORD | {"file": "b/c.jpg", "boxes": [], "scores": []}
    return {
        "schema": "head-detection/detections/2", "model": {}, "score_threshold": 0.1,
        "images": [RECORD, second], "failed": [],
    }  # fmt: skip


def results() -> list[dict[str, Any]]:
    row = {"image_id": 1, "category_id": 2, "bbox": [1, 2, 10, 20.5], "score": 0.5}
    named = {"file_name": "b/c.jpg", "category_name": "head"}
    return [row, row | {"category_id": 1}, row | named]


VOC = {f"{place}/{name}.xml": XML for place in ("Annotations",) for name in NAMES}
IN_FOLDERS = tuple(f"JPEGImages/{name}.jpg" for name in NAMES)
KINDS = {
    "coco": Kind(
        {"labels.json": json.dumps(COCO)}, labels("coco", "labels.json"), ("images/a.jpg",)
    ),
    "voc": Kind(VOC | {"ImageSets/Main/train.txt": "a\nb/c.jpg\n"}, labels("voc"), IN_FOLDERS),
    "scut": Kind(VOC | {"ImageSets/Main/val.txt": "a\nb/c\n"}, labels("scut"), IN_FOLDERS),
    "hollywood": Kind(
        VOC | {"Splits/test.txt": "a"}, labels("hollywood", split="test"), IN_FOLDERS
    ),
    "yolo": Kind(
        {
            "data.yaml": "path: .\ntrain: [images, list.txt]\nnames: {0: person, 1: head}\n"
            "kpt_shape: [2, 3]\n",
            "list.txt": "./images/a.jpg\n",
            "labels/a.txt": "1 .5 .5 .25 .2\n0 .5 .5 .2 .2 .1 .1 2 .9 .9 0\n",
        },
        labels("yolo"),
        ("images/a.jpg", "images/b/c.jpg"),
    ),
    "yolo without a description": Kind(
        {"classes.txt": "person\nhead\n", "labels/a.txt": "1 .5 .5 .2 .2\n0 .1 .1 .3 .1 .2 .4\n"},
        labels("yolo"),
        ("images/a.jpg",),
    ),
    "crowdhuman": Kind(
        {
            "annotation_train.odgt": '{"ID": "a", "gtboxes": [{"tag": "person",'
            ' "hbox": [1, 2, 9, 9], "extra": {"ignore": 0}, "head_attr": {"ignore": 1}},'
            ' {"tag": "mask", "fbox": [1, 2, 3, 4]}]}\n{"ID": "b", "gtboxes": []}\n'
        },
        labels("crowdhuman"),
        ("Images/a.jpg",),
    ),
    "crohd": Kind(
        {
            "HT-1/gt/gt.txt": "1,1,5,7,9,9,1,1,1\n2,1,5,7,9,9,1,3,.5\n",
            "HT-1/seqinfo.ini": "[Sequence]\nimDir=img1\nseqLength=3\nimWidth=40\nimHeight=30\n"
            "imExt=.jpg\n",
        },
        labels("crohd"),
        ("HT-1/img1/000001.jpg",),
    ),
    "brainwash": Kind(
        {"brainwash_train.idl": '"a.jpg": (1, 2, 9, 9):0.5/1, (9, 9, 1, 2);\n"b/c.jpg";\n'},
        labels("brainwash"),
        ("a.jpg",),
    ),
    "headhunter": Kind(
        {"labels.txt": "# a.jpg\n1 2 9 9 0\n1 2 3.5 4 -1\n# b/c.jpg\n"},
        labels("headhunter", "labels.txt"),
        ("a.jpg",),
    ),
    "folder": Kind({"a.jpg": "no picture", "frame10.png": "", "b/c.jpg": ""}, labels("folder")),
    "detections.json": Kind({"d.json": json.dumps(records())}, detections("d.json")),
    "detections.ndjson": Kind(
        {"d.ndjson": json.dumps(RECORD) + '\n{"file": "b/c.jpg", "error": "empty"}\n'},
        detections("d.ndjson"),
    ),
    "detections.csv": Kind(
        {"d.csv": "file,frame,seconds,id,x1,y1,x2,y2,score\na.jpg,,,,1,2,9,9.5,.5\n"},
        detections("d.csv"),
    ),
    "coco results": Kind({"r.json": json.dumps(results())}, detections("r.json")),
    "mot": Kind(
        {"b.txt": "1,-1,2,3,9,9.5,.5,-1,-1,-1\n1,7,2,3,9,9,.5,1,1\n1 -1 2 3 9 9 1\n"},
        detections("b.txt"),
    ),
    "yolo results": Kind(
        {
            "labels/a.txt": "1 .5 .5 .1 .1 .75\n0 .5 .5 .1 .1\n",
            "labels/b/c.txt": "1 .5 .5 .1 .1 .5\n",
            "labels/classes.txt": "person\nhead\n",
        },
        detections("labels"),
    ),
}


def damaged_json(content: bytes, chance: random.Random) -> bytes:
    """Put an odd value in place of some value, or take a key away."""
    try:
        value = json.loads(content)
    except ValueError:
        return damaged_bytes(content, chance)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = node.keys() if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    for _ in range(chance.choice((1, 1, 2))):
        node, key = chance.choice(places)
        if chance.random() < 0.2:
            if isinstance(node, dict):
                node.pop(key, None)
        elif isinstance(node, dict) or key < len(node):
            node[key] = chance.choice(ODD)
    return json.dumps(value).encode()


def damaged_bytes(content: bytes, chance: random.Random) -> bytes:
    """Cut, repeat, exchange or put in bytes and words."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        start = chance.randrange(len(content) + 1)
        end = min(len(content), start + chance.choice((0, 1, 1, 3, 20)))
        action = chance.randrange(6)
        if action == 0:
            content = content[:start] + chance.choice(TOKENS) + content[end:]
        elif action == 1:
            content = content[:start]
        elif action == 2:
            content = content[:start] + content[start:end] * chance.choice((2, 50)) + content[end:]
        elif action == 3:
            content = content[:start] + chance.randbytes(end - start) + content[end:]
        elif action == 4:
            lines = content.splitlines(keepends=True)
            chance.shuffle(lines)
            content = b"".join(lines)
        else:
            words = content.split(b" ")
            words[chance.randrange(len(words))] = chance.choice(TOKENS)
            content = b" ".join(words)
    if chance.random() < 0.05:
        return content.decode("latin-1").encode("utf-16")
    return content


def damaged(name: str, content: bytes, chance: random.Random) -> bytes:
    if name.endswith(".json") and chance.random() < 0.6:
        return damaged_json(content, chance)
    lines = content.splitlines(keepends=True)
    if name.endswith((".odgt", ".ndjson")) and lines and chance.random() < 0.6:
        number = chance.randrange(len(lines))
        lines[number] = damaged_json(lines[number], chance) + b"\n"
        return b"".join(lines)
    return damaged_bytes(content, chance)


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("jpeg") / "a.jpg"
    Image.new("RGB", (40, 30)).save(path)
    return path.read_bytes()


def attempts(kind: Kind, folder: Path, chance: random.Random) -> Iterator[tuple[str, bytes]]:
    """Damage one file after another, each time with all others sound."""
    for _ in range(NUM_PER_KIND * ROUNDS):
        name = chance.choice(sorted(kind.files))
        path, sound = folder / name, kind.files[name].encode()
        content = damaged(name, sound, chance)
        path.write_bytes(content)
        yield name, content
        path.write_bytes(sound)


def check_read(value: object) -> None:
    """Make sure that what was read can be used: numbers that are finite, notes of one line."""
    if isinstance(value, AnnotatedSet):
        assert all(np.isfinite(image.truth.boxes).all() for image in value.images)
        assert all(image.image_size is None or min(image.image_size) > 0 for image in value.images)
    for note in getattr(value, "notes", ()):
        assert "\n" not in note


def read_and_check(kind: Kind, folder: Path, chance: random.Random) -> None:
    check_read(kind.read(folder))  # sound as it is
    refusals = []
    for name, content in attempts(kind, folder, chance):
        try:
            check_read(kind.read(folder))
        except HeadDetectionError as error:
            refusals.append(str(error))
        except Exception as error:  # noqa: BLE001 - any other is what is looked for
            pytest.fail(f"{type(error).__name__}: {error} for {name}: {content[:300]!r}")
    assert len(refusals) < NUM_PER_KIND * ROUNDS
    for text in refusals:
        assert "\n" not in text
        assert len(text) < LONGEST_LINE


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_read_or_refused_in_one_line(
    tmp_path: Path, jpeg: bytes, name: str
) -> None:
    kind = KINDS[name]
    for file, text in kind.files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    for picture in kind.pictures:
        (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / picture).write_bytes(jpeg)
    read_and_check(kind, tmp_path, random.Random(f"{SEED} {name} {ROUNDS}"))  # noqa: S311
