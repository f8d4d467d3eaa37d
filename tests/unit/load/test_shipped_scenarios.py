"""The shipped scenarios are sized for the shipped platform, and their traces are what they say.

How much a tier can do is worked out from `platform/local.yaml`; docs/scenarios.md has what was
measured. A change of either side that defeats a scenario's purpose fails here.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from faultload.load.closed import users_at
from faultload.load.describe import describe
from faultload.load.trace import make_trace
from faultload.spec import load_scenario
from faultload.spec.scenario import ClosedArrivals, Scenario, TraceArrivals

ROOT = Path(__file__).parents[3]
PLATFORM: dict[str, Any] = yaml.safe_load((ROOT / "platform/local.yaml").read_text())
NAMES = sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))
# About as many requests whatever the rate, so that a share is known to a few percent.
SECONDS = {"soak": 300, "long-context": 300, "autoscaling": 240, "reasoning-calm": 300}


@cache
def shipped(name: str) -> tuple[Scenario, pd.DataFrame, float]:
    """A scenario, its trace by its own seed, and how many seconds that lasts."""
    path = ROOT / "scenarios" / f"{name}.yaml"
    scenario, duration_s = load_scenario(path), float(SECONDS.get(name, 120))
    return scenario, make_trace(scenario, duration_s, scenario.seed, path.parent), duration_s


def carried_rps(tier: str, rows: pd.DataFrame, replicas: int, seats: int | None = None) -> float:
    """Requests a second that full batches of a tier get done, by the cost of their steps.

    A step costs a fixed time, a time for each of N requests, and one for each prompt token in it.
    With answers of O tokens, N / O requests begin in every step.
    """
    engine = PLATFORM["tiers"][tier]["engine"]
    prompt, output = rows["prompt_tokens"].mean(), rows["output_tokens"].mean()
    batch = seats or engine["max_num_seqs"]
    step_s = engine["step_base_s"] + engine["step_per_seq_s"] * batch
    step_s += engine["prefill_per_token_s"] * prompt * batch / output
    return float(replicas * batch / output / step_s)


def loads(name: str, from_s: float = 0.0, to_s: float | None = None) -> dict[str, float]:
    """Share of what a tier's two replicas can do that is asked of them, within a window."""
    _, trace, duration_s = shipped(name)
    end_s = duration_s if to_s is None else to_s
    window = trace[(trace["due_s"] >= from_s) & (trace["due_s"] < end_s)]
    return {
        str(tier): len(window[window["tier"] == tier])
        / (end_s - from_s)
        / carried_rps(str(tier), rows, replicas=2)
        for tier, rows in trace.groupby("tier")
    }


def named(name: str, key: str) -> int:
    """The number that a scenario's comment tells people to give the platform for `key`."""
    text = (ROOT / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")
    found = re.search(rf"--set .*{key}=(\d+)", text)
    assert found, f"{name} names no {key}"
    return int(found[1])


@pytest.mark.parametrize("name", NAMES)
def test_the_mix_is_the_planned_one(name: str) -> None:
    """Tiers by weight, tenants in turn, lengths around their medians, models that are served."""
    scenario, trace, _ = shipped(name)
    assert not isinstance(scenario.arrivals, TraceArrivals)
    assert len(trace) > 400
    weights = sum(tier.weight for tier in scenario.tiers)
    grows = scenario.sessions.context == "growing" or scenario.shared_prefixes
    for tier in scenario.tiers:
        rows = trace[trace["tier"] == tier.tier]
        assert len(rows) / len(trace) == pytest.approx(tier.weight / weights, abs=0.05)
        assert set(rows["model"]) == {tier.model} == {PLATFORM["tiers"][tier.tier]["model"]}
        assert rows["output_tokens"].median() == pytest.approx(tier.output_tokens.median, rel=0.15)
        if not grows:
            asked = tier.prompt_tokens.median
            assert rows["prompt_tokens"].median() == pytest.approx(asked, rel=0.15)
        assert (rows["prompt_tokens"] + rows["output_tokens"]).max() <= 8192  # the engine's context
    tenants = trace["tenant"].value_counts(normalize=True)
    for tenant in set(scenario.tenants):
        planned = scenario.tenants.count(tenant) / len(scenario.tenants)
        assert tenants[tenant] == pytest.approx(planned, abs=0.03)
    inside = (trace["session"] != "").mean()
    assert inside == pytest.approx(scenario.sessions.share, abs=0.05)


@pytest.mark.parametrize(
    ("name", "from_s", "to_s", "rate_rps"),
    [
        ("chat-steady", 0, 120, 24),
        ("chat-burst", 0, 30, 12),
        ("chat-burst", 30, 40, 84),
        ("chat-burst", 40, 70, 12),
        ("ramp-to-knee", 0, 10, 13.75),
        ("ramp-to-knee", 100, 120, 92.5),
        ("long-context", 0, 300, 6.5),
        ("mixed-tiers", 0, 120, 18),
        ("mixed-tenants", 0, 24, 20),
        ("mixed-tenants", 24, 30, 60),
        ("shared-prefix", 0, 120, 16),
        ("soak", 0, 300, 8),
    ],
)
def test_the_rate_is_the_planned_one(
    name: str, from_s: float, to_s: float, rate_rps: float
) -> None:
    """Within three standard deviations of a Poisson count, in every part of the plan."""
    due_s = shipped(name)[1]["due_s"]
    planned = rate_rps * (to_s - from_s)
    count = ((due_s >= from_s) & (due_s < to_s)).sum()
    assert abs(count - planned) <= 3 * np.sqrt(planned)


def test_an_ordinary_day_survives_the_loss_of_a_replica() -> None:
    """Chat-steady leaves room: one replica of either tier can carry all of its tier's share."""
    assert max(loads("chat-steady").values()) < 0.5


def test_a_burst_fills_the_platform_and_calm_empties_it() -> None:
    """In a burst the reasoning tier is asked for all it can do, and for a sixth between bursts."""
    assert 1.0 < loads("chat-burst", 30, 40)["reasoning"] < 1.2
    assert loads("chat-burst", 30, 40)["fast"] < 0.8
    assert max(loads("chat-burst", 0, 30).values()) < 0.2


def test_the_ramp_passes_the_knee_within_it() -> None:
    """Up to 90 s the reasoning tier keeps up, and at the end it is asked for more than it can."""
    assert max(loads("ramp-to-knee", 0, 60).values()) < 0.6
    assert loads("ramp-to-knee", 85, 95)["reasoning"] < 1.0
    assert loads("ramp-to-knee", 110, 120)["reasoning"] > 1.15


@pytest.mark.parametrize("name", ["mixed-tiers", "mixed-tenants", "shared-prefix", "long-context"])
def test_what_is_not_about_overload_stays_below_it(name: str) -> None:
    """No tier is asked for more than two thirds of what it can do, caches apart."""
    assert max(loads(name).values()) < 2 / 3


def test_long_contexts_fill_the_cache_that_the_scenario_names() -> None:
    """By Little's law the open requests of a replica hold most of its cache, and not more than it.

    Reading prompts takes its share of the engine's time, and tokens come the slower for it.
    """
    _, trace, duration_s = shipped("long-context")
    rows, engine = trace[trace["tier"] == "fast"], PLATFORM["tiers"]["fast"]["engine"]
    reading_s = engine["prefill_per_token_s"] * rows["prompt_tokens"]
    idle = 1 - reading_s.sum() / duration_s / 2
    stay_s = (reading_s + engine["step_base_s"] * rows["output_tokens"]) / idle
    tokens = rows["prompt_tokens"] + rows["output_tokens"] / 2
    held = (tokens * stay_s).sum() / duration_s / 2
    assert 0.5 < held / (16 * named("long-context", "--sim-kv-blocks")) < 0.9


def test_half_the_prompt_tokens_of_shared_prefixes_were_sent_before() -> None:
    """A prefix cache has something to know in shared-prefix, and nothing in chat-steady."""
    assert describe(shipped("shared-prefix")[1])["prefix_share"] > 0.5
    assert describe(shipped("chat-steady")[1])["prefix_share"] < 0.01


def test_a_crowd_of_fifty_is_too_much_for_two_replicas_and_not_for_four() -> None:
    """One user, fifty, five: with the seats that the scenario names, the crowd needs new replicas.

    Who never waits asks every think time and service time; a full batch serves `seats` at a time.
    """
    scenario, trace, _ = shipped("autoscaling")
    arrivals, seats = scenario.arrivals, named("autoscaling", "max_num_seqs")
    assert isinstance(arrivals, ClosedArrivals)
    assert [users_at(arrivals, at_s) for at_s in (0, 60, 200, 10_000)] == [1, 50, 5, 5]
    each_rps = carried_rps("reasoning", trace, replicas=1, seats=seats)
    asked_rps = 50 / (arrivals.think_s + seats / each_rps)
    assert 2 * each_rps < 0.8 * asked_rps
    assert asked_rps < 4 * each_rps


def test_soak_leaves_most_of_the_platform_idle() -> None:
    """What grows in a soak is a leak and not a queue."""
    assert max(loads("soak").values()) < 0.2
