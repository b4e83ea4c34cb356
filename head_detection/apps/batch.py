"""``batch``: finds heads in very many pictures, in shards, with processes that may die."""

import argparse
from collections import Counter
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Final

from head_detection.apps.arguments import check_detector_options
from head_detection.apps.batch_options import (
    add_detector_options,
    add_job_options,
    add_ray_options,
    cluster_of,
    columns_of,
    request_of,
    source_of,
    worker_options,
)
from head_detection.apps.batch_progress import BatchProgress, listing, tell_left_out
from head_detection.errors import MissingPackageError

if TYPE_CHECKING:
    from head_detection.batch.local import FirstWorker
    from head_detection.batch.ray_data import Cluster

PACKAGES: Final = ("pyarrow", "fsspec")
"""Needed by both runners; Ray is checked where it is used."""
SOME_FAILED: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_job_options(parser)
    add_detector_options(parser)
    add_ray_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do what is missing of a job; return 0, or 1 if one of its pictures failed.

    Raises:
        HeadDetectionError: a mistake of the user, in one line.
        KeyboardInterrupt: Ctrl-C; finished shards are kept, as after SIGTERM.
    """
    check_detector_options(arguments)
    _check_packages(arguments.runner)
    cluster = cluster_of(arguments)
    from head_detection.batch.listing import list_items
    from head_detection.batch.local import FirstWorker, run_local
    from head_detection.batch.manifest import Job

    skipped = Counter[str]()
    options = worker_options(arguments)
    with (
        Job(arguments.output, request_of(arguments), lines=arguments.ndjson) as job,
        closing(FirstWorker(options)) as first,
    ):
        if job.is_unfinished:  # otherwise no worker may be needed
            if cluster is None:
                first.begin()
            _check_place(options.device, cluster, first)
        starts = job.starts
        batches = list_items(source_of(arguments), columns_of(arguments), skipped, starts)
        job.plan(listing(first.watched(batches)), arguments.shard_size, starts)
        job.complete_lines()
        tell_left_out(skipped, source_of(arguments))
        tasks = job.tasks(retry_failed=arguments.retry_failed)
        if cluster is None:
            events = run_local(job, tasks, first, arguments.processes)
        else:
            from head_detection.batch.ray_data import run_ray

            events = run_ray(job, tasks, options, cluster)
        progress = BatchProgress(job, tasks, skipped)
        with progress.reporting(), closing(events):
            progress.follow(events)
    return SOME_FAILED if job.counts.failed else 0


def _check_place(device: str, cluster: "Cluster | None", first: "FirstWorker") -> None:
    """Refuse a cluster or a GPU that does not exist, before all pictures are listed."""
    if cluster is not None and cluster.address is not None:
        from head_detection.batch.connection import check_cluster

        check_cluster(cluster.address)
    elif device in ("auto", "cpu"):
        return
    elif cluster is None:
        first.start()
    else:
        from head_detection.devices import find_device  # loads torch, else not needed here

        find_device(device)


def _check_packages(runner: str) -> None:
    for name in PACKAGES:
        try:
            import_module(name)
        except ImportError as error:
            raise MissingPackageError(
                f"expected the package {name} for this; it is not installed ({error}): "
                f"pip install 'head-detection[{'batch' if runner == 'local' else runner}]'"
            ) from error
