"""Labels as other tools export them: read, or refused with the true reason and what to export."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.testing as npt
import pytest

from head_detection.config import DatasetConfig
from head_detection.data.annotations import AnnotatedSet, find_problems
from head_detection.data.formats import load_annotations
from head_detection.data.formats.collector import NO_HEADS
from head_detection.errors import AnnotationError

Write = Callable[..., Path]
BOX = {"bbox": [4, 6, 10, 12], "iscrowd": 0, "area": 120}  # (4, 6, 14, 18)
HEAD = "0 0.5 0.5 0.25 0.2"  # of 40 x 30: (15, 12, 25, 18)
XML_BOX = "<bndbox><xmin>5</xmin><ymin>7</ymin><xmax>14</xmax><ymax>18</ymax></bndbox>"
SIZE = "<size><width>40</width><height>30</height></size>"


def load(path: Path, kind: str, **more: Any) -> AnnotatedSet:
    return load_annotations(DatasetConfig(path=str(path), format=kind, **more))


def coco(*file_names: str, **more: Any) -> str:
    images = [
        {"id": n, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(file_names)
    ]
    annotations = [{"id": n, "image_id": n, "category_id": 0, **BOX} for n in range(len(images))]
    categories = [{"id": 0, "name": "head", "supercategory": ""}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return json.dumps(content | more)


def voc(root: str = "<annotation>", end: str = "</annotation>") -> str:
    return f"{root}{SIZE}<object><name>head</name>{XML_BOX}</object>{end}"


def check(annotated: AnnotatedSet, *names: str) -> None:
    """Make sure of the pictures and that each is there and has its one head."""
    assert [image.file_name for image in annotated.images] == list(names)
    assert annotated.num_heads == len(names)
    assert find_problems([annotated]) == []


@pytest.mark.parametrize(
    ("labels", "stated", "place"),
    [
        pytest.param("result.json", "images/a.jpg", "images/a.jpg", id="Label Studio"),
        pytest.param("result.json", "images\\a.jpg", "images/a.jpg", id="its Windows"),
        pytest.param("labels.json", "a.jpg", "data/a.jpg", id="FiftyOne"),
        pytest.param("_annotations.coco.json", "a.rf.1f3e.jpg", "a.rf.1f3e.jpg", id="Roboflow"),
        pytest.param("annotations/in_default.json", "a.jpg", "images/default/a.jpg", id="CVAT"),
        pytest.param("annotations/in_default.json", "default/a.jpg", "images/a.jpg", id="CVAT 2"),
        pytest.param("annotations/in_val2017.json", "a.jpg", "val2017/a.jpg", id="COCO"),
        pytest.param("Annotations/train.json", "a.jpg", "Images/a.JPG", id="capital folders"),
        pytest.param("annotations/train.json", "images/a.jpg", "images/a.jpg", id="parent"),
        pytest.param("coco.json", "Images/A.jpg", "images/a.jpg", id="letter case"),
    ],
)
def test_coco_of_many_tools(
    tmp_path: Path, text: Write, picture: Write, labels: str, stated: str, place: str
) -> None:
    path = text(labels, coco(stated))
    expected = picture(place)
    for given in (path, path.parent):  # a folder with one file is that file
        annotated = load(given, "coco")
        assert annotated.images[0].path.resolve() == expected
        assert annotated.num_heads == 1
        assert find_problems([annotated]) == []
    npt.assert_array_equal(annotated.images[0].truth.boxes, [[4, 6, 14, 18]])


def test_a_folder_of_coco_files_says_which_there_are(tmp_path: Path, text: Write) -> None:
    for split in ("train", "valid"):
        text(f"set/{split}/_annotations.coco.json", coco("a.jpg"))
    with pytest.raises(AnnotationError, match=r"give one of train/_annotations\.coco\.json, val"):
        load(tmp_path / "set", "coco")


def test_what_names_share_is_left_out_for_all_or_for_none(
    tmp_path: Path, text: Write, picture: Write
) -> None:
    path = text("labels.json", coco("s/a/1.jpg", "s/b/1.jpg"))
    for name in ("a/1.jpg", "b/1.jpg", "1.jpg"):
        picture(name)
    check(load(path, "coco"), "a/1.jpg", "b/1.jpg")
    for name in ("a", "b"):  # then 1.jpg is none of the two
        (tmp_path / name / "1.jpg").unlink()
    assert [image.file_name for image in load(path, "coco").images] == ["s/a/1.jpg", "s/b/1.jpg"]


@pytest.mark.parametrize("kind", ["coco", "headhunter", "brainwash", "yolo", "voc"])
def test_whole_paths_inside_the_set_are_read_and_others_refused(
    tmp_path: Path, text: Write, picture: Write, kind: str
) -> None:
    def write(place: Path) -> Path:
        name = (place / "a.jpg").as_posix()
        if kind == "coco":
            return text("set/labels.json", coco(name))
        if kind == "headhunter":
            return text("set/labels.txt", f"# {name}\n4 6 14 18 0\n")
        if kind == "brainwash":
            return text("set/labels.idl", f'"{name}": (4, 6, 14, 18);\n')
        if kind == "voc":
            text("set/ImageSets/Main/train.txt", name)
            return text("set/Annotations/a.xml", voc()).parent.parent
        text("set/data.yaml", "train: train.txt\nnames: [head]")
        text("set/labels/a.txt", HEAD)
        return text("set/train.txt", name).parent

    folder = {"voc": "JPEGImages"}.get(kind, "images")
    picture(f"set/{folder}/a.jpg")
    annotated = load(write(tmp_path / "set" / folder), kind)
    assert [image.path.name for image in annotated.images] == ["a.jpg"]
    assert annotated.num_heads == 1
    assert find_problems([annotated]) == []
    with pytest.raises(AnnotationError, match=r"inside its folder, relative to .*set") as caught:
        load(write(tmp_path / "elsewhere"), kind)
    assert "\n" not in str(caught.value)


def test_yolo_folders_by_whole_paths(tmp_path: Path, text: Write, picture: Write) -> None:
    text("data.yaml", f"train: {tmp_path.as_posix()}/images/train\nnames: {{'0': head}}")
    text("labels/train/a.txt", HEAD)
    picture("images/train/a.jpg")
    check(load(tmp_path, "yolo"), "train/a.jpg")


def test_yolo_of_cvat(tmp_path: Path, text: Write, picture: Write) -> None:
    for folder, prefix in (("new", "images/train/"), ("old", "data/images/train/")):
        text(f"{folder}/data.yaml", "path: ./\ntrain: train.txt\nnames:\n  0: head\n")
        text(f"{folder}/train.txt", f"{prefix}a.jpg\n{prefix}b.jpg\n")
        for name in ("a", "b"):
            picture(f"{folder}/images/train/{name}.jpg")
            text(f"{folder}/labels/train/{name}.txt", HEAD)
        check(load(tmp_path / folder, "yolo"), "train/a.jpg", "train/b.jpg")


def test_darknet_s_folder_of_cvat(tmp_path: Path, text: Write, picture: Write) -> None:
    text("obj.names", "person\nhead\n")
    description = text("obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    text("obj_train_data/a.txt", "1 0.5 0.5 0.25 0.2\n0 0.5 0.5 0.9 0.9\n")
    picture("obj_train_data/a.jpg")
    check(load(tmp_path, "yolo"), "obj_train_data/a.jpg")
    with pytest.raises(AnnotationError, match=r"for Darknet's obj\.data give its folder"):
        load(description, "yolo")


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("Images", "Labels")])
def test_yolo_of_label_studio_and_capital_folders(
    tmp_path: Path, text: Write, picture: Write, images: str, labels: str
) -> None:
    text("classes.txt", "head\nperson\n")
    text("notes.json", "{}")
    text(f"{labels}/a.txt", HEAD)
    picture(f"{images}/a.jpg")
    check(load(tmp_path, "yolo"), "a.jpg")


@pytest.mark.parametrize(
    ("labels", "pictures", "kind"),
    [
        ("annotations", "images", "voc"),
        ("ANNOTATIONS", "jpegimages", "voc"),
        ("Annotations", "Images", "voc"),
        ("annotations", ".", "voc"),
        ("annotations", "jpegimages", "scut"),
        ("annotations", "jpegimages", "hollywood"),
    ],
)
def test_folders_of_voc_in_any_letter_case(
    tmp_path: Path, text: Write, picture: Write, labels: str, pictures: str, kind: str
) -> None:
    text(f"set/{labels}/a.xml", voc())
    picture(f"set/{pictures}/a.jpg")
    annotated = load(tmp_path / "set", kind)
    assert annotated.num_heads == 1
    assert find_problems([annotated]) == []


def test_voc_of_cvat_has_one_list(tmp_path: Path, text: Write, picture: Write) -> None:
    text("ImageSets/Main/default.txt", "a\n")
    text("Annotations/a.xml", voc())
    picture("JPEGImages/a.jpg")
    check(load(tmp_path, "voc"), "a.jpg")
    text("ImageSets/Main/test.txt", "a\n")
    with pytest.raises(AnnotationError, match=r"no such list .* default\.txt, test\.txt"):
        load(tmp_path, "voc")


@pytest.mark.parametrize(
    ("root", "end"),
    [
        ('<annotation xmlns="http://example.org/voc">', "</annotation>"),
        ('<v:annotation xmlns:v="urn:voc" xmlns="urn:voc">', "</v:annotation>"),
    ],
)
def test_xml_with_a_namespace(
    tmp_path: Path, text: Write, picture: Write, root: str, end: str
) -> None:
    text("Annotations/a.xml", voc(root, end))
    picture("JPEGImages/a.jpg")
    annotated = load(tmp_path, "voc")
    check(annotated, "a.jpg")
    npt.assert_array_equal(annotated.images[0].truth.boxes, [[4, 6, 14, 18]])
    text("Annotations/a.xml", voc(root, end).replace("<xmax>14</xmax>", ""))
    with pytest.raises(AnnotationError, match="line 1: object 0: expected a box of four"):
        load(tmp_path, "voc")


def test_objects_with_a_prefix_have_their_line(tmp_path: Path, text: Write, picture: Write) -> None:
    prefixed = voc('<v:annotation xmlns:v="urn:v">\n', "</v:annotation>")
    for tag in ("size", "width", "height", "object", "name", "bndbox", "xmin", "ymin", "ymax"):
        prefixed = prefixed.replace(f"<{tag}>", f"<v:{tag}>").replace(f"</{tag}>", f"</v:{tag}>")
    text("a.xml", prefixed.replace("xmax", "v:xmax"))
    picture("a.jpg")
    check(load(tmp_path, "voc"), "a.jpg")
    text("a.xml", prefixed.replace("xmax", "other"))
    with pytest.raises(AnnotationError, match="line 2: object 0: expected a box of four"):
        load(tmp_path, "voc")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "<annotations><version>1.1</version><image id='0' name='a.jpg'/></annotations>",
            "<annotations>: CVAT for images or video: export PASCAL VOC, COCO or Ultralytics YOLO",
        ),
        ("<dataset><images/></dataset>", "<dataset>: dlib's imglab"),
        ("<html/>", "<html>: XML of another kind"),
        (voc().replace(XML_BOX, "<robndbox><cx>5</cx></robndbox>"), "in bndbox, got a rotated box"),
        (voc().replace(XML_BOX, "<polygon><x1>5</x1></polygon>"), "in bndbox, got an outline"),
    ],
)
@pytest.mark.parametrize("is_file", [False, True])
def test_xml_that_is_no_voc_is_never_a_picture_without_heads(
    tmp_path: Path, text: Write, picture: Write, content: str, reason: str, is_file: bool
) -> None:
    path = text("annotations.xml", content)
    picture("a.jpg")
    with pytest.raises(AnnotationError) as caught:
        load(path if is_file else tmp_path, "voc")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


FOREIGN = [
    ({"version": "5", "shapes": [], "imagePath": "a.jpg"}, "labelme"),
    ({"_via_settings": {}, "_via_img_metadata": {}}, "VIA"),
    ({"a.jpg123": {"filename": "a.jpg", "size": 123, "regions": []}}, "VIA"),
    ({"info": {}, "categories": {"label": {}}, "items": []}, "Datumaro"),
    ({"description": "", "tags": [], "size": {}, "objects": []}, "Supervisely"),
    ({"classes": [], "tags": []}, "Supervisely"),
    ([{"id": 1, "annotations": [], "data": {"image": "/data/upload/a.jpg"}}], "Label Studio"),
    ([{"image": "a.jpg", "id": 1, "annotator": 1}], "Label Studio"),
    ({"samples": [{"filepath": "a.jpg"}]}, "FiftyOne"),
    ([{"image_id": 1, "bbox": [0, 0, 1, 1], "score": 0.5}], "COCO results, which are detections"),
    ({"schema": "head-detection/detections/2", "images": []}, "this project's detections"),
]


@pytest.mark.parametrize(("content", "tool"), FOREIGN)
def test_json_of_other_tools_is_named(
    tmp_path: Path, text: Write, picture: Write, content: Any, tool: str
) -> None:
    path = text("set/a.json", json.dumps(content))
    with pytest.raises(AnnotationError, match=f"expected a COCO JSON file; this is {tool}"):
        load(path, "coco")
    text("set/b.json", json.dumps(content))
    picture("set/a.jpg")
    for kind in ("coco", "voc", "yolo"):
        with pytest.raises(AnnotationError, match=rf"set: expected .*; a\.json is {tool}") as error:
            load(path.parent, kind)
        assert "\n" not in str(error.value)


def test_keypoints_beside_boxes(tmp_path: Path, text: Write, picture: Write) -> None:
    """Two keypoints of three numbers: eleven fields, which would pass for an outline."""
    text("data.yaml", "train: images\nnames: [head]\nkpt_shape: [2, 3]\n")
    text("labels/a.txt", f"{HEAD} 0.1 0.1 2 0.9 0.9 0\n{HEAD}\n")
    picture("images/a.jpg")
    annotated = load(tmp_path, "yolo")
    npt.assert_allclose(annotated.images[0].truth.boxes, [[15, 12, 25, 18]] * 2, rtol=1e-6)
    assert annotated.notes == ("boxes with keypoints, which are left out: 1",)
    for bad, reason in (
        (f"{HEAD} 0.1 0.1", "'class x y width height' and 6 of keypoints, got 7 fields"),
        (f"{HEAD} 0.1 0.1 2 0.9 0.9 x", "expected a box of four numbers"),
    ):
        text("labels/a.txt", bad)
        with pytest.raises(AnnotationError, match=reason):
            load(tmp_path, "yolo")
    text("data.yaml", "train: images\nnames: [head]\n")
    text("labels/a.txt", f"{HEAD} 0.1 0.1 2 0.9 0.9 0\n")
    with pytest.raises(AnnotationError, match=r"keypoint, which data\.yaml announces as kpt_shape"):
        load(tmp_path, "yolo")


@pytest.mark.parametrize(
    "shape", ["2", "[2]", "[2, 4]", "[0, 2]", "[a, 2]", "[2, 3, 1]", "[.5, 2]"]
)
def test_a_shape_of_keypoints_that_is_none(
    tmp_path: Path, text: Write, picture: Write, shape: str
) -> None:
    text("data.yaml", f"train: images\nnames: [head]\nkpt_shape: {shape}\n")
    picture("images/a.jpg")
    with pytest.raises(AnnotationError, match="kpt_shape: expected the number of keypoints"):
        load(tmp_path, "yolo")


def test_outlines_and_rotated_boxes(tmp_path: Path, text: Write, picture: Write) -> None:
    text("data.yaml", "train: images\nnames: [head]\n")
    text("labels/a.txt", "0 .25 .1 .5 .1 .5 .5 .25 .5\n0 .25 .1 .5 .1 .5 .5\n")
    picture("images/a.jpg")
    annotated = load(tmp_path, "yolo")
    npt.assert_allclose(annotated.images[0].truth.boxes, [[10, 3, 20, 15]] * 2, rtol=1e-6)


@pytest.mark.parametrize("made", [float, str, lambda n: f"{n}.0"])
def test_numbers_from_a_program_for_tables(
    tmp_path: Path, text: Write, picture: Write, made: Callable[[int], Any]
) -> None:
    images = [{"id": made(3), "file_name": "a.jpg", "width": made(40), "height": made(30)}]
    boxes = [
        {"image_id": 3, "category_id": made(2), **BOX},
        {"image_id": "3.0", "category_id": 2, **BOX},
    ]
    categories = [{"id": made(2), "name": "head"}, {"id": made(1), "name": "person"}]
    content = {"images": images, "annotations": boxes, "categories": categories}
    path = text("labels.json", json.dumps(content))
    picture("a.jpg")
    (image,) = load(path, "coco").images
    assert (len(image.truth.head_boxes), image.image_size, image.label_id) == (2, (30, 40), 3)


def test_sizes_and_marks_of_voc_from_a_program_for_tables(
    tmp_path: Path, text: Write, picture: Write
) -> None:
    label = voc().replace("40</w", "40.0</w").replace("</name>", "</name><difficult>{}</difficult>")
    picture("a.jpg")
    for mark, is_ignored in (("0.0", False), ("False", False), ("1.0", True), ("True", True)):
        text("a.xml", label.format(mark))
        (image,) = load(tmp_path, "voc").images
        assert image.image_size == (30, 40)
        assert image.truth.ignore.tolist() == [is_ignored]


def test_roboflow_s_first_category_only_groups(tmp_path: Path, text: Write) -> None:
    categories = [
        {"id": 0, "name": "faces-xyz", "supercategory": "none"},
        {"id": 1, "name": "face", "supercategory": "faces-xyz"},
    ]
    boxes = [{"image_id": 0, "category_id": 1, **BOX}]
    path = text("l.json", coco("a.jpg", categories=categories, annotations=boxes))
    annotated = load(path, "coco")
    assert annotated.num_heads == 1
    assert annotated.notes == ("boxes of the only category 'face', taken for heads: 1",)


def test_ids_and_classes_are_those_of_the_labels(tmp_path: Path, text: Write) -> None:
    categories = [{"id": 4, "name": "person"}, {"id": "h", "name": "human head"}]
    path = text("l.json", coco("a.jpg", "b.jpg", categories=categories, annotations=[]))
    annotated = load(path, "coco")
    assert [image.label_id for image in annotated.images] == [0, 1]
    classes = [(c.scheme, c.label_id, c.name, c.is_head) for c in annotated.classes]
    assert classes == [("coco", 4, "person", False), ("coco", "h", "human head", True)]


SIZES = {"a": (40, 30), "b": (40, 30), "square": (30, 30), "right": (30, 40)}
"""Of pictures whose labels all say 30 x 40."""


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_width_and_height_exchanged_are_put_right(
    tmp_path: Path, text: Write, picture: Write, kind: str
) -> None:
    stated_size = "<size><width>30</width><height>40</height></size>"
    for name, size in SIZES.items():
        picture(f"set/JPEGImages/{name}.jpg", size)
        label = voc().replace(SIZE, stated_size).replace("<xmax>14", "<xmax>38")
        text(f"set/Annotations/{name}.xml", label)
    path = tmp_path / "set"
    if kind == "coco":
        images = [
            {"id": n, "file_name": f"{name}.jpg", "width": 30, "height": 40}
            for n, name in enumerate(SIZES)
        ]
        box = {"category_id": 0, **BOX, "bbox": [4, 6, 34, 12]}
        boxes = [{"image_id": n, **box} for n in range(len(SIZES))]
        path = text("set/JPEGImages/l.json", coco(images=images, annotations=boxes))
    annotated = load(path, kind)
    stated = {image.path.stem: image.image_size for image in annotated.images}
    assert stated == {"a": (30, 40), "b": (30, 40), "square": (40, 30), "right": (40, 30)}
    assert annotated.notes == (
        "boxes that reach outside their picture, kept: 2",
        "pictures whose labels exchange width and height, put right: 2",
    )


def test_an_exchange_without_pictures_is_noted(tmp_path: Path, text: Write) -> None:
    images = [{"id": 0, "file_name": "a.jpg", "width": 10, "height": 40}]
    box = {"image_id": 0, "category_id": 0, **BOX, "bbox": [4, 2, 10, 6]}
    annotated = load(text("l.json", coco(images=images, annotations=[box])), "coco")
    assert annotated.images[0].image_size == (40, 10)
    seems = "pictures whose labels exchange width and height as it seems by their boxes: 1"
    assert annotated.notes[1] == seems


@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "headhunter"])
def test_labels_without_a_single_head_say_so_first(
    tmp_path: Path, text: Write, picture: Write, kind: str
) -> None:
    picture("images/a.jpg")
    paths = {
        "coco": text("labels.json", coco("a.jpg", annotations=[])),
        "voc": text("Annotations/a.xml", "<annotation/>").parent.parent,
        "yolo": text("labels/a.txt", "").parent.parent,
        "headhunter": text("labels.txt", "# a.jpg"),
    }
    assert load(paths[kind], kind).notes[0] == f"{NO_HEADS}: 1"


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(("stated", "there"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
@pytest.mark.parametrize("kind", ["coco", "voc", "yolo", "crowdhuman", "headhunter"])
def test_letters_with_marks_however_composed(
    tmp_path: Path, text: Write, picture: Write, kind: str, stated: str, there: str
) -> None:
    name = f"{stated}/{stated}"
    person = {"tag": "person", "hbox": [4, 6, 9, 9]}
    paths = {
        "coco": text("labels.json", coco(f"{name}.jpg")),
        "voc": text(f"Annotations/{name}.xml", voc()).parents[2],
        "yolo": text(f"labels/{name}.txt", HEAD).parents[2],
        "crowdhuman": text("x.odgt", json.dumps({"ID": name, "gtboxes": [person]})),
        "headhunter": text("x.txt", f"# images/{name}.jpg\n4 6 14 18\n"),
    }
    folder = "Images" if kind == "crowdhuman" else "images"
    expected = picture(f"{folder}/{there}/{there}.jpg")
    annotated = load(paths[kind], kind)
    assert [image.path for image in annotated.images] == [expected]
    assert annotated.num_heads == 1


@pytest.mark.parametrize("extension", ["jfif", "avif", "jp2", "mpo", "JPE", "tiff"])
@pytest.mark.parametrize("kind", ["voc", "yolo", "crowdhuman", "crohd", "folder", "scut"])
def test_every_extension_that_test_reads(
    tmp_path: Path, text: Write, extension: str, kind: str
) -> None:
    name = {"crohd": "000001"}.get(kind, "a.b")
    folders = {"voc": "JPEGImages", "scut": "JPEGImages", "crohd": "img1", "crowdhuman": "Images"}
    text(f"set/{folders.get(kind, 'images')}/{name}.{extension}", "none")
    text(f"set/Annotations/{name}.xml", voc())
    text(f"set/labels/{name}.txt", HEAD)
    text("set/gt/gt.txt", "1,1,5,7,9,9,1,1,1\n")
    text("set/annotation_train.odgt", json.dumps({"ID": name, "gtboxes": []}))
    (image,) = load(tmp_path / "set", kind).images
    assert image.path.name == f"{name}.{extension}"
    assert image.path.is_file()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_text_as_windows_writes_it(
    tmp_path: Path, text: Write, picture: Write, encoding: str
) -> None:
    path = text("labels.json", coco("a.jpg"), encoding=encoding)
    picture("a.jpg")
    check(load(path, "coco"), "a.jpg")


@pytest.mark.parametrize("kind", ["folder", "voc", "yolo", "scut", "hollywood"])
def test_pictures_of_a_folder_are_in_natural_order(
    tmp_path: Path, text: Write, picture: Write, kind: str
) -> None:
    numbers = (1, 2, 10, 11, 100)
    for number in numbers:
        picture(f"set/JPEGImages/frame{number}.jpg")
        text(f"set/Annotations/frame{number}.xml", voc())
        text(f"set/JPEGImages/frame{number}.txt", HEAD)
    place = tmp_path / "set" / ("JPEGImages" if kind in ("folder", "yolo") else "")
    names = [image.path.name for image in load(place, kind).images]
    assert names == [f"frame{number}.jpg" for number in numbers]


def test_sequences_are_in_natural_order(tmp_path: Path, text: Write) -> None:
    for number in (10, 1, 2):
        text(f"HT-{number}/gt/gt.txt", "1,1,5,7,9,9,1,1,1\n")
    names = [image.file_name for image in load(tmp_path, "crohd").images]
    assert names == [f"HT-{number}/img1/000001.jpg" for number in (1, 2, 10)]


@pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "a/" * 3000 + "b.jpg", "\u00e9" * 130])
def test_names_that_no_file_can_have(tmp_path: Path, text: Write, name: str) -> None:
    with pytest.raises(AnnotationError, match="expected a name that a file can have"):
        load(text("labels.json", coco(name)), "coco")
