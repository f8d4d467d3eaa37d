"""A million Prometheus samples, from the bytes of an answer to one table."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import orjson
from prometheus_api_client import MetricRangeDataFrame
from timing import asked, best_cpu_s, tell

from faultload.measure.samples import series_frame, tracks_of

SEED = 7


def compare(samples: int, repeat: int) -> dict[str, Any]:
    """Time both ways."""
    body = _answer(samples)

    def theirs() -> Any:
        return MetricRangeDataFrame(json.loads(body)["data"]["result"])

    def ours() -> Any:
        tracks = tracks_of(orjson.loads(body)["data"]["result"])
        return series_frame([(t.labels["__name__"], t) for t in tracks], 1_700_000_000.0)

    mine, peer = ours(), theirs()
    if not (len(mine) == samples and np.array_equal(mine["value"], peer["value"])):
        sys.exit("frames: the two tables do not hold the same values")
    del mine, peer
    ours_s, peer_s = best_cpu_s(ours, repeat), best_cpu_s(theirs, repeat)
    return {"samples": samples, "cpu_s": ours_s, "peer_cpu_s": peer_s, "ratio": peer_s / ours_s}


def _answer(samples: int) -> bytes:
    """Return what Prometheus says of a histogram on many replicas, ten minutes of each."""
    generator, length = np.random.default_rng(SEED), 500
    metric = {"__name__": "vllm:time_to_first_token_seconds_bucket", "job": "engine", "le": "0.5"}
    metric |= {"model_name": "m", "engine": "0", "tier": "fast", "zone": "a"}
    result = []
    for replica in range(samples // length):
        counts = np.cumsum(generator.integers(0, 5, length))
        values = [[1_700_000_000.123 + k, str(int(v))] for k, v in enumerate(counts)]
        names = {"replica": f"r{replica}", "instance": f"10.0.0.{replica}:8000"}
        result.append({"metric": metric | names, "values": values})
    return orjson.dumps({"status": "success", "data": {"result": result}})


if __name__ == "__main__":
    tell(compare(*asked()))
