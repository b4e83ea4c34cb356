import pytest
import torch

from head_detection.apps import main as dispatcher
from head_detection.errors import WeightsError
from head_detection.models.faster_rcnn import load_detector
from head_detection.models.network import build_network
from head_detection.models.weights import read_description, save_weights


def main(arguments: list[str]) -> int:
    return dispatcher.run(["convert", *arguments])


@pytest.fixture
def run(tmp_path, tiny_weights):
    """A function from a number to the weights of a run that hold nothing else, norms included."""

    def make(name, value):
        model, description = load_detector(tiny_weights)
        for tensor in model.state_dict().values():
            tensor.fill_(value)
        path = tmp_path / name / "best.safetensors"
        path.parent.mkdir()
        known = {"metrics": {"val": {"num_heads": 7}}}
        description = description.with_score_threshold(0.4).model_copy(update=known)
        save_weights(path, model.network, description)
        return path

    return make


def average(output, *inputs):
    return main(["average", "--input", *map(str, inputs), "--output", str(output)])


def test_each_value_is_the_mean_and_one_given_twice_counts_twice(run, tmp_path, capsys):
    output = tmp_path / "mean.safetensors"
    first = run("a", 1.0)
    assert average(output, first, run("b", 4.0), first) == 0
    model, description = load_detector(output)
    state = model.state_dict()
    assert any(name.endswith("running_mean") for name in state)
    for name, tensor in state.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, torch.full_like(tensor, 2.0), msg=name)
    assert description.training["average_of"] == [
        "a/best.safetensors",
        "b/best.safetensors",
        "a/best.safetensors",
    ]
    assert description.metrics == {}  # they were another network's
    assert description.inference.score_threshold == 0.4
    assert "mean of 3 files" in capsys.readouterr().out


def test_a_run_is_its_best_weights(run, tmp_path, capsys):
    output = tmp_path / "mean.safetensors"
    assert average(output, run("a", 1.0).parent, run("b", 3.0)) == 0
    _, description = load_detector(output)
    assert description.training["average_of"] == ["a/best.safetensors", "b/best.safetensors"]
    (tmp_path / "c").mkdir()
    with pytest.raises(SystemExit, match="2"):
        average(output, tmp_path / "c", tmp_path / "a")
    assert "no best.safetensors in it" in capsys.readouterr().err


def test_one_file_has_no_mean(run, tmp_path):
    with pytest.raises(WeightsError, match="expected two files or more; got one"):
        average(tmp_path / "mean.safetensors", run("a", 1.0))


def test_another_network_is_refused(run, tmp_path, tiny_weights):
    description = read_description(tiny_weights)
    box_head = description.network.box_head
    box_head = box_head.model_copy(update={"width": box_head.width * 2})
    other = tmp_path / "other.safetensors"
    wider = description.network.model_copy(update={"box_head": box_head})
    description = description.model_copy(update={"network": wider})
    save_weights(other, build_network(wider), description)
    output = tmp_path / "mean.safetensors"
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        average(output, run("a", 1.0), other)
    assert not output.exists()


def test_another_kind_of_output_is_refused(run, tmp_path):
    with pytest.raises(WeightsError, match=r"--output: expected a \.safetensors file"):
        average(tmp_path / "mean.pth", run("a", 1.0), run("b", 2.0))
