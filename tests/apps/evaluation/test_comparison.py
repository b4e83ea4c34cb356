import json
from pathlib import Path
from typing import Any

import pytest

from head_detection.apps.command import run_command
from head_detection.apps.evaluation.comparison import table_lines
from head_detection.apps.evaluation.metrics_file import SCHEMA
from head_detection.apps.main import run
from head_detection.evaluation.bootstrap import Difference


def main(arguments: list[str]) -> int:
    return run(["evaluate", *arguments])


def entry(name: str, found: list[int], heads: int = 2) -> dict[str, Any]:
    scores = [0.9 - 0.1 * number for number in range(len(found))]
    return {"file": name, "heads": heads, "scores": scores, "found": found}


def write(folder: Path, *entries: dict[str, Any]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": SCHEMA,
        "title": folder.name,
        "data": {"split_shown": "val"},
        "score_threshold": 0.5,
        "score_threshold_origin": "given",
        "images": entries,
    }
    path = folder / "metrics.json"
    path.write_text(json.dumps(content))
    return str(path)


def test_two_measurements_of_the_same_pictures_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = write(tmp_path / "old", *(entry(f"{n}.jpg", [0, -1, -1]) for n in range(8)))
    better = [entry(f"{n}.jpg", [0, 1]) for n in reversed(range(8))]
    second = write(tmp_path / "new", *better)
    assert main(["--compare", first, second, "--num-resamples", "50"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"A: {first}: old, score >= 0.5000 (given)"
    assert "8 pictures of val, 16 heads, IoU .50" in lines
    table = {line.split("  ")[0]: line.split() for line in lines if line.endswith("is better")}
    # A finds one of two heads with two false alarms: F1 = 2 * 1/3 * 1/2 / (1/3 + 1/2) = 0.4.
    assert table["F1"][1:4] == ["0.4000", "1.0000", "+0.6000"]
    assert table["count MAE"][2:5] == ["1.0000", "0.0000", "-1.0000"]
    assert all(words[-3:] == ["B", "is", "better"] for words in table.values())
    assert set(table) == {"AP50", "F1", "count MAE"}
    assert Path("runs", "evaluate", "old-against-new", "comparison.png").is_file()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("a.jpg", [0])], "expected the same pictures; .* 1 are in one alone.*b.jpg"),
        ([entry("a.jpg", [0]), entry("c.jpg", [0])], "2 are in one alone, such as b.jpg"),
        ([entry("a.jpg", [0])] * 2, "1 are in one alone, such as b.jpg"),
        ([entry("a.jpg", [0]), entry("b.jpg", [0], 3)], "b.jpg has 2 heads in .* and 3 in "),
        ([entry("a.jpg", [0]), entry("b.jpg", [0]), entry("b.jpg", [0])], "has 2, .*3"),
    ],
)
def test_other_pictures_are_refused_in_one_line(
    tmp_path: Path,
    entries: list[dict[str, Any]],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = write(tmp_path / "a", entry("a.jpg", [0]), entry("b.jpg", [0]))
    second = write(tmp_path / "b", *entries)
    assert run_command(main, ["--compare", first, second]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --compare: expected the same ")
    with pytest.raises(ValueError, match=message):
        main(["--compare", first, second])


@pytest.mark.parametrize(
    ("name", "low", "high", "words"),
    [
        ("ap50", 0.1, 0.2, "B is better"),
        ("mae", 0.1, 0.2, "A is better"),
        ("f1", -0.1, 0.2, "these pictures cannot tell"),
    ],
)
def test_a_line_says_what_its_interval_does(name: str, low: float, high: float, words: str) -> None:
    difference = Difference(name, 0.0, 0.0, (low + high) / 2, low, high)
    assert table_lines([difference])[1].endswith(words)
