"""Lines of label files with their places."""

from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.data.formats.label_files import parse_whole, read_json, read_lines
from head_detection.errors import AnnotationError


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_line_ends_and_mark(text: Callable[..., Path], end: str, encoding: str) -> None:
    path = text("a.txt", end.join(["one", "", "  two\u2028 "]), encoding=encoding)
    lines = list(read_lines(path, "text"))
    assert lines == [(f"{path}: line 1", "one"), (f"{path}: line 3", "two")]


def test_what_is_no_text(tmp_path: Path) -> None:
    binary = tmp_path / "a"
    binary.write_bytes(b"\xff\xfe")
    for path in (binary, tmp_path, tmp_path / "no"):
        with pytest.raises(AnnotationError, match="expected a list; "):
            list(read_lines(path, "a list"))


class OtherError(ValueError):
    pass


def test_json_with_and_without_a_mark(text: Callable[..., Path]) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        assert read_json(text("a.json", '{"a": [1]}', encoding=encoding), "x") == {"a": [1]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not JSON"), (b"{", "not JSON"), (b"[" * 100_000, "not JSON"), (b"\xff", "not UTF-8")],
)
def test_what_is_no_json(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(OtherError, match=f"a.json: expected labels; {reason}") as caught:
        read_json(path, "labels", OtherError)
    assert "\n" not in str(caught.value)
    with pytest.raises(OtherError, match="expected labels; No such file"):
        read_json(tmp_path / "none.json", "labels", OtherError)


@pytest.mark.parametrize("text", ["", "x", "1.5", "nan", "inf", "1e999"])
def test_numbers_that_are_not_whole(text: str) -> None:
    with pytest.raises(AnnotationError, match="here: expected a frame as a whole number"):
        parse_whole(text, "here", "a frame")
