"""Whatever step a harness dies at, its journal alone undoes the fault; twice does no harm."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clock import Clock
from crash_cases import Use, uses
from deadly import arm
from memory import replica
from memory_stock import NAMESPACE, StockPlatform
from senders import Senders

from faultload.faults import FAULTS, FaultSession
from faultload.faults.limits import Limits
from faultload.faults.protocol import Fault, Plan
from faultload.record import InjectionJournal, InjectionStep
from faultload.spec import Catalogue
from faultload.targets import Workload
from faultload.targets.machine_acts import INTERRUPTION

ROOT = Path(__file__).parents[3]
STOCK: dict[str, dict[str, Any]] = {
    "scale_deployment": {"name": "fast", "replicas": 1, "ns": NAMESPACE},
    "scale_statefulset": {"name": "reasoning", "replicas": 1, "ns": NAMESPACE},
    "terminate_pods": {"label_selector": "app=engine", "ns": NAMESPACE},
}
"""Faults that no experiment of ours has: they are chaosk8s's."""


class DiedError(BaseException):
    """A death that nobody catches."""


@pytest.fixture(scope="module")
def known() -> dict[str, Use]:
    """How experiments use the faults."""
    return uses(Catalogue(ROOT))


class Healing(StockPlatform):
    """A platform that is whole again after anything that can be taken back or replaced."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(
            replica("a"),
            replica("b", tier="reasoning"),
            replica("c", node="node-b", zone="zone-b"),
            replica("d", node="node-b", zone="zone-b", tier="reasoning"),
        )
        for name, kind in (("node-a", "on-demand"), ("node-b", "spot")):
            self.machines[name] = replace(self.machines[name], capacity_type=kind)
        self.others = [replace(replica("redis", tier="", node="", zone=""), component="redis")]
        self.tiers["redis"] = Workload("redis", "w-redis", "redis", "", 1, "")
        self._first, self._clock = dict(self.machines), clock

    def interrupt_spot(self, node: str, uid: str) -> None:
        super().interrupt_spot(node, uid)
        self._clock.at(self._clock.now_s + 5.0, lambda: self.end_machine(node))

    def restore_zone(self, zone: str, token: str) -> None:
        super().restore_zone(zone, token)
        self.machines = dict(sorted((self._first | self.machines).items()))

    def find_workload(self, namespace: str, name: str) -> Workload | None:
        return self.tiers[name.rpartition("/")[2]]


@pytest.fixture
def platform(clock: Clock) -> Healing:
    """Two tiers on two machines, one of them spot, and a cache."""
    return Healing(clock)


def state(platform: Healing) -> dict[str, Any]:
    """Return all that a fault may change, without the names and uids of what was replaced."""
    return {
        "machines": {name: replace(one, uid="") for name, one in platform.machines.items()},
        "interrupted": [n for n, told in platform.told.items() if INTERRUPTION in told],
        "ready": Counter((r.component, r.tier) for r in everybody(platform) if r.ready),
        "wanted": {name: one.wanted for name, one in platform.tiers.items()},
        "flaws": {name: (one.flaw, one.waiting) for name, one in platform.revisions.items()},
        "marks": dict(platform.marks),
        "cut": dict(platform.cut),
        "hung": {r.uid for r in everybody(platform)} & platform.hung,
        "slowed": {r.uid for r in everybody(platform)} & platform.slowed.keys(),
        "ways": dict(platform.ways),
        "shortages": list(platform.shortages),
        "spoilt": dict(platform.spoilt),
    }


def everybody(platform: Healing) -> list[Any]:
    """Return every replica of every component."""
    return [*platform.engines.values(), *platform.others]


def die() -> None:
    """Die where the step is."""
    raise DiedError


def play(session: FaultSession, fault: Fault) -> None:
    """Do to the end what a chaos child does."""
    session.apply(fault)
    session.revert_all()


@pytest.mark.parametrize("step", InjectionStep)
@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_journal_alone_undoes_it_and_twice_is_harmless(
    platform: Healing,
    journal: InjectionJournal,
    senders: Senders,
    known: dict[str, Use],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    step: InjectionStep,
) -> None:
    """Another process reverts what was begun, or nothing; then a second time, by hand."""
    kind, before = FAULTS[name], state(platform)
    fault = kind(
        platform, kind.intent(**(STOCK.get(name) or known[name].arguments)), Limits(seed=1)
    )
    if name == "fill_kv_cache":
        monkeypatch.setattr(platform, "kv_cache_used", lambda *_: 0.95 if sending(senders) else 0.1)
    with monkeypatch.context() as deadly:
        deadly.setattr(InjectionJournal, "append", InjectionJournal.append)
        deadly.setattr(kind, "verify", fault.verify.__func__)  # type: ignore[attr-defined]
        arm(name, step, die)
        session = FaultSession(platform, journal)
        with pytest.raises(DiedError):
            play(session, fault)

    FaultSession(platform, InjectionJournal(journal.path)).revert_all()
    first = state(platform)
    kind(platform).revert(Plan.from_json(journal.entries()[0].plan))

    assert first == before
    assert state(platform) == before
    assert journal.unreverted() == []
    assert not sending(senders)


def sending(senders: Senders) -> bool:
    """Say whether a sender lives."""
    return any((folder / "go").exists() for folder in senders.folders)
