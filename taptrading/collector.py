"""What the garbage collector of a process that serves is told."""

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 50)


def spare() -> None:
    """What is loaded by now stays, and requests make hardly any cycles: by default the collector
    would walk through all of it several times a second. Call it when all is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
