"""Faults in chaosk8s's words: what its functions leave to luck is held here."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import chaosk8s.pod.probes
import pytest
from memory import Platform, replica
from memory_stock import NAMESPACE, StockPlatform
from pydantic import ValidationError

from faultload.errors import FaultError, RefusedError
from faultload.faults import FAULTS, FaultSession
from faultload.faults.limits import Limits, Radius
from faultload.faults.reference import describe
from faultload.faults.stock import Pods, ScaleDeployment, Scaling, TerminatePods, ask
from faultload.faults.stock_list import ACTIONS, PROBES, REFUSED
from faultload.record import InjectionJournal

ENGINES = "app=engine"
TWO = Limits(radius={"engine": Radius(2)})


def platform(**options: Any) -> StockPlatform:
    """Return four ready engines, the oldest last in the alphabet."""
    names = ("r3", "r2", "r1", "r0")
    found = StockPlatform(*(replica(name) for name in names), **options)
    found.tiers = {
        f"{kind}/fast": replace(found.tiers["fast"], name=f"{kind}/fast")
        for kind in ("deployment", "statefulset")
    }
    return found


def test_only_a_cluster_can_do_it() -> None:
    """Elsewhere it is skipped by its capability, and the page does not promise it."""
    for action in ACTIONS.values():
        assert describe(action.fault).targets == ["kubernetes"]


def victims(target: Platform, **words: Any) -> list[str]:
    """Return whom a plan with these arguments hits."""
    intent = Pods(ns=NAMESPACE, **words)
    return [one["name"] for one in TerminatePods(target, intent, Limits(seed=1)).plan().victims]


@pytest.mark.parametrize(
    ("words", "hit"),
    [
        ({"label_selector": ENGINES}, ["r0"]),
        ({"label_selector": ENGINES, "qty": 2}, ["r0", "r1"]),
        ({"label_selector": ENGINES, "order": "oldest"}, ["r3"]),
        ({"label_selector": ENGINES, "mode": "percentage", "qty": 26}, ["r0", "r1"]),
        ({"label_selector": ENGINES, "all": True}, ["r0", "r1", "r2", "r3"]),
        ({"label_selector": ENGINES, "qty": 9}, ["r0", "r1", "r2", "r3"]),
        ({"name_pattern": "^r[12]$", "all": True}, ["r1", "r2"]),
    ],
)
def test_pods_are_chosen_as_chaosk8s_says_it_does(words: dict[str, Any], hit: list[str]) -> None:
    """By order, number, percent rounded up, or all; it does not sort, though it says so."""
    assert victims(platform(), **words) == hit


def test_a_random_choice_is_the_seeds() -> None:
    """The same run again hits the same, which chaosk8s cannot promise."""
    words = {"label_selector": ENGINES, "rand": True, "qty": 2}
    assert victims(platform(), **words) == victims(platform(), **words)


def test_only_ready_pods_are_chosen_and_counted() -> None:
    """One that is not ready serves nobody: to lose it proves nothing."""
    target = platform()
    target.engines["r0"] = replica("r0", ready=False)
    half = {"label_selector": ENGINES, "mode": "percentage", "qty": 34}
    assert victims(target, **half) == ["r1", "r2"]


@pytest.mark.parametrize(
    ("words", "error", "said"),
    [
        ({}, RefusedError, "any pod of namespace llm would do"),
        ({"label_selector": "app=nobody"}, FaultError, "found none"),
        ({"name_pattern": "^nobody$"}, FaultError, "found none"),
        ({"label_selector": ENGINES, "ns": "default"}, RefusedError, "not the target's"),
    ],
)
def test_what_chaosk8s_calls_a_success_is_none(
    words: dict[str, Any], error: type[Exception], said: str
) -> None:
    """Nobody to hit, anybody at all, or somebody else's: an error, and nothing is touched."""
    target = platform()
    intent = Pods(**{"ns": NAMESPACE} | words)
    with pytest.raises(error, match=said):
        TerminatePods(target, intent, TWO).plan()
    assert target.acts == []


def test_pods_that_are_nobodys_replicas_are_not_hit() -> None:
    """A selector that finds more than the target's components is refused, and names it."""
    target = platform()
    target.strangers = ["database-0"]
    with pytest.raises(RefusedError, match="database-0"):
        victims(target, label_selector=ENGINES)


def test_every_component_keeps_its_own_limits() -> None:
    """One selector may find two components: both count, each against its own blast radius."""
    target = platform()
    target.others = [replace(replica("router-0"), component="router")]
    limits = Limits(radius={"engine": Radius(4), "router": Radius(0)})
    intent = Pods(ns=NAMESPACE, name_pattern="r", all=True)
    with pytest.raises(RefusedError, match="1 of 1 ready router"):
        TerminatePods(target, intent, limits).plan()


def test_both_count_for_the_faults_beside_them() -> None:
    """What they hit is said in the plan, so that several faults cannot add up unseen."""
    target, limits = platform(), Limits(radius={"engine": Radius(1)})
    pods = TerminatePods(target, Pods(ns=NAMESPACE, label_selector=ENGINES), limits)
    assert pods.plan().hit == {"engine": [1, 4]}
    for name in ("scale_deployment", "scale_statefulset"):
        scaling = FAULTS[name](target, Scaling("fast", 3, NAMESPACE), limits)
        assert scaling.plan().hit == {"engine": [1, 4]}


@pytest.mark.parametrize(
    ("grace_period", "act"),
    [(-1, "delete within None"), (30, "delete within 30"), (0, "kill")],
)
def test_pods_are_terminated_and_proven(tmp_path: Path, grace_period: int, act: str) -> None:
    """By uid, within the grace that was asked for; there is nothing to take back."""
    target = platform()
    intent = Pods(ns=NAMESPACE, label_selector=ENGINES, grace_period=grace_period)
    session = FaultSession(target, InjectionJournal(tmp_path / "journal.jsonl"))
    session.apply(TerminatePods(target, intent, TWO))
    session.revert_all()
    assert target.acts == [(act, "r0")]
    assert session.journal.unreverted() == []


def test_a_termination_without_effect_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """chaosk8s returns the names of whom it asked to delete; we look who is gone."""
    monkeypatch.setattr(TerminatePods, "effect_timeout_s", 0.05)
    target = platform(deaf=True)
    session = FaultSession(target, InjectionJournal(tmp_path / "journal.jsonl"))
    with pytest.raises(FaultError, match="expected r0 to be not ready"):
        session.apply(TerminatePods(target, Pods(ns=NAMESPACE, label_selector=ENGINES), TWO))


@pytest.mark.parametrize("kind", ["deployment", "statefulset"])
def test_a_scale_is_set_back_from_the_journal_alone(tmp_path: Path, kind: str) -> None:
    """chaosk8s forgets the number there was; another process of ours finds it in the journal."""
    workload = f"{kind}/fast"
    target = StockPlatform(*(replica(name, tier=workload) for name in ("r0", "r1")))
    journal = InjectionJournal(tmp_path / "journal.jsonl")
    fault = FAULTS[f"scale_{kind}"](target, Scaling("fast", 3, NAMESPACE), TWO)
    done = FaultSession(target, journal).apply(fault)
    (reverted,) = FaultSession(target, journal).revert_all()
    assert "3 ready" in done["text"]
    assert "set back to 2" in reverted["text"]
    assert target.acts == [("scale to 3", workload), ("scale back to 2", workload)]


def test_a_workload_that_is_not_there_is_no_success() -> None:
    """Nor is one of another namespace, which is refused."""
    with pytest.raises(FaultError, match="a deployment 'slow'"):
        ScaleDeployment(platform(), Scaling("slow", 1, NAMESPACE)).plan()
    with pytest.raises(RefusedError, match="not the target's"):
        ScaleDeployment(platform(), Scaling("fast", 1)).plan()


def test_a_target_without_pods_says_so() -> None:
    """The local platform has no namespaces: an error, not a guess."""
    with pytest.raises(FaultError, match="needs a cluster"):
        TerminatePods(Platform(replica("r0")), Pods(label_selector=ENGINES)).plan()


def test_a_probe_is_asked_with_the_targets_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never with what chaosk8s finds in the environment, and its own way is put back."""
    target, seen = platform(), []
    own = chaosk8s.pod.probes.create_k8s_api_client

    def answer(label_selector: str, ns: str) -> bool:
        seen.append(chaosk8s.pod.probes.create_k8s_api_client(None))
        return label_selector == ENGINES

    monkeypatch.setattr(chaosk8s.pod.probes, "pods_in_phase", answer)
    words = {"label_selector": ENGINES, "ns": NAMESPACE}
    assert ask(target, "chaosk8s.pod.probes.pods_in_phase", words) is True
    assert seen == [target.client]
    assert target.client.closed
    assert chaosk8s.pod.probes.create_k8s_api_client is own


def test_a_probe_answers_yes_or_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is no evidence; and what is off the list is not asked at all."""
    monkeypatch.setattr(chaosk8s.pod.probes, "count_min_pods", lambda **_: None)
    with pytest.raises(FaultError, match="expected yes or no, found None"):
        ask(platform(), "chaosk8s.pod.probes.count_min_pods", {"ns": NAMESPACE})
    with pytest.raises(RefusedError, match="use count_min_pods"):
        ask(platform(), "chaosk8s.pod.probes.count_pods", {"ns": NAMESPACE})


@pytest.mark.parametrize("function", [*ACTIONS, *PROBES, *REFUSED])
def test_the_list_is_about_what_chaosk8s_has(function: str) -> None:
    """Every entry exists there; what is allowed has a fault with the same arguments."""
    path, _, name = function.rpartition(".")
    theirs = inspect.signature(getattr(importlib.import_module(path), name)).parameters
    if function in ACTIONS:
        ours = inspect.signature(FAULTS[ACTIONS[function].fault].intent).parameters
        assert ours.keys() == theirs.keys() - {"secrets"}
        defaults = SimpleNamespace(**{n: p.default for n, p in theirs.items()})
        assert all(getattr(defaults, n) == p.default for n, p in ours.items())


def test_a_pattern_that_is_none_is_refused_before_anything() -> None:
    """The file is at fault, and says where."""
    with pytest.raises(ValidationError, match="expected a regular expression"):
        Pods(ns=NAMESPACE, name_pattern="web-[")
