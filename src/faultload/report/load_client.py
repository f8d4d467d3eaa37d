"""What the load client says about itself, beside the limits it is judged by: can it be believed?

A client that is short of time measures itself and blames the platform. What a record does not hold
is "not recorded", never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faultload.judge import validity
from faultload.record import LoadSummary, WorkerHealth
from faultload.report import formats

NOT_RECORDED = "not recorded"
_UNJUDGED = "not judged"

_LOOPS = {
    "open": "Open loop: every request left when it was due, whatever became of the others, and its"
    " latency counts from then.",
    "closed": "Closed loop: users waited for their answers, so a slow platform was asked less often"
    " and its worst moments were hardly measured (coordinated omission): the percentiles look"
    " better than what users who come by themselves would have seen.",
    None: "Open or closed loop: not recorded. In a closed loop a slow platform is asked less often,"
    " and its percentiles look better than they are (coordinated omission).",
}


@dataclass(frozen=True)
class ClientFigure:
    """One thing the client saw of itself: what, how much, and the limit that the judge sets."""

    label: str
    value: str
    limit: str


def loop_name(load: LoadSummary) -> str:
    """Return `open loop` or `closed loop`."""
    return f"{load.loop} loop" if load.loop else NOT_RECORDED


def loop_meaning(load: LoadSummary) -> str:
    """Return what this kind of loop does to the latencies, in one or two sentences."""
    return _LOOPS[load.loop]


def client_figures(load: LoadSummary) -> list[ClientFigure]:
    """Return the client's health, its worst worker's where there are several."""
    late_limit = f"at most {formats.milliseconds(validity.LAG_S_MAX)}, each worker"
    return [
        ClientFigure("Requests sent, of those due", _sent(load), _sent_limit()),
        ClientFigure("Sent late, p50", _milliseconds(load.lag_s_p50), _UNJUDGED),
        ClientFigure("Sent late, p99", _milliseconds(load.lag_s_p99), late_limit),
        ClientFigure("Sent late, max", _milliseconds(load.lag_s_max), _UNJUDGED),
        ClientFigure("Share of a core, busiest second", _ratio(load.cpu_share_max), _cpu_limit()),
        ClientFigure(
            "Longest stall of the event loop",
            _milliseconds(load.spread_s_max),
            f"at most {formats.number(validity.STALL_S_MAX)}{formats.THIN}s",
        ),
        ClientFigure(
            "Event loop standing still, share of the run",
            _ratio(_worst(load, lambda worker: worker.stalled_share)),
            f"at most {formats.percent(validity.STALLED_SHARE_MAX)}",
        ),
        ClientFigure(
            "Wall clock, largest step",
            _milliseconds(_worst(load, lambda worker: worker.clock_step_s_max)),
            f"at most {formats.milliseconds(validity.DRIFT_S_MAX)}",
        ),
        ClientFigure(
            "Doubt about the master's clock",
            _milliseconds(_worst(load, lambda worker: worker.clock_error_s)),
            f"at most {formats.milliseconds(validity.CLOCK_ERROR_S_MAX)}",
        ),
        ClientFigure("Connections reused", _ratio(_reused(load)), _UNJUDGED),
        ClientFigure("Workers", formats.count(load.workers), _UNJUDGED),
        ClientFigure("Workers lost", _count(load.workers_lost), "none"),
        ClientFigure("Rows lost", _rows_lost(load), "none"),
    ]


def worker_rows(load: LoadSummary) -> list[tuple[str, Sequence[str]]]:
    """Return (worker, its figures as in `WORKER_COLUMNS`); empty where one alone says it all."""
    if len(load.health) < 2:
        return []
    return [
        (
            f"{worker.worker}",
            (
                formats.count(worker.requests_sent),
                _milliseconds(worker.lag_s_p50),
                _milliseconds(worker.lag_s_p99),
                _milliseconds(worker.lag_s_max),
                _ratio(worker.cpu_share_max),
                _milliseconds(worker.stall_s_max),
                _ratio(worker.connections_reused_share),
                _count(worker.rows_lost),
            ),
        )
        for worker in load.health
    ]


WORKER_COLUMNS = (
    "Sent",
    "Late, p50",
    "Late, p99",
    "Late, max",
    "Share of a core",
    "Longest stall",
    "Reused",
    "Rows lost",
)


def in_a_line(load: LoadSummary | None) -> str:
    """Return loop and health for a terminal: `open loop, sent 1.2 ms late (p99), …`."""
    if load is None:
        return "not measured"
    late, busy = _milliseconds(load.lag_s_p99), _ratio(load.cpu_share_max)
    return f"{loop_name(load)}; sent late (p99): {late}; share of a core (max): {busy}"


def _worst(load: LoadSummary, of: Callable[[WorkerHealth], float | None]) -> float | None:
    return max((value for worker in load.health if (value := of(worker)) is not None), default=None)


def _reused(load: LoadSummary) -> float | None:
    """Share of all requests; None as soon as one worker's is not known."""
    shares = [(own.connections_reused_share, own.requests_sent) for own in load.health]
    sent = sum(count for _, count in shares)
    if not sent:
        return None
    known = [share * count for share, count in shares if share is not None]
    return sum(known) / sent if len(known) == len(shares) else None


def _rows_lost(load: LoadSummary) -> str:
    """Rows of all workers: a worker that died before counting its own may have lost more."""
    uncounted = any(worker.rows_lost is None for worker in load.health)
    is_least = uncounted and load.rows_lost is not None
    return f"{'at least ' if is_least else ''}{_count(load.rows_lost)}"


def _sent(load: LoadSummary) -> str:
    share = load.requests_sent / load.requests_due if load.requests_due else None
    of = f"{formats.count(load.requests_sent)} of {formats.count(load.requests_due)}"
    return of if share is None else f"{of} ({formats.percent(share)})"


def _sent_limit() -> str:
    return f"at least {formats.percent(validity.SENT_SHARE_MIN)}"


def _cpu_limit() -> str:
    half = formats.milliseconds(validity.LAG_S_MAX / 2)
    return f"at most {formats.percent(validity.CPU_SHARE_MAX)}, if also over {half} late (p99)"


def _milliseconds(value_s: float | None) -> str:
    return NOT_RECORDED if formats.is_missing(value_s) else formats.milliseconds(value_s)


def _ratio(value: float | None) -> str:
    return NOT_RECORDED if formats.is_missing(value) else formats.percent(value)


def _count(value: int | None) -> str:
    return NOT_RECORDED if value is None else formats.count(value)
