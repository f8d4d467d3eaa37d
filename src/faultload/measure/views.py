"""What clients saw beside what the server says of the same phase.

A client's quantile is a number. The server's is the bucket that holds it, never a point within; the
shares at that bucket's edges are exact on both sides and can be compared. The two count from
different moments: the client from when a request was due, the engine from when it arrived there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from faultload.measure.counters import increases
from faultload.measure.histograms import Histogram, observed
from faultload.measure.scrapes import Scrapes
from faultload.record import Phase, RequestStatus

SHARES = (0.5, 0.95, 0.99)
_BUCKETS = {
    "ttft": "vllm:time_to_first_token_seconds_bucket",
    "tpot": "vllm:request_time_per_output_token_seconds_bucket",
    "itl": "vllm:inter_token_latency_seconds_bucket",
    "e2e": "vllm:e2e_request_latency_seconds_bucket",
}
_OUTCOMES = "inference_router_requests_total"
_OPEN = (RequestStatus.UNFINISHED, RequestStatus.UNSENT)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quantile:
    """One quantile of one latency, from both sides.

    Attributes:
        share: 0.95 for the 95th percentile.
        client_s: over what clients were sent; None: nothing, or not recorded.
        server_s: (lower, upper] edge of the server's bucket; None: no data.
        client_at: share of the client's values at or under these two edges; None: as `client_s`,
            or `server_s`.
        server_at: the server's, exact; None: as `server_s`.
    """

    share: float
    client_s: float | None
    server_s: tuple[float, float] | None
    client_at: tuple[float, float] | None
    server_at: tuple[float, float] | None


@dataclass(frozen=True)
class Latency:
    """One latency over one phase, from both sides.

    Attributes:
        sli: `ttft`, `tpot`, `itl` or `e2e`.
        phase: which part of the run.
        client: how many values clients have, by the due time of their requests.
        server: how many the server has, by the time at which it counted them; None: no data.
        is_complete: the server's samples cover the phase. A replica that vanished within it, or a
            hole in the samples, leaves out what it counted last.
        quantiles: one a share.
    """

    sli: str
    phase: Phase
    client: int
    server: float | None
    is_complete: bool
    quantiles: Sequence[Quantile]


@dataclass(frozen=True)
class Errors:
    """The share of requests that went wrong in one phase, from both sides.

    Attributes:
        phase: which part of the run.
        client: of the requests due in it that ended; None: there were none.
        server: of those the router finished in it, all outcomes but `ok`; None: no data.
        is_complete: as in `Latency`.
    """

    phase: Phase
    client: float | None
    server: float | None
    is_complete: bool


def latencies(
    requests: pd.DataFrame, series: pd.DataFrame, phases: Sequence[Phase]
) -> list[Latency]:
    """Return every latency over every phase.

    Args:
        requests: rows in the record's request schema. Without `gaps_s` clients have no `itl`.
        series: samples in the record's series schema.
        phases: which to look at.
    """
    found, scrapes = [], Scrapes.of(series)
    for sli, name in _BUCKETS.items():
        due, values = _client_values(requests, sli)
        buckets = series[series["series"] == name]
        for phase in phases:
            own = np.sort(values[(due >= phase.start_s) & (due < phase.end_s)])
            histogram = observed(buckets, phase.start_s, phase.end_s, scrapes)
            found.append(_latency(sli, phase, own, histogram))
    return found


def errors(requests: pd.DataFrame, series: pd.DataFrame, phases: Sequence[Phase]) -> list[Errors]:
    """Return the share of errors in every phase; arguments as for `latencies`."""
    ended = requests[~requests["status"].isin(_OPEN)]
    due = ended["due_s"].to_numpy(dtype=np.float64)
    bad = (ended["status"] != RequestStatus.OK).to_numpy(dtype=bool)
    counted = series[series["series"] == _OUTCOMES]
    found, scrapes = [], Scrapes.of(series)
    for phase in phases:
        own = bad[(due >= phase.start_s) & (due < phase.end_s)]
        client = float(own.mean()) if len(own) else None
        outcomes = increases(counted, phase.start_s, phase.end_s, scrapes)
        total = sum(increase.value for increase in outcomes.values())
        good = sum(
            increase.value
            for labels, increase in outcomes.items()
            if json.loads(labels).get("outcome") == "ok"
        )
        server = 1 - good / total if total > 0 else None
        whole = all(increase.complete for increase in outcomes.values())
        found.append(Errors(phase, client, server, whole))
    return found


def _latency(sli: str, phase: Phase, values: Floats, histogram: Histogram) -> Latency:
    quantiles = []
    for share in SHARES:
        client_s = float(np.quantile(values, share, method="inverted_cdf")) if len(values) else None
        server_s = histogram.interval(share)
        client_at = server_at = None
        if server_s is not None:
            lower, upper = (histogram.share_at(edge) or 0.0 for edge in server_s)
            server_at = (lower, upper)
            if len(values):
                under = np.searchsorted(values, server_s, side="right") / len(values)
                client_at = (float(under[0]), float(under[1]))
        quantiles.append(Quantile(share, client_s, server_s, client_at, server_at))
    total = histogram.total or None
    return Latency(sli, phase, len(values), total, histogram.is_complete, quantiles)


def _client_values(requests: pd.DataFrame, sli: str) -> tuple[Floats, Floats]:
    """Return due times and values of the streams that have one."""
    due, first, last, tokens = (
        requests[name].to_numpy(dtype=np.float64)
        for name in ("due_s", "first_token_s", "last_token_s", "output_tokens")
    )
    if sli == "itl":
        if "gaps_s" not in requests:
            return np.empty(0), np.empty(0)
        gaps = [np.empty(0) if g is None else np.asarray(g, float) for g in requests["gaps_s"]]
        at = np.repeat(due, [len(own) if own.ndim else 0 for own in gaps])
        return at, np.concatenate([own for own in gaps if own.ndim] or [np.empty(0)])
    served = (requests["status"] == RequestStatus.OK).to_numpy(dtype=bool)
    if sli == "ttft":
        value = first - due
    elif sli == "e2e":
        value = np.where(served, last - due, np.nan)
    else:
        many = served & (tokens > 1)
        value = np.divide(last - first, tokens - 1, out=np.full_like(due, np.nan), where=many)
    seen = np.isfinite(value)
    return due[seen], value[seen]
