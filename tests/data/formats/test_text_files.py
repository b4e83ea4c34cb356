"""Lines of label files with their places."""

from collections.abc import Callable
from pathlib import Path

import pytest

from head_detection.data.annotations import AnnotationError
from head_detection.data.formats.text_files import parse_whole, read_lines


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


@pytest.mark.parametrize("text", ["", "x", "1.5", "nan", "inf", "1e999"])
def test_numbers_that_are_not_whole(text: str) -> None:
    with pytest.raises(AnnotationError, match="here: expected a frame as a whole number"):
        parse_whole(text, "here", "a frame")
