"""`faultload run`: one experiment or several, shown while they go on, and summed up."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from faultload.cli.asking import ask_person
from faultload.cli.output import complain, echo_json, echo_lines, relative, say, worst_code
from faultload.cli.selecting import Chosen, Order
from faultload.errors import ExitCode, FaultloadError, Interrupted, all_or_none
from faultload.record import RunDirectory
from faultload.report import render_summary
from faultload.report.formats import plural
from faultload.report.series import Entry, Summary, write_summary
from faultload.run.consent import UNSAID, Consent
from faultload.run.dry import dry_run
from faultload.run.guards import admit
from faultload.run.harm import harm_of
from faultload.run.plan import RunPlan, options_again, prepare
from faultload.run.platform import attach_or_start
from faultload.run.progress import Progress, Silent, make_progress
from faultload.run.room import check_room
from faultload.run.series import Series, Step, run_series
from faultload.run.signals import SignalGuard
from faultload.run.site import open_site
from faultload.spec import Catalogue, GivenBlock
from faultload.spec.gameday import COOLDOWN_S_MAX
from faultload.targets import check_files


@dataclass(frozen=True)
class Options:
    """What the command line says of every run.

    Attributes:
        seed: of workload and victims; None: the scenario's.
        reports: where run directories go; None: `reports/` of the project.
        overrides: `key=value` of the local platform's configuration.
        load: keys of the target file's `load` that are to be others.
        cooldown_s_max: longest wait between experiments.
        as_json: for a script.
        consent: what was said so that a target may be harmed.
        store: of accepted runs; "": none is asked.
        reruns: how often a run that our load client spoilt is repeated.
    """

    seed: int | None = None
    reports: Path | None = None
    overrides: Sequence[str] = ()
    load: Mapping[str, str | int] | None = None
    cooldown_s_max: float = COOLDOWN_S_MAX
    as_json: bool = False
    consent: Consent = UNSAID
    store: str = ""
    reruns: int = 0


def steps_of(catalogue: Catalogue, chosen: Chosen, options: Options) -> list[Step]:
    """Return the steps in the order they run; every file is read before anything starts.

    Raises:
        FaultloadError: what is wrong, with every one of them.
    """
    reports, day = options.reports, chosen.day
    plans = all_or_none(
        partial(
            prepare,
            catalogue,
            step.experiment,
            day.target,
            seed=options.seed,
            reports=reports,
            load=options.load,
            overrides=options.overrides,
        )
        for step in day.steps
    )
    steps = [
        Step(replace(plan, consent=options.consent, store=options.store), step.cooldown_s)
        for plan, step in zip(plans, day.steps, strict=True)
    ]
    if chosen.order is Order.HARM:
        steps.sort(key=lambda step: harm_of(step.plan))
    return steps


def list_all(catalogue: Catalogue, chosen: Chosen, options: Options) -> int:
    """Say what would run, in order, and start nothing."""
    rows = []
    for step in steps_of(catalogue, chosen, options):
        plan, harm = step.plan, harm_of(step.plan)
        faults = [name for name, _ in plan.faults]
        row = {"experiment": plan.experiment.name, "title": plan.experiment.title}
        rows.append({**row, "faults": faults, "length_s": plan.length_s, "harm": asdict(harm)})
        if not options.as_json:
            share = f"{plural(harm.replicas, 'replica')}, {harm.share_max:.0%}"
            danger = harm.danger.name.lower().replace("_", " ")
            say(
                f"{plan.experiment.name:<28} {harm.danger} {danger:<15} at most {share:<17}"
                f" {plan.length_s:4.0f} s  {', '.join(faults)}"
            )
    if options.as_json:
        echo_json(rows)
        return int(ExitCode.PASS)
    length_s = sum(float(str(row["length_s"])) for row in rows)
    note = f"; {chosen.note}" if chosen.note else ""
    count = plural(len(rows), "experiment")
    say(f"{count}, {length_s / 60:.1f} minutes and the faults' own steps{note}")
    return int(ExitCode.PASS)


def run_all(catalogue: Catalogue, chosen: Chosen, options: Options) -> int:
    """Run what was chosen, one after the other; return the exit code that counts.

    Several experiments are summed up whatever ended them.

    Raises:
        FaultloadError: a single experiment could not begin, or the first of several may not.
    """
    steps = steps_of(catalogue, chosen, options)
    check_files(steps[0].plan.target, steps[0].plan.target_path)
    admit(steps[0].plan, datetime.now(UTC))
    started_s, signals = time.monotonic(), SignalGuard()
    check_room(steps[0].plan.reports)
    if chosen.note:
        complain(chosen.note)
    with signals.installed():
        with signals.listening():
            ask_person([step.plan for step in steps])
            site = open_site(
                catalogue,
                chosen.day.target,
                list(options.overrides),
                options.cooldown_s_max,
                is_one=bool(chosen.day.name),
            )
        try:
            series = run_series(
                steps,
                site,
                signals,
                lambda plan: _begin(plan, options),
                stop_on=chosen.day.stop_on,
                reruns=options.reruns,
                done=lambda entry: _show(entry, options, is_one=not chosen.is_series),
            )
            if chosen.is_series:
                _sum_up(series, steps, chosen, options, catalogue.given)
        finally:
            site.close()
    if not options.as_json:
        say(f"took {time.monotonic() - started_s:.0f} s")
    return _end(series, is_one=not chosen.is_series)


def dry_run_all(catalogue: Catalogue, chosen: Chosen, options: Options) -> int:
    """Say what each step of a plan would do now; return 0, or the code of the worst problem.

    A local platform is started for it, or the one left up is asked; nothing is locked or changed.
    """
    steps, signals = steps_of(catalogue, chosen, options), SignalGuard()
    with signals.installed(), signals.listening():
        platform = attach_or_start(catalogue, chosen.day.target, list(options.overrides))
        try:
            found = [dry_run(step.plan, platform, datetime.now(UTC)) for step in steps]
        finally:
            platform.close()
    if options.as_json:
        echo_json([asdict(one) for one in found])
    else:
        echo_lines([line for one in found for line in one.lines()])
    return worst_code([one.exit_code for one in found if one.exit_code] or [int(ExitCode.PASS)])


def _begin(plan: RunPlan, options: Options) -> Progress:
    plain = bool(os.environ.get("CI"))
    progress = Silent() if options.as_json else make_progress(plain=plain)
    progress.note(f"{plan.experiment.name} on {plan.target.name}: {plan.experiment.title}")
    return progress


def _show(entry: Entry, options: Options, *, is_one: bool) -> None:
    """Print how one run ended; a script gets all of a series at once, at its end."""
    if entry.directory is None or entry.judgement is None:
        if options.as_json and is_one and entry.ending == "skipped":
            echo_json({"experiment": entry.experiment, "skipped": entry.reason})
        return
    if not options.as_json:
        page = relative(entry.directory / "report.html")
        say(render_summary(entry.judgement, RunDirectory.open(entry.directory).manifest(), page))
    elif is_one:
        echo_json(entry.as_json())


def _sum_up(
    series: Series,
    steps: Sequence[Step],
    chosen: Chosen,
    options: Options,
    given: GivenBlock | None,
) -> None:
    """Write the summary's files, and print it."""
    words = ["faultload", "run", *(step.plan.asked for step in steps)]
    words += ["--target", chosen.day.target, "--order", Order.GIVEN.value]
    words += ["--seed", str(options.seed)] if options.seed is not None else []
    words += ["--reruns", str(options.reruns)] if options.reruns else []
    words += options_again(given, options.load, options.overrides)
    summary = Summary(
        entries=series.entries,
        exit_code=_code(series),
        target=chosen.day.target,
        repeat=shlex.join(words),
        note=chosen.note,
    )
    written = write_summary(summary, steps[0].plan.reports)
    if options.as_json:
        echo_json([entry.as_json() for entry in series.entries])
        return
    say("")
    echo_lines([*summary.lines(relative), f"summary: {', '.join(map(relative, written))}"])


def _end(series: Series, *, is_one: bool) -> int:
    """Return the exit code; say what ended the series, if nothing has said it yet.

    Raises:
        FaultloadError: what kept a single experiment from running.
        Exception: a defect.
    """
    error = series.error
    was_run = is_one and series.entries[0].directory is not None
    is_known = isinstance(error, FaultloadError | Interrupted)
    if error is not None and not (is_known and (was_run or not is_one)):
        raise error
    # What kept a run from being repeated is in no report.
    is_said = is_one and not series.entries[0].reason.endswith(f"(not run again: {error})")
    if error is not None and not is_said:
        complain(f"faultload: {error}")
    return _code(series)


def _code(series: Series) -> int:
    """Return the worst code; what ended a series early never leaves it a pass."""
    codes = [entry.exit_code for entry in series.entries if entry.exit_code is not None]
    if series.error is None:
        return worst_code(codes)
    ended = int(getattr(series.error, "exit_code", ExitCode.DEFECT))
    return worst_code([*codes, ended]) or ended
