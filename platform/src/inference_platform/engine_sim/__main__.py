"""`python -m inference_platform.engine_sim`."""

import sys

from inference_platform.engine_sim.server import main

sys.exit(main())
