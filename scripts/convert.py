"""Convert weights made by others: ``python scripts/convert.py weights --help``."""

import sys

from head_detection.apps.command import run_command
from head_detection.apps.convert import main

if __name__ == "__main__":
    sys.exit(run_command(main))
