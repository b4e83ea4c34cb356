"""``python -m head_detection`` is ``head-detection``."""

import sys

from head_detection.apps.main import main

sys.exit(main())
