import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from head_detection.apps.main import main
from head_detection.apps.training.options import add_options, overrides_of, with_weights_paths
from head_detection.config import DatasetConfig, load_config, parse_config
from head_detection.data.formats import load_annotations, write_annotations
from head_detection.errors import ConfigError
from head_detection.models.faster_rcnn import load_detector
from head_detection.training.checkpoint import load_checkpoint


def train(*arguments):
    return main(["train", *(str(argument) for argument in arguments)])


def the_error(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_pictures_elsewhere_are_named_by_an_option(labels, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(next(labels.rglob("*.json")) if labels.is_dir() else labels, "labels.json")
    assert train("--data", "labels.json") == 2
    remedy = "say where the pictures are: --images DIR, or images in an experiment file"
    assert remedy in the_error(capsys)
    parser = argparse.ArgumentParser()
    add_options(parser)
    overrides = overrides_of(parser.parse_args(["--data", "labels.json", "--images", "elsewhere"]))
    name, _, entry = next(overrides).partition("=")
    assert name == "data.train"
    assert json.loads(entry) == [{"path": "labels.json", "format": "coco", "images": "elsewhere"}]
    assert train("--cfg", tmp_path / "a.yaml", "--images", "elsewhere") == 2
    assert the_error(capsys).startswith("error: --images: expected --data")


RUNS = ("first", "second")


def test_a_run_from_start_to_weights(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train("--cfg", experiment, "--set", "training.seed=3") == 0
    folder = tmp_path / "runs" / "train" / "tiny"
    output = capsys.readouterr()
    assert "train: 6 pictures" in output.out
    assert "note: the warm-up takes 0 steps of 500, a tenth of the run" in output.out
    assert "best weights (ap50 " in output.out
    assert "epoch 1 validation: ap50" in output.err
    assert load_config(folder / "config.yaml").training.seed == 3
    with Image.open(folder / "curves.png") as picture:
        assert picture.format == "PNG"
    load_detector(folder / "best.safetensors")

    # The same again is refused; more epochs are not.
    before = (folder / "last.safetensors").read_bytes()
    assert train("--cfg", experiment) == 2
    assert "holds files; go on with its run, or choose another folder: --resume" in the_error(
        capsys
    )
    assert (folder / "last.safetensors").read_bytes() == before
    assert train("--resume", folder, "--set", "training.epochs=2") == 0
    output = capsys.readouterr().out
    assert "step 3 of 6" in output
    assert "changed: training.epochs was 1, is 2" in output
    assert load_checkpoint(folder / "last.safetensors").progress.step == 6
    assert load_config(folder / "config.yaml").training.epochs == 2

    assert train("--resume", folder, "--set", "network.upscale=true") == 2
    assert "network.upscale was False, is True" in the_error(capsys)


@pytest.fixture
def yolo_set(labels, tmp_path):
    """Four pictures to train on and two to validate on, as YOLO's ``data.yaml`` lists them."""
    shown = load_annotations(DatasetConfig(path=str(labels)))
    folder = tmp_path / "mine"
    write_annotations(shown, "yolo", folder)
    for part, images in (("train", shown.images[:4]), ("val", shown.images[4:])):
        (folder / "images" / part).mkdir(parents=True)
        (folder / "labels" / part).mkdir()
        for image in images:
            name = Path(image.file_name).name
            shutil.copy(image.path, folder / "images" / part / name)
            (label,) = (folder / "labels").glob(f"**/{Path(name).stem}.txt")
            label.rename(folder / "labels" / part / label.name)
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [head]\n")
    return folder / "data.yaml"


SMALL = ["data.augmentation.crop_size=64", "training.batch_size=2", "training.threads=1"]


def test_data_alone_fine_tunes_weights_and_the_parts_are_the_sets_own(
    yolo_set, tiny_weights, tmp_path, capsys
):
    run = tmp_path / "run"
    options = ["--data", yolo_set, "--epochs", 1, "--output", run, "--set", *SMALL]
    assert train("--weights", tiny_weights, *options) == 0
    output = capsys.readouterr()
    assert "train: 4 pictures" in output.out
    assert "validation: 2 pictures" in output.out
    assert "are too few to choose a score threshold by" in output.out
    assert "epoch 0 validation" in output.err
    _, first = load_detector(tiny_weights)
    _, tuned = load_detector(run / "best.safetensors")
    assert tuned.network == first.network
    assert tuned.inference == first.inference  # the threshold too: a dozen heads do not move it
    # The folder is its best weights, for every command that takes weights.
    picture = yolo_set.parent / "images" / "val"
    found = [
        "test",
        "--weights",
        str(run),
        "--source",
        str(picture),
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(found) == 0


def test_a_part_that_a_set_lacks_is_said(yolo_set, tiny_weights, tmp_path, capsys):
    yolo_set.write_text("train: images/train\nnames: [head]\n")
    options = ["--data", yolo_set, "--epochs", 1, "--output", tmp_path / "run", "--set", *SMALL]
    assert train("--weights", tiny_weights, *options, "data.allow_overlap=true") == 0
    assert "no part 'val' of its own, all of it is taken (" in capsys.readouterr().out


def test_a_set_without_parts_is_trained_on_alone(labels, tiny_weights, tmp_path, capsys):
    run = tmp_path / "run"
    options = ["--data", labels, "--epochs", 1, "--output", run, "--set", *SMALL]
    assert train("--weights", tiny_weights, *options) == 0
    assert "there are no validation pictures" in capsys.readouterr().out


def test_the_same_pictures_on_both_sides_are_named(experiment, capsys):
    assert train("--cfg", experiment, "--set", "data.allow_overlap=false") == 2
    line = the_error(capsys)
    assert "got 6 of data.train too: " in line
    assert "data.allow_overlap=true" in line


def test_pictures_without_any_head_are_no_training_set(experiment, labels, capsys):
    pictures = f"data.train=[{{path: {labels.parent / 'images'}, format: folder}}]"
    assert train("--cfg", experiment, "--set", pictures) == 2
    assert "expected heads to learn from; got 6 pictures without any label" in the_error(capsys)


def test_the_state_of_a_run_is_told_from_weights_and_can_be_released(
    experiment, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert train("--cfg", experiment, "--output", "run") == 0
    Path("run", "best.safetensors").unlink()
    test = ["test", "--source", ".", "--weights"]
    with pytest.raises(SystemExit, match="2"):
        main([*test, "run"])
    assert "argument --weights: run: expected best.safetensors in the run's folder" in the_error(
        capsys
    )
    assert main([*test, "run/last.safetensors"]) == 2
    assert "this is the state of a training run" in the_error(capsys)
    release = ["--input", "run/last.safetensors", "--output", "mine.safetensors"]
    assert main(["convert", "release", *release, "--licence", "MIT"]) == 0
    _, description = load_detector("mine.safetensors")
    assert (description.licence, description.training["step"]) == ("MIT", 3)


def test_a_run_starts_from_weights_of_another(experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert train("--cfg", experiment, "--output", "first") == 0
    start = "training.initial_weights=first/best.safetensors"
    still = "training.optimizer.learning_rate=1e-12"
    assert train("--cfg", experiment, "--output", "second", "--set", start, still) == 0
    (first, _), (second, _) = (load_detector(f"{run}/best.safetensors") for run in RUNS)
    for (name, before), after in zip(first.named_parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(after, before, msg=name)
    capsys.readouterr()
    assert train("--cfg", experiment, "--output", "third", "--set", f"{start}.gone") == 2
    assert "best.safetensors.gone: expected a weights file; got no such file" in the_error(capsys)


def test_a_run_starts_from_the_heads_of_another_and_its_own_pretrained_body(
    experiment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert train("--cfg", experiment, "--output", "first") == 0
    body = torchvision.models.resnet18().state_dict()
    torch.save(body, "body.pth")
    changes = [
        "training.initial_weights=first/best.safetensors",
        "training.optimizer.learning_rate=1e-12",
        "network.backbone.name=resnet18",
        "network.backbone.pretrained=body.pth",
    ]
    assert train("--cfg", experiment, "--output", "second", "--set", *changes) == 0
    (first, _), (second, _) = (load_detector(f"{run}/best.safetensors") for run in RUNS)
    torch.testing.assert_close(
        second.backbone.body.state_dict()["conv1.weight"], body["conv1.weight"]
    )
    heads = zip(first.roi_heads.parameters(), second.roi_heads.parameters(), strict=True)
    for before, after in heads:
        torch.testing.assert_close(after, before)


def test_weights_in_an_experiment_are_named_as_elsewhere(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    given = {"training": {"initial_weights": "light", "teacher": str(run)}}
    with pytest.raises(
        ConfigError, match=r"^training\.teacher: .*: expected the folder of a train"
    ):
        with_weights_paths(parse_config(given))
    (run / "best.safetensors").touch()
    training = with_weights_paths(parse_config(given)).training
    assert Path(training.initial_weights).is_file()
    assert Path(training.initial_weights).name == "light.safetensors"
    assert training.teacher == str(run / "best.safetensors")
    assert with_weights_paths(parse_config({})) == parse_config({})


def test_the_second_stage_alone_needs_weights_of_all_before_it(
    experiment, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    alone = "training.trained=second_stage"
    assert train("--cfg", experiment, "--output", "none", "--set", alone) == 2
    assert "training.initial_weights: expected the weights of a detector" in the_error(capsys)
    assert train("--cfg", experiment, "--output", "first") == 0
    capsys.readouterr()
    start = ["--set", alone, "training.initial_weights=first/best.safetensors"]
    other = "network.anchors.ratios=[1.0,1.2,1.5,2.0]"
    assert train("--cfg", experiment, "--output", "anchors", *start, other) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "first/best.safetensors: expected weights for all layers before the second" in line
    assert "none fit 4 tensors: rpn.head.cls_logits.weight" in line
    body = ["network.backbone.name=resnet18", "network.backbone.pretrained=false"]
    assert train("--cfg", experiment, "--output", "body", *start, *body) == 2
    assert "backbone.body.conv1.weight" in capsys.readouterr().err.splitlines()[-1]
    width = "network.box_head.width=24"
    assert train("--cfg", experiment, "--output", "wider", *start, width) == 0
    assert not any(Path(run).exists() for run in ("none", "anchors", "body"))
    assert train("--resume", "wider", "--set", "training.epochs=2") == 0


def test_a_body_that_starts_at_random_is_said(experiment, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert train("--cfg", experiment, "--output", "first") == 0
    start = ["--set", "training.initial_weights=first/best.safetensors"]
    body = ["network.backbone.name=resnet18", "network.backbone.pretrained=false"]
    assert train("--cfg", experiment, "--output", "second", *start, *body) == 0
    assert "has the body mobilenet0.25; resnet18 starts at random" in caplog.text


def test_what_a_reader_ignored_is_said(experiment, labels, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    content = json.loads(labels.read_text())
    content["annotations"][0]["iscrowd"] = 1
    (tmp_path / "noted.json").write_text(json.dumps(content))
    changes = ["path=noted.json", f"images={labels.parent / 'images'}"]
    assert train("--cfg", experiment, "--set", *(f"data.train.0.{c}" for c in changes)) == 0
    assert f"  {tmp_path.name}/noted: regions to ignore: 1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--cfg", "none.yaml"], "none.yaml: expected a YAML experiment file; No such file"),
        (["--cfg", "{cfg}", "--set", "training.epoch=1"], "did you mean epochs?"),
        (["--cfg", "{cfg}", "--set", "data.train=[]"], "expected at least one data set"),
        (["--cfg", "{cfg}", "--set", "data.train=[{path: no.json}]"], "no.json: no such file"),
        (["--cfg", "{cfg}", "--device", "tpu9"], "device: expected auto, cpu, cuda"),
        (["--cfg", "{cfg}", "--set", "training.precision=fp16"], "fp16 needs a CUDA device"),
        (["--cfg", "{cfg}", "--set", "network.backbone.strides=[4,64]"], "backbone.strides"),
        (["--resume", "nowhere"], "nowhere: expected the folder of a run"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(arguments, line, experiment, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    device = [] if "--device" in arguments else ["--device", "cpu"]
    assert train(*[a.replace("{cfg}", str(experiment)) for a in arguments], *device) == 2
    assert line in the_error(capsys)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--batch", "--set training.batch_size=N"),
        ("--lr=1", "--set training.optimizer.learning_rate=RATE"),
    ],
)
def test_options_of_other_trainers_are_fields_here(option, meant, capsys):
    with pytest.raises(SystemExit):
        train("--cfg", "configs/scut.yaml", option)
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_arguments_that_do_not_go_together(capsys):
    with pytest.raises(SystemExit, match="2"):
        train("--resume", "a", "--output", "b")
    assert "--output: not allowed with argument --resume" in the_error(capsys)
    assert train() == 2
    assert the_error(capsys) == "error: expected --cfg FILE, --data PATH, or --resume RUN"


def test_bad_annotations_are_listed_all_at_once(experiment, labels, tmp_path, capsys):
    folder = tmp_path / "bad"
    shutil.copytree(labels.parent, folder)
    content = json.loads((folder / labels.name).read_text())
    image = content["images"][0]["id"]
    content["annotations"] += [
        {"id": 1000 + n, "image_id": image, "category_id": 1, "bbox": [90, 5, 40, 10], "iscrowd": 0}
        for n in range(30)
    ]
    (folder / labels.name).write_text(json.dumps(content))
    (folder / "images" / content["images"][1]["file_name"].split("/")[-1]).unlink()
    run = tmp_path / "run"
    overrides = [f"data.train=[{{path: {folder / labels.name}}}]"]
    assert train("--cfg", experiment, "--output", run, "--set", *overrides) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 21  # the first twenty and the sum
    assert errors[-1].startswith("error: 31 problems in the annotations, all of them in ")
    listed = (run / "annotation_problems.txt").read_text().splitlines()
    assert len(listed) == 31
    assert sum("reaches outside the 96x64 picture" in line for line in listed) == 30
    assert sum("no such file" in line for line in listed) == 1
    # Once mended, the same folder is used.
    assert train("--cfg", experiment, "--output", run) == 0
    assert not (run / "annotation_problems.txt").exists()


def script(repository, *arguments):
    environment = os.environ | {"PYTHONPATH": str(repository), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=repository, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_script_stops_on_a_signal_and_says_how_to_go_on(experiment, repository, tmp_path):
    run = tmp_path / "run"
    many = ["--set", "training.epochs=100000", "data.validation=[]"]
    with script(
        repository, "scripts/train.py", "--cfg", experiment, "--output", run, *many
    ) as process:
        announced = [process.stdout.readline() for _ in range(3)]
        assert announced[-1].endswith(f"; {run}\n")
        while not (run / "log.csv").is_file() or (run / "log.csv").read_text().count("\n") < 3:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM
    step = load_checkpoint(run / "last.safetensors").progress.step
    assert f"stopped after step {step}; go on with --resume {run}\n" in output
    assert "Traceback" not in errors
    with (run / "log.csv").open(newline="") as file:
        assert int(list(csv.DictReader(file))[-1]["step"]) == step >= 2


def test_two_processes_train_as_one(experiment, repository, tmp_path):
    run = tmp_path / "run"
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    arguments = ["scripts/train.py", "--cfg", experiment, "--output", run]
    with script(repository, *launch, *arguments) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "2 process(es); step 0 of 3" in output
    assert output.count("done: 3 steps") == 1
    assert errors.count("epoch 1 validation") == 1
    assert load_checkpoint(run / "last.safetensors").progress.finished_epochs == 1
    load_detector(run / "best.safetensors")
