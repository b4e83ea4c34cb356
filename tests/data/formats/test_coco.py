"""COCO JSON, good and bad."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.testing as npt
import pytest
from PIL import Image
from pycocotools.coco import COCO

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth, find_problems
from head_detection.data.formats.coco import read_coco, write_coco
from head_detection.errors import AnnotationError

HEADS = [{"id": 7, "name": "Head"}]


def write(folder: Path, **content: Any) -> Path:
    path = folder / "labels.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def picture(key: object = 1, name: object = "a.jpg", **more: Any) -> dict[str, Any]:
    return {"id": key, "file_name": name, **more}


def box(key: object = 1, category: int = 7, **more: Any) -> dict[str, Any]:
    return {"image_id": key, "category_id": category, "bbox": [10, 20, 30, 40], **more}


def read_one(folder: Path, *annotations: dict[str, Any], **more: Any) -> AnnotatedImage:
    content = {"images": [picture()], "annotations": annotations, "categories": HEADS, **more}
    (image,) = read_coco(write(folder, **content)).images
    return image


def test_bbox_is_left_top_width_height(tmp_path: Path) -> None:
    image = read_one(tmp_path, box(), images=[picture(height=100, width=200)])
    npt.assert_array_equal(image.truth.boxes, np.array([[10, 20, 40, 60]], np.float32))
    assert image.image_size == (100, 200)
    assert image.file_name == "a.jpg"


@pytest.mark.parametrize("folder", ["images", "data", "Pictures", "."])
def test_pictures_lie_in_the_usual_folders(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "a.jpg").touch()
    assert read_one(tmp_path).path == tmp_path / folder / "a.jpg"


def test_crowds_and_ignored_are_regions_to_ignore(tmp_path: Path) -> None:
    image = read_one(tmp_path, box(iscrowd=1), box(ignore=1), box(iscrowd=0, ignore=0), box())
    npt.assert_array_equal(image.truth.ignore, [True, True, False, False])


def test_flags_that_a_spreadsheet_wrote_are_restored(tmp_path: Path) -> None:
    boxes = [box(iscrowd=flag) for flag in ("1", "0", "1.0", 1.0, True, None, "")]
    image = read_one(tmp_path, *boxes)
    assert image.truth.ignore.tolist() == [True, False, True, True, True, False, False]


@pytest.mark.parametrize("flag", ["2", -1, 0.5, "yes", [0]])
def test_flags_must_be_flags(tmp_path: Path, flag: object) -> None:
    with pytest.raises(AnnotationError, match=r"annotations\[0\]: expected iscrowd and ignore"):
        read_one(tmp_path, box(iscrowd=flag))


def test_a_picture_without_annotations_has_no_heads(tmp_path: Path) -> None:
    assert read_one(tmp_path).truth.boxes.shape == (0, 4)


def test_only_heads_among_categories(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "person"}, *HEADS]
    image = read_one(tmp_path, box(category=1), box(), categories=categories)
    assert len(image.truth.boxes) == 1


def test_the_only_category_counts_whatever_its_name(tmp_path: Path) -> None:
    image = read_one(tmp_path, box(), categories=[{"id": 7, "name": "face"}])
    assert len(image.truth.boxes) == 1
    annotated = read_coco(tmp_path / "labels.json")
    assert annotated.notes == ("boxes of the only category 'face', taken for heads: 1",)


def test_other_categories_are_counted(tmp_path: Path) -> None:
    read_one(tmp_path, box(category=1), box(), categories=[{"id": 1, "name": "person"}, *HEADS])
    annotated = read_coco(tmp_path / "labels.json")
    assert annotated.notes == ("boxes of the category 'person', no heads, left out: 1",)


def test_a_category_that_is_not_declared(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"\[0\]: category_id 9 is not among"):
        read_one(tmp_path, box(category=9))


@pytest.mark.parametrize("name", ["../a.jpg", "/a.jpg", "a/../../b.jpg", "C:/a.jpg"])
def test_names_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(AnnotationError, match=r"image 1: expected (the|a) name"):
        read_one(tmp_path, images=[picture(name=name)])
    image = AnnotatedImage(Path("x"), name, build_truth([]), (3, 4))
    with pytest.raises(AnnotationError, match=r"expected (the|a) name"):
        write_coco(tmp_path / "out.json", AnnotatedSet("any", (image,)))


def test_letter_case_and_folders_of_windows(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.JPG").touch()
    image = read_one(tmp_path, images=[picture(name="a\\1.jpg")])
    assert (image.file_name, image.path) == ("a/1.jpg", tmp_path / "a" / "1.JPG")


def test_boxes_outside_and_sizes_of_zero(tmp_path: Path) -> None:
    outside = [picture(height=30, width=35), picture(2, "b.jpg", height=0, width=0)]
    read_one_of = {"images": outside, "annotations": [box(), box(2)], "categories": HEADS}
    annotated = read_coco(write(tmp_path, **read_one_of))
    assert annotated.notes == ("boxes that reach outside their picture, kept: 1",)
    assert annotated.num_heads == 2
    assert annotated.images[1].image_size is None


def test_several_categories_without_heads(tmp_path: Path) -> None:
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    with pytest.raises(AnnotationError, match="category named 'head'; got cat, dog"):
        read_one(tmp_path, categories=categories)


def test_no_categories_at_all(tmp_path: Path) -> None:
    content = {"images": [picture()], "annotations": [box()]}
    assert read_coco(write(tmp_path, **content)).num_heads == 1


def test_pictures_lie_in_images_or_beside_the_file(tmp_path: Path) -> None:
    assert read_one(tmp_path).path == tmp_path / "a.jpg"
    (tmp_path / "images").mkdir()
    assert read_one(tmp_path).path == tmp_path / "images" / "a.jpg"
    path = write(tmp_path, images=[picture()], annotations=[])
    assert read_coco(path, Path("elsewhere")).images[0].path == Path("elsewhere/a.jpg")


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"images": [], "annotations": []}', encoding="utf-8-sig")
    assert len(read_coco(path)) == 0


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"annotations": []}, "list of objects under 'images'"),
        ({"images": []}, "list of objects under 'annotations'"),
        ({"images": {}, "annotations": []}, "list of objects under 'images'"),
        ({"images": [1], "annotations": []}, "list of objects under 'images'"),
        ({"images": [picture(), picture()], "annotations": []}, r"images\[1\]: expected an id"),
        ({"images": [picture(None)], "annotations": []}, r"images\[0\]: expected an id"),
        ({"images": [picture([1])], "annotations": []}, r"images\[0\]: expected an id"),
        ({"images": [picture(name="")], "annotations": []}, r"images\[0\]: expected a file_name"),
        ({"images": [picture(name=3)], "annotations": []}, r"images\[0\]: expected a file_name"),
        ({"images": [], "annotations": [box()]}, r"annotations\[0\]: image_id 1 is not among"),
        ({"images": [], "annotations": [{}]}, r"annotations\[0\]: image_id None is not among"),
        (
            {"images": [picture()], "annotations": [box(bbox=[1, 2, 3])]},
            r"annotations\[0\]: expected a box of four numbers, got \[1, 2, 3\]",
        ),
        (
            {"images": [], "annotations": [], "categories": [{"id": {}}]},
            r"categories\[0\]: expected an id",
        ),
        (
            {
                "images": [],
                "annotations": [],
                "categories": [{"id": 1, "name": "head"}, {"id": 1, "name": "body"}],
            },
            r"categories\[1\]: expected an id of its own; 1 is 'head' and 'body'",
        ),
        (
            {"images": [picture()], "annotations": [box(bbox=[0.5, 0.25, 0.125, 0.25])]},
            "expected boxes in pixels; all lie between 0 and 1",
        ),
    ],
)
def test_bad_content(tmp_path: Path, content: dict[str, Any], text: str) -> None:
    path = write(tmp_path, **content)
    with pytest.raises(AnnotationError, match=text) as caught:
        read_coco(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "\x00"])
def test_what_is_no_json_object(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError, match="expected a") as caught:
        read_coco(path)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "no.json", tmp_path):
        with pytest.raises(AnnotationError, match="expected a COCO JSON file"):
            read_coco(path)


def test_round_trip(tmp_path: Path) -> None:
    truth = build_truth([((1, 2, 3.5, 4), False), ((5, 6, 7, 8), True)])
    images = (
        AnnotatedImage(tmp_path / "a.png", "a.png", truth, (30, 40)),
        AnnotatedImage(tmp_path / "b.png", "b.png", build_truth([]), (10, 20)),
    )
    path = tmp_path / "new" / "labels.json"
    write_coco(path, AnnotatedSet("any", images))
    again = read_coco(path, tmp_path)
    assert again.name == "new/labels"
    for image, expected in zip(again.images, images, strict=True):
        assert (image.path, image.image_size) == (expected.path, expected.image_size)
        npt.assert_array_equal(image.truth.boxes, expected.truth.boxes)
        npt.assert_array_equal(image.truth.ignore, expected.truth.ignore)


def test_pycocotools_reads_what_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = build_truth([((1, 2, 11, 22), False)])
    image = AnnotatedImage(Path("a.png"), "a.png", truth, (30, 40))
    path = tmp_path / "labels.json"
    write_coco(path, AnnotatedSet("any", (image,)))
    coco = COCO(str(path))
    (annotation,) = coco.loadAnns(coco.getAnnIds(catIds=coco.getCatIds(catNms=["head"])))
    assert (annotation["bbox"], annotation["area"]) == ([1, 2, 10, 20], 200)


@pytest.mark.parametrize(
    ("stated", "written"), [((7, 3), [7, 3]), ((7, "x"), [1, 2]), ((7, None), [1, 2])]
)
def test_ids_of_pictures_stay(tmp_path: Path, stated: Sequence[Any], written: list[int]) -> None:
    boxes = build_truth([((0.0, 1.0, 4.0, 6.0), False)])
    names = [f"{key}.jpg" for key in stated]
    images = [
        AnnotatedImage(Path("x"), name, boxes, (30, 40), key)
        for name, key in zip(names, stated, strict=True)
    ]
    write_coco(tmp_path / "x.json", AnnotatedSet("any", tuple(images)))
    content = json.loads((tmp_path / "x.json").read_text())
    assert [(i["file_name"], i["id"]) for i in content["images"]] == [
        *zip(names, written, strict=True)
    ]
    assert [box["image_id"] for box in content["annotations"]] == written


def test_a_size_is_needed_to_write(tmp_path: Path) -> None:
    image = AnnotatedImage(Path("a.png"), "a.png", build_truth([]), None)
    with pytest.raises(AnnotationError, match=r"a\.png: COCO needs the picture's size"):
        write_coco(tmp_path / "labels.json", AnnotatedSet("any", (image,)))
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_draws_heads_whole_stays_one(tmp_path):
    path = tmp_path / "heads.json"
    truth = build_truth([((-9, 0, 8, 8), False)])
    image = AnnotatedImage(tmp_path / "a.png", "a.png", truth, (20, 20))
    write_coco(path, AnnotatedSet("whole", (image,), boxes_may_reach_outside=True))
    Image.new("RGB", (20, 20)).save(image.path)
    annotated = read_coco(path)
    assert annotated.boxes_may_reach_outside
    assert find_problems([annotated]) == []
    write_coco(path, replace(annotated, boxes_may_reach_outside=False))
    (problem,) = find_problems([read_coco(path)])
    assert "reaches outside" in problem
