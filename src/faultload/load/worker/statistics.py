"""A finished request in Locust's own statistics, so that its page, its CSV and its report show it.

A request is one `POST` entry under its model's name, which Locust counts in its totals. What only
streams have goes into entries of their own beside it: they are in every table and file of Locust's
and not in its totals, which count requests.
"""

from __future__ import annotations

from typing import Any

from locust.env import Environment

from faultload.record import RequestStatus


class _Failed(Exception):  # noqa: N818  # its words are a status
    """A request that failed, under its status: Locust's tables show an exception's `repr`."""

    def __repr__(self) -> str:
        return str(self)


def report(environment: Environment, row: dict[str, Any]) -> None:
    """Tell Locust about a finished request. Every latency counts from when it was due.

    Args:
        environment: Locust's.
        row: as in `REQUEST_SCHEMA`, None for NaN.
    """
    model, tokens = row["model"], row["output_tokens"]
    failed = row["status"] != RequestStatus.OK
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type="POST",
        name=model,
        response_time=(row["end_s"] - row["due_s"]) * 1000,
        response_length=tokens,  # Locust calls it bytes
        exception=_Failed(row["status"]) if failed else None,
        context={"tier": row["tier"], "tenant": row["tenant"]},
    )
    first_s, last_s = row["first_token_s"], row["last_token_s"]
    if first_s is None:
        return
    stats = environment.stats
    stats.get(model, "TTFT").log((first_s - row["due_s"]) * 1000, 0)
    if last_s is not None and tokens > 1 and last_s > first_s:
        tpot_s = (last_s - first_s) / (tokens - 1)
        stats.get(model, "TPOT").log(tpot_s * 1000, 0)
        stats.get(model, "tokens/s").log(1 / tpot_s, 0)
