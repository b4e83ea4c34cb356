"""A job of the fake detector on a Ray cluster, for tests to kill; prints each shard's number.

python tests/ray_job.py SOURCE OUTPUT [ADDRESS]
"""

import sys
from pathlib import Path

from head_detection.batch.listing import list_items
from head_detection.batch.manifest import Job, Task
from head_detection.batch.process import WorkerOptions
from head_detection.batch.ray_data import Cluster, run_ray

OPTIONS = WorkerOptions(builder="fake_detector:build", picture_seconds=5, threads=1)
SHARD_SIZE = 4


def main(source: str, output: str, address: str | None = None) -> None:
    with Job(Path(output), {}) as job:
        job.plan(list_items(source), SHARD_SIZE)
        for event in run_ray(job, job.tasks(), OPTIONS, Cluster(address)):
            if isinstance(event, Task):
                sys.stdout.write(f"{event.shard}\n")
                sys.stdout.flush()
        job.write_summary({})


if __name__ == "__main__":
    main(*sys.argv[1:])
