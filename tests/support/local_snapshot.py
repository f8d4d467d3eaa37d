"""All that a fault could change on a local platform, before and after."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import requests
from snapshots import Snapshot, differences

from faultload.errors import FaultError, MissingError
from faultload.targets import LocalTarget, state_home

_SLOWER = 2.0
"""So many times as long for a token is a slow-down, and less may be a busy computer."""
_ANSWER_S = 5.0
_TIMES = "seconds for a token"


def look(target: LocalTarget) -> Snapshot:
    """Return machines, tiers, parts, links, shortages, weights, engines, users and senders.

    Names and uids are left out: what was replaced is as it was. So are machines that the platform
    launched of its own accord, as long as they are sound.
    """
    state = target._control.call("GET", "/v1/state")
    found: Snapshot = {("node", row["name"]): _node(row) for row in _own(state)}
    found["nodes", "launched, not sound"] = [
        row["name"] for row in state["nodes"] if row["pool"] and not _is_sound(row)
    ]
    for row in state["tiers"]:
        name = row["name"]
        found["tier", name] = {key: row[key] for key in _TIER}
        found["weights", name] = target.model_problem(name)
        found["users", name] = _served(target, row["model"])
        engines = [one for one in state["replicas"] if one["tier"] == name]
        found["engines", name] = [_engine(target, one) for one in engines]
        found[_TIMES, name] = _token_times_s(target, engines)
    for row in state["components"]:
        found["part", row["name"]] = {"ready": row["ready"], "held": row["held"]}
    found["links", "disturbed"] = _disturbed(target, state)
    found["capacity", "withheld"] = sorted(str(one) for one in state["shortages"])
    senders = state_home() / "senders"
    found["senders", "left"] = sorted(path.name for path in senders.glob("*"))
    return found


def is_settled(target: LocalTarget) -> bool:
    """Say whether nothing is on its way: no replica, no machine, no release."""
    state = target._control.call("GET", "/v1/state")
    return (
        all(row["complete"] for row in state["tiers"])
        and all(row["state"] == "ready" and row["notice_unix"] is None for row in state["nodes"])
        and all(row["ready"] for row in state["components"])
        and all(row["phase"] != "stopping" for row in state["replicas"])
    )


def is_worn(target: LocalTarget) -> bool:
    """Say whether other machines are there than at first, or some know that they are at risk."""
    rows = target._control.call("GET", "/v1/state")["nodes"]
    return any(row["pool"] or row["rebalance_unix"] is not None for row in rows)


def changes(
    before: Snapshot, after: Snapshot, but: Mapping[str, Collection[str]] = {}
) -> list[str]:
    """Return a line for each thing that is not as it was; a token may take up to twice as long.

    Args:
        before: looked at when all was well.
        after: looked at since.
        but: kind → keys that are not compared.
    """
    slow = {
        key: f"{times_s} s, before {before[key]} s"
        for key, times_s in after.items()
        if key[0] == _TIMES and not _as_quick(before[key], times_s)
    }
    lines = differences(_comparable(before, but), _comparable(after, but))
    return lines + [f"{key}: {text}" for key, text in slow.items()]


_TIER = (
    "wanted",
    "scale_annotation",
    "ready",
    "revision",
    "annotation",
    "slow_factor",
    "complete",
    "stalled",
)


def _own(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [row for row in state["nodes"] if not row["pool"]]


def _node(row: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: row[key] for key in ("zone", "capacity_type", "state", "cordoned", "broken_gpus")}
    told = {"notice": row["notice_unix"] is not None, "advised": row["rebalance_unix"] is not None}
    return kept | told


def _is_sound(row: Mapping[str, Any]) -> bool:
    return row["state"] == "ready" and not row["cordoned"] and not row["broken_gpus"]


def _engine(target: LocalTarget, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an engine says of itself on its port for faults."""
    path = f"/v1/replicas/{row['name']}/engine/state"
    try:
        said = target._control.call("POST", path, {"uid": row["uid"], "body": {}})
    except (FaultError, MissingError) as error:
        return {"ready": row["ready"], "silent": str(error)}
    kept = {key: said[key] for key in ("state", "slow_factor", "xid", "foreign_gib")}
    return {"ready": row["ready"], **kept}


def _token_times_s(target: LocalTarget, rows: list[dict[str, Any]]) -> list[float | None]:
    try:
        return [target.token_time_s(row["name"], row["uid"]) for row in rows]
    except (FaultError, MissingError):
        return [None]


def _as_quick(before_s: list[float | None], now_s: list[float | None]) -> bool:
    known = [one for one in before_s if one]
    return bool(known) and all(one and one <= _SLOWER * max(known) for one in now_s)


def _served(target: LocalTarget, model: str) -> bool:
    """Ask as a user does, at the front door."""
    asked = {"model": model, "prompt": "anybody there?", "max_tokens": 2}
    with requests.Session() as http:
        http.trust_env = False  # a proxy must not see loopback calls
        try:
            url = f"{target.endpoints.inference_url}/v1/completions"
            return http.post(url, json=asked, timeout=_ANSWER_S).ok
        except requests.RequestException:
            return False


def _disturbed(target: LocalTarget, state: Mapping[str, Any]) -> dict[str, Any]:
    cut_off = {row["name"]: "partitioned" for row in state["links"] if row["partitioned"]}
    return {name: str(how) for name, how in target.disturbed("").items()} | cut_off


def _comparable(found: Snapshot, but: Mapping[str, Collection[str]]) -> Snapshot:
    return {
        key: {name: value for name, value in what.items() if name not in but.get(key[0], ())}
        if isinstance(what, dict)
        else what
        for key, what in found.items()
        if key[0] != _TIMES
    }
