"""A gate from start to end: interleaved trials, a look after each stage, a fresh repetition."""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from faultload import __version__
from faultload.errors import (
    FaultloadError,
    Interrupted,
    InvalidRunError,
    MissingError,
    RefusedError,
    UsageError,
)
from faultload.judge import Verdict
from faultload.judge.trial import Sli
from faultload.record import Outcome, RunDirectory
from faultload.record.baseline import Baseline
from faultload.record.gate import (
    Against,
    GateDirectory,
    GateManifest,
    SideEntry,
    SideName,
    TrialEntry,
)
from faultload.report.gate import shown
from faultload.run.baselines import Saved, check_comparable, fingerprint_of, trials_of
from faultload.run.fault_free import versions
from faultload.run.gate.deciding import (
    Look,
    Stage,
    Trial,
    look_back,
    measure,
    spoilt,
    stored_trials,
)
from faultload.run.gate.looks import Numbers, look_at
from faultload.run.gate.plan import GatePlan
from faultload.run.gate.sides import OpenSide, SideGoneError, differences, opened
from faultload.run.gate.trials import Play, play, run_trial
from faultload.run.progress import Progress
from faultload.run.room import as_invalid, check_room
from faultload.run.sealing import commit_of, write_yaml
from faultload.run.signals import SignalGuard
from faultload.secrecy import private_files

Opening = Callable[..., contextlib.AbstractContextManager[Mapping[SideName, OpenSide]]]
"""As `sides.opened`."""
GONE_PAUSE_S = 30.0
"""Until a candidate that is gone is looked for once more: most restarts and outages of a proxy are
over then."""


class Gate:
    """One gate in progress."""

    def __init__(  # noqa: PLR0913  # three of them are for tests
        self,
        plan: GatePlan,
        progress: Progress,
        *,
        history: Saved | None = None,
        against: Saved | None = None,
        differs: Sequence[str] = (),
        player: Play = play,
        opening: Opening = opened,
        look: Look = look_at,
    ) -> None:
        """Start nothing yet.

        Args:
            plan: what to do.
            progress: where to say how far it is.
            history: a stored baseline of the baseline's side, for the noise alone; None: there is
                none.
            against: a stored baseline that the plan's only side, the candidate, is held against;
                None: both sides are run.
            differs: what of its fingerprint is meant to differ.
            player: plays a trace; another one in tests.
            opening: opens both sides; another one in tests.
            look: judges a stage; another one in tests.
        """
        self._plan, self._progress = plan, progress
        self._stored = history
        self._history: Mapping[str, Numbers] = trials_of(history) if history else {}
        self._play, self._opening, self._look = player, opening, look
        self._started_s = time.monotonic()
        self._against, self._differs = against, differs
        self._slis: Sequence[Sli] = plan.slis
        self._trials: dict[int, list[Trial]] = {1: [], 2: []}
        if against is not None:
            assert isinstance(against.entry, Baseline)  # noqa: S101  # `accepted` returns no other
            self._trials[1] = stored_trials(against.entry)
            self._slis = [sli for sli in plan.slis if sli.name in against.entry.trials]

    def run(self, signals: SignalGuard | None = None) -> GateDirectory:
        """Run it; what was observed is sealed however it ended.

        Raises:
            FaultloadError: it could not begin.
            Interrupted: a signal came; sides and load are ended, what was observed is sealed.
        """
        plan, signals = self._plan, signals or SignalGuard()
        check_room(plan.reports)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        gate_id = f"gate-{stamp}-{uuid.uuid4().hex[:4]}"
        error: BaseException | None = None
        with signals.installed(), private_files():
            self.directory = GateDirectory.create(plan.reports, gate_id)
            try:
                self._manifest = self._first_manifest(gate_id)
                with signals.listening():
                    self._rounds()
            except BaseException as problem:  # noqa: BLE001  # what was observed is sealed first
                error = as_invalid(problem)
            if not self._manifest_is_worth_it():
                shutil.rmtree(self.directory.path, ignore_errors=True)
            else:
                self._seal(_outcome(error), str(error or ""))
        if error is not None and not isinstance(error, InvalidRunError):
            raise error
        return self.directory

    def _manifest_is_worth_it(self) -> bool:
        """Whether anything was observed: a gate that could not begin leaves nothing behind."""
        return bool(getattr(self, "_manifest", None) and self._manifest.trials)

    def _rounds(self) -> None:
        seen = self._round(1, self._slis)
        failed = seen.of(Verdict.FAIL)
        if self._plan.confirm and failed and not seen.of(Verdict.INVALID):
            self._progress.note(f"a fresh repetition is to confirm: {', '.join(failed)}")
            try:
                self._repeat([sli for sli in self._slis if sli.name in failed])
            except (MissingError, RefusedError, UsageError) as error:
                raise self._unrepeated(failed, error) from None

    def _repeat(self, slis: Sequence[Sli]) -> None:
        """Run the second round; a candidate that is not there is looked for once more.

        One answer that was lost, or a start that was too slow on a busy machine, would confirm a
        false alarm. The baseline is opened first each time, so that it was there just before.

        Raises:
            SideGoneError: the baseline is gone; or the candidate, twice, and the baseline is not.
        """
        try:
            self._round(2, slis)
        except SideGoneError as error:
            if error.side != "candidate":
                raise
            self._progress.note(f"{error}; both sides are opened again in {GONE_PAUSE_S:g} s")
            time.sleep(GONE_PAUSE_S)
            self._round(2, slis)

    def _unrepeated(self, failed: Sequence[str], error: FaultloadError) -> InvalidRunError:
        """Return what ends a gate that has failed, and that something keeps from being confirmed.

        A candidate that died a moment later would be measured, and a baseline would spoil its
        trial; a moment earlier they are the same.
        """
        what = "no repetition could confirm it"
        if isinstance(error, SideGoneError) and error.side == "candidate":
            what = (
                "the candidate was gone when it was to be tried again,"
                f" and still was {GONE_PAUSE_S:g} s later"
            )
            self._manifest = self._manifest.model_copy(update={"candidate_gone": str(error)})
        return InvalidRunError(f"{', '.join(failed)} failed, and {what}: {error}")

    def _round(self, number: int, slis: Sequence[Sli]) -> Stage:
        """Open both sides and run stages until a look is final; a round has sides of its own."""
        plan = self._plan
        specs = list(plan.sides.values())
        with self._opening(plan.catalogue, specs, self._manifest.gate_id) as sides:
            environments = {name: side.environment() for name, side in sides.items()}
            self._note_sides(number, environments)
            seen = Stage({})
            for stage in range(1, plan.stages + 1):
                for trace, name in plan.order(stage):
                    self._trial(number, stage, trace, sides[name], environments[name], name)
                seen = look_back(
                    self._trials[number],
                    slis,
                    self._look,
                    upto=stage,
                    stages=plan.stages,
                    history=self._history,
                )
                self._tell(seen, stage, slis)
                if seen.is_over:
                    break
            return seen

    def _trial(  # noqa: PLR0913  # where a trial belongs
        self,
        number: int,
        stage: int,
        trace: str,
        side: OpenSide,
        environment: dict[str, str],
        name: SideName,
    ) -> None:
        """Run one trial, and once more if it is invalid; both are kept.

        Raises:
            InvalidRunError: it was invalid twice, or too many were repeated.
        """
        plan = self._plan
        for attempt in (1, 2):
            time.sleep(plan.cooldown_s)
            start_s = self._now_s()
            folder = f"{len(self._manifest.trials) + 1:03d}-{name}-{trace}"
            directory = RunDirectory.create(self.directory.trials, folder)
            label = f"trial {len(self._manifest.trials) + 1}, {name} {trace}"
            self._progress.phase(label, plan.end_s)
            trace_path = self.directory.traces / f"{trace}.parquet"
            try:
                problems, lost = run_trial(
                    plan,
                    plan.sides[name],
                    side,
                    trace_path,
                    directory,
                    environment,
                    self._progress,
                    self._play,
                )
            except BaseException:
                shutil.rmtree(directory.path, ignore_errors=True)
                raise
            entry = TrialEntry(
                name=folder,
                round=number,
                stage=stage,
                side=name,
                trace=trace,
                attempt=attempt,
                start_s=round(start_s, 3),
                length_s=round(self._now_s() - start_s, 3),
                problems=problems,
                lost=lost,
            )
            trials = [*self._manifest.trials, entry]
            self._manifest = self._manifest.model_copy(update={"trials": trials})
            self.directory.seal(self._manifest)
            if reason := spoilt(trials):
                raise InvalidRunError(reason)
            if not problems:
                window_s = (plan.warmup_s, plan.end_s)
                found = measure(directory, plan.slos, plan.scenario, window_s)
                self._trials[number].append(Trial(entry, found))
                self._say(entry, found.numbers)
                return
            self._progress.note(f"{label} is invalid and is repeated: {problems[0]}")

    def _say(self, entry: TrialEntry, found: Mapping[str, float]) -> None:
        slis = self._plan.slis[:4]
        seen = "  ".join(f"{sli.name} {shown(sli.unit, found[sli.name])}" for sli in slis)
        self._progress.note(f"{entry.side:<9} {entry.trace}  {seen}")

    def _tell(self, seen: Stage, stage: int, slis: Sequence[Sli]) -> None:
        for sli in slis:
            if sli.name in seen.results:
                result, _ = seen.results[sli.name]
                self._progress.note(f"stage {stage}: {result.verdict}: {sli.name}: {result.reason}")
        if not seen.is_over and stage < self._plan.stages:
            left_s = sum(map(self._plan.stage_s, range(stage + 1, self._plan.stages + 1)))
            self._progress.note(
                f"{self._now_s():.0f} s so far; another stage, at most about {left_s:.0f} s more"
            )

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _note_sides(self, number: int, environments: Mapping[SideName, dict[str, str]]) -> None:
        """Keep what the sides are; a repetition of another platform confirms nothing.

        Raises:
            InvalidRunError: a side is not what it was in the first round.
            RefusedError: the stored baseline is of something else than the baseline.
        """
        if number == 1:
            sides = {
                name: SideEntry(
                    name=self._plan.sides[name].name,
                    overrides=list(self._plan.sides[name].overrides),
                    environment=environment,
                )
                for name, environment in environments.items()
            }
            self._manifest = self._manifest.model_copy(update={"sides": sides})
            if self._stored is not None:
                own = fingerprint_of(self.directory, self._manifest, "baseline")
                check_comparable(self._stored, own)
            if self._against is not None:
                self._hold_against(self._against)
            return
        for name, environment in environments.items():
            if changed := differences(self._manifest.sides[name].environment, environment):
                raise InvalidRunError(f"the {name} changed between rounds: {'; '.join(changed)}")

    def _hold_against(self, saved: Saved) -> None:
        """Keep the stored baseline with the gate, so that it can be judged again without a store.

        Raises:
            RefusedError: it is of something else than the candidate.
        """
        assert isinstance(saved.entry, Baseline)  # noqa: S101  # `accepted` returns no other
        own = fingerprint_of(self.directory, self._manifest, "candidate")
        meant = check_comparable(saved, own, self._differs)
        name = f"{saved.name}@{saved.number}"
        against = Against(name=name, entry=saved.entry, differs=meant)
        self._manifest = self._manifest.model_copy(update={"against": against})

    def _first_manifest(self, gate_id: str) -> GateManifest:
        plan = self._plan
        write_yaml(self.directory.scenario, plan.scenario)
        write_yaml(self.directory.slos, *plan.slos)
        return GateManifest(
            gate_id=gate_id,
            mode=plan.mode.value,
            rounds=list(plan.rounds),
            confirm=plan.confirm,
            scenario=plan.scenario.name,
            slos=[slo.name for slo in plan.slos],
            seed=plan.seed,
            traces=plan.write_traces(self.directory.traces),
            warmup_s=plan.warmup_s,
            trial_s=plan.trial_s,
            sides={},
            history={
                sli: {trace: list(values) for trace, values in own.items()}
                for sli, own in self._history.items()
            },
            outcome=Outcome.CRASHED,
            reason="the gate died before its end",
            repeat=plan.repeat,
            faultload_version=__version__,
            versions=dict(versions()),
            commit=commit_of(plan.catalogue.root),
            started_unix_s=time.time(),
        )

    def _seal(self, outcome: Outcome, reason: str) -> None:
        update = {"outcome": outcome, "reason": reason}
        self._manifest = self.directory.seal(self._manifest.model_copy(update=update))


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome.COMPLETED
    return Outcome.INTERRUPTED if isinstance(error, Interrupted) else Outcome.STOPPED
