"""Options of ``batch``, and their values for the parts that use them.

Nothing here may import torch or pyarrow, so that options are parsed quickly.
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from head_detection.apps.arguments import (
    add_detection_options,
    add_engine_options,
    add_weights_option,
    engine_options,
    number_in,
    positive,
)
from head_detection.errors import BatchError
from head_detection.images.finding import find_path
from head_detection.inference.weights_files import digest_of_all, shipped_weights
from head_detection.version import __version__

if TYPE_CHECKING:
    from head_detection.batch.items import Columns
    from head_detection.batch.process import WorkerOptions
    from head_detection.batch.ray_data import Cluster

RUNNERS: Final = ("local", "ray")
SHARD_SIZE: Final = 1000
"""Pictures: a few minutes of a CPU process, and ten thousand files for ten million pictures."""
PICTURE_SECONDS: Final = 300.0
"""A picture of a hundred megapixels, processed in tiles, takes minutes on few cores."""
MAX_GPUS: Final = 64.0
MAX_PICTURE_SECONDS: Final = 86_400.0


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Declare the source, the output and how a job is divided."""
    parser.add_argument(
        "--source", required=True, type=_source, metavar="PATH",
        help="a folder (searched recursively), a text file of paths, a glob in quotes, Parquet "
        "with a column of paths or pictures, or WebDataset tars; also at s3://, gs://, https://",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, type=_folder, metavar="DIR",
        help="folder of the job; run the same command again to do what is missing",
    )  # fmt: skip
    parser.add_argument(
        "--runner", choices=RUNNERS, default="local",
        help="processes on this machine, or actors on a Ray cluster; either can continue what the "
        "other began (default: local)",
    )  # fmt: skip
    parser.add_argument(
        "--shard-size", type=positive, default=SHARD_SIZE, metavar="N",
        help=f"pictures in a file of results, which is written whole or not at all "
        f"(default: {SHARD_SIZE})",
    )  # fmt: skip
    parser.add_argument("--retry-failed", action="store_true", help="repeat pictures that failed")
    parser.add_argument(
        "--ndjson", action="store_true", help="also write each shard as lines of JSON"
    )
    for name, what in {"path": "paths", "bytes": "pictures", "name": "names"}.items():
        parser.add_argument(
            f"--{name}-column", default="", metavar="NAME",
            help=f"column of Parquet that holds the {what} (default: found by name and type)",
        )  # fmt: skip


def add_detector_options(parser: argparse.ArgumentParser) -> None:
    """Declare the detector and the processes that run it."""
    add_weights_option(parser)
    add_detection_options(parser)
    parser.add_argument(
        "--processes", type=positive, metavar="N",
        help="processes, or largest number of actors (default: one per GPU, or one per two cores)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=positive, metavar="N",
        help="threads of a process on a CPU (default: 2; for the local runner, OMP_NUM_THREADS if "
        "set)",
    )  # fmt: skip
    parser.add_argument(
        "--picture-seconds", type=_seconds, default=PICTURE_SECONDS, metavar="S",
        help=f"give up a picture without a result after S seconds (default: {PICTURE_SECONDS:g})",
    )  # fmt: skip
    add_engine_options(parser)


def add_ray_options(parser: argparse.ArgumentParser) -> None:
    """Declare where Ray's actors run; ``--processes`` is their largest number."""
    parser.add_argument(
        "--ray-address", type=_address, metavar="HOST:PORT",
        help="address of a running cluster, or auto (default: start Ray on this machine)",
    )  # fmt: skip
    parser.add_argument(
        "--ray-gpus", type=_gpus, metavar="X",
        help="GPUs per actor, may be a fraction (default: 1 if the cluster has any)",
    )  # fmt: skip


def cluster_of(arguments: argparse.Namespace) -> "Cluster | None":
    """Return where Ray runs; None for the local runner.

    Raises:
        BatchError: Ray's options without ``--runner ray``, or options that do not go together.
    """
    if arguments.runner == "ray":
        _check_device(arguments.device, arguments.ray_gpus)
        from head_detection.batch.ray_data import Cluster

        actors = None if arguments.processes is None else (1, arguments.processes)
        return Cluster(arguments.ray_address, actors, arguments.ray_gpus)
    for name in ("ray_address", "ray_gpus"):
        if getattr(arguments, name) is not None:
            option = "--" + name.replace("_", "-")
            raise BatchError(f"{option} is of Ray; add --runner ray, or leave it out")
    return None


def _check_device(device: str, num_gpus: float | None) -> None:
    if device not in ("auto", "cpu", "cuda"):
        raise BatchError(
            f"--device {device}: expected auto, cpu or cuda, for Ray gives each actor its GPU; "
            "CUDA_VISIBLE_DEVICES says which it may give, where Ray is started"
        )
    if device == "cpu" and num_gpus:
        raise BatchError(f"--ray-gpus {num_gpus:g}: expected none with --device cpu")


def source_of(arguments: argparse.Namespace) -> str:
    """Return the source as an absolute path, or a URL unchanged."""
    from head_detection.batch.places import without_file_protocol

    source = without_file_protocol(arguments.source)
    return source if "://" in source else os.path.abspath(find_path(source))  # noqa: PTH100 - keeps a glob


def columns_of(arguments: argparse.Namespace) -> "Columns":
    """Return the Parquet columns that were named."""
    from head_detection.batch.items import Columns

    return Columns(arguments.path_column, arguments.bytes_column, arguments.name_column)


def request_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return everything that a job's results depend on; None is filled in by the detector.

    Raises:
        WeightsError: the included weights are missing.
        OSError: the weights cannot be read.
    """
    columns = [f"{kind} {name}" for kind, name in asdict(columns_of(arguments)).items() if name]
    precision = arguments.precision
    return {
        "version": __version__,
        "weights": digest_of_all(arguments.weights or shipped_weights(), precision),
        "set": engine_options(arguments)["overrides"],
        "max_pixels": arguments.max_pixels,
        "score_threshold": arguments.score_threshold,
        "engine": arguments.engine,
        "precision": None if precision == "auto" else precision,
        "source": source_of(arguments),
        "columns": ", ".join(columns),
    }


def worker_options(arguments: argparse.Namespace) -> "WorkerOptions":
    """Return the settings of a worker."""
    from head_detection.batch.process import WorkerOptions

    options = engine_options(arguments)
    return WorkerOptions(
        weights=str((arguments.weights or shipped_weights()).absolute()),
        overrides=tuple(options.pop("overrides")),
        score_threshold=arguments.score_threshold,
        max_pixels=arguments.max_pixels,
        batch_size=arguments.batch_size,
        threads=arguments.threads,
        picture_seconds=arguments.picture_seconds,
        **options,
    )


def _source(text: str) -> str:
    if not text:  # from an unset shell variable: it must not mean the working folder
        raise argparse.ArgumentTypeError("expected a path or a URL; got an empty text")
    return text


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a folder; got an empty text")
    if "://" in text:
        raise argparse.ArgumentTypeError(f"expected a folder of this machine; got {text}")
    return Path(text)


def _address(text: str) -> str:
    if text != "auto" and not all(text.rpartition(":")[::2]):
        raise argparse.ArgumentTypeError(f"expected HOST:PORT or auto; got {text!r}")
    return text


def _gpus(text: str) -> float:
    return number_in(text, 0.0, MAX_GPUS)


def _seconds(text: str) -> float:
    return number_in(text, 0.1, MAX_PICTURE_SECONDS)
