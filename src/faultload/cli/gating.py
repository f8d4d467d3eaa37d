"""`faultload gate`: has the candidate got worse than the baseline?"""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faultload.cli.output import (
    Json,
    Root,
    catalogue_of,
    code_of,
    echo_json,
    echo_lines,
    relative,
    say,
    worst_code,
)
from faultload.errors import UsageError
from faultload.spec.catalogue import STORE

if TYPE_CHECKING:
    from faultload.report.gate import GateReport
    from faultload.run.gate.plan import Asked


_ONCE_EACH = (
    "expected --baseline and --candidate, once each: a target's name or a URL; stored runs and"
    " gates are compared with --stored"
)
_ALONE = (
    "--stored --baseline NAME runs the candidate alone: expected no --confirm (a repetition would"
    " meet the same baseline of another session), no --history and no --baseline-set"
)
_Directory = Annotated[
    Path | None, typer.Argument(help="With --stored: a gate's directory, judged again.")
]
_Baseline = Annotated[
    list[str] | None,
    typer.Option(help="What is accepted: a target, by name or path, or a URL."),
]
_Candidate = Annotated[list[str] | None, typer.Option(help="What is proposed, likewise.")]
_BaselineSet = Annotated[
    list[str] | None, typer.Option(help="key=value of the baseline's local platform.")
]
_CandidateSet = Annotated[
    list[str] | None, typer.Option(help="key=value of the candidate's local platform.")
]
_Mode = Annotated[str, typer.Option(help="quick: up to 20 trials, for pull requests. full: 30.")]
_Confirm = Annotated[
    bool, typer.Option("--confirm", help="A fail counts only if a fresh repetition fails, too.")
]
_Scenario = Annotated[str, typer.Option(help="The load.")]
_Slos = Annotated[
    list[str] | None, typer.Option(help="SLOs, by name or file; default: the scenario's.")
]
_Traces = Annotated[int, typer.Option(min=2, max=50, help="Fixed traces that each side is asked.")]
_TrialS = Annotated[
    float | None,
    typer.Option(
        min=1,
        max=3600,
        metavar="SECONDS",
        help="Measured in each trial; default: the target's baseline_s, else what 1000"
        " requests take.",
    ),
]
_WarmupS = Annotated[
    float | None,
    typer.Option(min=0, max=3600, metavar="SECONDS", help="Dropped at each trial's start."),
]
_CooldownS = Annotated[
    float | None, typer.Option(min=0, max=600, metavar="SECONDS", help="Between two trials.")
]
_Seed = Annotated[int | None, typer.Option(min=0, help="Of the traces; default: the scenario's.")]
_Workers = Annotated[int | None, typer.Option(min=1, max=100, help="Load workers, on both sides.")]
_ApiKeyEnv = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Variable with the API key of plain URLs."),
]
_History = Annotated[
    str | None, typer.Option(metavar="NAME", help="Stored baseline: for the noise alone.")
]
_Store = Annotated[str | None, typer.Option(help="Of baselines: a folder, or s3://BUCKET/PREFIX.")]
_Differs = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="With --stored: what of a fingerprint is meant to differ."),
]
_Stored = Annotated[
    bool,
    typer.Option(
        "--stored",
        help="Judge DIRECTORY again, compare stored runs, or hold a stored baseline, by name,"
        " against the candidate of a gate or a target: that alone is then run.",
    ),
]
_Reports = Annotated[Path | None, typer.Option(help="Where the gate's directory goes.")]


def gate(  # one parameter an option
    directory: _Directory = None,
    baseline: _Baseline = None,
    candidate: _Candidate = None,
    baseline_set: _BaselineSet = None,
    candidate_set: _CandidateSet = None,
    mode: _Mode = "quick",
    confirm: _Confirm = False,
    scenario: _Scenario = "chat-steady",
    slos: _Slos = None,
    traces: _Traces = 5,
    trial_s: _TrialS = None,
    warmup_s: _WarmupS = None,
    cooldown_s: _CooldownS = None,
    seed: _Seed = None,
    workers: _Workers = None,
    api_key_env: _ApiKeyEnv = None,
    history: _History = None,
    store: _Store = None,
    differs: _Differs = None,
    stored: _Stored = False,
    reports: _Reports = None,
    root: Root = None,
    as_json: Json = False,
) -> int:
    """Compare two sides by interleaved trials: is the candidate worse? Never asks one request."""
    from faultload.run.gate.plan import Asked, Mode

    old, new = baseline or [], candidate or []
    place = store or str((root or Path.cwd()) / STORE)
    if stored and not _is_live(directory, old, new):
        return _stored(directory, old, new, place, differs or (), as_json=as_json)
    if directory is not None or len(old) != 1 or len(new) != 1:
        raise UsageError(_ONCE_EACH)
    if stored and (confirm or history or baseline_set):
        raise UsageError(_ALONE)
    if mode not in set(Mode):
        raise UsageError(f"--mode: expected quick or full, found {mode!r}")
    given = {"workers": workers, "api_key_env": api_key_env}
    asked = Asked(
        baseline=None if stored else old[0],
        candidate=new[0],
        baseline_set=baseline_set or (),
        candidate_set=candidate_set or (),
        scenario=scenario,
        slos=slos or (),
        mode=Mode(mode),
        confirm=confirm,
        has_history=history is not None,
        traces=traces,
        trial_s=trial_s,
        warmup_s=warmup_s,
        cooldown_s=cooldown_s,
        seed=seed,
        load={key: value for key, value in given.items() if value is not None},
        reports=reports,
        repeat=shlex.join(["faultload", *sys.argv[1:]]),
    )
    kept = Kept(place, history, old[0] if stored else None, differs or ())
    return _live(asked, root, kept, as_json=as_json)


@dataclasses.dataclass(frozen=True)
class Kept:
    """What a live gate takes from the store.

    Attributes:
        place: of the store.
        history: the baseline that tells the noise; None: none does.
        against: the baseline that the candidate is held against; None: one is run.
        differs: what of the latter's fingerprint is meant to differ.
    """

    place: str
    history: str | None
    against: str | None
    differs: Sequence[str]


def _is_live(directory: Path | None, old: list[str], new: list[str]) -> bool:
    """Whether a stored baseline is to meet a candidate that is run now: no folder is named."""
    one_each = directory is None and len(old) == len(new) == 1
    return one_each and not Path(old[0]).is_dir() and not Path(new[0]).is_dir()


def _live(asked: Asked, root: Path | None, kept: Kept, *, as_json: bool) -> int:
    from faultload.run.baselines import accepted, open_store
    from faultload.run.gate.conduct import Gate
    from faultload.run.gate.judging import COST, judge_and_write
    from faultload.run.gate.plan import prepare_gate
    from faultload.run.progress import Silent, make_progress

    catalogue = catalogue_of(root)
    plan = prepare_gate(catalogue, asked)
    past, against = (
        accepted(open_store(kept.place), name) if name else None
        for name in (kept.history, kept.against)
    )
    progress = Silent() if as_json else make_progress(plain=bool(os.environ.get("CI")))
    try:
        progress.note(plan.summary)
        if against is not None:
            progress.note(COST)
        gate = Gate(plan, progress, history=past, against=against, differs=kept.differs)
        done = gate.run()
    finally:
        progress.close()
    report, written = judge_and_write(done)
    return _end(report, written, as_json=as_json)


def _stored(
    directory: Path | None,
    old: list[str],
    new: list[str],
    place: str,
    differs: list[str] | tuple[()],
    *,
    as_json: bool,
) -> int:
    from faultload.record.gate import GateDirectory
    from faultload.run.baselines import accepted, open_store
    from faultload.run.gate.judging import judge_and_write
    from faultload.run.gate.stored import compare_with_baseline

    if directory is not None:
        if old or new:
            raise UsageError("expected a gate's directory, or --baseline and --candidate; not both")
        report, written = judge_and_write(GateDirectory.open(directory))
        return _end(report, written, as_json=as_json)
    if not old or not new:
        raise UsageError("--stored: expected a gate's directory, or --baseline and --candidate")
    if len(old) == len(new) == 1 and not Path(old[0]).is_dir():
        saved = accepted(open_store(place), old[0])
        report = compare_with_baseline(saved, Path(new[0]), differs=differs)
        return _end(report, [], as_json=as_json)
    return _runs([Path(one) for one in old], [Path(one) for one in new], as_json=as_json)


def _runs(baseline: list[Path], candidate: list[Path], *, as_json: bool) -> int:
    from faultload.run.gate.runs import compare_runs

    results = compare_runs(baseline, candidate)
    if as_json:
        echo_json([dataclasses.asdict(result) for result in results])
    else:
        echo_lines([result.sentence for result in results])
        say(
            "note: runs of other sessions: a platform that did not change may fail in 14 of 100"
            " cases (docs/gate.md)"
        )
    return worst_code([code_of(result.verdict) for result in results])


def _end(report: GateReport, written: list[Path], *, as_json: bool) -> int:
    if as_json:
        echo_json(report.as_json())
    else:
        echo_lines(report.lines())
        echo_lines([f"wrote {relative(path)}" for path in written])
    return code_of(report.verdict)
