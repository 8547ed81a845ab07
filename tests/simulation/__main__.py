"""`python -m tests.simulation`: see `runner`."""

import sys

from tests.simulation.runner import main

sys.exit(main())
