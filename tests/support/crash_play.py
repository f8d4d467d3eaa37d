"""One case: a harness is killed at a step, and what is left is undone; then all is as before."""

from __future__ import annotations

import json
import signal
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import local_snapshot
from crash_cases import CHANGED_FOR_GOOD, UNHARMED, Case, Use
from crash_stage import Stage, alive_after, kill_all, run
from deadly import Death, Who
from light_run import admitted
from snapshots import Snapshot

from faultload.errors import ExitCode, FaultloadError, RefusedError
from faultload.faults import FAULTS
from faultload.faults.limits import Limits
from faultload.record import InjectionStep
from faultload.run.recover import recover
from faultload.run.state import STANDING, left_behind
from faultload.targets import LocalTarget, state_home

_VARIABLE = "FAULTLOAD_CRASH"
"""In the environment of everything that a case starts, so that whatever outlives it is found."""
_PLAY_S, _RECOVER_S = 240.0, 420.0
_ORPHANS_S = 10.0
_AS_BEFORE_S = 60.0
_VERDICTS = range(4)
"""Exit codes of runs that came to a verdict: the supervisor of a dead child has to."""


@dataclass
class Result:
    """How one case ended.

    Attributes:
        case: its name.
        problems: what went wrong, a line each; empty: all was as before.
        said: what `faultload recover` said that it did, a line each.
        seconds: it took.
    """

    case: str
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether all was as before."""
        return not self.problems


class _Play:
    """A case in progress."""

    def __init__(self, stage: Stage, case: Case, use: Use) -> None:
        self._stage, self._case, self._use = stage, case, use
        self._token = f"crash-{uuid.uuid4().hex}"
        self._work = stage.work(self._token)
        self._mark = self._work / "mark"
        self.result = Result(str(case))

    def note(self, problem: str) -> None:
        self.result.problems.append(problem)

    def play(self, target: LocalTarget) -> None:
        """Kill, look, recover, look again."""
        before = local_snapshot.look(target)
        self._kill(target)
        if self.result.problems:
            return
        if self._case.who is not Who.CHILD:
            self._insist_on_refusal(target)
            if self._case.who is Who.RECOVERY:
                self._kill_recovery()
                self._insist_on_refusal(target)
            self._recover()
        self._compare(target, before)
        self._insist_on_nothing_left(target)

    def _kill(self, target: LocalTarget) -> None:
        """Play the fault until somebody dies, and see that nothing of the run outlives that."""
        case = self._case
        death = Death(case.fault, case.step, case.who, self._mark)
        if case.who is Who.RECOVERY:
            first = InjectionStep.VERIFIED
            death = Death(case.fault, first, Who.SUPERVISOR, self._work / "first")
        code, said = self._run(self._command(death, target), _PLAY_S)
        ends = -signal.SIGKILL if death.who is Who.SUPERVISOR else 0
        as_expected = code == ends or (death.who is Who.CHILD and case.whole and code in _VERDICTS)
        if not death.mark.exists():
            self.note(f"was not played: {death.step} never came; exit code {code}: {said}")
        elif not as_expected:
            self.note(f"the run ended with {code} and not as was to be expected: {said}")

    def _command(self, death: Death, target: LocalTarget) -> list[str]:
        if self._case.whole:
            words = ["run", self._use.experiment, "--target", "local"]
            return death.command("faultload", *words)
        experiment = self._stage.experiment(self._token, self._case.fault, self._use.arguments)
        file = self._stage.project.path / "targets" / "local.yaml"
        attachment = json.dumps(dict(target.attachment()))
        words = [str(file), attachment, str(experiment), str(self._work)]
        return death.command("light_run", *words)

    def _kill_recovery(self) -> None:
        death = Death(self._case.fault, self._case.step, Who.RECOVERY, self._mark)
        code, said = self._run(death.command("faultload", "recover"), _RECOVER_S)
        if code != -signal.SIGKILL:
            self.note(f"the recovery was not killed, it ended with {code}: {said}")

    def _recover(self) -> None:
        command = Death.entry("faultload", "recover", "--json")
        code, said = self._run(command, _RECOVER_S)
        if code != ExitCode.PASS:
            self.note(f"faultload recover ended with {code}: {said}")
            return
        for outcome in json.loads((self._work / "out.txt").read_text(encoding="utf-8")):
            self.result.said += outcome["reverted"]
            if outcome["problem"]:
                self.note(f"faultload recover: {outcome['problem']}")
            if self._case.whole and not Path(outcome["sealed"] or "nowhere").is_dir():
                self.note(f"faultload recover sealed no record: {outcome}")

    def _insist_on_refusal(self, target: LocalTarget) -> None:
        """While something is unreverted, and then only, the next run is refused."""
        harmed = self._case.step not in UNHARMED or (
            self._case.who is Who.RECOVERY and not self._mark.exists()
        )
        why = _refusal(target)
        if harmed and "faultload recover" not in why:
            self.note(f"the next run was not refused with its remedy before recovery: {why!r}")
        if not harmed and why:
            self.note(f"the next run was refused though nothing was in force: {why}")
        if harmed and self._case.whole:
            words = ["run", self._use.experiment, "--target", "local"]
            code, said = self._run(Death.entry("faultload", *words), _PLAY_S)
            if code != ExitCode.REFUSED:
                self.note(f"faultload run ended with {code} and not with 75: {said}")

    def _compare(self, target: LocalTarget, before: Snapshot) -> None:
        but = CHANGED_FOR_GOOD.get(self._case.fault, {})
        deadline = time.monotonic() + _AS_BEFORE_S
        while lines := local_snapshot.changes(before, local_snapshot.look(target), but):
            if time.monotonic() > deadline:
                self.result.problems += [f"not as before: {line}" for line in lines]
                return
            time.sleep(0.1)

    def _insist_on_nothing_left(self, target: LocalTarget) -> None:
        if left := [path.name for path in state_home().glob("*/runs/*") if path.name != STANDING]:
            self.note(f"state that is left: {', '.join(left)}")
        if harmed := [state.folder.name for state in left_behind()]:
            self.note(f"runs left behind: {', '.join(harmed)}")
        if why := _refusal(target):
            self.note(f"the next run is refused: {why}")
        if again := recover():
            self.note(f"a second recovery found something to do: {again}")

    def _run(self, command: list[str], bound_s: float) -> tuple[int, str]:
        """Run a command; return its exit code and its last words. Nothing may outlive it."""
        here, environment = self._stage.project.path, self._stage.project.environment
        marked = {**environment, _VARIABLE: self._token}
        done = run(command, marked, here, self._work, bound_s)
        if alive := alive_after(self._token, _ORPHANS_S):
            self.note(f"alive after the end of {command[-2:]}: {'; '.join(alive)}")
            kill_all(self._token)
        said = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()
        return done.returncode, said[-1][:300]


def play(stage: Stage, case: Case, uses: Mapping[str, Use]) -> Result:
    """Play a case, however it ends; what goes wrong is in the result."""
    began_s = time.monotonic()
    one = _Play(stage, case, uses[case.fault])
    try:
        one.play(_playable(stage, case.fault, uses[case.fault]))
    except (FaultloadError, OSError, ValueError) as error:
        one.note(f"{type(error).__name__}: {error}")
    if not one.result.ok:
        stage.spoil()
    one.result.seconds = round(time.monotonic() - began_s, 1)
    return one.result


def _playable(stage: Stage, fault: str, use: Use) -> LocalTarget:
    """Return the platform, another one where this one has nothing that the fault could hit.

    Replicas come back wherever there is room, and not all machines are spot machines.

    Raises:
        FaultloadError: nor does a fresh one.
    """
    kind = FAULTS[fault]
    try:
        target = stage.ready()
        kind(target, kind.intent(**use.arguments), Limits()).plan()
    except FaultloadError:
        stage.spoil()
        target = stage.ready()
        kind(target, kind.intent(**use.arguments), Limits()).plan()
    return target


def _refusal(target: LocalTarget) -> str:
    """Return why a run would be refused; "": it would not."""
    try:
        with admitted(target, "a-look"):
            return ""
    except RefusedError as error:
        return str(error)
