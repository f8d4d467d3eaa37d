"""The trace: one scenario and seed make one file, and what is in it is what was asked for."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from scipy import stats

from faultload.errors import SpecError
from faultload.load.arrivals import due_times
from faultload.load.trace import TRACE_SCHEMA, make_trace, read_trace, write_trace
from faultload.spec import load_scenario
from faultload.spec.scenario import Arrivals, Scenario

FAST = {
    "tier": "fast",
    "model": "chat-fast",
    "weight": 3,
    "prompt_tokens": {"median": 60, "sigma": 0.5, "min": 8, "max": 400},
    "output_tokens": {"median": 40, "sigma": 0.4, "min": 8, "max": 160},
}
SLOW = {
    "tier": "reasoning",
    "model": "chat-reasoning",
    "weight": 1,
    "prompt_tokens": {"median": 200},
    "output_tokens": {"median": 80},
}
KINDS: list[dict[str, Any]] = [
    {"kind": "constant", "rate_rps": 20},
    {"kind": "poisson", "rate_rps": 20},
    {"kind": "steps", "steps": [{"for_s": 10, "rate_rps": 5}, {"for_s": 10, "rate_rps": 40}]},
    {"kind": "ramp", "from_rps": 0, "to_rps": 40, "over_s": 20},
    {"kind": "burst", "rate_rps": 5, "burst_rps": 80, "every_s": 10, "burst_s": 2},
]


def scenario(arrivals: dict[str, Any] = KINDS[1], **more: Any) -> Scenario:
    """Two tiers, and whatever a test changes."""
    fields = {"name": "s", "description": "d", "arrivals": arrivals, "tiers": [FAST, SLOW]}
    return Scenario.model_validate(fields | more)


def due(arrivals: dict[str, Any], duration_s: float, seed: int = 5) -> np.ndarray:
    """Arrivals alone."""
    kind: Any = TypeAdapter(Arrivals).validate_python(arrivals)
    return due_times(kind, duration_s, np.random.Generator(np.random.PCG64(seed)))


@pytest.mark.parametrize("arrivals", KINDS, ids=lambda a: a["kind"])
def test_the_same_seed_makes_the_same_file(tmp_path: Path, arrivals: dict[str, Any]) -> None:
    """Byte for byte; another seed makes another one."""
    files = []
    for number, seed in enumerate([1, 1, 2]):
        files.append(tmp_path / f"{number}.parquet")
        made = make_trace(scenario(arrivals, sessions={"share": 0.5}), 20, seed)
        write_trace(made, files[-1])
    first, same, other = (file.read_bytes() for file in files)
    assert first == same
    assert first != other


@pytest.mark.parametrize("arrivals", KINDS, ids=lambda a: a["kind"])
def test_a_longer_run_begins_with_the_shorter_one(arrivals: dict[str, Any]) -> None:
    """Extending the duration changes no earlier request, in any column."""
    workload = scenario(arrivals, sessions={"share": 0.5}, tenants=["a", "b", "c"])
    short, long = make_trace(workload, 25, 1), make_trace(workload, 61, 1)
    assert 0 < len(short) < len(long)
    pd.testing.assert_frame_equal(short, long.iloc[: len(short)])


def test_the_words_of_a_prompt_are_its_tokens() -> None:
    """Whitespace-separated words match the asked count; lengths stay inside their limits."""
    trace = make_trace(scenario(), 60, 1)
    assert (trace["prompt"].str.split().str.len() == trace["prompt_tokens"]).all()
    fast = trace[trace["tier"] == "fast"]
    assert fast["prompt_tokens"].between(8, 400).all()
    assert fast["prompt_tokens"].median() == pytest.approx(60, rel=0.1)
    assert np.log(fast["prompt_tokens"]).std() == pytest.approx(0.5, rel=0.1)
    slow = trace[trace["tier"] == "reasoning"]
    assert set(slow["prompt_tokens"]) == {200}
    assert set(slow["output_tokens"]) == {80}
    assert len(slow) / len(trace) == pytest.approx(0.25, abs=0.05)


def test_tenants_are_dealt_evenly() -> None:
    """No tenant has more than one request over any other."""
    trace = make_trace(scenario(tenants=["a", "b", "c"]), 30, 1)
    counts = Counter(trace["tenant"])
    assert max(counts.values()) - min(counts.values()) <= 1


def test_a_session_has_its_turns_and_keeps_its_asker() -> None:
    """A conversation stays with one tenant and one model, and is as long as asked for."""
    workload = scenario(tenants=["a", "b"], sessions={"share": 0.6, "turns": 3})
    trace = make_trace(workload, 120, 1)
    inside = trace[trace["session"] != ""]
    assert len(inside) / len(trace) == pytest.approx(0.6, abs=0.05)
    sizes = inside.groupby("session").size()
    assert sizes.max() == 3
    assert (sizes == 3).mean() > 0.9  # the last ones are cut by the run's end
    assert (inside.groupby("session")[["tenant", "model"]].nunique().max() == 1).all()


def test_no_sessions_unless_asked_for() -> None:
    """A share of 0 leaves every session empty."""
    assert set(make_trace(scenario(), 10, 1)["session"]) == {""}


def test_poisson_gaps_are_exponential() -> None:
    """Kolmogorov-Smirnov against the exponential law, and the rate within four sigmas."""
    times = due({"kind": "poisson", "rate_rps": 50}, 200)
    assert stats.kstest(np.diff(times), "expon", args=(0, 1 / 50)).pvalue > 0.01
    assert len(times) == pytest.approx(50 * 200, abs=4 * np.sqrt(50 * 200))


def test_constant_gaps_are_equal() -> None:
    """One request every 1 / rate, the first at once, none at the end or after it."""
    times = due({"kind": "constant", "rate_rps": 10}, 3)
    assert len(times) == 30
    assert times[0] == 0
    np.testing.assert_allclose(np.diff(times), 0.1, atol=1.1e-6)


@pytest.mark.parametrize(
    ("arrivals", "windows"),
    [
        (
            {
                "kind": "steps",
                "steps": [{"for_s": 40, "rate_rps": 5}, {"for_s": 1, "rate_rps": 50}],
            },
            [(0, 40, 200), (40, 100, 3000)],
        ),
        (
            {
                "kind": "steps",
                "steps": [{"for_s": 40, "rate_rps": 50}, {"for_s": 1, "rate_rps": 0}],
            },
            [(0, 40, 2000), (40, 100, 0)],
        ),
        (
            {"kind": "ramp", "from_rps": 10, "to_rps": 50, "over_s": 80},
            [(0, 40, 800), (40, 80, 1600), (80, 100, 1000)],
        ),
        (
            {"kind": "ramp", "from_rps": 50, "to_rps": 10, "over_s": 80},
            [(0, 40, 1600), (40, 80, 800), (80, 100, 200)],
        ),
        (
            {"kind": "burst", "rate_rps": 5, "burst_rps": 100, "every_s": 50, "burst_s": 10},
            [(0, 40, 200), (40, 50, 1000), (50, 90, 200), (90, 100, 1000)],
        ),
    ],
)
def test_a_changing_rate_is_followed(
    arrivals: dict[str, Any], windows: list[tuple[float, float, float]]
) -> None:
    """The count in each window is within four sigmas of the area under the rate."""
    times = due(arrivals, 100)
    assert (np.diff(times) >= 0).all()
    for start, end, expected in windows:
        found = ((times >= start) & (times < end)).sum()
        assert found == pytest.approx(expected, abs=4 * np.sqrt(expected)), (start, end)


def test_seeds_are_unrelated() -> None:
    """Neighbouring seeds share no due time: their runs are independent trials."""
    times = [set(due(KINDS[1], 50, seed)) for seed in range(4)]
    assert all(a.isdisjoint(b) for a, b in pairwise(times))


def test_a_recorded_trace_is_replayed_as_it_is(tmp_path: Path) -> None:
    """Arrivals of kind `trace` take the file's rows up to the duration, whatever the seed."""
    recorded = make_trace(scenario(), 30, 1)
    write_trace(recorded, tmp_path / "day.parquet")
    replay = scenario({"kind": "trace", "path": "day.parquet"})
    replayed = make_trace(replay, 10, 99, base=tmp_path)
    expected = recorded[recorded["due_s"] < 10]
    pd.testing.assert_frame_equal(replayed, expected, check_dtype=False)
    assert list(read_trace(tmp_path / "day.parquet").columns) == TRACE_SCHEMA.names


def test_a_bad_trace_file_is_one_clear_line(tmp_path: Path) -> None:
    """Missing, damaged, incomplete and unsorted files are told apart."""
    path = tmp_path / "t.parquet"
    with pytest.raises(SpecError, match="no such trace"):
        read_trace(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(SpecError, match="not a readable trace"):
        read_trace(path)
    trace = make_trace(scenario(), 5, 1)
    trace.drop(columns="tenant").to_parquet(path)
    with pytest.raises(SpecError, match="tenant: expected this column, found only index, due_s"):
        read_trace(path)
    trace.iloc[::-1].to_parquet(path)
    with pytest.raises(SpecError, match="due times from 0 on, in order"):
        read_trace(path)


def test_the_shipped_scenario_is_what_it_says() -> None:
    """Two tiers, two to one, about 24 requests a second, at lengths a small machine can serve."""
    workload = load_scenario(Path(__file__).parents[3] / "scenarios" / "chat-steady.yaml")
    trace = make_trace(workload, 100, workload.seed)
    assert len(trace) / 100 == pytest.approx(24, rel=0.1)
    medians = trace.groupby("model")[["prompt_tokens", "output_tokens"]].median()
    assert medians.loc["chat-fast"].tolist() == pytest.approx([60, 40], rel=0.1)
    assert medians.loc["chat-reasoning"].tolist() == pytest.approx([200, 80], rel=0.1)
    assert (trace["tier"] == "fast").mean() == pytest.approx(2 / 3, abs=0.05)
