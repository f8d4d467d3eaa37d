"""A live gate: order, looks, repetitions, confirmation, and what is left of one cut short."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gates import Bench, planned, threshold

from faultload.errors import (
    ExitCode,
    FaultloadError,
    MissingError,
    RefusedError,
    SpecError,
    UsageError,
)
from faultload.judge import Verdict
from faultload.record import Outcome
from faultload.record.gate import GateDirectory
from faultload.report.gate import GateReport
from faultload.run.gate.conduct import Gate
from faultload.run.gate.judging import judge_and_write, judge_gate
from faultload.run.gate.plan import Mode
from faultload.run.gate.sides import SideGoneError, lost_replicas
from faultload.run.progress import Silent
from faultload.targets.plain import RefusesUsError

SAME = {"baseline": 1.0, "candidate": 1.0}
SLOW = {"baseline": 1.0, "candidate": 1.5}
NO_CANDIDATE = SideGoneError("candidate", "http://127.0.0.1:2 does not answer: ConnectionError")
NO_BASELINE = SideGoneError("baseline", "http://127.0.0.1:1 does not answer: ConnectionError")


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a candidate that is gone once more at once."""
    monkeypatch.setattr("faultload.run.gate.conduct.GONE_PAUSE_S", 0.0)


def conduct(bench: Bench, reports: Path, **changes: Any) -> GateDirectory:
    """Run a gate on sides in memory, judged by a threshold."""
    plan = planned(reports, **changes)
    gate = Gate(plan, Silent(), player=bench.play, opening=bench.opening, look=threshold)
    return gate.run()


def judged(directory: GateDirectory) -> GateReport:
    """Judge it by the same threshold."""
    return judge_gate(directory, threshold)


def test_a_platform_compared_with_itself_does_not_fail(tmp_path: Path) -> None:
    """One stage of ten trials, both sides asked the same five traces, and every SLI passes."""
    bench = Bench({1: SAME})
    plan = planned(tmp_path, traces=5, trial_s=25.0)

    directory = Gate(plan, Silent(), player=bench.play, opening=bench.opening).run()
    report = judge_gate(directory)

    assert report.verdict is Verdict.PASS, report.lines()
    assert len(bench.played) == 10
    assert {trace for _, trace in bench.played} == {"t1", "t2", "t3", "t4", "t5"}
    assert bench.open_now == 0


def test_slower_candidate_fails_and_says_by_how_much(tmp_path: Path) -> None:
    """A fail has effect, interval and smallest detectable effect, and names what is slower."""
    report = judged(conduct(Bench({1: SLOW}), tmp_path, mode=Mode.FULL))

    ttft = next(line for line in report.slis if line.sli == "p95 TTFT")
    assert report.verdict is Verdict.FAIL
    assert ttft.effect == pytest.approx(0.5, abs=0.1)
    assert ttft.interval is not None
    assert "p95 TTFT" in report.reason


def test_gate_stops_as_soon_as_one_sli_failed(tmp_path: Path) -> None:
    """What is decided costs no further trials."""
    bench = Bench({1: SLOW})

    conduct(bench, tmp_path, mode=Mode.FULL)

    assert len(bench.played) == 2


def test_gate_that_cannot_decide_goes_on_and_ends_inconclusive(tmp_path: Path) -> None:
    """Between pass and fail it runs all stages, and says what is missing and how long."""
    bench = Bench({1: {"baseline": 1.0, "candidate": 1.15}})

    report = judged(conduct(bench, tmp_path, mode=Mode.FULL))

    ttft = next(line for line in report.slis if line.sli == "p95 TTFT")
    assert len(bench.played) == 6
    assert report.verdict is Verdict.INCONCLUSIVE
    assert ttft.trials_needed > 0
    assert "trials do not decide" in report.reason


def test_fail_blocks_only_when_a_fresh_repetition_fails_too(tmp_path: Path) -> None:
    """The second round has sides of its own; where it passes the gate is inconclusive."""
    once = Bench({1: SLOW, 2: SAME})
    twice = Bench({1: SLOW, 2: SLOW})

    unconfirmed = judged(conduct(once, tmp_path, confirm=True))
    confirmed = judged(conduct(twice, tmp_path, confirm=True))

    assert (once.opened, twice.opened) == (2, 2)
    assert unconfirmed.verdict is Verdict.INCONCLUSIVE
    assert "Not confirmed" in next(s.reason for s in unconfirmed.slis if s.sli == "p95 TTFT")
    assert confirmed.verdict is Verdict.FAIL
    assert next(s.confirmed for s in confirmed.slis if s.sli == "p95 TTFT") is True


@pytest.mark.usefixtures("_soon")
def test_candidate_that_fails_and_is_gone_then_has_failed(tmp_path: Path) -> None:
    """Its users would get no answer at all: that confirms it, and is no lack of something here."""
    bench = Bench({1: SLOW}, gone=[NO_CANDIDATE, NO_CANDIDATE])
    directory = conduct(bench, tmp_path, confirm=True)

    report, files = judge_and_write(directory, threshold)

    assert bench.gone == []
    assert report.verdict is Verdict.FAIL
    ttft = next(line for line in report.slis if line.sli == "p95 TTFT")
    assert ttft.confirmed is True
    assert "Confirmed by a fresh repetition" in ttft.reason
    assert "only the candidate was not there: http://127.0.0.1:2 does not answer" in ttft.reason
    assert directory.manifest().outcome is Outcome.STOPPED
    assert [note for note in report.notes if "candidate was gone when it was to be" in note]
    assert json.loads(files[0].read_text())["verdict"] == "fail"
    assert judged(GateDirectory.open(directory.path)) == report


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize(
    ("second", "verdict"), [(SLOW, Verdict.FAIL), (SAME, Verdict.INCONCLUSIVE)]
)
def test_candidate_that_comes_back_is_tried(
    tmp_path: Path, second: dict[str, float], verdict: Verdict
) -> None:
    """One look that met nobody confirms nothing: the second round is played, and decides."""
    bench = Bench({1: SLOW, 2: second}, gone=[NO_CANDIDATE])

    directory = conduct(bench, tmp_path, confirm=True)

    manifest = directory.manifest()
    assert judged(directory).verdict is verdict
    assert [one.round for one in manifest.trials] == [1, 1, 2, 2]
    assert manifest.candidate_gone == ""
    assert manifest.outcome is Outcome.COMPLETED


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize(
    "gone",
    [
        [NO_BASELINE],
        [NO_CANDIDATE, NO_BASELINE],
        [NO_CANDIDATE, RefusesUsError("http://127.0.0.1:2/v1/models answers 401")],
        [MissingError("the cluster's API does not answer")],
        [RefusedError("another run holds the target")],
        [UsageError("targets/staging.yaml: no such file")],
    ],
)
def test_fail_that_nobody_could_confirm_is_invalid_and_reported(
    tmp_path: Path, gone: list[FaultloadError]
) -> None:
    """The candidate may be fine: no fail, and no pass; what the first round saw is all there."""
    directory = conduct(Bench({1: SLOW}, gone=[*gone]), tmp_path, confirm=True)

    report, files = judge_and_write(directory, threshold)

    ttft = next(line for line in report.slis if line.sli == "p95 TTFT")
    assert report.verdict is Verdict.INVALID
    assert report.reason.endswith(f"failed, and no repetition could confirm it: {gone[-1]}")
    assert "p95 TTFT" in report.reason
    assert ttft.effect == pytest.approx(0.5, abs=0.1)
    assert "Not confirmed: the repetition did not take place" in ttft.reason
    assert [path.name for path in files] == ["gate.json", "gate.md", "junit.xml"]


def test_side_that_is_not_there_at_first_is_missing(tmp_path: Path) -> None:
    """Nothing was observed: there is nothing to report, and something to mend."""
    plan = planned(tmp_path)
    where = "http://127.0.0.1:1/v1/models does not answer"

    with pytest.raises(SideGoneError, match=where) as found:
        Gate(plan, Silent()).run()

    assert (found.value.side, found.value.exit_code) == ("baseline", ExitCode.MISSING)
    assert list(tmp_path.glob("gate-*")) == []


def test_pass_is_not_repeated(tmp_path: Path) -> None:
    """Only a fail asks for a second round."""
    bench = Bench({1: SAME})

    conduct(bench, tmp_path, confirm=True)

    assert bench.opened == 1


def test_errors_alone_fail_it(tmp_path: Path) -> None:
    """A candidate that refuses one request in twenty is worse, however quick the others are."""
    bench = Bench({1: SAME}, errors={"candidate": 0.4})

    report = judged(conduct(bench, tmp_path))

    assert next(s.verdict for s in report.slis if s.sli == "error rate") is Verdict.FAIL


def test_candidate_that_cuts_answers_short_fails(tmp_path: Path) -> None:
    """It is as quick as before and refuses nobody, and its users get a tenth of what they asked."""
    bench = Bench({1: SAME}, tokens={"candidate": 2})

    report = judged(conduct(bench, tmp_path))

    failed = [line.sli for line in report.slis if line.verdict is Verdict.FAIL]
    assert failed == ["tokens delivered"]


def test_invalid_trial_is_repeated_once_and_both_are_kept(tmp_path: Path) -> None:
    """A client that was too slow once costs a trial; what it saw stays in the record, unused."""
    late = {"lag_s_p99": 0.5}
    bench = Bench({1: SAME})
    bench.spoil = _once(("candidate", "t2"), late, bench)

    directory = conduct(bench, tmp_path, traces=2)
    report, manifest = judged(directory), directory.manifest()

    spoilt = [one for one in manifest.trials if one.problems]
    assert report.verdict is Verdict.PASS
    assert (report.trials, report.repeated) == (5, 1)
    assert [(one.side, one.trace, one.attempt) for one in spoilt] == [("candidate", "t2", 1)]
    assert directory.trial(spoilt[0].name).requests.exists()


def _once(where: tuple[str, str], update: dict[str, Any], bench: Bench) -> Any:
    def spoil(side: str, count: int) -> dict[str, Any]:
        return update if bench.played[-1] == where and count == 1 else {}

    return spoil


def test_trial_invalid_twice_makes_the_gate_invalid(tmp_path: Path) -> None:
    """Trying until it fits would be choosing the evidence."""
    lost = {"candidate": {"workers_lost": 1}, "baseline": {}}
    bench = Bench({1: SAME}, spoil=lambda side, _: lost[side])

    report = judged(conduct(bench, tmp_path))

    assert report.verdict is Verdict.INVALID
    assert "invalid twice" in report.reason
    assert "workers were lost" in report.reason


def test_side_that_changes_during_the_gate_is_no_side(tmp_path: Path) -> None:
    """Another image in the middle of a gate makes the trial invalid, and says what changed."""
    bench = Bench(
        {1: SAME},
        environments=lambda side, asked: {"image": "v2" if asked > 3 else "v1"},
    )

    report = judged(conduct(bench, tmp_path))

    assert report.verdict is Verdict.INVALID
    assert "image: v1 → v2" in report.reason


def test_candidate_that_loses_replicas_is_measured(tmp_path: Path) -> None:
    """Its rows say what that cost its users; the report says it beside the numbers."""
    bench = Bench({1: SLOW}, environments=_fewer("candidate"))

    report = judged(conduct(bench, tmp_path))

    assert report.verdict is Verdict.FAIL
    assert any("candidate was less than before: replicas: 2 → 1" in note for note in report.notes)


def test_candidate_that_dies_is_measured(tmp_path: Path) -> None:
    """An endpoint that is gone after the load is what its users met, and no end of the gate."""
    bench = Bench(
        {1: SAME}, errors={"candidate": 0.6}, environments=_fewer("candidate", is_gone=True)
    )

    report = judged(conduct(bench, tmp_path))

    assert report.verdict is Verdict.FAIL
    assert any("does not answer" in note for note in report.notes)


@pytest.mark.parametrize("is_gone", [False, True])
def test_baseline_that_lost_something_is_no_baseline(tmp_path: Path, is_gone: bool) -> None:
    """A weakened baseline makes every candidate look better: its trial is invalid, and says why."""
    bench = Bench({1: SAME}, environments=_fewer("baseline", is_gone=is_gone))

    report = judged(conduct(bench, tmp_path))

    assert report.verdict is Verdict.INVALID
    assert "the baseline changed during the gate" in report.reason


def _fewer(which: str, *, is_gone: bool = False) -> Callable[[str, int], dict[str, str]]:
    def environments(side: str, asked: int) -> dict[str, str]:
        if side != which or asked <= 2:  # both sides are asked once before the first load
            return {"image": "v1", "replicas": "2"}
        if is_gone:
            raise MissingError("the platform does not answer")
        return {"image": "v1", "replicas": "1"}

    return environments


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"replicas": "1"}, True),
        ({"components.engine.replicas": "1"}, True),
        ({"components.engine.replicas": "0", "components.engine.images[0]": None}, True),
        ({"components.engine.replicas": "1", "components.engine.images[0]": None}, False),
        ({"replicas": "3"}, False),
        ({"replicas": "1", "config.replicas": "1"}, False),
        ({"components.engine.images[0]": "v2"}, False),
        ({}, False),
    ],
)
def test_fewer_replicas_are_no_other_side(changes: dict[str, str | None], lost: bool) -> None:
    """Only a count that sank, and what cannot be seen of none, is a loss; the rest is a change."""
    old = {
        "replicas": "2",
        "config.replicas": "2",
        "components.engine.replicas": "2",
        "components.engine.images[0]": "v1",
    }
    new = {key: value for key, value in (old | changes).items() if value is not None}

    assert lost_replicas(old, new) is lost


def test_gate_cut_short_is_sealed_and_never_passes(tmp_path: Path) -> None:
    """Ctrl-C in the middle ends the sides; what was observed can be judged, and is invalid."""
    bench = Bench({1: SAME}, interrupt_at=4)

    with pytest.raises(KeyboardInterrupt):
        conduct(bench, tmp_path, traces=2)
    (path,) = tmp_path.glob("gate-*")
    directory = GateDirectory.open(path)

    assert bench.open_now == 0
    assert len(directory.manifest().trials) == 3
    assert directory.manifest().outcome is not Outcome.COMPLETED
    assert judged(directory).verdict is Verdict.INVALID


def test_gate_that_could_not_begin_leaves_nothing(tmp_path: Path) -> None:
    """Nothing was observed, so there is nothing to keep."""
    bench = Bench({1: SAME}, interrupt_at=1)

    with pytest.raises(KeyboardInterrupt):
        conduct(bench, tmp_path)

    assert list(tmp_path.glob("gate-*")) == []


def test_stored_gate_says_the_same_again(tmp_path: Path) -> None:
    """Everything that it rests on is in its directory: two judgements are one."""
    directory = conduct(Bench({1: SLOW}), tmp_path)

    first, files = judge_and_write(directory, threshold)
    second = judged(GateDirectory.open(directory.path))

    assert first == second
    assert [path.name for path in files] == ["gate.json", "gate.md", "junit.xml"]
    assert json.loads(files[0].read_text())["verdict"] == "fail"
    assert "| p95 TTFT | FAIL |" in files[1].read_text()
    assert '<failure type="fail"' in files[2].read_text()


def test_changed_record_proves_nothing(tmp_path: Path) -> None:
    """A row table that is not the one that was sealed is refused, by name."""
    directory = conduct(Bench({1: SAME}), tmp_path)
    trial = directory.manifest().trials[0]
    directory.trial(trial.name).requests.write_bytes(b"something else")

    with pytest.raises(SpecError, match=f"{trial.name}/record/requests.parquet"):
        judged(directory)
