import os
import socket
import unicodedata
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from head_detection.errors import PictureError, SourceError
from head_detection.images.finding import PictureFile, picture_extensions
from head_detection.images.reading import read_picture
from head_detection.pipeline.cameras import Cameras
from head_detection.pipeline.opening import open_pictures, open_source
from head_detection.pipeline.sources import describe_skipped

NOBODY = 65_534
POSIX = pytest.mark.skipif(os.name != "posix", reason="pipes with names, as POSIX has them")


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
    return [file.name for file in open_source(*sources)]


@pytest.fixture
def typing(monkeypatch):
    """A function that types lines on standard input, and ends it when it is given None."""
    reading, writing = os.pipe()
    is_open = True

    def type_in(text):
        nonlocal is_open
        if text is None:
            os.close(writing)
            is_open = False
        else:
            os.write(writing, text)

    with os.fdopen(reading) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield type_in
    if is_open:
        os.close(writing)


def test_a_folder_is_searched_in_natural_order_whatever_the_letter_case(make):
    make("photos/10.JPG", "photos/2.jpeg", "photos/b/1.PnG", "photos/B.webp", "photos/a.tiff")
    assert names("photos") == ["2.jpeg", "10.JPG", "a.tiff", "b/1.PnG", "B.webp"]


def test_names_of_the_same_file_name_keep_their_folders(make):
    make("photos/a/1.jpg", "photos/b/1.jpg")
    assert names("photos") == ["a/1.jpg", "b/1.jpg"]


def test_what_is_passed_over_is_counted_by_reason(make):
    make("p/a.jpg", "p/.b.jpg", "p/.git/c.jpg", "p/notes.txt", "p/x.eps", "p/clip.MP4")
    assert open_pictures("p").skipped == {"hidden": 2, "not pictures": 2, "videos": 1}
    assert open_source("p").skipped == {"hidden": 2, "not pictures": 2}


@POSIX
def test_what_is_no_file_is_passed_over_in_a_folder_and_fails_where_it_is_named(make, typing):
    make("p/a.jpg", "q/b.jpg")
    os.mkfifo("p/pipe.mp4")
    os.mkfifo("p/pipe.ts")
    os.mkfifo("p/pipe.txt")
    Path("p/zero.jpg").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("p/socket.avi")
    for source in ("p", "p/*", "**/*"):
        found = open_source(source)
        assert [Path(file.name).name for file in found if file.problem is None] == (
            ["a.jpg"] if source != "**/*" else ["a.jpg", "b.jpg"]
        )
        assert found.skipped["not files"] == 5
    Path("list.txt").write_text("p/a.jpg\np/pipe.mp4\np/zero.jpg\n")
    typing(b"p/pipe.mp4\np/pipe\np/socket.avi\n")
    typing(None)
    pipe = ("p/pipe.mp4", "expected a file; it is a named pipe")
    for sources in (["list.txt"], ["p/a.jpg", "p/pipe.mp4", "p/zero.jpg"]):
        assert [(file.name, file.problem) for file in open_source(*sources)] == [
            ("p/a.jpg", None), pipe, ("p/zero.jpg", "expected a file; it is a device"),
        ]  # fmt: skip
    assert [(file.name, file.problem) for file in open_source("-")] == [
        pipe, ("p/pipe", None), ("p/socket.avi", "expected a file; it is a socket"),
    ]  # fmt: skip


@POSIX
@pytest.mark.parametrize("name", ["x.mp4", "x.ts", "x.jpg", "x.txt", "x.streams", "x"])
def test_a_source_that_is_no_file_is_one_line(make, name):
    make("a.jpg")
    os.mkfifo(name)
    with pytest.raises(SourceError, match=rf"^{name}: expected a file or a folder; it is a named"):
        open_source(name)
    with pytest.raises(SourceError, match=r"^/dev/zero: expected a file or a folder; it is a dev"):
        open_source("/dev/zero")


def test_nothing_passed_over_has_no_line(make):
    make("p/a.jpg")
    assert describe_skipped(open_source("p").skipped) == ""
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
    assert open_source("p/**").skipped == {"not pictures": 1}


def test_a_file_whose_name_looks_like_a_glob_is_a_file(make):
    make("p[1].jpg", "p1.jpg")
    assert names("p[1].jpg") == ["p[1].jpg"]


def test_a_list_starts_from_its_folder_then_from_the_working_one(make, tmp_path):
    make("lists/near.jpg", "far.jpg", "more/c.jpg")
    absolute = tmp_path / "more/c.jpg"
    Path("lists/all.txt").write_text(f"\ufeffnear.jpg\r\n\n  far.jpg \n{absolute}\ngone.jpg\n")
    found = list(open_source("lists/all.txt"))
    assert [file.name for file in found] == ["near.jpg", "../far.jpg", "../more/c.jpg", "gone.jpg"]
    assert [file.path.exists() for file in found] == [True, True, True, False]


def test_a_list_that_is_no_text_is_one_line(tmp_path):
    path = tmp_path / "random.txt"
    path.write_bytes(np.random.default_rng(0).bytes(200_000))
    with pytest.raises(
        SourceError, match=r"random\.txt: expected text, a path on each line; got b"
    ):
        open_source(str(path))


def test_a_list_may_hold_folders_and_hostile_lines(make):
    make("p/a.jpg", "p/b.jpg")
    Path("all.txt").write_bytes(b"p\np/a.jpg\n\xff\xfe.jpg\nzero\0byte.jpg\n")
    found = open_source("all.txt")
    assert [os.fsencode(file.name) for file in found] == [
        b"p/a.jpg",
        b"p/b.jpg",
        b"\xff\xfe.jpg",
        b"zero?byte.jpg",
    ]
    assert found.skipped == {"reached twice": 1}


def test_a_line_that_leads_nowhere_is_a_picture_that_fails_whatever_it_ends_with(make, typing):
    make("a.jpg", "notes.txt")
    lines = [b"a.jpg", b"notes.txt", b"gone.txt", b'"a.jpg"', b"a.jpg,3", b"http://host/a.jpg?x=1"]
    Path("list.txt").write_bytes(b"\n".join(lines))
    typing(b"\n".join(lines))
    typing(None)
    for source in (open_source("list.txt"), open_pictures("list.txt"), open_source("-")):
        names = [file.name for file in source]
        assert names == ["a.jpg", "gone.txt", '"a.jpg"', "a.jpg,3", "http:/host/a.jpg?x=1"]
        assert source.skipped == {"not pictures": 1}


def test_standard_input_is_read_as_it_comes(make, typing):
    make("a.jpg", "p/b.jpg", "p/c.jpg", "notes.txt")
    typing(b"a.jpg\n\np\nnotes.txt\r\ngone.jpg")
    typing(None)
    source = open_source("-")
    assert (source.info.name, source.info.count, source.info.is_live) == ("stdin", None, False)
    assert [file.name for file in source] == ["a.jpg", "p/b.jpg", "p/c.jpg", "gone.jpg"]
    assert source.skipped == {"not pictures": 1}


def test_each_line_of_standard_input_is_answered_and_none_is_remembered(make, typing):
    make("a.jpg")
    typing(b"a.jpg\n" * 3)
    typing(None)
    assert names("-") == ["a.jpg"] * 3


def test_a_picture_is_at_hand_once_its_line_is_whole(make, typing):
    make("a.jpg", "b.jpg", "p/c.jpg", "notes.txt")
    typing(b"a.jpg\n")
    source = open_source("-")
    items = iter(source)
    assert next(items).name == "a.jpg"
    assert not source.is_ready()
    typing(b"b.j")
    assert not source.is_ready()
    typing(b"pg\n\nnotes.txt\n")
    assert source.is_ready()
    assert next(items).name == "b.jpg"
    assert not source.is_ready()  # two lines were there, of no picture
    typing(b"p\n")
    assert source.is_ready()
    assert next(items).name == "p/c.jpg"
    typing(None)
    assert source.is_ready()
    assert next(items, None) is None
    assert next(items, None) is None


def test_where_the_system_cannot_tell_each_line_is_waited_for(make, typing, monkeypatch):
    def not_a_socket(*lists):
        raise OSError("not a socket")

    monkeypatch.setattr("select.select", not_a_socket)
    make("a.jpg", "b.jpg")
    typing(b"a.jpg\nb.jpg\n")
    source = open_source("-")
    items = iter(source)
    assert next(items).name == "a.jpg"
    assert source.is_ready()  # both came in one go
    assert next(items).name == "b.jpg"
    assert not source.is_ready()


def test_a_closed_standard_input_is_one_line(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SourceError, match=r"standard input: expected paths .*; it is closed"):
        open_source("-")


def test_files_are_always_at_hand(make):
    make("p/a.jpg")
    source = open_source("p")
    assert source.is_ready()
    assert (source.info.count, source.info.is_live, source.info.fps) == (1, False, None)
    assert list(source) == [PictureFile(Path("p/a.jpg"), "a.jpg")]


def test_several_sources_as_a_shell_makes_them_of_a_glob(make):
    make("b.jpg", "a.jpg", "p/c.jpg")
    assert names("b.jpg", "a.jpg", "p", "a.jpg") == ["b.jpg", "a.jpg", "p/c.jpg"]


def test_what_is_named_and_not_there_fails_whatever_its_extension(make):
    make("there.txt")
    assert names("gone.jpg", "gone.txt", "there.txt") == ["gone.jpg", "gone.txt"]


def test_standard_input_is_no_source_among_others(make):
    make("a.jpg")
    with pytest.raises(SourceError, match=r"^-: expected alone, .*; got it beside other sources$"):
        open_source("a.jpg", "-")
    make("-")
    assert names("a.jpg", "-") == ["a.jpg", "-"]


def test_files_outside_the_working_folder_have_names_inside(make, monkeypatch):
    make("near/in.jpg", "far/a/1.jpg", "far/a/2.jpg", "far/b/1.jpg", "else/3.jpg", "else/in.jpg")
    monkeypatch.chdir("near")
    found = names("in.jpg", "../far/a", str(Path("../far/b").resolve()), "../else/3.jpg")
    assert found == ["in.jpg", "a/1.jpg", "a/2.jpg", "b/1.jpg", "3.jpg"]
    assert names("in.jpg", "../else/in.jpg") == ["in.jpg", "else/in.jpg"]


def test_a_file_reached_twice_through_links_counts_once(make):
    make("p/a.jpg", "p/sub/b.jpg")
    Path("p/link.jpg").symlink_to(Path("a.jpg"))
    Path("p/sub/loop").symlink_to(Path("p").resolve(), target_is_directory=True)
    source = open_source("p")
    assert [file.name for file in source] == ["a.jpg", "sub/b.jpg"]
    assert source.skipped == {"reached twice": 1, "folders reached twice": 1}


def test_a_file_has_its_own_name_where_a_link_comes_first(make):
    make("p/a.jpg", "p/sub/b.jpg", "p/0/c.jpg", "p/.hidden/d.jpg", "p/e")
    Path("p/0/alias.jpg").symlink_to(Path("p/a.jpg").resolve())
    Path("p/0/all").symlink_to(Path("p/sub").resolve(), target_is_directory=True)
    source = open_source("p")
    assert [file.name for file in source] == ["0/c.jpg", "a.jpg", "sub/b.jpg"]
    assert source.skipped["reached twice"] == source.skipped["folders reached twice"] == 1
    # What has no name of its own here, for it is hidden or called like no picture, has the link's.
    Path("p/0/d.jpg").symlink_to(Path("p/.hidden/d.jpg").resolve())
    Path("p/0/e.jpg").symlink_to(Path("p/e").resolve())
    assert names("p") == ["0/c.jpg", "0/d.jpg", "0/e.jpg", "a.jpg", "sub/b.jpg"]


def test_a_linked_folder_is_searched(make):
    make("elsewhere/a.jpg", "p/b.jpg")
    Path("p/linked").symlink_to(Path("elsewhere").resolve(), target_is_directory=True)
    assert names("p") == ["b.jpg", "linked/a.jpg"]


def test_results_inside_the_source_are_not_read_again(make):
    make("a.jpg", "runs/images/a.jpg", "runs/images/.head-detection-output")
    assert names(".") == ["a.jpg"]
    assert open_source(".").skipped == {"folders of results": 1}
    assert names("**/*.jpg") == ["a.jpg"]
    assert names("runs/images") == ["a.jpg"]


@pytest.mark.parametrize("name", ["~backup.jpg", "~", "~root/a.jpg", "~nobody-has-it/a.jpg"])
def test_a_name_that_begins_like_a_home_folder_is_a_name(make, typing, name):
    make(f"{name}/a.jpg" if name == "~" else name, "b.jpg")
    Path("all.txt").write_text(f"{name}\nb.jpg\n")
    typing(f"{name}\nb.jpg\n".encode())
    typing(None)
    expected = [f"{name}/a.jpg" if name == "~" else name, "b.jpg"]
    assert names("all.txt") == names("-") == names(name, "b.jpg") == expected
    assert names(name) == [Path(expected[0]).name]


def test_the_home_folder_where_nothing_is_called_so(make, tmp_path, monkeypatch, typing):
    make("home/p/a.jpg", "work/b.jpg")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir("work")
    assert names("~/p") == ["a.jpg"]
    assert names("~/p/*.jpg") == ["a.jpg"]
    assert names("~/p/a.jpg", "b.jpg") == ["a.jpg", "b.jpg"]
    assert next(iter(open_source("~gone.jpg", "b.jpg"))).path == Path("~gone.jpg")
    with pytest.raises(SourceError, match=r"'~gone.jpg': .* no such file"):
        open_source("~gone.jpg")


def test_a_line_too_long_for_any_name_is_a_picture_that_fails(make, typing):
    make("a.jpg")
    long = "x" * 6_000 + ".jpg"
    Path("all.txt").write_text(f"{long}\na.jpg\n")
    typing(f"{long}\na.jpg\n".encode())
    typing(None)
    for sources in (["all.txt"], ["-"], [long, "a.jpg"]):
        assert names(*sources) == [long, "a.jpg"]
    with pytest.raises(SourceError, match="no such file"):
        open_source(long)


def test_blanks_around_an_argument_belong_to_it_and_around_a_line_where_there_is_such_a_file(make):
    make(" a.jpg", "b.jpg ", "c.jpg")
    assert names(" a.jpg", "b.jpg ", "c.jpg ", "") == [" a.jpg", "b.jpg ", "c.jpg ", ""]
    problems = [file.problem for file in open_source("c.jpg", "")]
    assert problems == [None, "expected a path; got an empty one"]
    Path("all.txt").write_text(" a.jpg\n  c.jpg \r\n   \n")
    assert names("all.txt") == [" a.jpg", "c.jpg"]
    assert names(" a.jpg") == [" a.jpg"]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32"]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_in_the_encodings_of_powershell(make, typing, encoding, end):
    """UTF-16 with a mark is what its ``>`` writes; without one, zero bytes tell it."""
    make("a.jpg", "\u00fc\u4eba.jpg")
    content = f"a.jpg{end}\u00fc\u4eba.jpg{end}".encode(encoding)
    Path("all.txt").write_bytes(content)
    assert names("all.txt") == ["a.jpg", "\u00fc\u4eba.jpg"]
    for byte in content:  # one at a time
        typing(bytes((byte,)))
    typing(None)
    assert names("-") == ["a.jpg", "\u00fc\u4eba.jpg"]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_is_found_whose_accents_are_composed_otherwise(make, typing, forms):
    """As macOS writes them on a disk, and others in a list."""
    on_disk, asked = (unicodedata.normalize(form, "\u00e9t\u00e9/caf\u00e9.jpg") for form in forms)
    make(on_disk, "b.jpg")
    Path("all.txt").write_text(f"{asked}\nb.jpg")
    typing(f"{asked}\nb.jpg\n".encode())
    typing(None)
    assert names("all.txt") == names("-") == names(asked, "b.jpg") == [on_disk, "b.jpg"]
    assert names(asked) == [Path(on_disk).name]
    make(asked)
    assert names("all.txt") == [asked, "b.jpg"]  # its very name comes first


@pytest.fixture
def locked(monkeypatch):
    """A folder that may not be entered, for a user who is not root: root may enter all."""
    if os.name != "posix":
        pytest.skip("permissions as POSIX has them")
    picture_extensions()  # loads what only root may read
    user = os.geteuid()
    with TemporaryDirectory() as root:  # pytest's own folders are closed to other users
        Path(root).chmod(0o755)
        monkeypatch.chdir(root)
        for name in ("locked/inner/a.jpg", "p/b.jpg"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            Path(name).touch()
        Path("p/to-a-folder").symlink_to(Path("locked/inner").resolve())
        Path("p/to-a-picture.jpg").symlink_to(Path("locked/inner/a.jpg").resolve())
        Path("all.txt").write_text("locked/inner/a.jpg\np/b.jpg\n")
        Path("locked").chmod(0)
        if user == 0:
            os.seteuid(NOBODY)
        yield
        os.seteuid(user)
        Path("locked").chmod(0o755)
        monkeypatch.undo()


@pytest.mark.usefixtures("locked")
def test_links_into_a_folder_without_permission_fail_one_by_one(typing):
    expected = ["b.jpg", "to-a-folder", "to-a-picture.jpg"]
    assert names("p") == expected
    problems = {file.name: file.problem for file in open_source("p")}
    assert problems["b.jpg"] is None
    assert problems["to-a-folder"] == problems["to-a-picture.jpg"] == "no permission to read it"
    assert names("p/*") == expected
    assert names("p/to-a-folder", "p/b.jpg") == ["p/to-a-folder", "p/b.jpg"]


@pytest.mark.usefixtures("locked")
def test_a_path_below_a_folder_without_permission_is_a_picture_that_fails(typing):
    typing(b"locked/inner/a.jpg\np/b.jpg\n")
    typing(None)
    for sources in (["all.txt"], ["-"], ["locked/inner/a.jpg", "p/b.jpg"]):
        assert names(*sources) == ["locked/inner/a.jpg", "p/b.jpg"]
    assert names("locked/inner/a.jpg") == ["a.jpg"]
    with pytest.raises(PictureError, match="no permission to read the file"):
        read_picture(Path("locked/inner/a.jpg"))


def test_a_folder_that_goes_away_while_it_is_searched_fails_alone(make, monkeypatch):
    make("p/a.jpg", "p/b/c.jpg")
    scandir = os.scandir

    def gone(path):
        if os.fspath(path).endswith("b"):
            raise OSError(5, "Input/output error", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", gone)
    found = [(file.name, file.problem) for file in open_source("p")]
    assert found == [("a.jpg", None), ("b", "Input/output error")]


def test_a_folder_without_permission_is_a_picture_that_fails(make, monkeypatch):
    make("p/a.jpg", "p/locked/b.jpg")
    locked = os.path.realpath("p/locked")
    monkeypatch.setattr("os.access", lambda path, mode: path != locked)
    found = list(open_source("p"))
    assert [(file.name, file.problem is None) for file in found] == [
        ("a.jpg", True),
        ("locked", False),
    ]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (
            "gone",
            "'gone': expected a picture, a video, a folder, a glob, a text list or -; no such file",
        ),
        ("", "''"),
        ("empty", "empty: expected pictures or videos such as .jpg or .mp4, found none"),
        ("texts", "texts: .* found none; passed over: not pictures: 1"),
        ("*.gif", "found none"),
        ("clip.mp4", "clip.mp4: expected a video; got an empty file"),
        ("987", "987: expected a camera at /dev/video987; there is none"),
        ("/dev/video987", "expected a camera at /dev/video987; there is none"),
        ("9" * 5000, "no such file"),
        ("rstp://me:secret@camera/1", "^rstp://camera/1: expected a camera's number or an address"),
        ("blank.txt", "found none"),
        ("-", "standard input: .* found none"),
    ],
)
def test_a_source_without_pictures_is_one_line(make, typing, source, line):
    make("texts/a.txt", "clip.mp4", "blank.txt")
    Path("empty").mkdir()
    typing(b"\n")
    typing(None)
    with pytest.raises(SourceError, match=line) as error:
        open_source(source)
    assert "\n" not in str(error.value)


def test_the_name_of_a_source_is_short(make):
    make("photos/a.jpg", "some/list.txt")
    Path("some/list.txt").write_text("../photos/a.jpg")
    found = [
        open_source(s).info.name for s in ("photos/", "photos/a.jpg", "ph*/*", "some/list.txt")
    ]
    assert found[:2] + found[3:] == ["photos", "a", "list"]
    assert found[2] == Path.cwd().name


def test_a_pattern_beside_another_path_is_matched(make):
    make("a1.jpg", "a2.jpg", "b.jpg", "c[1].jpg")
    assert names("a*.jpg", "c[1].jpg") == ["a1.jpg", "a2.jpg", "c[1].jpg"]


def test_lists_of_cameras_may_stand_beside_each_other_and_addresses(make):
    Path("a.streams").write_text("door=rtsp://a/1\n")
    Path("b.streams").write_text("door=rtsp://b/1\n")
    source = open_source("a.streams", "b.streams", "rtsp://c/1")
    assert isinstance(source, Cameras)
    assert [camera.address.name for camera in source.cameras] == ["door", "door-2", "c-1"]
    with pytest.raises(SourceError, match=r"^a.jpg: expected a camera's number or an address"):
        open_source("a.streams", "a.jpg")
