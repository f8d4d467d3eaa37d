"""p50, p95 and p99 by second and phase over ten million rows in order of due time."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
from timing import asked, best_cpu_s, tell

from faultload.measure.quantiles import by_second_and_phase

SEED = 7
SHARES = (0.5, 0.95, 0.99)


def compare(rows: int, repeat: int) -> dict[str, Any]:
    """Time ours and plain pandas."""
    generator, end_s = np.random.default_rng(SEED), 600.0
    due = np.sort(generator.uniform(0, end_s, rows))
    value = generator.lognormal(-3, 0.5, rows)
    edges = np.array([0.0, 30.0, 200.5, 260.25, end_s])

    def theirs() -> Any:
        phase = np.searchsorted(edges, due, "right") - 1
        frame = pd.DataFrame({"phase": phase, "second": due.astype(np.int64), "value": value})
        return frame.groupby(["phase", "second"])["value"].quantile(np.array(SHARES))

    def ours() -> Any:
        return by_second_and_phase(due, value, edges, SHARES)

    mine, peer = ours(), theirs()
    if not np.allclose(mine.to_numpy().ravel(), peer.to_numpy(), rtol=1e-12):
        sys.exit("quantiles: ours are not those of pandas")
    ours_s, peer_s = best_cpu_s(ours, repeat), best_cpu_s(theirs, repeat)
    return {"rows": rows, "cpu_s": ours_s, "peer_cpu_s": peer_s, "ratio": ours_s / peer_s}


if __name__ == "__main__":
    tell(compare(*asked()))
