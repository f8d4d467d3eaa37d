"""Deployment arithmetic: pure, so whole rollouts are played through in no time."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_platform.local.deployments import Member, Step, disruptions_allowed, next_step
from inference_platform.local.settings import Rollout


def members(
    count: int, revision: str = "r1", *, ready: bool = True, start: int = 0
) -> list[Member]:
    """So many replicas alike."""
    return [
        Member(f"{revision}-{n}", revision, ready=ready, bound=True, age=n)
        for n in range(start, start + count)
    ]


def test_missing_replicas_are_created_and_surplus_ones_deleted() -> None:
    """Scaling is not a rollout: all at once."""
    rollout = Rollout(max_surge=1, max_unavailable=0)

    assert next_step(3, "r1", members(1), rollout) == Step(create=2)
    assert next_step(1, "r1", members(3), rollout) == Step(delete=("r1-2", "r1-1"))


def test_those_that_serve_least_go_first() -> None:
    """As a ReplicaSet: without a node, then not ready, then crowded, then the youngest."""
    homeless = replace(members(1, start=5)[0], bound=False)
    starting = members(1, ready=False, start=6)[0]
    crowded = replace(members(1, start=7)[0], neighbours=2)
    pods = [*members(1), crowded, starting, homeless]

    order = [next_step(n, "r1", pods, Rollout()).delete[-1] for n in (3, 2, 1)]

    assert order == [homeless.name, starting.name, crowded.name]


@pytest.mark.parametrize(
    ("surge", "unavailable", "first"),
    [(1, 0, Step(create=1)), (0, 1, Step(delete=("r1-1",))), (2, 0, Step(create=2))],
)
def test_a_rollout_begins_with_what_it_may(surge: int, unavailable: int, first: Step) -> None:
    """With a surge the new one comes first, without one an old one has to go."""
    rollout = Rollout(max_surge=surge, max_unavailable=unavailable)

    assert next_step(2, "r2", members(2), rollout) == first


def test_a_release_that_never_becomes_ready_takes_nothing_ready_away() -> None:
    """The point of a rolling update: a bad release stalls, and users keep the old one."""
    pods = [*members(2), *members(1, "r2", ready=False)]

    assert next_step(2, "r2", pods, Rollout(max_surge=1, max_unavailable=0)) == Step()


def test_a_rollback_begins_with_the_new_ones_that_are_not_ready() -> None:
    """They serve nobody, so nothing has to wait for their end."""
    pods = [*members(2), *members(1, "r2", ready=False)]

    assert next_step(2, "r1", pods, Rollout()) == Step(delete=("r2-0",))


@given(
    wanted=st.integers(0, 6),
    old=st.integers(0, 6),
    surge=st.integers(0, 3),
    unavailable=st.integers(0, 3),
    seed=st.randoms(use_true_random=False),
)
def test_every_rollout_ends_within_its_bounds(
    wanted: int, old: int, surge: int, unavailable: int, seed: random.Random
) -> None:
    """Never more than wanted + surge by our doing, never fewer ready than wanted - unavailable."""
    if surge == unavailable == 0:
        surge = 1
    rollout = Rollout(max_surge=surge, max_unavailable=unavailable)
    pods = members(old)
    made = 0
    for _ in range(200):
        step = next_step(wanted, "r2", pods, rollout)
        if step.create:
            assert len(pods) + step.create <= max(wanted + surge, len(pods))
        ready = sum(p.ready for p in pods)
        gone = sum(p.ready for p in pods if p.name in step.delete)
        assert not gone or ready - gone >= min(ready, wanted - unavailable)
        pods = [p for p in pods if p.name not in step.delete]
        pods += members(step.create, "r2", ready=False, start=made)
        made += step.create
        waiting = [n for n, p in enumerate(pods) if not p.ready]
        if waiting:
            chosen = seed.choice(waiting)
            pods[chosen] = replace(pods[chosen], ready=True)
    assert [p.revision for p in pods] == ["r2"] * wanted
    assert next_step(wanted, "r2", pods, rollout) == Step()


@pytest.mark.parametrize(
    ("wanted", "ready", "budget", "allowed"),
    [(3, 3, 1, 1), (3, 2, 1, 0), (3, 3, 0, 0), (3, 3, None, 3), (1, 1, 1, 1), (2, 0, 1, 0)],
)
def test_a_disruption_budget_counts_what_is_down_already(
    wanted: int, ready: int, budget: int | None, allowed: int
) -> None:
    """A maxUnavailable is about all replicas, not about evictions alone; no budget allows all."""
    assert disruptions_allowed(wanted, ready, budget) == allowed
