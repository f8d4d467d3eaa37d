"""Before anything is touched: who would be hit, and whether that is allowed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError, SpecError
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep, PhaseName
from faultload.run.injection import Injection, preview
from faultload.run.plan import RunPlan, prepare
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[3]


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Return the plan of replica-loss on the local target."""
    return prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)


def with_arguments(plan: RunPlan, **arguments: Any) -> RunPlan:
    """Return the plan with other arguments of its fault."""
    raw = {**plan.experiment.raw}
    action = raw["method"][0]
    provider = {**action["provider"], "arguments": arguments}
    raw["method"] = [{**action, "provider": provider}]
    return replace(plan, experiment=replace(plan.experiment, raw=raw))


def test_preview_names_victims_and_touches_nothing(plan: RunPlan) -> None:
    """The preview resolves the same victims as the fault will, and acts on nobody."""
    platform = Platform(replica("a"), replica("b", inflight=5), replica("c"), replica("d"))

    (planned,) = preview(plan, platform)

    assert [victim["name"] for victim in planned.victims] == ["b"]
    assert platform.acts == []


def test_more_than_the_file_allows_is_a_bad_file(plan: RunPlan) -> None:
    """A fault that hits more than its own blast radius contradicts itself: a usage error."""
    platform = Platform(*(replica(name) for name in "abcdef"))
    wide = with_arguments(plan, component="engine", replicas=2)

    with pytest.raises(SpecError, match="hits 2 engine, and blast_radius allows 1 engine"):
        preview(wide, platform)


def test_more_than_the_target_allows_is_refused(plan: RunPlan) -> None:
    """The share is of what is ready now; over the limit is a refusal."""
    with pytest.raises(RefusedError, match="over the blast radius of 50%"):
        preview(plan, Platform(replica("only")))


def test_method_without_a_fault_of_ours_breaks_nothing(plan: RunPlan) -> None:
    """An experiment with no fault cannot be judged: the run is invalid, not a pass."""
    raw = {**plan.experiment.raw, "method": []}
    empty = replace(plan, experiment=replace(plan.experiment, raw=raw))

    with pytest.raises(FaultError, match="nothing would be broken"):
        preview(empty, Platform(replica("a"), replica("b")))


class Child:
    """A chaos process that has ended after saying `answers`."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.said = list(answers)

    def release(self) -> None:
        """Nothing to release."""

    def answers(self) -> list[dict[str, Any]]:
        said, self.said = self.said, []
        return said

    def playing_s(self) -> float:
        return 0.0

    def exit_code(self) -> int:
        return 0

    def last_words(self) -> str:
        return "its last words"


def entry(step: InjectionStep, time_unix_s: float = 0.0, problem: str = "") -> InjectionEntry:
    """Return one line of the journal."""
    return InjectionEntry("k-1", step, "kill_replica", time_unix_s, problem=problem)


def play(journal: InjectionJournal, *answers: dict[str, Any]) -> list[str]:
    """Play an ended child against a journal; return the texts told."""
    told: list[str] = []

    def tell(source: str, kind: str, text: str, **data: Any) -> None:
        told.append(text)

    Injection(Child(*answers), journal, tell).play(0.0, lambda _: None)  # type: ignore[arg-type]
    return told


def test_action_that_failed_is_told_with_its_reason(tmp_path: Path) -> None:
    """Chaos Toolkit goes on after a failed action; we end the run and say why it failed."""
    answer = {
        "kind": "activity_completed",
        "name": "kill",
        "type": "action",
        "status": "failed",
        "problem": "chaoslib.exceptions.ActivityFailed: faultload.errors.FaultError: nobody there",
    }

    with pytest.raises(FaultError, match="no fault was injected: kill: FaultError: nobody there"):
        play(InjectionJournal(tmp_path / "j"), answer)


def test_silent_child_is_not_a_pass(tmp_path: Path) -> None:
    """A child that ended with nothing journalled injected nothing; its last words are passed on."""
    with pytest.raises(FaultError, match="no fault was injected: .*its last words"):
        play(InjectionJournal(tmp_path / "j"))


def test_unproven_and_unreverted_faults_end_the_run(tmp_path: Path) -> None:
    """A failed step, or a fault with no proof that it is gone, is an error of the run."""
    failed = InjectionJournal(tmp_path / "failed")
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING, InjectionStep.FAILED):
        failed.append(entry(step, problem="verify: still there"))
    in_force = InjectionJournal(tmp_path / "in-force")
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING, InjectionStep.VERIFIED):
        in_force.append(entry(step))

    with pytest.raises(FaultError, match="kill_replica: verify: still there"):
        play(failed)
    with pytest.raises(FaultError, match="still in force"):
        play(in_force)


def test_fault_phase_is_what_the_journal_says(tmp_path: Path) -> None:
    """It begins with the first act, not when we asked for it, and ends with the last proof."""
    journal = InjectionJournal(tmp_path / "j")
    injection = Injection(Child(), journal, lambda *_, **__: None)  # type: ignore[arg-type]
    assert injection.phase(100.0, 9.0) is None
    journal.append(entry(InjectionStep.PLANNED, 101.0))
    journal.append(entry(InjectionStep.INJECTING, 102.0))

    open_ended = injection.phase(100.0, 9.0)
    journal.append(entry(InjectionStep.VERIFIED_REVERTED, 105.5))
    ended = injection.phase(100.0, 9.0)

    assert open_ended is not None
    assert ended is not None
    assert (open_ended.name, open_ended.start_s, open_ended.end_s) == (PhaseName.FAULT, 2.0, 9.0)
    assert (ended.start_s, ended.end_s) == (2.0, 5.5)
