import json
from pathlib import Path

import pytest
import torch

from head_detection.apps import main as dispatcher
from head_detection.apps.benchmark_options import SCENES
from head_detection.apps.command import run_command
from head_detection.apps.main import main as head_detection
from head_detection.benchmark import arithmetic, pictures, run
from head_detection.benchmark.baseline import build_baseline
from head_detection.benchmark.engines import Candidate, EngineFigures
from head_detection.benchmark.pictures import crowd, make_pictures
from head_detection.benchmark.stages import ALL_STAGES
from head_detection.benchmark.timing import Measurement
from head_detection.inference.engine_times import EngineTime


def main(arguments: list[str]) -> int:
    return dispatcher.run(["benchmark", *arguments])


SHORT = ["--size", "64x96", "--runs", "2", "--limit", "4", "--pictures", "2"]


@pytest.fixture(autouse=True)
def _small_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(arithmetic.SIDES, "cpu", 64)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Each engine would be a process that loads torch.
    monkeypatch.setattr(run, "list_candidates", lambda _: [Candidate("torch", "fp32")])


def test_a_whole_run(
    tiny_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    weights = ["--weights", str(tiny_weights)] * 2
    command = [*weights, *SHORT, "--precision", "fp32", "--output", str(folder)]
    assert main([*command, "--against", "nothing"]) == 0
    printed = capsys.readouterr().out
    assert "tiny torch fp32 is tiny.safetensors, torch in fp32" in printed
    assert "The whole command runs at" in printed
    assert sorted(path.name for path in folder.iterdir()) == [
        "report.json",
        "report.txt",
        "stages.png",
    ]
    text = (folder / "report.txt").read_text(encoding="utf-8")
    assert text.startswith(f"head-detection benchmark --weights {tiny_weights}")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["schema"] == "head-detection/benchmark/2"
    assert report["command"] == [*command, "--against", "nothing"]
    assert report["settings"]["source"] == "the sample picture as a crowd, 4 times, shifted"
    assert {"processor", "cores", "threads", "torch", "commit"} <= set(report["machine"])
    first, second = report["detectors"]
    assert report["reference"] == first["name"] == "tiny torch fp32"
    assert second["name"] == "tiny torch fp32 (2)"
    assert first["precision"] == "fp32"
    assert len(first["milliseconds"]["samples"]) == 2
    ratios = zip(first["milliseconds"]["samples"], second["milliseconds"]["samples"], strict=True)
    assert second["times_as_fast"]["samples"] == [a / b for a, b in ratios]
    stages = first["stages"]["stages"]
    assert list(stages) == list(ALL_STAGES)
    assert sum(stage["share"] for stage in stages.values()) == pytest.approx(1.0)
    assert first["arithmetic"]["operations_per_picture"]["dense"] > 0
    whole = report["whole_command"]
    assert (whole["pictures"], whole["failed"]) == (4, 0)
    assert whole["detector"] == "tiny torch fp32"
    assert whole["memory"]["peak_bytes"] > 0


def test_against_the_baseline_and_its_network(
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(run, "build_baseline", lambda: build_baseline(64, 96))
    command = ["--weights", str(tiny_weights), "--size", "32x64", "--runs", "1", "--pictures", "1"]
    command += ["--limit", "1", "--same-network", "--measure", "speed", "--precision", "fp32"]
    assert main([*command, "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "times as fast as torchvision" in printed
    assert "stock fasterrcnn_resnet50_fpn, eager float32, random weights" in printed
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    names = [detector["name"] for detector in report["detectors"]]
    assert names == ["tiny torch fp32", "same network torch fp32", "torchvision"]
    assert report["whole_command"] is None
    assert not (tmp_path / "stages.png").exists()


def test_engines_and_why_one_is_chosen(
    tiny_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = {
        "torch fp32": Measurement("ms", (20.0, 30.0)),
        "onnx fp32": Measurement("ms", (10.0,)),
        "openvino int8": Measurement("ms", (6.0,)),
    }
    figures = EngineFigures(
        times,
        {"openvino fp32": "its process died of SIGSEGV"},
        EngineTime(engine="onnx", precision="fp32", milliseconds=10.0),
        tmp_path / "kept.json",
        "Xeon, AMX",
    )
    monkeypatch.setattr(run, "list_candidates", lambda _: [Candidate("torch", "fp32")] * 3)
    monkeypatch.setattr(run, "measure_engines", lambda *_, **__: figures)
    command = ["--weights", str(tiny_weights), *SHORT, "--measure", "engines", "--device", "cpu"]
    assert main([*command, "--against", "nothing", "--output", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "Engines on Xeon, AMX: milliseconds a picture" in printed
    assert "openvino fp32 is left out: its process died of SIGSEGV." in printed
    assert (
        "--engine auto is onnx fp32 here: the least median, the next took 2.50 times as long; "
        f"kept in {tmp_path / 'kept.json'}." in printed
    )
    assert "--precision int8 takes 0.60 of its time, and finds not quite the same" in printed
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["engines"]["chosen"]["engine"] == "onnx"


def test_pictures_of_a_folder(tiny_weights: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    make_pictures(source, crowd((40, 50)), 3)
    (source / "00000.jpg").write_bytes(b"broken")
    threads = torch.get_num_threads()
    try:
        command = ["--weights", str(tiny_weights), *SHORT, "--source", str(source)]
        command += ["--threads", "1", "--against", "nothing", "--output", str(tmp_path / "out")]
        assert main(command) == 0
    finally:
        torch.set_num_threads(threads)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["machine"]["threads"] == 1
    assert report["settings"]["source"] == str(source)
    assert report["whole_command"]["failed"] == 1
    assert report["reference"] is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--size=640"], "HEIGHTxWIDTH"),
        (["--size=0x10"], "HEIGHTxWIDTH"),
        (["--size=-1x5"], "HEIGHTxWIDTH"),
        (["--runs", "0"], "expected 1 or more"),
        (["--engine", "torch,tensorrt"], "expected some of torch"),
        (["--measure", ""], "expected some of speed,stages,command,engines"),
        (["--against", "yolo"], "expected torchvision, nothing or a file that ends in .onnx"),
        (["--scene", "zoo"], "invalid choice"),
    ],
)
def test_a_wrong_option(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--weights", "gone.safetensors"],
            "gone.safetensors: expected a weights file; got no such file",
        ),
        (["--source", "no/such/folder"], "no such file"),
        (["--source", "EMPTY"], "expected pictures"),
        (["--device", "cuda:99"], "device: cuda:99 asked for"),
        (["--against", "gone.onnx"], "gone.onnx: expected an .onnx file; got no such file"),
        (["--against", "nothing", "--against", "torchvision"], "expected nothing alone"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    Path("EMPTY", "broken.jpg").write_bytes(b"broken")
    assert run_command(main, [*arguments, "--limit", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert expected in error
    assert len(error.splitlines()) == 1


def test_the_scenes_are_those_that_can_be_made() -> None:
    assert set(SCENES) == set(pictures.SCENES)


def test_the_command_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        head_detection(["benchmark", "--help"])
    assert exit_info.value.code == 0
    assert "--same-network" in capsys.readouterr().out
