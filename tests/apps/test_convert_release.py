import hashlib
import json

import pytest
import torch

from head_detection.apps.main import run
from head_detection.errors import WeightsError
from head_detection.models.faster_rcnn import load_detector
from head_detection.models.weights import read_description, save_weights


def main(arguments: list[str]) -> int:
    return run(["convert", *arguments])


@pytest.fixture
def run_weights(tmp_path, tiny_weights):
    """Weights as a run leaves them: with the folders of the machine they were trained on."""
    model, description = load_detector(tiny_weights)
    training = {"config": {"data": {"train": [{"path": "/home/me/data/heads/train.json"}]}}}
    path = tmp_path / "best.safetensors"
    save_weights(path, model.network, description.model_copy(update={"training": training}))
    return path


def release(source, output, *options):
    files = ["--input", str(source), "--output", str(output)]
    return main(["release", *files, "--licence", "research only", *options])


def test_it_is_half_the_size_and_finds_the_same(run_weights, tmp_path, capsys):
    output = tmp_path / "fast.safetensors"
    assert release(run_weights, output) == 0
    digest = hashlib.sha256(output.read_bytes()).hexdigest()
    assert capsys.readouterr().out.endswith(f"SHA-256, for its card: {digest}\n")
    assert output.stat().st_size < 0.6 * run_weights.stat().st_size
    (model, _), (released, _) = load_detector(run_weights), load_detector(output)
    for name, tensor in model.state_dict().items():
        assert released.state_dict()[name].dtype == tensor.dtype
        torch.testing.assert_close(released.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)


def test_licence_metrics_and_threshold_are_inside_and_folders_are_not(run_weights, tmp_path):
    measured = {"ap50": 0.75}
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"num_images": 3, "num_heads": 7, "metrics": measured}))
    output = tmp_path / "fast.safetensors"
    release(run_weights, output, "--metrics", f"street={metrics}", "--score-threshold", "0.4")
    description = read_description(output)
    assert description.licence == "research only"
    assert description.inference.score_threshold == 0.4
    assert description.metrics["street"] == {"num_images": 3, "num_heads": 7, "metrics": measured}
    (entry,) = description.training["config"]["data"]["train"]
    assert entry == {"path": "heads/train.json"}


@pytest.mark.parametrize("metrics", ["street", "=a.json", "street=gone.json"])
def test_metrics_that_are_none_are_refused(run_weights, tmp_path, metrics):
    output = tmp_path / "fast.safetensors"
    with pytest.raises(WeightsError, match="--metrics"):
        release(run_weights, output, "--metrics", metrics)
    assert not output.exists()


def test_values_too_large_for_half_precision_are_refused(run_weights, tmp_path):
    model, description = load_detector(run_weights)
    next(model.parameters()).data.fill_(1e6)
    save_weights(run_weights, model.network, description)
    with pytest.raises(WeightsError, match="half precision"):
        release(run_weights, tmp_path / "fast.safetensors")


def test_another_ending_is_refused(run_weights, tmp_path):
    with pytest.raises(WeightsError, match="--output"):
        release(run_weights, tmp_path / "fast.pth")


def test_what_comes_after_the_network_may_be_set(run_weights, tmp_path):
    output = tmp_path / "fast.safetensors"
    release(
        run_weights,
        output,
        "--set",
        "inference.suppression.box_voting.enabled=true",
        "inference.proposals.score_threshold=0.5",
    )
    model, description = load_detector(output)
    assert description.inference.suppression.box_voting.enabled
    assert model.decoder.suppression.voting_iou_threshold == 0.65
    assert model.decoder.limits.score_threshold == 0.5


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.epochs=3", r"expected inference\.KEY=VALUE"),
        ("inference.no_such=3", "no_such"),
        ("network.backbone.fpn_width=128", r"expected inference\.KEY=VALUE"),
    ],
)
def test_what_the_tensors_do_not_fit_is_refused(run_weights, tmp_path, override, line):
    output = tmp_path / "fast.safetensors"
    with pytest.raises(ValueError, match=line):
        release(run_weights, output, "--set", override)
    assert not output.exists()
