"""Traces: every request of a run, made before it starts from a scenario and a seed.

Each column draws from a random stream of its own, in order of the requests. So the same scenario,
seed and duration give the same file byte for byte, and a longer run begins with the shorter one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from faultload.errors import SpecError
from faultload.load.arrivals import due_times
from faultload.record import write_table
from faultload.spec.scenario import Lengths, Scenario, TraceArrivals

TRACE_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),  # 0, 1, 2 … in order of due_s
        ("due_s", pa.float64()),  # seconds since the run's start
        ("tier", pa.string()),
        ("model", pa.string()),
        ("tenant", pa.string()),
        ("session", pa.string()),  # "" outside a session
        ("prompt", pa.string()),  # `prompt_tokens` words
        ("prompt_tokens", pa.int32()),
        ("output_tokens", pa.int32()),  # asked for
    ]
)

# Conversations of one tier and tenant that take turns. One at a time would put a session's next
# question before the answer to its last.
_OPEN_SESSIONS = 8

_PROMPTS_AT_ONCE = 1024  # bounds the memory for word numbers


def make_trace(
    scenario: Scenario, duration_s: float, seed: int, base: Path | None = None
) -> pd.DataFrame:
    """Return the requests due in [0, `duration_s`), in the columns of `TRACE_SCHEMA`.

    Args:
        scenario: who is asking.
        duration_s: length of the run.
        seed: overrides the scenario's own; two seeds give unrelated traces.
        base: directory a `trace` arrival's path is relative to; None: the working directory.

    Raises:
        SpecError: a recorded trace is missing or damaged.
    """
    if isinstance(scenario.arrivals, TraceArrivals):
        recorded = read_trace((base or Path()) / scenario.arrivals.path)
        return recorded[recorded["due_s"] < duration_s].reset_index(drop=True)
    # New columns take new streams at the end, so that old seeds keep their meaning.
    streams = (
        np.random.Generator(np.random.PCG64(child))
        for child in np.random.SeedSequence(seed).spawn(7)
    )
    arriving, mixing, asking, answering, talking, returning, seating = streams
    # One stream a column, or a longer run would shift the second column's draws.
    due_s = due_times(scenario.arrivals, duration_s, arriving)
    count = len(due_s)
    weights = np.cumsum([tier.weight for tier in scenario.tiers])
    which = np.searchsorted(weights / weights[-1], mixing.random(count), side="right")
    prompt_tokens = _lengths([t.prompt_tokens for t in scenario.tiers], which, asking)
    tiers = np.array([tier.tier for tier in scenario.tiers], dtype=object)[which]
    tenants = [scenario.tenants[i % len(scenario.tenants)] for i in range(count)]
    return pd.DataFrame(
        {
            "index": np.arange(count, dtype=np.int64),
            "due_s": due_s,
            "tier": tiers,
            "model": np.array([tier.model for tier in scenario.tiers], dtype=object)[which],
            "tenant": tenants,
            "session": _sessions(
                scenario,
                list(zip(tiers, tenants, strict=True)),
                returning.random(count) < scenario.sessions.share,
                seating.integers(0, _OPEN_SESSIONS, count),
            ),
            "prompt": _prompts(prompt_tokens, talking),
            "prompt_tokens": prompt_tokens,
            "output_tokens": _lengths([t.output_tokens for t in scenario.tiers], which, answering),
        },
        columns=TRACE_SCHEMA.names,
    )


def write_trace(trace: pd.DataFrame, path: Path) -> None:
    """Write a trace as Parquet."""
    write_table(trace, TRACE_SCHEMA, path)


def read_trace(path: Path) -> pd.DataFrame:
    """Return a trace.

    Raises:
        SpecError: the file is missing or damaged, lacks a column, or is out of order.
    """
    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except FileNotFoundError:
        raise SpecError(path, "", "no such trace; make one with `faultload trace make`") from None
    except (pa.ArrowException, OSError) as error:
        raise SpecError(path, "", f"not a readable trace: {str(error).splitlines()[0]}") from None
    missing = [name for name in TRACE_SCHEMA.names if name not in frame.columns]
    if missing:
        raise SpecError(path, missing[0], "this column is missing")
    if not frame["due_s"].is_monotonic_increasing:
        raise SpecError(path, "due_s", "expected due times in order; sort the trace")
    return frame.reindex(columns=TRACE_SCHEMA.names)


@cache
def _words() -> npt.NDArray[np.object_]:
    """Return plain words that common tokenizers keep whole, so that words count as tokens."""
    text = Path(__file__).with_name("words.txt").read_text(encoding="utf-8")
    return np.array(text.split(), dtype=object)


def _lengths(
    lengths: list[Lengths], which: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    def of(field: Callable[[Lengths], float]) -> npt.NDArray[np.float64]:
        return np.array([field(length) for length in lengths], dtype=np.float64)[which]

    stretch = np.exp(of(lambda x: x.sigma) * rng.standard_normal(len(which)))
    drawn = np.rint(of(lambda x: x.median) * stretch)
    return np.clip(drawn, of(lambda x: x.min), of(lambda x: x.max)).astype(np.int32)


def _prompts(counts: npt.NDArray[np.int32], rng: np.random.Generator) -> list[str]:
    words = _words()
    prompts: list[str] = []
    for first in range(0, len(counts), _PROMPTS_AT_ONCE):
        block = counts[first : first + _PROMPTS_AT_ONCE].astype(np.int64)
        chosen = words[rng.integers(0, len(words), int(block.sum()))]
        parts = np.split(chosen, np.cumsum(block)[:-1])
        prompts += [" ".join(part) for part in parts]
    return prompts


def _sessions(
    scenario: Scenario,
    askers: list[tuple[str, str]],
    inside: npt.NDArray[np.bool_],
    seats: npt.NDArray[np.int64],
) -> list[str]:
    """Deal requests to conversations; one conversation keeps its tier and its tenant."""
    turns: dict[tuple[tuple[str, str], int], int] = defaultdict(int)
    names: dict[tuple[tuple[str, str], int], str] = {}
    opened = 0
    sessions = [""] * len(askers)
    for position in np.flatnonzero(inside):
        seat = (askers[position], int(seats[position]))
        if turns[seat] % scenario.sessions.turns == 0:
            names[seat] = f"s{opened:06d}"
            opened += 1
        turns[seat] += 1
        sessions[position] = names[seat]
    return sessions
