"""Pascal VOC folders as labelling tools write them."""

from collections.abc import Callable
from pathlib import Path

import numpy.testing as npt
import pytest

from head_detection.data.annotations import AnnotatedImage, AnnotatedSet, build_truth, find_problems
from head_detection.data.formats.collector import NO_HEADS
from head_detection.data.formats.voc import read_voc, write_voc
from head_detection.errors import AnnotationError

Write = Callable[..., Path]
BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax><ymax>20.5</ymax></bndbox>"
SIZE = "<size><width>40</width><height>30</height><depth>3</depth></size>"


def label(*names: str, size: str = SIZE, extra: str = "", file_name: str = "") -> str:
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose>{extra}{BOX}</object>"
        for name in names
    )
    return f"<annotation><filename>{file_name}</filename>{size}{objects}</annotation>"


@pytest.fixture
def one(tmp_path: Path, text: Write, picture: Write) -> Callable[[str], AnnotatedSet]:
    """Read a set of one label."""

    def read(content: str) -> AnnotatedSet:
        text("Annotations/a.xml", content)
        picture("JPEGImages/a.jpg")
        return read_voc(tmp_path)

    return read


def test_pixels_count_from_one_and_the_last_is_inside(
    one: Callable[[str], AnnotatedSet],
) -> None:
    annotated = one(label("head"))
    (image,) = annotated.images
    npt.assert_array_equal(image.truth.boxes, [[0, 1, 10, 20.5]])
    assert (image.file_name, image.image_size) == ("a.jpg", (30, 40))
    assert annotated.notes == ()
    assert find_problems([annotated]) == []


@pytest.mark.parametrize(
    ("encoding", "name"), [("ISO-8859-1", "Straße"), ("GB2312", "教室"), ("utf-16", "教室")]
)
def test_the_encoding_that_a_label_declares(
    tmp_path: Path, text: Write, picture: Write, encoding: str, name: str
) -> None:
    content = f"<?xml version='1.0' encoding='{encoding}' ?>\r\n" + label("head", file_name=name)
    text("Annotations/a.xml", content, encoding=encoding)
    picture("JPEGImages/a.jpg")
    assert read_voc(tmp_path).num_heads == 1
    for other in ("utf-8", "undefined", "no-such"):
        text("Annotations/a.xml", content.replace(encoding, other), encoding="gb18030")
        with pytest.raises(AnnotationError, match=r"a\.xml: expected a VOC label; not UTF-8 text"):
            read_voc(tmp_path)


def test_difficult_heads_are_ignored(one: Callable[[str], AnnotatedSet]) -> None:
    annotated = one(label("head", extra="<difficult>1</difficult>"))
    assert annotated.num_heads == 0
    assert annotated.notes == (f"{NO_HEADS}: 1", "regions to ignore: 1")
    for text in ("0", "", "Unspecified"):
        assert one(label("head", extra=f"<difficult>{text}</difficult>")).num_heads == 1


def test_typing_errors_count_and_other_things_do_not(one: Callable[[str], AnnotatedSet]) -> None:
    annotated = one(label("head", "Head", "haed", "helmet", "helmet", "hand", "hesd"))
    assert annotated.num_heads == 4
    assert annotated.notes == (
        "objects named 'haed', taken for heads: 1",
        "objects named 'hesd', taken for heads: 1",
        "objects named 'helmet', no heads, left out: 2",
        "objects named 'hand', no heads, left out: 1",
    )


def test_a_set_with_one_name_of_its_own(one: Callable[[str], AnnotatedSet]) -> None:
    annotated = one(label("person", "person", "persondd w"))
    assert annotated.num_heads == 3
    assert annotated.notes == (
        "objects named 'person', taken for heads: 2",
        "objects named 'persondd w', taken for heads: 1",
    )


def test_names_without_a_head_among_them_count_and_are_told(
    one: Callable[[str], AnnotatedSet],
) -> None:
    annotated = one(label("person", "adult", "person"))
    assert annotated.num_heads == 3
    assert annotated.notes == (
        "objects named 'adult', taken for heads: 1",
        "objects named 'person', taken for heads: 2",
    )


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_sizes_of_zero_are_not_known(one: Callable[[str], AnnotatedSet], size: str) -> None:
    annotated = one(label("head", size=size))
    assert annotated.images[0].image_size is None
    assert annotated.notes == ("labels without their picture's size: 1",)


def test_boxes_outside_and_without_area_are_kept(one: Callable[[str], AnnotatedSet]) -> None:
    outside = label("head").replace("<xmax>10", "<xmax>99")
    annotated = one(outside)
    assert annotated.notes == ("boxes that reach outside their picture, kept: 1",)
    (problem,) = find_problems([annotated])
    assert "reaches outside the 40x30 picture" in problem
    (problem,) = find_problems([one(label("head").replace("<xmax>10", "<xmax>0"))])
    assert "has no area" in problem


def test_one_name_in_two_folders(tmp_path: Path, text: Write, picture: Write) -> None:
    for folder in ("a", "b"):
        text(f"Annotations/{folder}/1.xml", label("head"))
        picture(f"JPEGImages/{folder}/1.JPG")
    annotated = read_voc(tmp_path)
    assert [image.file_name for image in annotated.images] == ["a/1.JPG", "b/1.JPG"]
    assert find_problems([annotated]) == []


def test_labels_beside_their_pictures(tmp_path: Path, text: Write, picture: Write) -> None:
    for name in ("train/a", "train/b"):
        text(f"{name}.xml", label("head"))
        picture(f"{name}.jpg")
    picture("train/c.jpg")
    annotated = read_voc(tmp_path)
    assert [image.file_name for image in annotated.images] == ["train/a.jpg", "train/b.jpg"]
    assert annotated.notes == ("pictures without a label, left out: 1",)


def test_lists(tmp_path: Path, text: Write, picture: Write) -> None:
    for name in ("a", "b", "my c"):
        text(f"Annotations/{name}.xml", label("head"))
        picture(f"images/{name}.png")
    text("ImageSets/Main/night.txt", "my c\r\nb.png\r\n")
    text("ImageSets/Main/train.txt", "a\n")
    for split, names in (("night", ["my c.png", "b.png"]), (None, ["a.png"])):
        assert [i.file_name for i in read_voc(tmp_path, split).images] == names
    text("Annotations/d.jpg.xml", label("head"))
    picture("images/d.jpg.png")
    text("ImageSets/Main/twice.txt", "d.jpg\nd.jpg.png\na.png\n")
    assert [i.file_name for i in read_voc(tmp_path, "twice").images] == ["d.jpg.png", "a.png"]
    with pytest.raises(AnnotationError, match=r"day\.txt: no such list .* night\.txt, train"):
        read_voc(tmp_path, "day")


def test_the_name_in_the_file_when_its_own_is_not_there(
    tmp_path: Path, text: Write, picture: Write
) -> None:
    text("Annotations/1.xml", label("head", file_name="C:\\pictures\\photo.jpg"))
    text("Annotations/2.xml", label("head", file_name="../../photo2.jpg"))
    picture("JPEGImages/photo.jpg")
    annotated = read_voc(tmp_path)
    assert [image.file_name for image in annotated.images] == ["photo.jpg", "2.jpg"]
    assert annotated.notes == ("labels without a picture, kept: 1",)
    (problem,) = find_problems([annotated])
    assert "2.jpg: no such file" in problem


def test_what_is_no_set(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="expected XML files in Annotations"):
        read_voc(tmp_path)
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(AnnotationError, match="JPEGImages: expected the folder of the pictures"):
        read_voc(tmp_path)


def an_image(name: str, image_size: tuple[int, int] | None = (30, 40)) -> AnnotatedImage:
    rows = [((0.0, 1.0, 10.0, 20.5), False), ((1.0, 1.0, 5.0, 5.0), True)]
    return AnnotatedImage(Path(name), name, build_truth(rows), image_size)


def test_what_is_written(tmp_path: Path) -> None:
    assert write_voc(tmp_path / "new", AnnotatedSet("any", (an_image("a/<1>.jpg"),))) == ()
    written = (tmp_path / "new" / "Annotations" / "a" / "<1>.xml").read_text()
    lines = [line.strip() for line in written.splitlines()]
    assert "<filename>&lt;1&gt;.jpg</filename>" in lines
    assert [line for line in lines if line.startswith(("<width", "<height"))] == [
        "<width>40</width>",
        "<height>30</height>",
    ]
    assert [line for line in lines if line.startswith(("<xm", "<ym", "<diff"))] == [
        "<difficult>0</difficult>",
        *("<xmin>1</xmin>", "<ymin>2</ymin>", "<xmax>10</xmax>", "<ymax>20.5</ymax>"),
        "<difficult>1</difficult>",
        *("<xmin>2</xmin>", "<ymin>2</ymin>", "<xmax>5</xmax>", "<ymax>5</ymax>"),
    ]
    assert (tmp_path / "new" / "ImageSets" / "Main" / "trainval.txt").read_text() == "a/<1>\n"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ((an_image("a.jpg", None),), r"a\.jpg: VOC needs the picture's size"),
        ((an_image("a.jpg"), an_image("a.png")), r"a\.jpg and a\.png would share one label"),
        ((an_image("../a.jpg"),), "inside its folder"),
        ((an_image("a\nb.jpg"),), "a name on one line"),
    ],
)
def test_what_cannot_be_written(
    tmp_path: Path, images: tuple[AnnotatedImage, ...], reason: str
) -> None:
    with pytest.raises(AnnotationError, match=reason):
        write_voc(tmp_path / "new", AnnotatedSet("any", images))
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for path in (tmp_path / "full", tmp_path / "full" / "mine.txt"):
        with pytest.raises(AnnotationError, match="expected a new or empty folder"):
            write_voc(path, AnnotatedSet("any", (an_image("a.jpg"),)))
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.txt"]
    (tmp_path / "empty").mkdir()
    write_voc(tmp_path / "empty", AnnotatedSet("any", (an_image("a.jpg"),)))
    assert (tmp_path / "empty" / "Annotations" / "a.xml").is_file()
