import io
import os
from collections import Counter
from pathlib import Path

import pytest

from head_detection.errors import SourceError
from head_detection.pipeline.sources import describe_skipped, find_pictures


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Make empty files in the temporary folder, which becomes the working folder."""
    monkeypatch.chdir(tmp_path)

    def touch(*names):
        for name in names:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).write_bytes(b"")

    return touch


def names(*sources):
    return [file.name for file in find_pictures(sources).pictures]


def type_in(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_a_folder_is_searched_in_natural_order_whatever_the_letter_case(make):
    make("photos/10.JPG", "photos/2.jpeg", "photos/b/1.PnG", "photos/B.webp", "photos/a.tiff")
    assert names("photos") == ["2.jpeg", "10.JPG", "a.tiff", "b/1.PnG", "B.webp"]


def test_names_of_the_same_file_name_keep_their_folders(make):
    make("photos/a/1.jpg", "photos/b/1.jpg")
    assert names("photos") == ["a/1.jpg", "b/1.jpg"]


def test_what_is_passed_over_is_counted_by_reason(make):
    make("p/a.jpg", "p/.b.jpg", "p/.git/c.jpg", "p/notes.txt", "p/x.eps", "p/clip.MP4")
    skipped = find_pictures(["p"]).skipped
    assert skipped == {"hidden": 2, "not pictures": 2, "videos (not supported yet)": 1}


def test_nothing_passed_over_has_no_line(make):
    make("p/a.jpg")
    assert describe_skipped(find_pictures(["p"]).skipped) == ""
    assert describe_skipped(Counter()) == ""


def test_a_single_file_needs_no_extension_and_is_its_own_name(make):
    make("deep/picture", "deep/b.jpg")
    assert names("deep/picture") == ["picture"]
    assert names("deep/b.jpg") == ["b.jpg"]


def test_a_glob_starts_its_names_at_its_first_wildcard(make):
    make("p/2024/1.jpg", "p/2025/1.jpg", "p/2025/2.png", "p/2025/notes.txt")
    assert names("p/*/1.jpg") == ["2024/1.jpg", "2025/1.jpg"]
    assert names("p/2025/*") == ["1.jpg", "2.png"]
    assert names("p/*5") == ["2025/1.jpg", "2025/2.png"]
    assert names("p/**/*.jpg") == ["2024/1.jpg", "2025/1.jpg"]
    assert find_pictures(["p/**"]).skipped == {"not pictures": 1}


def test_a_file_whose_name_looks_like_a_glob_is_a_file(make):
    make("p[1].jpg", "p1.jpg")
    assert names("p[1].jpg") == ["p[1].jpg"]


def test_a_list_starts_from_its_folder_then_from_the_working_one(make, tmp_path):
    make("lists/near.jpg", "far.jpg", "more/c.jpg")
    absolute = tmp_path / "more/c.jpg"
    Path("lists/all.txt").write_text(f"\ufeffnear.jpg\r\n\n  far.jpg \n{absolute}\ngone.jpg\n")
    found = list(find_pictures(["lists/all.txt"]).pictures)
    assert [file.name for file in found] == ["near.jpg", "../far.jpg", "../more/c.jpg", "gone.jpg"]
    assert [file.path.exists() for file in found] == [True, True, True, False]


def test_a_list_may_hold_folders_and_hostile_lines(make):
    make("p/a.jpg", "p/b.jpg")
    Path("all.txt").write_bytes(b"p\np/a.jpg\n\xff\xfe.jpg\nzero\0byte.jpg\n")
    found = find_pictures(["all.txt"])
    assert [os.fsencode(file.name) for file in found.pictures] == [
        b"p/a.jpg",
        b"p/b.jpg",
        b"\xff\xfe.jpg",
        b"zero?byte.jpg",
    ]
    assert found.skipped == {"reached twice": 1}


def test_standard_input_is_read_as_it_comes(make, monkeypatch):
    make("a.jpg", "b.jpg")
    type_in(monkeypatch, b"b.jpg\na.jpg\nb.jpg\nnotes.txt\n")
    source = find_pictures(["-"])
    assert source.num_pictures is None
    assert [file.name for file in source.pictures] == ["b.jpg", "a.jpg"]
    assert source.skipped == {"reached twice": 1, "not pictures": 1}


def test_several_sources_as_a_shell_makes_them_of_a_glob(make):
    make("b.jpg", "a.jpg", "p/c.jpg")
    assert names("b.jpg", "a.jpg", "p", "a.jpg") == ["b.jpg", "a.jpg", "p/c.jpg"]


def test_a_file_reached_twice_through_links_counts_once(make):
    make("p/a.jpg", "p/sub/b.jpg")
    Path("p/link.jpg").symlink_to(Path("a.jpg"))
    Path("p/sub/loop").symlink_to(Path("p").resolve(), target_is_directory=True)
    source = find_pictures(["p"])
    assert [file.name for file in source.pictures] == ["a.jpg", "sub/b.jpg"]
    assert source.skipped == {"reached twice": 1, "folders reached twice": 1}


def test_a_linked_folder_is_searched(make):
    make("elsewhere/a.jpg", "p/b.jpg")
    Path("p/linked").symlink_to(Path("elsewhere").resolve(), target_is_directory=True)
    assert names("p") == ["b.jpg", "linked/a.jpg"]


def test_results_inside_the_source_are_not_read_again(make):
    make("a.jpg", "runs/images/a.jpg", "runs/images/.head-detection-output")
    assert names(".") == ["a.jpg"]
    assert find_pictures(["."]).skipped == {"folders of results": 1}
    assert names("**/*.jpg") == ["a.jpg"]
    assert names("runs/images") == ["a.jpg"]


def test_a_folder_without_permission_is_a_picture_that_fails(make, monkeypatch):
    make("p/a.jpg", "p/locked/b.jpg")
    locked = os.path.realpath("p/locked")
    monkeypatch.setattr("os.access", lambda path, mode: path != locked)
    found = list(find_pictures(["p"]).pictures)
    assert [(file.name, file.problem is None) for file in found] == [
        ("a.jpg", True),
        ("locked", False),
    ]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("gone", "'gone': expected a picture, a folder, a glob, a text list or -; no such file"),
        ("", "''"),
        ("empty", "empty: expected pictures such as .jpg or .png, found none"),
        ("texts", "texts: .* found none; passed over: 1 not pictures"),
        ("*.gif", "found none"),
        ("clip.mp4", "videos are not supported yet"),
        ("0", "cameras and streams are not supported yet"),
        ("rtsp://camera/1", "cameras and streams are not supported yet"),
        ("blank.txt", "found none"),
        ("-", "standard input: .* found none"),
    ],
)
def test_a_source_without_pictures_is_one_line(make, monkeypatch, source, line):
    make("texts/a.txt", "clip.mp4", "blank.txt")
    Path("empty").mkdir()
    type_in(monkeypatch, b"\n")
    with pytest.raises(SourceError, match=line) as error:
        find_pictures([source])
    assert "\n" not in str(error.value)


def test_the_name_of_a_source_is_short(make):
    make("photos/a.jpg", "some/list.txt")
    Path("some/list.txt").write_text("../photos/a.jpg")
    found = [find_pictures([s]).name for s in ("photos/", "photos/a.jpg", "ph*/*", "some/list.txt")]
    assert found[:2] + found[3:] == ["photos", "a", "list"]
    assert found[2] == Path.cwd().name
