"""Interrupting spot machines: the machine reads its notice, and is gone at its end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from clock import Clock
from memory import Platform

from faultload.errors import FaultError
from faultload.faults.session import FaultSession
from faultload.faults.spot_advise import AdviseRebalance
from faultload.faults.spot_interrupt import Interruption, InterruptSpot
from faultload.record import InjectionJournal


@pytest.mark.parametrize("fault", [InterruptSpot, AdviseRebalance])
def test_only_spot_machines_are_chosen(
    two_zones: Platform, fault: type[InterruptSpot | AdviseRebalance]
) -> None:
    """The busier one is on-demand: it is left alone; without a spot machine that is said."""
    two_zones.engines["a"] = replace(two_zones.engines["a"], inflight=9)
    assert {victim["node"] for victim in fault(two_zones).plan().victims} == {"node-b"}

    two_zones.machines["node-b"] = replace(two_zones.machines["node-b"], capacity_type="")
    said = "schedulable spot node.s. with ready engine replicas to hit, found 0 .*node-b: unknown"
    with pytest.raises(FaultError, match=said):
        fault(two_zones).plan()


def test_interruption_is_read_and_the_machine_ends(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """In force when the machine itself reads the notice, and is gone; the evidence has both."""
    clock.at(9.0, lambda: two_zones.end_machine("node-b"))
    session = FaultSession(two_zones, journal)

    done = session.apply(InterruptSpot(two_zones))
    session.revert_all()

    assert done["data"]["notice_s"] == pytest.approx(120, abs=5)
    assert 9 <= done["data"]["waited_s"] < 10
    assert done["data"]["ended_with_machine"] == []
    assert done["text"].endswith("; its replicas had left before")
    assert two_zones.acts == [("interrupt", "node-b")]


@pytest.mark.parametrize(
    ("stranded", "said"),
    [(["d"], "d had not left before"), (None, "is not known here")],
)
def test_who_ended_with_the_machine_is_said(
    two_zones: Platform,
    journal: InjectionJournal,
    clock: Clock,
    stranded: list[str] | None,
    said: str,
) -> None:
    """A notice that was not used is no error: users and the judge see what it cost."""
    two_zones.stranded = stranded
    clock.at(119.0, lambda: two_zones.end_machine("node-b"))

    done = FaultSession(two_zones, journal).apply(InterruptSpot(two_zones))

    assert said in done["text"]


def test_machine_that_outlives_its_notice_was_not_interrupted(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The bound is the intent's own: it knows how long a notice is there."""
    with pytest.raises(FaultError, match="expected node-b to have ended.* within 180"):
        FaultSession(two_zones, journal).apply(InterruptSpot(two_zones))


def test_machine_that_reads_nothing_has_no_notice(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The cloud's answer proves nothing: the machine must read it."""
    two_zones.deaf = True

    with pytest.raises(FaultError, match="expected node-b to read its interruption notice"):
        FaultSession(two_zones, journal).apply(InterruptSpot(two_zones))


def test_advice_comes_so_long_before_the_notice(
    two_zones: Platform, journal: InjectionJournal, clock: Clock
) -> None:
    """The machine reads the advice first; the notice follows after that time."""
    clock.at(25.0, lambda: two_zones.acts.append(("25 s later", "")))
    clock.at(31.0, lambda: two_zones.end_machine("node-b"))

    FaultSession(two_zones, journal).apply(InterruptSpot(two_zones, Interruption(rebalance_s=30)))

    assert two_zones.acts == [("advise", "node-b"), ("25 s later", ""), ("interrupt", "node-b")]


def test_notice_has_its_time_within_the_bound() -> None:
    """Advice that outlasts the bound leaves none for the notice: the file is wrong."""
    with pytest.raises(ValueError, match="expected timeout_s to be longer than rebalance_s"):
        Interruption(rebalance_s=30, timeout_s=30)


def test_notice_that_stands_is_not_proven_over(two_zones: Platform, clock: Clock) -> None:
    """Undone before the notice is up: the machine will be taken away, so nobody may go on."""
    fault = InterruptSpot(two_zones)
    plan = fault.plan()
    fault.inject(plan)

    with pytest.raises(FaultError, match="the notice stands"):
        InterruptSpot(two_zones).verify_reverted(plan)

    two_zones.end_machine(plan.before["machines"][0]["name"])
    assert "ready" in InterruptSpot(two_zones).verify_reverted(plan).text
