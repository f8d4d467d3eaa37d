"""From the files to the watch, and from the watch to the end of a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest
import yaml
from memory import Platform, replica
from projects import ROOT, Project, make_project, wait_for
from scenes import slo

from faultload.errors import (
    AbortedError,
    ExitCode,
    FaultloadError,
    MissingError,
    RefusedError,
    SpecError,
)
from faultload.judge import Judgement, Verdict
from faultload.record import InjectionEntry, InjectionJournal, InjectionStep, Outcome
from faultload.run import chaos, flow
from faultload.run.abort import watch as watching
from faultload.run.abort.agreed import agreed_stops
from faultload.run.abort.conditions import FRESHNESS, PRICE, Reading
from faultload.run.abort.monitor import Monitor
from faultload.run.abort.watch import AbortWatch, Asker, Question, refuse_unpriced
from faultload.run.chaos import ChaosChild
from faultload.run.events import RunClock
from faultload.run.plan import prepare
from faultload.spec import Catalogue, StopSpec
from faultload.spec.target import PrometheusSignIn
from faultload.targets.base import Endpoints
from faultload.targets.processes import spawn


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project of our own files, and a target that is not local."""
    made = make_project(tmp_path, {})
    remote = yaml.safe_load((ROOT / "targets" / "staging.example.yaml").read_text(encoding="utf-8"))
    del remote["stop"]
    save(made.path / "targets" / "remote.yaml", remote)
    return made


def save(path: Path, document: dict[str, Any]) -> None:
    """Write a YAML file."""
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def says(project: Project, where: str, stop: Any) -> None:
    """Have the target or the experiment say this under `stop`."""
    path = project.path / "targets" / f"{where}.yaml"
    if where == "experiment":
        path = project.path / "experiments" / "engine" / "replica-loss.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    block = document["extensions"][0] if where == "experiment" else document
    block["stop"] = stop
    save(path, document)


def agreed(project: Project, target: str) -> Sequence[StopSpec]:
    """Return what a run there would be ended for."""
    return prepare(Catalogue(project.path), "engine/replica-loss", target).stop


def test_remote_run_without_stop_conditions_is_refused(project: Project) -> None:
    """Where nothing would end a run, that must have been said; on a local target it need not."""
    with pytest.raises(RefusedError, match=r"remote.yaml: nothing would stop .*stop: none") as said:
        agreed(project, "remote")

    assert said.value.exit_code == ExitCode.REFUSED
    assert agreed(project, "local") == []


@pytest.mark.parametrize("where", ["experiment", "remote"])
def test_either_file_may_say_that_nothing_ends_a_run(project: Project, where: str) -> None:
    """`none` is an opt-out that somebody wrote down."""
    says(project, where, "none")

    assert agreed(project, "remote") == []


def test_conditions_of_both_files_are_watched(project: Project) -> None:
    """Neither replaces the other, and `none` takes nothing away."""
    says(project, "experiment", {"tokens_max": 5})
    says(project, "remote", {"tokens_max": 7})
    assert agreed(project, "remote") == [StopSpec(tokens_max=5), StopSpec(tokens_max=7)]

    says(project, "experiment", "none")
    assert agreed(project, "remote") == [StopSpec(tokens_max=7)]
    assert agreed(project, "local") == []


@pytest.mark.parametrize("where", ["experiment", "remote"])
def test_telemetry_is_not_missed_before_it_is_due(project: Project, where: str) -> None:
    """A bound under three scrapes would end every run; the file, the key and the least are said."""
    says(project, "remote", "none")
    says(project, where, {"telemetry_missing_s": 44})

    with pytest.raises(SpecError, match=r"telemetry_missing_s: expected at least 45 s, 3 scrapes"):
        agreed(project, "remote")


def test_budget_that_nobody_can_watch_is_refused(project: Project) -> None:
    """An SLO that only Prometheus counts has no request rows."""
    plan = prepare(Catalogue(project.path), "engine/replica-loss", "local")
    block = plan.experiment.block.model_copy(update={"stop": StopSpec(budget_percent_max=1)})
    asked = SimpleNamespace(path=plan.experiment.path, block=block)
    counted = [slo("counted", promql=("good", "total"))]

    with pytest.raises(SpecError, match="budget_percent_max: none of the experiment's SLOs"):
        agreed_stops(asked, plan.target, plan.target_path, counted)  # type: ignore[arg-type]
    assert agreed_stops(asked, plan.target, plan.target_path, plan.slos)  # type: ignore[arg-type]


def test_budget_of_a_target_is_for_experiments_that_have_one() -> None:
    """Who writes a target's conditions does not know every experiment; one has to be left."""
    plan = prepare(Catalogue(ROOT), "engine/replica-loss", "local")
    counted = [slo("counted", promql=("good", "total"))]

    def agreed_on(stop: StopSpec) -> Sequence[StopSpec]:
        target = plan.target.model_copy(update={"stop": stop})
        return agreed_stops(plan.experiment, target, plan.target_path, counted)

    assert agreed_on(StopSpec(budget_percent_max=1, tokens_max=9))
    with pytest.raises(SpecError, match="local.yaml: stop.budget_percent_max: none of the"):
        agreed_on(StopSpec(budget_percent_max=1))


def test_shipped_example_stops_runs() -> None:
    """Whoever copies the staging target gets conditions, for every kind that needs no prices."""
    (stop,) = prepare(Catalogue(ROOT), "engine/replica-loss", "staging.example").stop

    assert stop.budget_percent_max
    assert stop.bad_requests
    assert stop.queries
    assert stop.telemetry_missing_s
    assert stop.tokens_max


def test_cap_on_dollars_needs_prices() -> None:
    """What cannot be watched is refused before anything starts: no data is never zero."""
    cap = [StopSpec(usd_max=1)]

    with pytest.raises(RefusedError, match=r"stop.usd_max: .*not known"):
        refuse_unpriced(cap, lambda: None)
    refuse_unpriced(cap, lambda: 12.5)
    refuse_unpriced([StopSpec(tokens_max=1)], lambda: None)


def aborts(stop: StopSpec, asker: Asker | None, told: list[dict[str, Any]]) -> AbortWatch:
    """Return a watch over one file's conditions that keeps its events in `told`."""

    def tell(source: str, kind: str, text: str, **data: Any) -> None:
        told.append({"source": source, "kind": kind, "text": text, "data": data})

    return AbortWatch(Monitor([stop], []), asker, tell)


def test_prometheus_that_hangs_holds_up_nobody() -> None:
    """The answer that never comes stays in its thread; the watch misses it and ends the run."""
    hangs, asked = threading.Event(), threading.Event()

    def ask() -> list[float]:
        asked.set()
        hangs.wait(30)
        return [0.0]

    asker = Asker([Question(FRESHNESS, 1.0, ask)], lambda: 0.0, pause_s=0.001)
    watch = aborts(StopSpec(telemetry_missing_s=15), asker, [])
    asker.start()
    try:
        assert asked.wait(10)
        for now_s in range(16):
            watch.look(float(now_s), [])
        with pytest.raises(AbortedError, match="no fresh samples for 16 s"):
            watch.look(16.0, [])
    finally:
        hangs.set()
        watch.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MissingError("Prometheus at http://p: cannot be reached"), "cannot be reached"),
        (ZeroDivisionError("a defect"), "ZeroDivisionError: a defect"),
    ],
)
def test_whatever_asking_raises_it_goes_on_asking(error: Exception, said: str) -> None:
    """What went wrong is a reading without data, and the next one may have some."""
    answers: list[Callable[[], list[float]]] = [lambda: [1.0]]

    def ask() -> list[float]:
        if answers:
            return answers.pop()()
        raise error

    asker = Asker([Question("q", 0.0, ask)], lambda: 7.0, pause_s=0.001)
    heard: list[Reading] = []

    def have_two() -> bool:
        heard.extend(asker.heard())
        return len(heard) >= 2

    asker.start()
    try:
        wait_for(have_two, 10, "two readings")
    finally:
        asker.close()

    assert heard[0] == Reading("q", 7.0, [1.0])
    assert heard[1].found == ()
    assert said in heard[1].problem


def test_watch_asks_only_for_what_is_watched() -> None:
    """No thread, and no load on Prometheus, for conditions that live on the rows."""
    plan = prepare(Catalogue(ROOT), "engine/replica-loss", "local")
    clock, nobody = RunClock.starting_in(0), np.empty(0)

    def sources(stop: StopSpec) -> list[str]:
        watch = AbortWatch.begin(
            replace(plan, stop=[stop]), nobody, Platform(replica("a")), clock, lambda: None
        )
        watch.close()
        asker = watch._asker
        return [] if asker is None else [one.source for one in asker._questions]

    assert sources(StopSpec(tokens_max=1)) == []
    assert sources(StopSpec(telemetry_missing_s=9, usd_max=1)) == [FRESHNESS, PRICE]
    query = {"name": "q", "promql": "max(kv)", "above": 1}
    assert sources(StopSpec.model_validate({"queries": [query, query]})) == ["max(kv)"]


def test_watch_signs_in_where_prometheus_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch that is turned away would take every healthy run for one without telemetry."""
    monkeypatch.setenv("PROMETHEUS_TOKEN", "a token of prometheus")
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(watching, "PrometheusReader", lambda _, **how: asked.append(how))
    sign_in = PrometheusSignIn(bearer_token_env="PROMETHEUS_TOKEN")
    at = Endpoints("http://a", "http://b", prometheus_sign_in=sign_in)

    watching._questions_of(
        [StopSpec(telemetry_missing_s=9)],
        SimpleNamespace(endpoints=at),  # type: ignore[arg-type]
    )

    assert asked[0]["headers"] == {"Authorization": "Bearer a token of prometheus"}


def test_first_breach_is_said_once_and_written_down() -> None:
    """The reason has what was seen, the key and the time; the event has the way back too."""
    told: list[dict[str, Any]] = []
    watch = aborts(StopSpec(tokens_max=10), None, told)
    line = {"status": "ok", "tier": "fast", "output_tokens": 11}
    line |= dict.fromkeys(
        "due_s sent_s first_token_s last_token_s end_s gap_s_max output_tokens_asked"
        " tokens_missing tokens_duplicated".split(),
        0.0,
    )
    watch.look(0.0, [])
    watch.look(0.4, [line])

    with pytest.raises(AbortedError, match=r"11 tokens .*\(stop.tokens_max\), seen at \+1.1 s"):
        watch.look(1.1, [])
    watch.look(5.0, [])
    steps = [(InjectionStep.REVERTED, 101.35), (InjectionStep.VERIFIED_REVERTED, 104.0)]
    watch.sum_up([InjectionEntry("i", step, "f", at) for step, at in steps], 100.0)

    (event,) = told
    assert event["kind"] == "stop_condition"
    assert "taken back 0.25 s after" in event["text"]
    data = event["data"]
    assert (data["key"], data["seen_s"]) == ("tokens_max", 1.1)
    assert (data["reverted_s"], data["proven_gone_s"]) == pytest.approx((1.35, 4.0))


def test_run_that_nothing_ended_has_no_such_event() -> None:
    """Only what happened is written down."""
    told: list[dict[str, Any]] = []
    aborts(StopSpec(tokens_max=10), None, told).sum_up([], 0.0)

    assert told == []


STUBBORN = "trap '' INT; echo up; while :; do sleep 0.05; done"
COUNTS = """
n=0; i=0; trap 'n=$((n+1))' INT; echo up
while [ $n -eq 0 ]; do sleep 0.02; done
while [ $i -lt 10 ]; do i=$((i+1)); sleep 0.02; done
exit $n
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ChaosChild]:
    """Make chaos children that run a shell script instead."""

    def make(script: str) -> ChaosChild:
        def instead(_: object, log: Path, *more: Any, **kept: Any) -> Any:
            return spawn(["sh", "-c", script], log, *more, **kept)

        monkeypatch.setattr(chaos, "spawn", instead)
        made = ChaosChild(tmp_path / "e", tmp_path / "j", tmp_path / "s", tmp_path)
        answers = tmp_path / "chaos.jsonl"
        wait_for(answers.read_bytes, 10, "the child to be up")
        return made

    return make


def test_child_that_does_not_revert_is_killed_soon(
    child: Callable[[str], ChaosChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it leaves in force is ours to take back, and that waits for its end."""
    monkeypatch.setattr(chaos, "_REVERT_BEGIN_S", 0.05)
    made = child(STUBBORN)

    made.end(lambda: False)

    assert made.exit_code() == -9


def test_child_that_reverts_is_waited_for_and_interrupted_once(
    child: Callable[[str], ChaosChild], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second interrupt would cut its rollbacks short."""
    monkeypatch.setattr(chaos, "_REVERT_BEGIN_S", 0.05)
    made = child(COUNTS)

    made.interrupt()
    made.interrupt()
    made.end(lambda: True)
    made.end()

    assert made.exit_code() == 1


def test_journal_tells_whether_all_is_being_taken_back(tmp_path: Path) -> None:
    """The newest goes first; what is proven gone needs nothing more."""
    journal = InjectionJournal(tmp_path / "j")
    assert journal.is_being_reverted()

    def write(key: str, *steps: InjectionStep) -> None:
        for step in steps:
            journal.append(InjectionEntry(key, step, "kill_replica", 1.0))

    write("a", InjectionStep.PLANNED, InjectionStep.INJECTING)
    assert not journal.is_being_reverted()
    write("b", InjectionStep.PLANNED, InjectionStep.INJECTING)
    write("a", InjectionStep.REVERTING)
    assert not journal.is_being_reverted()
    write("b", InjectionStep.REVERTING)
    assert journal.is_being_reverted()
    for key in ("a", "b"):
        write(key, InjectionStep.REVERTED, InjectionStep.VERIFIED_REVERTED)
    assert journal.is_being_reverted()


@pytest.mark.parametrize("fails", [None, FaultloadError("still in force")])
def test_aborted_run_is_reverted_sealed_and_judged(
    monkeypatch: pytest.MonkeyPatch, fails: Exception | None
) -> None:
    """The outcome is `aborted`, with the reason; what could not be taken back makes it another."""
    sealed: list[tuple[Outcome, str]] = []

    class Run:
        directory = None

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def break_it(self) -> None:
            raise AbortedError("too bad (stop.bad_requests), seen at +3.0 s")

        def ensure_reverted(self) -> None:
            if fails is not None:
                raise fails

        def seal(self, outcome: Outcome, reason: str) -> None:
            sealed.append((outcome, reason))

        def __getattr__(self, name: str) -> object:
            return lambda *_: None

    plan = SimpleNamespace(
        capabilities=set[str](), warmup_s=0, baseline_s=0, recovery_s=0, target=None
    )
    target = SimpleNamespace(capabilities=frozenset[str](), missing_rights=lambda _: [])
    judgement = SimpleNamespace(verdict=Verdict.FAIL, spec=Judgement)
    monkeypatch.setattr(flow, "Supervisor", lambda *_: Run())
    monkeypatch.setattr(flow, "judge_and_report", lambda _: (judgement, []))
    monkeypatch.setattr(flow, "admit", lambda *_: None)

    result = flow.run_experiment(plan, target, None)  # type: ignore[arg-type]

    why = "too bad (stop.bad_requests), seen at +3.0 s"
    harmed = (Outcome.STOPPED, f"still in force (before that: {why})")
    assert sealed == [(Outcome.ABORTED, why) if fails is None else harmed]
    assert result.exit_code == ExitCode.FAIL
    assert result.defect is None
