"""Several experiments on one target, one after the other: what runs, what ends it, what is left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

from faultload.errors import FaultloadError, Interrupted, RefusedError, SkippedError
from faultload.report.series import NOT_RUN, REFUSED, SKIPPED, Entry
from faultload.run.flow import run_experiment
from faultload.run.plan import RunPlan
from faultload.run.progress import Progress
from faultload.run.signals import SignalGuard
from faultload.run.site import Site
from faultload.targets import Target

_WORTH_SAYING_S = 1.0


@dataclass(frozen=True)
class Step:
    """One experiment of a series.

    Attributes:
        plan: what it does.
        cooldown_s: the shortest pause after it.
    """

    plan: RunPlan
    cooldown_s: float = 0.0


@dataclass(frozen=True)
class Series:
    """What a series came to.

    Attributes:
        entries: one for each step, in order.
        error: what ended it early, beside a verdict; None: nothing did.
    """

    entries: Sequence[Entry]
    error: BaseException | None


def run_series(  # noqa: PLR0913  # what a series is told
    steps: Sequence[Step],
    site: Site,
    signals: SignalGuard,
    begin: Callable[[RunPlan], Progress],
    *,
    stop_on: Collection[str] = (),
    reruns: int = 0,
    done: Callable[[Entry], None] = lambda _: None,
) -> Series:
    """Run the steps in order, each on a target that is whole.

    A skip ends nothing. A verdict of `stop_on`, a refusal, a signal, any other error, or a target
    that does not get steady ends the series; the rest is `not run`, with that reason.

    Args:
        steps: in order.
        site: where.
        signals: installed by the caller; it listens while waiting and running.
        begin: shows the progress of one run.
        stop_on: verdicts.
        reruns: how often a run that our own load client spoilt is repeated. All of them are kept,
            the last one counts.
        done: told of each entry as soon as it is there.
    """
    entries, pause_s = list[Entry](), 0.0
    error: BaseException | None = None
    why = ""
    for step in steps:
        about, progress = step.plan.experiment, begin(step.plan)
        entry = Entry(about.name, about.title, NOT_RUN, "", None)
        try:
            earlier = list[str]()
            while True:
                with signals.listening():
                    waited_s = site.wait(step.plan, step.cooldown_s if earlier else pause_s)
                if waited_s > _WORTH_SAYING_S:
                    progress.note(f"target steady after {waited_s:.0f} s")
                entry, error, again = _run_one(step.plan, site.target, signals, progress)
                entry = replace(entry, earlier=tuple(earlier))
                if not again or len(earlier) == reruns or entry.directory is None:
                    break
                earlier.append(entry.directory.name)
                progress.note(f"invalid, and run again: {again} ({entry.page})")
        except BaseException as problem:  # noqa: BLE001  # the summary comes whatever it was
            error, why = problem, str(problem) or type(problem).__name__
            said = f"{entry.reason} (not run again: {why})" if entry.directory else why
            entry = replace(entry, reason=said)
        finally:
            progress.close()
        entries.append(entry)
        done(entry)
        pause_s = 0.0 if entry.ending == SKIPPED else step.cooldown_s
        if (
            error is None and signals.received is not None
        ):  # told to the run, whatever it made of it
            error = Interrupted(signals.received)
        if error is not None or entry.ending in stop_on:
            why = why or str(error or f"{entry.experiment} ended as {entry.ending}")
            break
    rest = [step.plan.experiment for step in steps[len(entries) :]]
    reason = f"the series ended before it: {why}"
    left = [Entry(one.name, one.title, NOT_RUN, reason, None) for one in rest]
    return Series([*entries, *left], error)


def _run_one(
    plan: RunPlan, target: Target, signals: SignalGuard, progress: Progress
) -> tuple[Entry, BaseException | None, str]:
    """Run one experiment; return how it ended, what ends the series, and what is worth a rerun."""
    about = plan.experiment
    try:
        result = run_experiment(plan, target, progress, signals)
    except FaultloadError as problem:
        is_skip = isinstance(problem, SkippedError)
        ending = REFUSED if isinstance(problem, RefusedError) else NOT_RUN
        ending = SKIPPED if is_skip else ending
        code, said = int(problem.exit_code), str(problem)
        if is_skip:
            progress.note(said)
        return Entry(about.name, about.title, ending, said, code), None if is_skip else problem, ""
    judgement = result.judgement
    entry = Entry(
        experiment=about.name,
        title=about.title,
        ending=judgement.verdict.value,
        reason=judgement.reason,
        exit_code=result.exit_code,
        directory=result.directory.path,
        judgement=judgement,
    )
    ends = result.defect is not None or isinstance(result.error, Interrupted | RefusedError)
    return entry, result.error if ends else None, result.spoilt
