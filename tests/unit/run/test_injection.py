"""Before anything is touched: who would be hit, and whether that is allowed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError, SpecError
from faultload.faults.component_scale import Size
from faultload.faults.limits import Limits, Radius
from faultload.faults.victims import Choice
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep, Phase, PhaseName
from faultload.run.injection import Injection, fault_phase, preview, with_fault
from faultload.run.plan import FAULT_TIMEOUT_S, RunPlan, prepare
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[3]


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Return the plan of replica-loss on the local target."""
    return prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)


@pytest.fixture
def project(tmp_path: Path) -> Catalogue:
    """Return a copy of the project's own files that a test may change."""
    for folder in ("experiments", "scenarios", "slos", "targets"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return Catalogue(tmp_path)


def change(project: Catalogue, how: Callable[[dict[str, Any]], None]) -> None:
    """Change replica-loss."""
    path = project.root / "experiments" / "engine" / "replica-loss.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    how(document)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def test_preview_names_victims_and_touches_nothing(plan: RunPlan) -> None:
    """The preview resolves the same victims as the fault will, and acts on nobody."""
    platform = Platform(replica("a"), replica("b", inflight=5), replica("c"), replica("d"))

    (planned,) = preview(plan, platform)

    assert [victim["name"] for victim in planned.victims] == ["b"]
    assert platform.acts == []


def two_kills(document: dict[str, Any]) -> None:
    """Hit one replica twice over."""
    document["method"].append({**document["method"][0], "name": "once-more"})


def kill_as_probe(document: dict[str, Any]) -> None:
    """Hide a fault among the probes."""
    kill = document["method"][0]
    probe = {**kill, "type": "probe", "tolerance": True}
    probe.pop("pauses")
    document["steady-state-hypothesis"]["probes"].append(probe)


def kill_as_rollback(document: dict[str, Any]) -> None:
    """Hide a fault among the rollbacks."""
    document["rollbacks"].append({**document["method"][0], "name": "again"})


def shell_command(document: dict[str, Any]) -> None:
    """Act by a process that nobody can prove or undo."""
    provider = {"type": "process", "path": "/bin/true"}
    document["method"].append({"type": "action", "name": "shell", "provider": provider})


def arguments(**values: Any) -> Callable[[dict[str, Any]], None]:
    """Give the fault other arguments."""

    def how(document: dict[str, Any]) -> None:
        document["method"][0]["provider"]["arguments"] = values

    return how


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        (arguments(replicas=2), SpecError, "hits 2 engine, and 1 engine is allowed"),
        (two_kills, SpecError, "hits 2 engine"),
        (arguments(component="router"), SpecError, "1 engine is allowed"),
        (kill_as_probe, SpecError, "does harm; it belongs into the method"),
        (kill_as_rollback, SpecError, "does harm; it belongs into the method"),
        (shell_command, RefusedError, "only faults of faultload.faults may act"),
        (arguments(replicas="1"), SpecError, "arguments.replicas: .*found '1'"),
        (arguments(select="fastest"), SpecError, "arguments.select: .*found 'fastest'"),
    ],
)
def test_harm_beyond_the_plan_is_refused_before_anything_starts(
    project: Catalogue, how: Callable[[dict[str, Any]], None], error: type[Exception], said: str
) -> None:
    """All faults count together, stand in the method, and have arguments of their type."""
    change(project, how)

    with pytest.raises(error, match=said):
        prepare(project, "engine/replica-loss", "local")


_PROCESS = {"type": "process", "path": "true", "arguments": "delete pods --all"}
_MODULE = {"type": "python", "module": "os", "func": "system", "arguments": {"command": "true"}}
_ADDRESS = {"type": "http", "url": "http://127.0.0.1:1/", "method": "DELETE"}


@pytest.mark.parametrize("provider", [_PROCESS, _MODULE, _ADDRESS], ids=["cmd", "module", "http"])
@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("steady-state-hypothesis", "probe"),
        ("method", "probe"),
        ("method", "action"),
        ("rollbacks", "action"),
        ("rollbacks", "probe"),
    ],
)
def test_what_is_not_listed_may_act_nowhere(
    project: Catalogue, provider: dict[str, Any], section: str, kind: str
) -> None:
    """A probe that runs a command is an action by another name, and so is a rollback."""

    def add(document: dict[str, Any]) -> None:
        activity = {"type": kind, "name": "theirs", "provider": provider}
        if section == "steady-state-hypothesis":
            document[section]["probes"].append(activity | {"tolerance": True})
        else:
            document[section].append(activity)

    change(project, add)
    with pytest.raises(RefusedError, match=r"theirs\].*(which nobody could prove|may act here)"):
        prepare(project, "engine/replica-loss", "local")


@pytest.mark.parametrize("at", ["", "steady-state-hypothesis", "method", "rollbacks"])
def test_no_experiment_brings_controls(project: Catalogue, at: str) -> None:
    """They are code that Chaos Toolkit calls around every step, wherever they stand."""
    controls = [{"name": "c", "provider": {"type": "python", "module": "chaoslib.control"}}]

    def add(document: dict[str, Any]) -> None:
        place = document[at] if at else document
        (place[0] if isinstance(place, list) else place)["controls"] = controls

    change(project, add)
    with pytest.raises(RefusedError, match="controls: an experiment brings no code of its own"):
        prepare(project, "engine/replica-loss", "local")


@pytest.mark.parametrize(
    ("func", "given", "key"),
    [
        ("kill_replica", {"replicas": 0}, "replicas"),
        ("kill_replica", {"replicas": True}, "replicas"),
        ("delete_replica", {"grace_s": -1}, "grace_s"),
        ("delete_replica", {"grace_s": float("nan")}, "grace_s"),
        ("delete_replica", {"grace_s": float("inf")}, "grace_s"),
        ("delete_replica", {"grace_s": False}, "grace_s"),
        ("delete_replica", {"grace_s": "30"}, "grace_s"),
        ("evict_replica", {"timeout_s": 0}, "timeout_s"),
        ("evict_replica", {"timeout_s": float("nan")}, "timeout_s"),
        ("evict_replica", {"timeout_s": True}, "timeout_s"),
        ("cordon_node", {"nodes": 0}, "nodes"),
        ("cordon_node", {"select": "oldest"}, "select"),
        ("drain_node", {"nodes": -1}, "nodes"),
        ("drain_node", {"timeout_s": float("inf")}, "timeout_s"),
        ("scale_to", {"replicas": -1}, "replicas"),
        ("scale_to", {"replicas": True}, "replicas"),
        ("scale_to", {"replicas": 1.5}, "replicas"),
        ("scale_to", {"replicas": 1, "tier": 3}, "tier"),
        ("partition_replica", {"replicas": 0}, "replicas"),
        ("gpu_xid", {"xid": 13}, "xid"),
        ("slow_gpu", {"factor": 1.0}, "factor"),
        ("gpu_xid", {"xid": "79"}, "xid"),
    ],
)
def test_senseless_parameter_is_refused_by_its_key(
    project: Catalogue, func: str, given: dict[str, Any], key: str
) -> None:
    """A number that is none, negative, or a boolean in disguise: the file and the key are named."""

    def how(document: dict[str, Any]) -> None:
        document["method"][0]["provider"] |= {"func": func, "arguments": given}

    change(project, how)

    with pytest.raises(SpecError, match=rf"replica-loss.yaml: .*arguments\.{key}: .*found"):
        prepare(project, "engine/replica-loss", "local")


@pytest.mark.parametrize(
    ("hold_s", "asked", "least_s"),
    [(15, {"lasts_s": 74}, 75), (15, {"timeout_s": 290}, 305), (250, {}, 310)],
)
@pytest.mark.parametrize("func", ["add_load", "fill_kv_cache"])
def test_traffic_must_outlast_the_hold(
    project: Catalogue, func: str, hold_s: int, asked: dict[str, Any], least_s: int
) -> None:
    """With what the faults may take on their way; the file, the key and the remedy are named."""
    own = {"model": "chat-fast", "users": 5} if func == "add_load" else {}

    def how(document: dict[str, Any]) -> None:
        document["configuration"]["hold_s"] = hold_s
        document["method"][0]["provider"] |= {"func": func, "arguments": own | asked}

    change(project, how)

    with pytest.raises(SpecError) as found:
        prepare(project, "engine/replica-loss", "local")
    name = "replica-loss.yaml: method[kill-the-busiest-engine].provider.arguments.lasts_s: "
    assert name in str(found.value)
    assert f"expected at least {least_s} s" in str(found.value)
    assert f"found {asked.get('lasts_s', 300)} s" in str(found.value)
    assert "let it last longer" in str(found.value)


def test_a_target_with_a_longer_hold_needs_longer_traffic(project: Catalogue) -> None:
    """What counts is how long the fault is held there."""
    path = project.root / "targets" / "local.yaml"
    target = yaml.safe_load(path.read_text(encoding="utf-8"))
    prepare(project, "scaling/burst", "local")
    target.setdefault("phases", {})["hold_s"] = 250
    path.write_text(yaml.safe_dump(target), encoding="utf-8")

    with pytest.raises(SpecError, match=r"lasts_s: expected at least 310 s"):
        prepare(project, "scaling/burst", "local")


def test_traffic_of_all_our_experiments_lasts_long_enough() -> None:
    """On every target that has a file here."""
    experiments = ("scaling/burst", "scaling/autoscaling", "engine/kv-pressure")
    for name in experiments:
        for target in sorted((ROOT / "targets").glob("*.yaml")):
            assert prepare(Catalogue(ROOT), name, str(target)).faults


def test_arguments_may_come_from_the_configuration(project: Catalogue) -> None:
    """`${names}` are replaced before the arguments are checked, as Chaos Toolkit will."""

    def how(document: dict[str, Any]) -> None:
        document["configuration"]["how_many"] = 1
        arguments(replicas="${how_many}")(document)

    change(project, how)

    ((_, choice),) = prepare(project, "engine/replica-loss", "local").faults

    assert choice.replicas == 1


def test_fault_may_ask_for_more_time_than_every_fault_has(project: Catalogue) -> None:
    """A drain that may take ten minutes is given them, on top of what every step may take."""
    drain = {"func": "drain_node", "arguments": {"timeout_s": 600}}
    change(project, lambda document: document["method"][0]["provider"].update(drain))

    assert prepare(project, "engine/replica-loss", "local").steps_s_max == FAULT_TIMEOUT_S + 600


def test_more_than_the_target_allows_is_refused(plan: RunPlan) -> None:
    """The share is of what is ready now; over the limit is a refusal."""
    with pytest.raises(RefusedError, match="over the blast radius of 50%"):
        preview(plan, Platform(replica("only")))


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (
            {"radius": {"engine": Radius(1)}},
            "hitting 2 of 4 .* by several faults is over the blast radius of 1",
        ),
        ({"share_max": 0.4}, "by several faults is 50% of them"),
        ({"healthy_min": {"engine": 3}}, "by several faults leaves 2, and .* wants 3"),
    ],
)
def test_faults_count_together(plan: RunPlan, allowed: dict[str, Any], said: str) -> None:
    """Each alone keeps to the limits; one that is cut off is ready still, and counts as hit."""
    platform = Platform(*map(replica, "abcd"))
    faults: list[Any] = [("partition_replica", Choice()), ("scale_to", Size(3))]
    limits = Limits(**allowed)
    for fault in faults:
        preview(replace(plan, limits=limits, faults=[fault]), platform)

    with pytest.raises(RefusedError, match=said):
        preview(replace(plan, limits=limits, faults=faults), platform)


def test_method_without_a_fault_of_ours_breaks_nothing(plan: RunPlan) -> None:
    """An experiment with no fault cannot be judged: the run is invalid, not a pass."""
    with pytest.raises(FaultError, match="nothing would be broken"):
        preview(replace(plan, faults=[]), Platform(replica("a"), replica("b")))


class Child:
    """A chaos process that has ended after saying `answers`."""

    def __init__(self, *answers: dict[str, Any], code: int = 0) -> None:
        self.said, self.code = list(answers), code

    def release(self) -> None:
        """Nothing to release."""

    def answers(self) -> list[dict[str, Any]]:
        said, self.said = self.said, []
        return said

    def playing_s(self) -> float:
        return 0.0

    def exit_code(self) -> int:
        return self.code

    def last_words(self) -> str:
        return "its last words"


def entry(step: InjectionStep, time_unix_s: float = 0.0, problem: str = "") -> InjectionEntry:
    """Return one line of the journal."""
    return InjectionEntry("k-1", step, "kill_replica", time_unix_s, problem=problem)


def play(
    journal: InjectionJournal, *answers: dict[str, Any], faults: int = 1, code: int = 0
) -> list[str]:
    """Play an ended child against a journal; return the texts told."""
    told: list[str] = []

    def tell(source: str, kind: str, text: str, **data: Any) -> None:
        told.append(text)

    child: Any = Child(*answers, code=code)
    Injection(child, journal, tell, faults).play(0.0, 1.0, lambda _: None)
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


def test_a_child_that_was_killed_is_said_to_have_been(tmp_path: Path) -> None:
    """The experiment is not blamed for a rollback that nobody was left to play."""
    before, after = InjectionJournal(tmp_path / "before"), InjectionJournal(tmp_path / "after")
    for journal, steps in ((before, 1), (after, 4)):
        for step in list(InjectionStep)[:steps]:
            journal.append(entry(step))

    with pytest.raises(FaultError, match=r"no fault was injected: .*signal 9.*: planned"):
        play(before, code=-9)
    with pytest.raises(FaultError, match=r"still in force: .*signal 9.*: verified"):
        play(after, code=-9)


def test_each_fault_of_the_method_is_to_be_proven(tmp_path: Path) -> None:
    """One whose plan was refused is not in the journal; those that were proven do not cover it."""
    journal = InjectionJournal(tmp_path / "j")
    for step in (InjectionStep.PLANNED, InjectionStep.INJECTING, InjectionStep.VERIFIED):
        journal.append(entry(step))
    journal.append(entry(InjectionStep.VERIFIED_REVERTED))
    answer = {"kind": "activity_completed", "name": "drain", "problem": "RefusedError: too many"}

    play(journal, answer, faults=1)
    with pytest.raises(FaultError, match="only 1 of 2 faults were injected: drain: RefusedError"):
        play(journal, answer, faults=2)


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
    assert fault_phase(journal.entries(), 100.0, 9.0) is None
    journal.append(entry(InjectionStep.PLANNED, 101.0))
    journal.append(entry(InjectionStep.INJECTING, 102.0))

    open_ended = fault_phase(journal.entries(), 100.0, 9.0)
    journal.append(entry(InjectionStep.VERIFIED_REVERTED, 105.5))
    ended = fault_phase(journal.entries(), 100.0, 9.0)

    assert open_ended is not None
    assert ended is not None
    assert (open_ended.name, open_ended.start_s, open_ended.end_s) == (PhaseName.FAULT, 2.0, 9.0)
    assert (ended.start_s, ended.end_s) == (2.0, 5.5)


@pytest.mark.parametrize("start_s", [12.0, -50.0])
def test_fault_interrupts_the_phase_it_began_in(start_s: float) -> None:
    """The phases stay in order and without gaps, also where the wall clock stepped back."""
    phases = [
        Phase(name=PhaseName.WARMUP, start_s=0, end_s=5),
        Phase(name=PhaseName.BASELINE, start_s=5, end_s=20),
        Phase(name=PhaseName.RECOVERY, start_s=30, end_s=40),
    ]
    fault = Phase(name=PhaseName.FAULT, start_s=start_s, end_s=30)

    placed = with_fault(with_fault(phases, fault), fault)

    starts = [phase.start_s for phase in placed]
    assert starts == sorted(starts)
    assert [phase.name for phase in placed].count(PhaseName.FAULT) == 1
    assert all(phase.end_s >= phase.start_s for phase in placed)
