import csv

import pytest
import torch

from head_detection.config import parse_config
from head_detection.data.dataset import HeadDataset
from head_detection.data.formats import load_annotations
from head_detection.data.loader import TrainingBatches
from head_detection.data.synthetic import synthetic_set
from head_detection.models.faster_rcnn import build_detector
from head_detection.training.distributed import Ranks
from head_detection.training.inputs import TrainingData
from head_detection.training.run_log import RunLog
from head_detection.training.trainer import Trainer

NUM_IMAGES = 10
"""With two a step, five steps an epoch."""


@pytest.fixture(scope="session")
def alone():
    return Ranks(rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def labels(tmp_path_factory):
    """Made-up pictures."""
    return synthetic_set(tmp_path_factory.mktemp("pictures"), NUM_IMAGES, (64, 96), seed=0)


@pytest.fixture
def values(labels, tiny_experiment):
    """A tiny experiment as plain values."""
    data = {"path": str(labels)}
    return {
        **tiny_experiment,
        "data": {"train": [data], "validation": [data]},
        "training": {
            "rpn": {"pre_nms_top_n": 20, "post_nms_top_n": 10},
            "epochs": 2,
            "batch_size": 2,
            "threads": 1,
            "log_steps": 1,
            "optimizer": {"learning_rate": 0.01, "clip_norm": 10.0},
            "schedule": {"name": "cosine", "warmup_steps": 3, "warmup_factor": 0.1},
        },
    }


@pytest.fixture
def build_trainer(values, alone, tmp_path, monkeypatch):
    """Return a function of overrides, folder and checkpoint that gives a trainer."""
    # Drawing takes longer than a tiny run; test_run_log.py draws.
    monkeypatch.setattr(RunLog, "draw", lambda log: log.path.with_name("curves.png").touch())

    def build(overrides=(), folder=None, checkpoint=None, threshold=None):
        config = parse_config(values, overrides)
        torch.manual_seed(config.training.seed)
        folder = folder or tmp_path / "run"
        folder.mkdir(exist_ok=True)
        sets = [load_annotations(entry) for entry in config.data.train]
        dataset = HeadDataset(sets, config.data.augmentation)
        batches = TrainingBatches(dataset, [1.0], config.training.batch_size, config.training.seed)
        validation = [load_annotations(entry) for entry in config.data.validation]
        data = TrainingData(batches, HeadDataset(validation, None) if validation else None)
        model = build_detector(config.network, config.inference, config.training)
        return Trainer(config, model, data, folder, alone, checkpoint, "abc", threshold)

    return build


@pytest.fixture(scope="session")
def rows():
    """Return a function from a run's folder to the rows of its log."""

    def read(folder):
        with (folder / "log.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return read
