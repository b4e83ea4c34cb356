"""Train a detector: ``python scripts/train.py --cfg configs/scut.yaml``."""

import sys

from head_detection.apps.command import run_command
from head_detection.apps.train import main

if __name__ == "__main__":
    sys.exit(run_command(main))
