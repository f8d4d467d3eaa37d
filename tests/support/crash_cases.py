"""Every moment at which a harness may be killed: each fault, each step, each who.

Nothing here is a list by hand: faults come from the catalogue, steps from the journal, and what a
fault is asked to do from the experiments. A contract test sees that none is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

from deadly import Who

from faultload.errors import UsageError, nearest
from faultload.faults import FAULTS
from faultload.record import InjectionStep
from faultload.run.chaos import arguments_of
from faultload.spec import Catalogue, load_experiment
from faultload.targets import offers

RECOVERED = (
    InjectionStep.REVERTING,
    InjectionStep.REVERTED,
    InjectionStep.VERIFIED_REVERTED,
)
"""The steps that `faultload recover` journals."""

UNHARMED = (InjectionStep.PLANNED, InjectionStep.VERIFIED_REVERTED)
"""After these, and after these alone, nothing is in force by the journal."""

CHANGED_FOR_GOOD: Mapping[str, Mapping[str, Collection[str]]] = {
    # The new replicas are what the old ones were, under another revision.
    "roll_out": {"tier": ("revision", "annotation")},
    # Advice is not taken back, by EC2 neither.
    "advise_rebalance": {"node": ("advised",)},
}
"""Fault → what of the platform is another afterwards by its own documentation: kind → keys."""

ON_A_CLUSTER: Mapping[str, Mapping[str, Any]] = {
    "add_load": {"model": "chat-fast", "requests_per_s": 5},
    "bad_release": {},
    "cordon_node": {},
    "delete_replica": {"grace_s": 1},
    "drain_node": {},
    "evict_replica": {},
    "kill_replica": {},
    "outage": {"component": "engine"},
    "partition_replica": {},
    "roll_out": {},
    "scale_deployment": {"name": "engine", "replicas": 4},
    "scale_statefulset": {"name": "spare", "replicas": 2},
    "scale_to": {"replicas": 4},
    "terminate_pods": {"label_selector": "app=engine", "grace_period": 1},
}
"""Fault → its arguments on the little cluster of tests/cluster: three engines, one spare."""


@dataclass(frozen=True)
class Case:
    """One moment, and who is killed then.

    Attributes:
        fault, step, who: as `deadly.Death` has them.
        whole: in a whole `faultload run`, with load, phases and a record; else in a light one.
    """

    fault: str
    step: InjectionStep
    who: Who
    whole: bool = False

    def __str__(self) -> str:
        """Name it."""
        return ":".join([self.fault, self.step, self.who, *(["run"] if self.whole else [])])

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the case of a name.

        Raises:
            UsageError: there is no such case.
        """
        known = {str(one): one for case in cases() for one in both(case)}
        if name not in known:
            raise UsageError(
                f"expected FAULT:STEP:WHO, or FAULT:STEP:WHO:run in a whole run, found {name!r}"
                f"{nearest(name, known)}"
            )
        found = known[name]
        return cls(found.fault, found.step, found.who, found.whole)


@dataclass(frozen=True)
class Use:
    """How an experiment uses a fault.

    Attributes:
        experiment: its name.
        arguments: of its action.
        alone: it is the only fault there, so that a step of the journal is one of it.
    """

    experiment: str
    arguments: Mapping[str, Any]
    alone: bool


def offered(kind: str) -> list[str]:
    """Return the faults that a kind of target can have."""
    return [name for name, fault in FAULTS.items() if fault.capability in offers()[kind]]


def cases() -> list[Case]:
    """Return all cases of the local target; those of a supervisor first."""
    steps = {who: tuple(InjectionStep) for who in Who} | {Who.RECOVERY: RECOVERED}
    return [
        Case(fault, step, who)
        for who in Who
        for fault in sorted(offered("local"))
        for step in steps[who]
    ]


def both(case: Case) -> list[Case]:
    """Return a case and the same in a whole run; only a recovery has no run about it."""
    whole = Case(case.fault, case.step, case.who, whole=True)
    return [case] if case.who is Who.RECOVERY else [case, whole]


def uses(catalogue: Catalogue, target: str = "local") -> dict[str, Use]:
    """Return fault → how an experiment for a target uses it: the first, best one with no other."""
    elsewhere = {*catalogue.names("targets")} - {target}
    found: dict[str, Use] = {}
    for path in catalogue.experiment_paths():
        experiment = load_experiment(path)
        if elsewhere & set(experiment.tags):
            continue
        for action in experiment.fault_actions:
            fault, alone = action["provider"]["func"], len(experiment.fault_actions) == 1
            if fault not in found or (alone and not found[fault].alone):
                arguments = arguments_of(experiment, action)
                found[fault] = Use(experiment.name, arguments, alone)
    return found
