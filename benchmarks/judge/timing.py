"""What the parts have in common: their arguments, their clock, their answer."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import orjson


def asked() -> tuple[int, int]:
    """Return the size and the number of repeats from the command line."""
    return int(sys.argv[1]), int(sys.argv[2])


def tell(figures: dict[str, Any]) -> None:
    """Write the figures for the one that started us."""
    sys.stdout.buffer.write(orjson.dumps(figures))


def best_cpu_s(work: Callable[[], Any], repeat: int) -> float:
    """Return the CPU seconds of the quickest of some calls."""
    found = []
    for _ in range(repeat):
        gc.collect()
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def rss_mb() -> float:
    """Return this process's peak resident size in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
