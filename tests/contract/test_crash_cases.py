"""`make bench-safety` leaves no fault and no step out, whatever is added."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from crash_cases import (
    CHANGED_FOR_GOOD,
    ON_A_CLUSTER,
    RECOVERED,
    Case,
    both,
    cases,
    offered,
    uses,
)
from deadly import Who

from faultload.faults import FAULTS
from faultload.record import InjectionStep
from faultload.spec import Catalogue


def test_every_step_of_every_fault_of_the_local_target_is_a_case() -> None:
    """Of the supervisor and of the child at each step, and of the recovery at those it takes."""
    expected = {
        Case(fault, step, who)
        for fault, step, who in itertools.product(offered("local"), InjectionStep, Who)
        if who is not Who.RECOVERY or step in RECOVERED
    }

    assert Counter(cases()) == Counter(expected)


def test_every_fault_of_the_local_target_has_arguments_from_an_experiment(root: Path) -> None:
    """A fault that no experiment for it uses could not be played; and what is used is taken."""
    found = uses(Catalogue(root))

    missing = [name for name in offered("local") if name not in found]
    assert missing == [], "write an experiment for targets/local.yaml that uses them"
    for name in offered("local"):
        FAULTS[name].intent(**found[name].arguments)


def test_every_fault_of_the_kubernetes_target_has_arguments_on_the_tests_cluster() -> None:
    """tests/cluster/test_crashes.py plays these, and no others."""
    assert sorted(ON_A_CLUSTER) == sorted(offered("kubernetes"))
    for name, arguments in ON_A_CLUSTER.items():
        FAULTS[name].intent(**arguments)


def test_what_is_another_for_good_is_so_of_faults_there_are() -> None:
    """An exception of a fault that is gone would hide nothing, and mislead."""
    assert set(CHANGED_FOR_GOOD) <= set(offered("local"))


def test_cases_are_found_by_their_names() -> None:
    """What a failure prints is what repeats it."""
    everything = [one for case in cases() for one in both(case)]

    assert [Case.named(str(one)) for one in everything] == everything
