"""The baseline store: entries are added and never changed, and a stranger's baseline is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gates import Bench, planned, threshold

from faultload.errors import InvalidRunError, RefusedError, SpecError, UsageError
from faultload.judge import Verdict
from faultload.judge.trial import TPOT, Measured, measure_trial
from faultload.record.baseline import Baseline
from faultload.record.gate import GateDirectory
from faultload.run import baselines
from faultload.run.gate import deciding
from faultload.run.gate.conduct import Gate
from faultload.run.gate.judging import judge_gate
from faultload.run.gate.stored import compare_with_baseline
from faultload.run.progress import Silent

SAME = {"baseline": 1.0, "candidate": 1.0}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the gates of this module."""
    return tmp_path_factory.mktemp("gates")


def conduct(bench: Bench, home: Path, **changes: Any) -> GateDirectory:
    """Run a gate on sides in memory."""
    plan = planned(home, **changes)
    gate = Gate(plan, Silent(), player=bench.play, opening=bench.opening, look=threshold)
    return gate.run()


@pytest.fixture(scope="module")
def same(home: Path) -> Path:
    """Return a gate of a platform with itself."""
    return conduct(Bench({1: SAME}), home).path


@pytest.fixture(scope="module")
def slow(home: Path) -> Path:
    """Return a gate whose candidate is half as quick again."""
    return conduct(Bench({1: {"baseline": 1.0, "candidate": 1.5}}), home).path


@pytest.fixture
def store(tmp_path: Path) -> baselines.Store:
    """Return an empty store."""
    return baselines.open_store(str(tmp_path / "baselines"))


def test_entries_are_added_and_never_changed(
    store: baselines.Store, same: Path, tmp_path: Path
) -> None:
    """Saving twice makes two entries, and a promotion a third; the first stays as it was."""
    first = baselines.save(store, "chat", same, "baseline")
    before = store.read("chat/000001.json")
    second = baselines.save(store, "chat", same, "candidate")
    baselines.promote(store, "chat", "1", "release 7")

    assert (first.number, second.number) == ("000001", "000002")
    assert store.read("chat/000001.json") == before
    assert not store.create("chat/000001.json", b"mine")
    assert [one.promoted for one in baselines.entries(store)] == [True, False, False]
    assert sorted(path.name for path in (tmp_path / "baselines/chat").iterdir()) == [
        "000001.json",
        "000002.json",
        "000003.json",
    ]


def test_entry_diffs_well(store: baselines.Store, same: Path) -> None:
    """Keys are sorted, and every number stands on a line of its own."""
    baselines.save(store, "chat", same, "baseline")
    text = store.read("chat/000001.json").decode()

    assert json.loads(text) == json.loads(json.dumps(json.loads(text), sort_keys=True))
    numbers = [line for line in text.splitlines() if re.fullmatch(r" +[\d.e-]+,?", line)]
    entry = json.loads(text)
    held = [one for sli in entry["trials"].values() for own in sli.values() for one in own]
    assert len(numbers) == len(held) > 0


def test_what_counts_is_what_was_promoted_last(store: baselines.Store, same: Path) -> None:
    """A saved baseline counts only once somebody said so; a number asks for one by hand."""
    baselines.save(store, "chat", same, "baseline")
    baselines.save(store, "chat", same, "candidate")
    with pytest.raises(UsageError, match="none is promoted; there are 000001, 000002"):
        baselines.accepted(store, "chat")

    baselines.promote(store, "chat", "000001", "")
    baselines.promote(store, "chat", "2", "")

    assert baselines.accepted(store, "chat").number == "000002"
    assert baselines.accepted(store, "chat@1").number == "000001"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("caht", "did you mean 'chat'"),
        ("chat@9", "no chat@000009; there are 000001"),
        ("../chat", "expected letters, digits"),
    ],
)
def test_unknown_baseline_is_named(
    store: baselines.Store, same: Path, asked: str, said: str
) -> None:
    """One line says what there is, and what is near."""
    baselines.save(store, "chat", same, "baseline")

    with pytest.raises(UsageError, match=re.escape(said)):
        baselines.accepted(store, asked)


def test_damaged_entry_is_named(store: baselines.Store, tmp_path: Path) -> None:
    """A file that is no entry is not passed over."""
    store.create("chat/000001.json", b'{"kind": "baseline", "trials": "many"}')

    with pytest.raises(SpecError, match=r"chat/000001\.json"):
        baselines.entries(store)


def test_stored_baseline_finds_a_slower_candidate(
    store: baselines.Store, same: Path, slow: Path
) -> None:
    """It is compared trace by trace, and says that another session costs certainty."""
    saved = baselines.save(store, "chat", same, "baseline")

    report = compare_with_baseline(saved, slow, look=threshold)

    assert report.verdict is Verdict.FAIL
    assert "another session" in " ".join(report.notes)


def test_history_of_something_else_is_refused_before_the_first_trial(
    store: baselines.Store, same: Path, tmp_path: Path
) -> None:
    """Noise of other trials says nothing about these; what is the same goes into the gate."""
    saved = baselines.save(store, "chat", same, "baseline")
    bench = Bench({1: SAME})

    def run(**changes: Any) -> GateDirectory:
        plan = replace(planned(tmp_path, **changes), catalogue=planned(same.parent).catalogue)
        gate = Gate(
            plan, Silent(), history=saved, player=bench.play, opening=bench.opening, look=threshold
        )
        return gate.run()

    with pytest.raises(RefusedError, match="trial_s"):
        run(trial_s=2.0)
    assert (bench.played, list(tmp_path.glob("gate-*"))) == ([], [])
    bench.opened = 0
    assert run().manifest().history["p95 TTFT"]["t1"]


def test_baseline_of_something_else_is_refused(
    store: baselines.Store, same: Path, home: Path
) -> None:
    """Another length, other flags: what differs is said, unless it was meant to differ."""
    saved = baselines.save(store, "chat", same, "baseline")
    longer = conduct(Bench({1: SAME}), home, trial_s=2.0).path
    flags = Bench({1: SAME}, environments=lambda *_: {"kind": "memory", "flags": "--new"})
    other = conduct(flags, home).path

    with pytest.raises(RefusedError, match=r"trial_s: 1\.5 there, 2 here"):
        compare_with_baseline(saved, longer, look=threshold)
    with pytest.raises(RefusedError, match=r"environment\.flags: nothing there, --new here"):
        compare_with_baseline(saved, other, look=threshold)
    meant = compare_with_baseline(saved, other, differs=["environment.flags"], look=threshold)
    assert meant.differences == ["environment.flags: nothing there, --new here"]


def alone(
    home: Path, saved: baselines.Saved, factor: float = 1.0, differs: Sequence[str] = (), **how: Any
) -> tuple[Bench, GateDirectory]:
    """Run the candidate alone against a stored baseline, judged by a threshold."""
    bench = Bench({1: {"candidate": factor}}, **how)
    gate = Gate(
        planned(home, baseline=None),
        Silent(),
        against=saved,
        differs=differs,
        player=bench.play,
        opening=bench.opening,
        look=threshold,
    )
    return bench, gate.run()


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, Verdict.PASS), (1.5, Verdict.FAIL)])
def test_candidate_is_run_alone_against_a_stored_baseline(
    store: baselines.Store, same: Path, home: Path, factor: float, verdict: Verdict
) -> None:
    """Only its trials are played, and the report says what another session's baseline costs."""
    saved = baselines.save(store, "chat", same, "baseline")

    bench, directory = alone(home, saved, factor)
    report = judge_gate(directory, threshold)

    assert {side for side, _ in bench.played} == {"candidate"}
    assert report.verdict is verdict
    assert report.baseline.startswith("chat@000001 of ")
    assert report.trials == len(bench.played) == 2
    assert [note for note in report.notes if "another session" in note]
    assert not [note for note in report.notes if "--confirm" in note]


def test_gate_against_a_stored_baseline_is_judged_again_without_the_store(
    store: baselines.Store, same: Path, home: Path, tmp_path: Path
) -> None:
    """The numbers it met are in its manifest, whatever becomes of the store."""
    saved = baselines.save(store, "chat", same, "baseline")
    _, directory = alone(home, saved, 1.5)
    first = judge_gate(directory, threshold).as_json()
    (tmp_path / "baselines/chat/000001.json").unlink()

    assert judge_gate(GateDirectory.open(directory.path), threshold).as_json() == first
    with pytest.raises(RefusedError, match="no valid trial of its baseline"):
        baselines.save(store, "chat", directory.path, "baseline")
    assert baselines.save(store, "chat", directory.path, "candidate").number == "000001"


def test_stranger_is_refused_before_its_first_trial(
    store: baselines.Store, same: Path, home: Path
) -> None:
    """A candidate of other flags is played only where they were said to be meant."""
    saved = baselines.save(store, "chat", same, "baseline")
    flags: dict[str, Any] = {"environments": lambda *_: {"kind": "memory", "flags": "--new"}}
    before = set(home.glob("gate-*"))

    with pytest.raises(RefusedError, match=r"environment\.flags: nothing there, --new here"):
        alone(home, saved, **flags)
    assert set(home.glob("gate-*")) == before
    _, directory = alone(home, saved, differs=["environment.flags"], **flags)
    assert judge_gate(directory, threshold).differences == [
        "environment.flags: nothing there, --new here"
    ]


def test_sli_without_a_stored_number_is_not_compared(
    store: baselines.Store, same: Path, home: Path
) -> None:
    """What the baseline does not know decides nothing, and is named."""
    saved = baselines.save(store, "chat", same, "baseline")
    assert isinstance(saved.entry, Baseline)
    trials = {name: own for name, own in saved.entry.trials.items() if name != "p95 TTFT"}
    less = replace(saved, entry=saved.entry.model_copy(update={"trials": trials}))

    _, directory = alone(home, less)
    report = judge_gate(directory, threshold)

    assert "p95 TTFT" not in [line.sli for line in report.slis]
    assert "not compared, for the baseline has no number: p95 TTFT" in report.notes


@pytest.mark.full
def test_real_look_takes_as_many_trials_as_there_are(store: baselines.Store, home: Path) -> None:
    """The baseline may have been played more often than the candidate; noise is told from both."""
    plan = planned(home, traces=5, has_history=False)
    bench = Bench({1: SAME})
    both = Gate(plan, Silent(), player=bench.play, opening=bench.opening).run()
    saved = baselines.save(store, "chat", both.path, "baseline")
    for factor, verdict in ((1.0, Verdict.PASS), (1.5, Verdict.FAIL)):
        bench = Bench({1: {"candidate": factor}})
        plan = planned(home, traces=5, baseline=None)
        gate = Gate(plan, Silent(), against=saved, player=bench.play, opening=bench.opening)
        found = {line.sli: line.verdict for line in judge_gate(gate.run()).slis}
        assert found["p95 TTFT"] is verdict
        assert found["p50 TPOT"] is verdict


def test_gate_cut_short_is_of_no_use_to_others(
    store: baselines.Store, same: Path, tmp_path: Path
) -> None:
    """Neither a baseline nor a candidate: what it would have said in the end nobody knows."""
    with pytest.raises(KeyboardInterrupt):
        conduct(Bench({1: SAME}, interrupt_at=4), tmp_path, traces=2)
    (cut,) = tmp_path.glob("gate-*")

    with pytest.raises(RefusedError, match="cut short"):
        baselines.save(store, "half", cut, "baseline")
    saved = baselines.save(store, "chat", same, "baseline")
    with pytest.raises(InvalidRunError, match="cut short"):
        compare_with_baseline(saved, cut, look=threshold)


def test_sli_that_the_candidate_lacks_is_no_pass(
    store: baselines.Store, same: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number that is missing on one side makes the comparison invalid, and no baseline."""
    saved = baselines.save(store, "chat", same, "baseline")

    def without_tpot(*given: Any) -> Measured:
        found = measure_trial(*given)
        return Measured({**found.numbers, TPOT.name: math.nan}, found.requests)

    monkeypatch.setattr(deciding, "measure_trial", without_tpot)
    report = compare_with_baseline(saved, same)

    assert report.verdict is Verdict.INVALID
    assert TPOT.name in report.reason
    with pytest.raises(RefusedError, match=f"no number for {TPOT.name}"):
        baselines.save(store, "chat", same, "baseline")
