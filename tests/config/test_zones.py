"""The zones file: what it takes, what it refuses, and in which words."""

import time
from pathlib import Path

import pytest

from head_detection.config.zones import ZonesConfig, load_zones, matches, parse_zones
from head_detection.errors import ConfigError

DOOR = "lines: {door: [[0.1, 0.5], [0.9, 0.5]]}"


def load(folder: Path, text: str | bytes) -> ZonesConfig:
    path = folder / "zones.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_zones(path)


def mistake(folder: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder), "")


def test_zones_and_lines_by_name_as_points_or_with_more(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        units: pixels
        size: [640, 480]
        zones:
          hall: [[0, 0], [320, 0], [320, 480]]
          desk:
            points: [[320, 0], [640, 0], [640, 480]]
            min_seconds: 2
            min_frames: 3
            confirm_seconds: 1
        sources:
          "door*.mp4": {units: shares, lines: {door: [[0.1, 0.5], [0.9, 0.5]]}}
        """,
    )
    assert config.zones["hall"].points == ((0, 0), (320, 0), (320, 480))
    assert (config.zones["hall"].min_frames, config.zones["hall"].min_seconds) == (2, 0)
    assert (config.zones["hall"].confirm_seconds, config.zones["desk"].confirm_seconds) == (0.2, 1)
    assert (config.zones["desk"].min_frames, config.zones["desk"].min_seconds) == (3, 2)
    assert config.sources["door*.mp4"].lines["door"].points == ((0.1, 0.5), (0.9, 0.5))
    assert config.has_lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected zones: and lines:; got NoneType"),
        ("[1]", "expected zones: and lines:; got list"),
        ("zones: {}", "expected zones or lines; got none"),
        ("zoness: {}", "zoness: unknown key; did you mean zones?"),
        (
            f"{DOOR}\nzones: {{a: {{point: []}}}}",
            "zones.a.point: unknown key; did you mean points?",
        ),
        ("lines: {door: {points: [[0, 0], [1, 1]], min_frames: 0}}", "lines.door.min_frames: "),
        (
            "lines: {door: {points: [[0, 0], [1, 1]], confirm_seconds: -1}}",
            "lines.door.confirm_seconds: ",
        ),
        ("lines: {door: [[0, 0], [1, 1], [1, 0]]}", "lines.door.points: expected two ends"),
        ("lines: {door: [[0.5, 0.5], [0.5, 0.5]]}", "lines.door.points: expected two ends"),
        (
            "lines: {door: [[0, 0.5], [1e-12, 0.5]]}",
            "lines.door.points: expected points at least 0.001 of the picture apart; got 1e-12",
        ),
        (
            "units: pixels\nlines: {door: [[50, 50], [50.25, 50.75]]}",
            "lines.door.points: expected points at least 1 pixel apart; got 0.75",
        ),
        (
            "zones: {hall: [[0.5, 0.5], [0.5001, 0.5], [0.5, 0.5001]]}",
            "zones.hall.points: expected points at least 0.001 of the picture apart; got 0.0001",
        ),
        ("zones: {a: [[0, 0], [1, 1]]}", "3 to 200 corners of a zone; got 2; a line goes under"),
        ("zones: {a: [[0, 0], [1, 1], [1]]}", "zones.a.points.2"),
        ("zones: {a: [[0, 0], [1, 1], [1, x]]}", "zones.a.points.2.1"),
        ("zones: {a: [[0, 0], [1, 1], [.nan, 1]]}", "zones.a.points.2.0"),
        ("zones: {a: [[0, 0], [0, 0], [1, 1]]}", "corner 1 and the next are the same"),
        ("zones: {a: [[0, 0], [1, 1], [1, 0], [0, 1]]}", "the sides cross or touch: 0, 0 to 1, 1"),
        ("zones: {a: [[0, 0], [1, 0], [0.5, 0]]}", "the sides cross or touch"),
        (f"{DOOR}\nzones: {{door: [[0, 0], [1, 0], [1, 1]]}}", "the name 'door' twice"),
        (f"{DOOR}\nsources: {{a: {{{DOOR}}}}}", "sources.a: the name 'door' twice"),
        ("lines: {a: [[0, 0], [1, 1]], a: [[0, 0], [0, 1]]}", "the key a twice"),
        ("lines: {a: [[0, 0], [640, 1]]}", "0 to 1; got 640, 1; for pixels write units: pixels"),
        ("lines: {a: [[0, -0.1], [1, 1]]}", "got 0, -0.1"),
        ("{units: pixels, lines: {a: [[0, 0], [1, 1]]}}", "for shares of the picture write units"),
        (
            "{units: pixels, size: [64, 48], lines: {a: [[0, 0], [64, 49]]}}",
            "lines.a.points: expected inside the picture of 64x48 pixels; got 64, 49",
        ),
        ("{units: pixels, lines: {a: [[0, 0], [-3, 49]]}}", "inside the picture; got -3, 49"),
        ("{size: [64, 48], lines: {a: [[0, 0], [1, 1]]}}", "size: expected with units: pixels"),
        ("{units: pixels, size: [0, 48], lines: {a: [[0, 0], [9, 9]]}}", "size.0: "),
        ('lines: {"": [[0, 0], [1, 1]]}', "expected a name of 1 to 60 letters"),
        ('lines: {"a\\nb": [[0, 0], [1, 1]]}', "expected a name of 1 to 60 letters"),
        (b"\xff\xfe\x00", "not UTF-8 text"),
        ("lines: [", "not YAML"),
        ("a: " * 3000, "not YAML"),
        ("#" * 300_000, "over 262,144 bytes"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    assert words in mistake(tmp_path, text)


def test_no_file_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match=f"{path.name}: expected a YAML file of zones; "):
            load_zones(path)


@pytest.mark.parametrize(
    ("start", "item", "words"),
    [
        ("[x, x]", "[{}]", "more than 100,000 values"),
        ("{x: 1}", "{{<<: [{}]}}", "unknown key"),  # PyYAML merges each key once
        ("[*a0]", "[{}]", "more than 100,000 values, or one inside itself"),
    ],
)
def test_a_few_lines_that_mean_billions_of_values_are_refused_at_once(
    tmp_path: Path, start: str, item: str, words: str
) -> None:
    rows = [f"a0: &a0 {start}\n"]
    for number in range(1, 12):
        nine = ", ".join([f"*a{number - 1}"] * 9)
        rows.append(f"a{number}: &a{number} {item.format(nine)}\n")
    begin = time.process_time()
    assert words in mistake(tmp_path, "".join(rows))
    assert time.process_time() - begin < 5


@pytest.mark.parametrize(
    ("pattern", "source", "is_of"),
    [
        ("front", "front", True),
        ("front", "frontier", False),
        ("*.mp4", "monday/door.mp4", True),
        ("monday/*", "monday/door.mp4", True),
        ("d[oo]r", "d[oo]r", True),  # a camera's own name, to the letter
        ("Front", "front", False),
    ],
)
def test_a_pattern_is_of_a_name_or_of_the_files_own(pattern: str, source: str, is_of: bool) -> None:
    assert matches(pattern, source) == is_of


def test_names_stay_as_they_are_written() -> None:
    """YAML 1.1 has ``yes`` for true, ``1.50`` for 1.5, and dates."""
    line = "[[0, 0], [1, 1]]"
    numbers = ["7", "0x1F", "0b11", "007", "1_000", "12:30", "+5", "-3", "0"]
    names = ["yes", "No", "off", "null", "1.50", "2026-11-27", *numbers]
    text = "lines: {" + ", ".join(f"{name}: {line}" for name in names) + "}"
    assert list(parse_zones(text.encode(), "z.yaml").lines) == names


def test_aliases_within_aliases_are_one_short_line() -> None:
    lists = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for name, last in ("ba", "cb", "dc"):
        lists.append(f"{name}: &{name} [{', '.join([f'*{last}'] * 9)}]")
    text = "\n".join([*lists, "zones: {z: *d}"])
    with pytest.raises(ConfigError) as error:
        parse_zones(text.encode(), "z.yaml")
    message = str(error.value)
    assert message.startswith("z.yaml: zones.z.points.0: ")
    assert len(message) < 800
    assert "; and " in message
