"""What is in a trace, in numbers: how it runs over time, who asks, how long, and what repeats."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

_BLOCK_TOKENS = 16  # vLLM's default block: what prefix caches remember whole
_WINDOWS = 12


def describe(trace: pd.DataFrame) -> dict[str, Any]:
    """Return a summary that is strict JSON; times in seconds, shares between 0 and 1.

    `prefix_share` is the share of prompt tokens that an endless prefix cache, one for each model
    and warm at once, would have seen before: the most that caching and affinity can save.
    """
    inside = trace[trace["session"] != ""]
    turns = inside.groupby("session").size()
    # A question of a closed loop is due when its user comes to it: infinity until then.
    due_s = trace["due_s"][np.isfinite(trace["due_s"])]
    last_s = float(due_s.max()) if len(due_s) else 0.0
    return {
        "requests": len(trace),
        "last_due_s": last_s,
        "rate_rps": len(due_s) / last_s if last_s else None,
        "rate": _rate(due_s, last_s),
        "tiers": [
            {"tier": tier, "model": model, "requests": len(rows)}
            | {f"{name}_tokens": _lengths(rows[f"{name}_tokens"]) for name in ("prompt", "output")}
            for (tier, model), rows in trace.groupby(["tier", "model"])
        ],
        "tenants": {name: int(count) for name, count in trace["tenant"].value_counts().items()},
        "sessions": {
            "count": len(turns),
            "share": len(inside) / len(trace) if len(trace) else 0.0,
            "turns_max": int(turns.max()) if len(turns) else 0,
        },
        "prefix_share": _prefix_share(trace),
    }


def _rate(due_s: pd.Series[float], last_s: float) -> list[dict[str, float]]:
    """Return the rate in windows of whole seconds; the last one is as long as the others."""
    width_s = max(1, math.ceil((last_s + 1e-6) / _WINDOWS))
    counts = (due_s // width_s).astype(int).value_counts()
    return [
        {"from_s": at * width_s, "to_s": (at + 1) * width_s, "rps": counts.get(at, 0) / width_s}
        for at in range(int(last_s // width_s) + 1 if len(due_s) else 0)
    ]


def _lengths(tokens: pd.Series[int]) -> dict[str, int]:
    return {
        "p50": round(tokens.quantile(0.5)),
        "p95": round(tokens.quantile(0.95)),
        "max": int(tokens.max()),
    }


def _prefix_share(trace: pd.DataFrame) -> float:
    seen: set[int] = set()
    again = 0
    for model, prompt in zip(trace["model"], trace["prompt"], strict=True):
        words = prompt.split()
        key, known = hash(model), True
        for first in range(0, len(words) - _BLOCK_TOKENS + 1, _BLOCK_TOKENS):
            key = hash((key, *words[first : first + _BLOCK_TOKENS]))
            known = known and key in seen
            again += _BLOCK_TOKENS if known else 0
            seen.add(key)
    total = int(trace["prompt_tokens"].sum())
    return again / total if total else 0.0
