"""Several experiments: what runs, what ends the series, and what is said of the rest."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from clock import Clock
from memory import Platform, replica

from faultload.errors import (
    AbortedError,
    FaultError,
    Interrupted,
    MissingError,
    NotSteadyError,
    RefusedError,
    SkippedError,
)
from faultload.judge import LOAD_CLIENT, Finding, Judgement, TokenLedger, Verdict
from faultload.record import RunDirectory
from faultload.report.series import Entry
from faultload.run.flow import RunResult
from faultload.run.plan import RunPlan, prepare
from faultload.run.progress import Silent
from faultload.run.series import Series, Step, run_series
from faultload.run.signals import SignalGuard
from faultload.run.site import Site
from faultload.spec import Catalogue

ROOT = Path(__file__).parents[3]
NAMES = ("a", "b", "c")


def judged(verdict: Verdict) -> Judgement:
    """Return a judgement without numbers."""
    tokens = TokenLedger(0, 0, 0, 0, 0, 0)
    reason = f"it is a {verdict}"
    return Judgement(verdict, reason, [], [], [], [], [], 0, 0, tokens, None)


@dataclass
class Script:
    """Runs that end as told, on a platform in memory.

    Attributes:
        platform: where.
        folder: of their directories.
        clock: of the waits.
        acts: experiment → what its run does; a verdict, an error to raise, or a result's error.
        ran: which ran, and when, s.
        opened: how often the platform was.
    """

    platform: Platform
    folder: Path
    clock: Clock
    plan: RunPlan
    acts: dict[str, Callable[[], RunResult]] = field(default_factory=dict)
    ran: list[tuple[str, float]] = field(default_factory=list)
    opened: int = 0

    def result(self, verdict: Verdict, error: Any = None) -> RunResult:
        """Return what a run came to."""
        return RunResult(RunDirectory(self.folder), judged(verdict), [], error)

    def run(self, plan: RunPlan, *_: object) -> RunResult:
        """Stand in for `run_experiment`."""
        name = plan.experiment.path.stem
        self.ran.append((name, self.clock.now_s))
        act = self.acts.get(name, lambda: self.result(Verdict.PASS))
        return act()

    def step(self, name: str, cooldown_s: float = 0.0) -> Step:
        """Return a step of that name."""
        path = Path("experiments") / "engine" / f"{name}.yaml"
        about = replace(self.plan.experiment, path=path)
        return Step(replace(self.plan, experiment=about), cooldown_s)

    def open(self) -> Platform:
        """Return the platform, or a new one where the last one was closed."""
        if self.platform.closed:
            self.platform = Platform(replica("x"), replica("y"))
        self.opened += 1
        return self.platform

    def play(self, **more: Any) -> Series:
        """Run all steps."""
        signals = more.pop("signals", SignalGuard())
        steps = more.pop("steps", [self.step(name) for name in NAMES])
        site = Site(self.open, more.pop("cooldown_s_max", 120.0), anew=more.pop("anew", False))
        return run_series(steps, site, signals, lambda _: Silent(), **more)


def endings(series: Series) -> list[tuple[str, str, int | None]]:
    """Return name, ending and code of each entry."""
    return [(e.experiment.removeprefix("engine/"), e.ending, e.exit_code) for e in series.entries]


@pytest.fixture
def script(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    """Return runs that pass, on two replicas."""
    plan = prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)
    made = Script(Platform(replica("x"), replica("y")), tmp_path, clock, plan)
    monkeypatch.setattr("faultload.run.series.run_experiment", made.run)
    return made


def test_all_run_in_order_whatever_their_verdicts(script: Script) -> None:
    """An ad-hoc series goes on after a fail: it is asked how each of them does."""
    script.acts = {"a": lambda: script.result(Verdict.FAIL)}
    seen = list[Entry]()

    series = script.play(done=seen.append)

    assert endings(series) == [("a", "fail", 1), ("b", "pass", 0), ("c", "pass", 0)]
    assert series.error is None
    assert seen == series.entries
    assert [name for name, _ in script.ran] == list(NAMES)
    assert seen[0].directory == script.folder


def test_next_one_waits_until_the_target_is_as_it_was(script: Script) -> None:
    """It starts when what the last one did is over, and not a fixed time later."""

    def harm() -> RunResult:
        engine = script.platform.engines["x"]
        script.platform.engines["x"] = replace(engine, ready=False)
        script.clock.at(script.clock.now_s + 25, lambda: heal(engine))
        return script.result(Verdict.PASS)

    def heal(engine: Any) -> None:
        script.platform.engines["x"] = engine

    script.acts = {"a": harm}
    script.play()

    (_, first_s), (_, second_s), (_, third_s) = script.ran
    assert first_s == 0
    assert 25 <= second_s < 26
    assert third_s == second_s


def test_platform_of_our_own_is_a_new_one_for_each(script: Script) -> None:
    """What one did to it is neither waited for nor met by the next; each is ended, once used."""
    used = list[Platform]()

    def harm() -> RunResult:
        used.append(script.platform)
        script.platform.engines.pop("x")
        return script.result(Verdict.PASS)

    script.acts = dict.fromkeys(NAMES, harm)

    series = script.play(anew=True, cooldown_s_max=0.0)

    assert endings(series) == [(name, "pass", 0) for name in NAMES]
    assert script.opened == len(set(map(id, used))) == 3
    assert [one.closed for one in used] == [True, True, False]
    assert [at_s for _, at_s in script.ran] == [0, 0, 0]


def test_cooldown_of_a_plan_is_the_shortest_pause(script: Script) -> None:
    """Between steps, and not after a skip, which changed nothing, nor after the last one."""

    def skip() -> RunResult:
        raise SkippedError("skipped: no such capability")

    script.acts = {"b": skip}
    script.play(steps=[script.step(name, 10.0) for name in NAMES])

    assert script.ran == [("a", 0.0), ("b", 10.0), ("c", 10.0)]
    assert script.clock.now_s == 10.0


def test_skip_is_named_and_ends_nothing(script: Script) -> None:
    """With its reason, and with its own code."""

    def skip() -> RunResult:
        raise SkippedError("skipped: target 'local' lacks split-the-sea")

    script.acts = {"b": skip}
    series = script.play()

    assert endings(series) == [("a", "pass", 0), ("b", "skipped", 69), ("c", "pass", 0)]
    assert "lacks split-the-sea" in series.entries[1].reason
    assert series.error is None


def test_target_that_does_not_get_steady_ends_the_series(script: Script) -> None:
    """Refused, with what was last seen; the rest is not run, with that reason."""

    def harm() -> RunResult:
        del script.platform.engines["x"]
        return script.result(Verdict.PASS)

    script.acts = {"a": harm}
    series = script.play(cooldown_s_max=40.0)

    assert endings(series) == [("a", "pass", 0), ("b", "not run", None), ("c", "not run", None)]
    assert isinstance(series.error, RefusedError)
    assert "has 1 ready, expected 2" in str(series.error)
    assert "has 1 ready, expected 2" in series.entries[2].reason
    assert 40 <= script.clock.now_s < 41


def test_verdict_that_a_plan_stops_on_ends_the_series(script: Script) -> None:
    """That is no error: the verdict itself is the code."""
    script.acts = {"b": lambda: script.result(Verdict.INVALID)}
    series = script.play(stop_on=("fail", "invalid"))

    assert endings(series) == [("a", "pass", 0), ("b", "invalid", 3), ("c", "not run", None)]
    assert series.error is None
    assert series.entries[2].reason == "the series ended before it: engine/b ended as invalid"


@pytest.mark.parametrize(
    ("problem", "ending", "code"),
    [
        (RefusedError("the target is locked by another"), "refused", 75),
        (MissingError("we may not delete pods"), "not run", 69),
        (FaultError("nobody to hit"), "not run", 3),
    ],
)
def test_experiment_that_cannot_begin_ends_the_series(
    script: Script, problem: Exception, ending: str, code: int
) -> None:
    """What went wrong would go wrong again, or worse."""

    def cannot() -> RunResult:
        raise problem

    script.acts = {"b": cannot}
    series = script.play()

    assert endings(series) == [("a", "pass", 0), ("b", ending, code), ("c", "not run", None)]
    assert series.error is problem


def test_refusal_with_a_record_ends_the_series(script: Script) -> None:
    """Its report is there, and its code is the refusal's."""
    error = RefusedError("over the blast radius")
    script.acts = {"a": lambda: script.result(Verdict.INVALID, error)}
    series = script.play()

    assert endings(series)[0] == ("a", "invalid", 75)
    assert [one.ending for one in series.entries[1:]] == ["not run", "not run"]
    assert series.error is error


def test_defect_loses_no_summary(script: Script) -> None:
    """What nobody foresaw ends the series too, and is kept for whoever reports it."""

    def break_down() -> RunResult:
        raise ZeroDivisionError

    script.acts = {"b": break_down}
    series = script.play()

    assert [one.ending for one in series.entries] == ["pass", "not run", "not run"]
    assert [one.reason for one in series.entries[1:]] == [
        "ZeroDivisionError",
        "the series ended before it: ZeroDivisionError",
    ]
    assert isinstance(series.error, ZeroDivisionError)


def test_defect_that_left_a_record_names_it(script: Script) -> None:
    """A fault may have begun: the entry is that run's, with where it is, and the series ends."""
    error = ZeroDivisionError("oh")
    script.acts = {"b": lambda: script.result(Verdict.INVALID, error)}

    series = script.play()

    assert endings(series) == [("a", "pass", 0), ("b", "invalid", 70), ("c", "not run", None)]
    assert series.entries[1].directory == script.folder
    assert series.entries[2].reason == "the series ended before it: oh"
    assert series.error is error


LATE = Finding(Verdict.INVALID, LOAD_CLIENT, "Requests left 90 ms late.", "manifest.json")
SLOW = Finding(Verdict.INVALID, "steady state", "fast-ttft was missed.", "")


def spoilt(script: Script, *findings: Finding, error: Any = None) -> RunResult:
    """Return an invalid run with these findings."""
    result = script.result(Verdict.INVALID, error)
    return replace(result, judgement=replace(result.judgement, findings=list(findings)))


def test_run_that_our_own_client_spoilt_is_repeated_and_that_is_said(script: Script) -> None:
    """As often as is allowed and no oftener; the last one counts, and none is concealed."""
    late = [spoilt(script, SLOW, LATE), spoilt(script, LATE)]
    script.acts = {"a": lambda: late.pop() if late else script.result(Verdict.FAIL)}

    series = script.play(reruns=2, stop_on=("invalid",))

    assert [name for name, _ in script.ran] == ["a", "a", "a", "b", "c"]
    assert endings(series)[0] == ("a", "fail", 1)
    assert series.entries[0].earlier == (script.folder.name,) * 2
    assert "it is a fail (2 earlier runs spoilt by the load client: " in series.entries[0].why
    assert series.entries[1].why == "it is a pass"


def test_client_that_spoils_every_run_leaves_it_invalid(script: Script) -> None:
    """Repeating makes no verdict out of nothing."""
    script.acts = {"a": lambda: spoilt(script, LATE)}
    series = script.play(reruns=1)

    assert [name for name, _ in script.ran] == ["a", "a", "b", "c"]
    assert endings(series)[0] == ("a", "invalid", 3)


@pytest.mark.parametrize(
    ("findings", "error"),
    [
        ([SLOW], None),
        ([LATE], AbortedError("2 of 10 requests were bad")),
        ([LATE], FaultError("nobody to hit")),
        ([LATE], MissingError("the target is gone")),
        ([LATE], Interrupted(signal.SIGTERM)),
        ([LATE], RefusedError("over the blast radius")),
        ([LATE], ZeroDivisionError("oh")),
    ],
    ids=["the platform's", "an abort", "a fault", "a target", "a signal", "a refusal", "a defect"],
)
def test_what_another_try_would_not_mend_is_not_repeated(
    script: Script, findings: list[Finding], error: Any
) -> None:
    """It would be tried until it passes, or harm done again that a stop condition ended."""
    script.acts = {"a": lambda: spoilt(script, *findings, error=error)}
    series = script.play(reruns=3)

    assert [name for name, _ in script.ran].count("a") == 1
    assert series.entries[0].ending == "invalid"


def test_steady_state_that_late_requests_broke_is_tried_again(script: Script) -> None:
    """They are late for users' answers, too."""
    late = [spoilt(script, SLOW, LATE, error=NotSteadyError("fast-ttft was missed"))]
    script.acts = {"a": lambda: late.pop() if late else script.result(Verdict.PASS)}

    assert endings(script.play(reruns=1))[0] == ("a", "pass", 0)


def test_pause_before_another_try_is_that_after_the_run(script: Script) -> None:
    """What a plan wants between this step and the next one it wants between two tries, too."""
    late = [spoilt(script, LATE)]
    script.acts = {"b": lambda: late.pop() if late else script.result(Verdict.PASS)}

    pauses = {"a": 10.0, "b": 30.0, "c": 0.0}
    script.play(steps=[script.step(name, pause_s) for name, pause_s in pauses.items()], reruns=1)

    assert script.ran == [("a", 0.0), ("b", 10.0), ("b", 40.0), ("c", 70.0)]


def test_target_that_is_not_steady_for_another_try_is_said(script: Script) -> None:
    """The first run's reason stands, and why there was no second one."""

    def harm() -> RunResult:
        del script.platform.engines["x"]
        return spoilt(script, LATE)

    script.acts = {"a": harm}
    series = script.play(reruns=1, cooldown_s_max=5.0)

    assert endings(series)[0] == ("a", "invalid", 3)
    reason = series.entries[0].reason
    assert reason.startswith("it is a invalid (not run again: ")
    assert "has 1 ready, expected 2" in reason
    assert isinstance(series.error, RefusedError)


def test_signal_in_the_wait_for_another_try_keeps_what_was_run(script: Script) -> None:
    """The spoilt run's record is named, and the signal ends the series."""
    signals = SignalGuard()

    def harm() -> RunResult:
        del script.platform.engines["x"]
        script.clock.at(script.clock.now_s + 5, interrupt)
        return spoilt(script, LATE)

    script.acts = {"a": harm}
    with signals.installed():
        series = script.play(signals=signals, reruns=1)

    assert endings(series) == [("a", "invalid", 3), ("b", "not run", None), ("c", "not run", None)]
    assert series.entries[0].directory == script.folder
    assert isinstance(series.error, Interrupted)


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_signal_in_a_run_ends_the_series(script: Script) -> None:
    """The run is reverted and sealed by the flow; nothing more begins."""
    error = Interrupted(signal.SIGTERM)
    script.acts = {"b": lambda: script.result(Verdict.INVALID, error)}
    series = script.play()

    assert endings(series)[1] == ("b", "invalid", 143)
    assert series.entries[2].ending == "not run"
    assert "SIGTERM" in series.entries[2].reason
    assert series.error is error


def test_signal_in_a_wait_ends_the_series(script: Script) -> None:
    """Waiting is no reason to be deaf."""
    signals = SignalGuard()

    def harm() -> RunResult:
        del script.platform.engines["x"]
        script.clock.at(script.clock.now_s + 5, interrupt)
        return script.result(Verdict.PASS)

    script.acts = {"a": harm}
    with signals.installed():
        series = script.play(signals=signals)

    assert endings(series) == [("a", "pass", 0), ("b", "not run", None), ("c", "not run", None)]
    assert isinstance(series.error, Interrupted)
    assert script.clock.now_s < 10


def test_signal_that_a_failed_revert_hides_still_ends_the_series(script: Script) -> None:
    """A run may end with another error than the signal that it was told."""
    signals = SignalGuard()

    def interrupted() -> RunResult:
        with pytest.raises(Interrupted), signals.listening():
            interrupt()
        return script.result(Verdict.INVALID, FaultError("still in force"))

    script.acts = {"a": interrupted}
    with signals.installed():
        series = script.play(signals=signals)

    assert [one.ending for one in series.entries] == ["invalid", "not run", "not run"]
    assert isinstance(series.error, Interrupted)
