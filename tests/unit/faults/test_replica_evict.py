"""Evicting replicas: the budget may refuse, and is asked again until the time is up."""

from __future__ import annotations

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits, Radius
from faultload.faults.replica_evict import Eviction, EvictReplica
from faultload.faults.session import FaultSession
from faultload.record import InjectionJournal
from faultload.targets import Refusal

BUDGET = Refusal("Cannot evict pod as it would violate the budget.", 5.0)


def test_refusals_are_waited_out_and_counted(journal: InjectionJournal, clock: Clock) -> None:
    """It is asked again when the platform said so, no sooner; the evidence counts the refusals."""
    platform = Platform(replica("a"), replica("b"))
    platform.refusals = [BUDGET, BUDGET]

    done = FaultSession(platform, journal).apply(EvictReplica(platform))

    victim = done["plan"]["victims"][0]["name"]
    assert platform.acts == [("evict", victim)] * 3
    assert f"{victim} was refused 2 time(s): Cannot evict" in done["text"]
    assert done["data"]["refusals"] == [{"replica": victim, "reason": BUDGET.reason, "times": 2}]
    assert 10 <= clock.now_s < 11.5


def test_budget_that_never_allows_it_is_an_error_that_quotes_it(
    journal: InjectionJournal, clock: Clock
) -> None:
    """When the time is up nothing was shown but the budget, and its last word is the reason."""
    platform = Platform(replica("a"), replica("b"))
    platform.refusals = [BUDGET] * 99
    session = FaultSession(platform, journal)

    with pytest.raises(FaultError, match=r"within 12 s; refused 3 time\(s\), last for .: Cannot"):
        session.apply(EvictReplica(platform, Eviction(timeout_s=12)))

    session.revert_all()
    assert journal.unreverted() == []


def test_time_is_for_all_victims_together(journal: InjectionJournal, clock: Clock) -> None:
    """A second victim does not start the time anew; the first one stays evicted."""
    platform = Platform(replica("a"), replica("b"), replica("c"))
    platform.refusals = [BUDGET]
    fault = EvictReplica(platform, Eviction(replicas=2, timeout_s=8), Limits())
    plan = fault.plan()
    first, second = (victim["name"] for victim in plan.victims)
    evict = platform.evict_replica

    def refuse_the_second(name: str, uid: str) -> Refusal | None:
        return BUDGET if name == second else evict(name, uid)

    platform.evict_replica = refuse_the_second  # type: ignore[method-assign]

    with pytest.raises(FaultError, match=f"expected {second} to be evicted within 8 s"):
        fault.inject(plan)

    assert first not in platform.engines


@pytest.mark.parametrize("when_s", [0.0, 2.0])
def test_victim_that_vanished_was_not_evicted(clock: Clock, when_s: float) -> None:
    """A target grants the eviction of what is gone: that must not count as ours."""
    platform = Platform(replica("a"))
    platform.refusals = [BUDGET]
    fault = EvictReplica(platform)
    plan = fault.plan()
    if when_s:
        clock.at(when_s, platform.engines.clear)
    else:
        platform.engines.clear()

    with pytest.raises(FaultError, match="it was not we who took it away"):
        fault.inject(plan)


def test_granted_eviction_without_effect_is_not_proven(
    journal: InjectionJournal, clock: Clock
) -> None:
    """What counts is that the victim is no longer ready, not that the answer was yes."""
    platform = Platform(replica("a"), replica("b"), deaf=True)

    with pytest.raises(FaultError, match="to be not ready within"):
        FaultSession(platform, journal).apply(EvictReplica(platform))


@pytest.mark.parametrize(
    "limits",
    [
        Limits(radius={"engine": Radius(1)}),
        Limits(share_max=0.6),
        Limits(healthy_min={"engine": 2}),
    ],
)
def test_each_limit_refuses(limits: Limits) -> None:
    """The blast radius counts before the budget is asked at all."""
    platform = Platform(replica("a"), replica("b"), replica("c"))

    with pytest.raises(RefusedError):
        EvictReplica(platform, Eviction(replicas=2), limits).plan()
