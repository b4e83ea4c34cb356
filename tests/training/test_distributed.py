import json
import subprocess
import sys
import textwrap

import pytest
import torch

from head_detection.errors import DeviceError
from head_detection.training.checkpoint import load_checkpoint
from head_detection.training.distributed import _own_device, joined_ranks
from head_detection.training.run_folder import CHECKPOINT

SCRIPT = """
    import json, pathlib, sys
    import torch
    from torch import nn

    from head_detection.config import DatasetConfig, parse_config
    from head_detection.data.dataset import HeadDataset, Sample
    from head_detection.data.formats import load_annotations
    from head_detection.training.distributed import joined_ranks
    from head_detection.training.step import LOSS_NAMES, TrainingStep
    from head_detection.training.validation import validate

    class Blind(nn.Module):
        '''Finds one head, in the picture's corner.'''
        def forward(self, images):
            box = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
            return [{"boxes": box, "scores": torch.ones(1)} for _ in images]

    class OneWeight(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))
            self.unused = nn.Parameter(torch.ones(2))
            self.norm = nn.BatchNorm1d(1, affine=False, momentum=1.0)
        def forward(self, images, targets):
            brightness = torch.stack([image.mean() for image in images])
            self.norm(torch.cat([brightness, brightness])[:, None])
            loss = (self.weight * brightness).mean()
            return {"loss_classifier": loss, **dict.fromkeys(LOSS_NAMES[1:], loss * 0)}

    def samples(values):
        return [Sample(torch.full((3, 2, 2), float(v)), {}) for v in values]

    labels, output = sys.argv[1:]
    with joined_ranks("auto" if not torch.cuda.is_available() else "cpu") as ranks:
        facts = {"world": [ranks.rank, ranks.world_size, ranks.is_first]}
        facts["gathered"] = ranks.gather([] if ranks.rank else ["first"])
        facts["told"] = ranks.from_first(lambda: ranks.rank)

        training = parse_config({"training": {"accumulation": 2}}).training
        model = OneWeight()
        with torch.no_grad():
            model.weight += ranks.rank
        ranks.copy_from_first(model)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        step = TrainingStep(model, sgd, torch.amp.GradScaler(enabled=False), training, ranks)

        shares = [[1, 6], [2]]
        outcome = step.run(samples(shares[ranks.rank]), 0, wants_stop=ranks.rank == 1)
        facts["shared"] = [model.weight.item(), outcome.loss, outcome.must_stop]
        facts["statistics"] = model.norm.running_mean.item()

        shares = [[1], [float("nan")]]
        outcome = step.run(samples(shares[ranks.rank]), 1)
        facts["bad"] = [model.weight.item(), outcome.is_bad, model.norm.running_mean.item()]

        shares = [[3, 3], []]
        outcome = step.run(samples(shares[ranks.rank]), 2)
        facts["empty"] = [model.weight.item(), outcome.loss]

        sets = [load_annotations(DatasetConfig(path=labels))]
        sets[0] = type(sets[0])("one", sets[0].images[:1])
        one = HeadDataset(sets, None)
        facts["metrics"] = validate(Blind(), one, ranks, None, lambda *_: True)
        # The first rank has the picture and leaves; the second learns of it.
        facts["left"] = validate(Blind(), one, ranks, None, lambda *_: False)

        def mistake():
            raise ValueError("a line")
        try:
            ranks.from_first(mistake)
        except (ValueError, SystemExit) as error:
            facts["mistake"] = repr(error)
        path = pathlib.Path(output) / f"{ranks.rank}.json"
        path.write_text(json.dumps(facts))
"""


FAILING = """
    import json, pathlib, sys

    from head_detection.config import parse_config
    from head_detection.data.dataset import HeadDataset
    from head_detection.data.formats import load_annotations
    from head_detection.data.loader import TrainingBatches
    from head_detection.errors import PictureError, TrainingError
    from head_detection.models.faster_rcnn import build_detector
    from head_detection.training.distributed import joined_ranks
    from head_detection.training.inputs import TrainingData
    from head_detection.training.trainer import Trainer

    experiment, output, kind = sys.argv[1:]

    class Failing(TrainingBatches):
        # Gives the second rank three batches, then an error.
        def batches(self, epoch, start_step=0):
            for number, samples in enumerate(super().batches(epoch, start_step)):
                if number == 3 and ranks.rank == 1:
                    raise PictureError("a.jpg: a line") if kind == "picture" else TrainingError("x")
                yield samples

    config = parse_config(json.loads(experiment), [])
    with joined_ranks("cpu") as ranks:
        dataset = HeadDataset([load_annotations(e) for e in config.data.train], None)
        batches = Failing(dataset, [1.0], 2, 0, ranks.rank, ranks.world_size)
        model = build_detector(config.network, config.inference, config.training)
        folder = pathlib.Path(output)
        trainer = Trainer(config, model, TrainingData(batches, None), folder, ranks, None, "", None)
        try:
            said = trainer.run()
        except (PictureError, TrainingError) as error:
            said = f"{type(error).__name__}: {error}"
        facts = {"said": said, "step": trainer.state.progress.step}
        (folder / f"{ranks.rank}.json").write_text(json.dumps(facts))
"""


def run_ranks(script, folder, *arguments):
    """Run a script as two processes; return what each wrote."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(path), *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def facts(labels, tmp_path_factory):
    """What two processes under torchrun saw."""
    folder = tmp_path_factory.mktemp("ranks")
    return run_ranks(SCRIPT, folder, labels, folder)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("picture", ["TrainingError: another process could not", "PictureError: a.jpg: a line"]),
        ("loader", ["TrainingError: another process could not", "TrainingError: x"]),
    ],
)
def test_samples_that_one_rank_lacks_end_the_run_on_all_with_a_checkpoint(
    values, tmp_path, kind, said
):
    facts = run_ranks(FAILING, tmp_path, json.dumps(values), tmp_path, kind)
    for rank, words in zip(facts, said, strict=True):
        assert rank["said"].startswith(words)
        assert rank["step"] == 3
    assert load_checkpoint(tmp_path / CHECKPOINT).progress.step == 3


def test_ranks_know_each_other(facts):
    assert [rank["world"] for rank in facts] == [[0, 2, True], [1, 2, False]]
    assert [rank["gathered"] for rank in facts] == [[["first"], []]] * 2
    assert [rank["told"] for rank in facts] == [0, 0]


def test_shares_of_a_batch_give_its_gradient(facts):
    # Pictures of brightness 1, 6 and 2: the gradient is 3 however they are shared.
    for rank in facts:
        assert rank["shared"] == pytest.approx([1 - 0.1 * 3, 3.0, True])


def test_statistics_are_the_mean_of_the_ranks(facts):
    # The last part of each rank: 6 and 2.
    assert [rank["statistics"] for rank in facts] == pytest.approx([4.0, 4.0])


def test_a_bad_share_stops_the_step_on_every_rank(facts):
    for rank in facts:
        assert rank["bad"] == pytest.approx([0.7, True, 4.0])


def test_a_rank_without_pictures_follows(facts):
    for rank in facts:
        assert rank["empty"] == pytest.approx([0.7 - 0.1 * 3, 3 * 0.7])


def test_validation_is_gathered_over_ranks(facts):
    """HeadHunter's ranks each scored their own shard (its fault 9); here one shard is empty."""
    first, second = (rank["metrics"] for rank in facts)
    assert json.dumps(first) == json.dumps(second)
    assert first["ap50"] >= 0.0


def test_a_rank_that_leaves_validation_takes_the_others_along(facts):
    assert [rank["left"] for rank in facts] == [None, None]


def test_a_mistake_is_told_once(facts):
    assert facts[0]["mistake"] == "ValueError('a line')"
    assert facts[1]["mistake"] == "SystemExit(2)"


def test_without_torchrun_there_is_one_rank(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined_ranks("cpu") as ranks:
        assert (ranks.rank, ranks.world_size, ranks.device) == (0, 1, torch.device("cpu"))


def test_each_rank_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for name in ("auto", "cuda"):
        assert _own_device(name, local_rank=1, world_size=2) == torch.device("cuda:1")
        assert _own_device(name, local_rank=0, world_size=1) == torch.device("cuda:0")
    assert _own_device("cuda:1", local_rank=0, world_size=2) == torch.device("cuda:1")
    assert _own_device("cpu", local_rank=1, world_size=2) == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"cuda:2 asked for, but torch .* sees 2 CUDA devices"):
        _own_device("cuda", local_rank=2, world_size=3)


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "", "cpu cpu"])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(DeviceError, match=r"^device: ") as caught, joined_ranks(name):
        pass
    assert "\n" not in str(caught.value)
