"""How runs differ: accepted runs of one kind are given to later ones, sealed, and never guessed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import HARM, rows, scene, steady
from stored import store as stored

from faultload.cli import invoke
from faultload.cli.running import Options, steps_of
from faultload.cli.selecting import Selection, choose
from faultload.errors import FaultloadError, RefusedError, SpecError
from faultload.judge import Verdict
from faultload.record import RunDirectory
from faultload.record.history import (
    AcceptedRun,
    Counted,
    RunHistory,
    Withdrawal,
    digest_of,
    ratios_of,
    read_history,
)
from faultload.report import render_summary
from faultload.run import history
from faultload.run.baselines import Store, add, entries, open_store
from faultload.run.history import (
    accept,
    earlier_runs,
    earlier_runs_of,
    name_of,
    save_history,
    withdraw,
)
from faultload.run.judging import explain_stored, judge_stored
from faultload.run.plan import RunPlan, prepare
from faultload.run.sealing import save_inputs
from faultload.spec import Catalogue, load_slos

ROOT = Path(__file__).parents[3]
SLOS = load_slos(ROOT / "slos/chat.yaml")
KIND = {"scenario": "a", "baseline_s": "30"}
BAD = [3, 4, 5, 3, 4]
"""Requests that were refused before the fault, by run."""


def run(
    folder: Path, name: str, bad: int, kind: Mapping[str, str] = KIND, **changes: Any
) -> RunDirectory:
    """Return the record of a run with so many requests refused before its fault."""
    due = steady(rate=10)
    is_bad = np.zeros(len(due), dtype=bool)
    is_bad[np.flatnonzero((due > HARM - 20) & (due < HARM - 1))[: bad * 8 : 8]] = True
    directory = stored(folder, scene(rows(due, is_bad), **changes), name)
    given = RunHistory(workload=dict(kind))
    directory.history.write_text(given.model_dump_json(), encoding="utf-8")
    directory.seal(directory.manifest())
    return directory


@pytest.fixture
def home(tmp_path: Path) -> Store:
    """Return an empty store."""
    return open_store(str(tmp_path / "baselines"))


def add_runs(home: Store, bad: Sequence[int]) -> None:
    """Accept runs that had so many bad requests of 300, as if each had been judged."""
    for count in bad:
        slos = {one.name: Counted(source=digest_of(one), events=300, bad=count) for one in SLOS}
        number = len(home.keys())
        add(
            home,
            name_of(KIND),
            AcceptedRun(saved="", run_id=f"r{number}", commit="", workload=KIND, slos=slos),
        )


def beside(directory: RunDirectory, home: Store) -> RunDirectory:
    """Seal a run again as one that was given what the store has now."""
    given = read_history(directory.history)
    assert given is not None
    runs = earlier_runs(home, given.workload)
    text = given.model_copy(update={"runs": runs}).model_dump_json()
    directory.history.write_text(text, encoding="utf-8")
    directory.seal(directory.manifest())
    return directory


def between(directory: RunDirectory) -> bool:
    """Return whether any verdict is on runs such as this one."""
    return any(one.between_runs for one in judge_stored(directory).judgement.phases)


def test_five_accepted_runs_widen_a_verdict_and_four_give_nothing(
    home: Store, tmp_path: Path
) -> None:
    """Fewer than five say nothing of how runs differ, and that is said: it is not zero."""
    add_runs(home, BAD[:4])
    new = beside(run(tmp_path, "new", 2), home)
    judged = judge_stored(new)
    assert not between(new)
    said = render_summary(judged.judgement, judged.manifest)
    assert "this run only: how runs differ is not known" in said

    add_runs(home, BAD[4:])
    judged = judge_stored(beside(new, home))
    assert between(new)
    assert "how runs differ is counted in" in render_summary(judged.judgement, judged.manifest)


def test_a_record_is_judged_by_what_it_was_given_and_not_by_the_store(
    home: Store, tmp_path: Path
) -> None:
    """What is accepted later changes no verdict; only who names a store is held beside it."""
    add_runs(home, BAD)
    new = beside(run(tmp_path, "new", 2), home)
    first = json.dumps(judge_stored(new).judgement.as_json())
    add_runs(home, [30, 1] * 10)

    assert json.dumps(judge_stored(new).judgement.as_json()) == first
    among = judge_stored(new, None, earlier_runs_of(home, new)).judgement
    assert json.dumps(among.as_json()) != first
    assert not new.tampered()


def test_a_run_is_not_held_beside_itself(home: Store, tmp_path: Path) -> None:
    """Its own luck is no evidence of how others differ."""
    own = run(tmp_path, "own", 1)
    accept(home, own.path)
    assert earlier_runs_of(home, own) == []
    with pytest.raises(RefusedError, match="own is accepted already"):
        accept(home, own.path)


def test_other_traffic_and_other_conditions_do_not_count(home: Store) -> None:
    """Runs of another kind are not found; an SLO of that name that asks something else has none."""
    add_runs(home, BAD)
    runs = earlier_runs(home, KIND)

    assert earlier_runs(home, KIND | {"scenario": "b"}) == []
    known = ratios_of(runs, SLOS)
    assert {len(own) for own in known.values()} == {len(BAD)}
    name = next(iter(known))
    others = [
        one.model_copy(
            update={"slos": {name: one.slos[name].model_copy(update={"source": "another"})}}
        )
        for one in runs
    ]
    assert ratios_of(others, SLOS) == {}


def test_a_run_without_a_bad_request_is_told(home: Store, tmp_path: Path) -> None:
    """Left out it would make incidents that hit one run in two look like the rule."""
    accept(home, run(tmp_path, "good", 0).path)

    found = ratios_of(earlier_runs(home, KIND), SLOS)

    assert found
    assert all(own == [-math.inf] for own in found.values())


def test_a_withdrawn_run_counts_no_more_and_nothing_is_deleted(home: Store, tmp_path: Path) -> None:
    """Later runs are held beside the others; who was given it before is judged as ever."""
    add_runs(home, BAD)
    old = beside(run(tmp_path, "old", 2), home)
    before = {key: home.read(key) for key in home.keys()}  # noqa: SIM118  # it is no mapping
    judged = json.dumps(judge_stored(old).judgement.as_json())

    (gone,) = withdraw(home, "reports/r1", "  another run\nused the machine ")

    assert [one.run_id for one in earlier_runs(home, KIND)] == ["r0", "r2", "r3", "r4"]
    assert gone.number == "000002"
    assert {key: home.read(key) for key in before} == before
    assert json.dumps(judge_stored(old).judgement.as_json()) == judged
    last = entries(home)[-1]
    assert isinstance(last.entry, Withdrawal)
    assert (last.entry.entry, last.entry.reason) == ("000002", "another run used the machine")
    assert [one.number for one in entries(home) if one.withdrawn] == ["000002"]


def test_a_withdrawn_run_can_be_accepted_again(home: Store, tmp_path: Path) -> None:
    """What is withdrawn is one entry: the next one of that run counts."""
    own = run(tmp_path, "own", 1)
    accept(home, own.path)
    withdraw(home, "own", "by mistake")
    assert earlier_runs(home, KIND) == []

    accept(home, own.path)

    assert [one.run_id for one in earlier_runs(home, KIND)] == ["own"]


def test_what_was_withdrawn_takes_no_room_among_the_newest(
    home: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the run nor the entry that says so: an older run comes in for it."""
    monkeypatch.setattr(history, "RUNS_MAX", 3)
    add_runs(home, BAD)
    assert [one.run_id for one in earlier_runs(home, KIND)] == ["r2", "r3", "r4"]

    withdraw(home, "r4", "spoilt")
    withdraw(home, "r2", "spoilt")

    assert [one.run_id for one in earlier_runs(home, KIND)] == ["r0", "r1", "r3"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["rr0", "--reason", "x"], 64, "no accepted run 'rr0'; did you mean 'r0'?"),
        (["reports/none", "--reason", "x"], 64, "baseline list shows them"),
        (["r0"], 64, "--reason: expected why the run counts no more, found nothing"),
        (["r0", "--reason", " "], 64, "--reason: expected why the run counts no more"),
        (["r1", "--reason", "x"], 75, "r1 is withdrawn already"),
    ],
)
def test_what_cannot_be_withdrawn_is_one_line(
    home: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    """The store stays as it was."""
    add_runs(home, BAD[:2])
    withdraw(home, "r1", "spoilt")
    before = home.keys()

    assert invoke(["baseline", "withdraw", *words, "--store", str(tmp_path / "baselines")]) == code

    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert home.keys() == before


def test_runs_are_withdrawn_and_listed_by_command(
    home: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log shows both entries, and which run counts no more; so does its JSON."""
    add_runs(home, BAD[:3])
    store = ["--store", str(tmp_path / "baselines")]

    assert invoke(["baseline", "withdraw", "r0", "r2", "--reason", "cold machine", *store]) == 0

    assert capsys.readouterr().out.count("withdrew r") == 2
    assert invoke(["baseline", "list", *store]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["-", " ", "-", " ", " "]
    assert lines[3].endswith("withdraws 000001: cold machine")
    assert invoke(["baseline", "list", *store, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["withdrawn"] for one in said] == [True, False, True, False, False]


@pytest.mark.full
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": {"baseline_s": "60"}}, "was to last 60 s and lasted 30.0 s"),
        ({"load": None}, "it is invalid"),
    ],
)
def test_what_proves_nothing_is_not_accepted(
    home: Store, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    """An invalid run, or one cut short before its fault, says nothing of how runs differ."""
    with pytest.raises(RefusedError, match=said):
        accept(home, run(tmp_path, "odd", 1, **changes).path)
    assert entries(home) == []


def test_older_records_are_named_and_judged_as_ever(home: Store, tmp_path: Path) -> None:
    """Without history.json nobody knows the run's kind; it speaks for itself."""
    old = stored(tmp_path, scene(), "old")
    with pytest.raises(RefusedError, match=r"no history\.json"):
        accept(home, old.path)
    assert judge_stored(old).evidence.history == {}


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    """It is not passed over as if there were none."""
    directory = run(tmp_path, "odd", 1)
    directory.history.write_text('{"runs": 3}', encoding="utf-8")
    directory.seal(directory.manifest())

    with pytest.raises(SpecError, match=r"history\.json"):
        judge_stored(directory)


@pytest.mark.full
def test_an_explanation_says_what_earlier_runs_changed(home: Store, tmp_path: Path) -> None:
    """Their number always; with enough of them their spread, and the verdict without them."""
    add_runs(home, BAD)
    new = run(tmp_path, "new", 2)

    def numbers(directory: RunDirectory) -> dict[str, Any]:
        found = explain_stored(directory).findings
        about = [one for one in found if "fast-ttft before the fault" in one.text]
        return {number.name: number.value for number in about[0].numbers}

    alone, among = numbers(new), numbers(beside(new, home))
    assert alone["earlier_runs"] == 0
    assert "between_runs" not in alone
    assert among["earlier_runs"] == len(BAD)
    assert among["between_runs"] > 0
    assert among["alone"] == str(Verdict.PASS)
    assert (among["alone_low"], among["alone_high"]) == (
        alone["interval_low"],
        alone["interval_high"],
    )
    assert among["interval_high"] > alone["interval_high"]


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Return a plan that knows of a store."""
    made = prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)
    return replace(made, store=str(tmp_path / "baselines"))


def given(plan: RunPlan, name: str, about: dict[str, Any] | None = None) -> RunHistory:
    """Return what a run of this plan is given."""
    directory = RunDirectory.create(plan.reports, name)
    save_inputs(plan, directory)
    draft = stored(plan.reports, scene(), f"draft-{name}").manifest()
    save_history(plan, draft.model_copy(update={"platform": about or {}}), directory)
    found = read_history(directory.history)
    assert found is not None
    return found


@pytest.mark.full
def test_what_a_run_is_held_beside_hangs_on_traffic_and_target(
    plan: RunPlan, home: Store, tmp_path: Path
) -> None:
    """Another platform configured alike is of one kind; another seed, length or flag is not."""
    about = {"platform_id": "one", "config": {"replicas": 2}}
    kind = given(plan, "first", about).workload
    accept(home, run(tmp_path, "old", 1, kind | {"baseline_s": "30"}).path)
    longer = replace(plan, baseline_s=30.0)

    same = given(longer, "same", about | {"platform_id": "two"})
    assert [one.run_id for one in same.runs] == ["old"]
    others = [
        given(replace(plan, baseline_s=20.0), "shorter", about),
        given(replace(longer, seed=longer.seed + 1), "seed", about),
        given(longer, "flag", {"config": {"replicas": 3}}),
    ]
    assert [other.runs for other in others] == [[], [], []]
    assert given(replace(longer, store=""), "none", about).runs == []


def test_a_store_that_cannot_be_read_is_named_before_the_run(plan: RunPlan) -> None:
    """Who asked for a store is told; a run without what it was to be held beside is another one."""
    with pytest.raises(FaultloadError, match="expected s3://BUCKET"):
        given(replace(plan, store="s3://"), "bad")


def test_runs_know_the_projects_store(tmp_path: Path) -> None:
    """What the command line says of the store reaches every step."""
    catalogue = Catalogue(ROOT)
    asked = Selection(["engine/replica-loss"], False, "", None, "", None)
    chosen = choose(catalogue, asked, "local")
    steps = steps_of(catalogue, chosen, Options(store=str(tmp_path)))

    assert [step.plan.store for step in steps] == [str(tmp_path)]
    assert catalogue.store == ROOT / "baselines"


@pytest.mark.full
def test_runs_are_accepted_listed_and_judged_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a run; who names a store when judging again is told how many it found."""
    runs = [run(tmp_path, f"r{number}", 3 + number) for number in range(3)]
    old = [str(one.path) for one in runs[1:]]
    store = ["--store", str(tmp_path / "baselines")]

    assert invoke(["baseline", "accept", *old, *store]) == 0
    assert capsys.readouterr().out.count("accepted ") == len(old)
    assert invoke(["baseline", "list", *store]) == 0
    assert "accepted r1" in capsys.readouterr().out
    assert invoke(["baseline", "accept", old[0], *store]) == 75
    invoke(["judge", "--explain", str(runs[0].path), *store])
    assert "earlier_runs = 2" in capsys.readouterr().out
    invoke(["judge", "--explain", str(runs[0].path)])
    assert "earlier_runs = 0" in capsys.readouterr().out


def test_digest_is_of_what_counts_and_not_of_the_target() -> None:
    """A stricter target asks the same of each request; another limit does not."""
    one = SLOS[0]
    text = one.model_dump(mode="json", by_alias=True)
    text["spec"]["objectives"][0]["target"] = 0.5
    looser = type(one).model_validate(text)

    assert digest_of(looser) == digest_of(one)
    assert len({digest_of(other) for other in SLOS}) == len(SLOS)
