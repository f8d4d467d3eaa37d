"""The steady-state check on live rows, and the gate's rules about which runs may be compared."""

from __future__ import annotations

import math
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.errors import UsageError
from faultload.judge import Recovery, Verdict
from faultload.judge.trial import ERRORS, GOODPUT, TPOT, TTFT, Measured
from faultload.record import REQUEST_SCHEMA
from faultload.run.gate import runs as gate_room
from faultload.run.live import LiveRows
from faultload.spec import load_slos

ROOT = Path(__file__).parents[3]
SLOS = load_slos(ROOT / "slos" / "chat.yaml")


def row(index: int, **changes: Any) -> dict[str, Any]:
    """Return a good row of the fast or reasoning tier, due every 50 ms."""
    due_s = index * 0.05
    values: dict[str, Any] = dict.fromkeys(REQUEST_SCHEMA.names)
    values |= {
        "index": index,
        "due_s": due_s,
        "sent_s": due_s,
        "first_token_s": due_s + 0.03,
        "last_token_s": due_s + 0.3,
        "end_s": due_s + 0.3,
        "status": "ok",
        "tier": "reasoning" if index % 3 == 0 else "fast",
        "output_tokens": 20,
        "output_tokens_asked": 20,
        "tokens_missing": 0,
        "tokens_duplicated": 0,
    }
    return values | changes


def test_good_baseline_has_no_problem() -> None:
    """Rows within every budget raise nothing."""
    live = LiveRows(SLOS)
    live.add([row(i) for i in range(400)])

    assert live.over_budget(0.0, 20.0) == []


def test_no_rows_are_a_problem_of_every_slo() -> None:
    """No data is never a steady state."""
    live = LiveRows(SLOS)
    live.add([row(i) for i in range(400)])

    problems = live.over_budget(100.0, 120.0)

    assert len(problems) == len(SLOS)
    assert all("no request to judge it by" in problem for problem in problems)


def test_problem_names_slo_count_and_budget() -> None:
    """A person reads which objective is missed, by how many, and what was allowed."""
    live = LiveRows(SLOS)
    slow = {"first_token_s": 99.0, "last_token_s": 99.5}
    live.add([row(i, **(slow if i % 5 == 1 else {})) for i in range(400)])

    (problem,) = [p for p in live.over_budget(0.0, 20.0) if p.startswith("fast-ttft")]

    assert "of 266 requests bad" in problem
    assert "5.0% is the budget" in problem


def test_live_numbers_are_of_the_last_seconds() -> None:
    """The display shows the window, counts since the start, and no TTFT where no token came."""
    live = LiveRows(SLOS)
    live.add([row(i, status="cut" if i < 4 else "ok") for i in range(400)])

    stats = live.stats(20.3)

    assert (stats.bad, stats.total) == (4, 400)
    assert stats.requests_per_s == pytest.approx(20.0, abs=0.5)
    assert stats.ttft_s_p95 == pytest.approx(0.03)
    assert live.stats(500.0).ttft_s_p95 is None


def trial(recovery_s: float | None = 2.0, seed: int = 1, **numbers: float) -> gate_room.StoredRun:
    """Return what the gate reads of one stored run."""
    manifest: Any = SimpleNamespace(
        experiment="e", scenario="s", slos=["x"], seed=seed, run_id=uuid.uuid4().hex
    )
    found = {TTFT.name: 0.1, TPOT.name: 0.01, ERRORS.name: 0.0, GOODPUT.name: 1.0} | numbers
    censored = 30.0 if recovery_s is None else None
    recovery = Recovery("x", 0.0, 0.0, recovery_s, censored, 0.5)
    return gate_room.StoredRun(manifest, [], Measured(found, 1000), [recovery])


def compare(
    monkeypatch: pytest.MonkeyPatch,
    old: list[gate_room.StoredRun],
    new: list[gate_room.StoredRun],
) -> dict[str, gate_room.Compared]:
    """Compare made-up trials; by SLI."""
    trials = dict(enumerate([*old, *new]))
    monkeypatch.setattr(gate_room, "_read", lambda path: trials[int(path.name)])
    paths = [Path(str(number)) for number in trials]
    found = gate_room.compare_runs(paths[: len(old)], paths[len(old) :])
    return {one.sli: one for one in found}


def test_runs_of_different_workloads_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that differ in seed, scenario, SLOs or experiment are a usage error."""
    with pytest.raises(UsageError, match="expected trials of one seed, found 1, 2"):
        compare(monkeypatch, [trial(), trial()], [trial(seed=2), trial(seed=2)])


def test_trial_given_twice_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial compared with itself would prove that nothing changed."""
    one = trial()

    with pytest.raises(UsageError, match="found .* more than once"):
        compare(monkeypatch, [one, trial()], [one, trial()])


def test_few_trials_are_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials a side decide nothing, and the sentence says how many more are needed."""
    found = compare(monkeypatch, [trial(1.0), trial(1.2)], [trial(1.1), trial(1.3)])

    assert found["x recovery_s"].verdict is Verdict.INCONCLUSIVE
    assert "too few" in found["x recovery_s"].sentence


@pytest.mark.parametrize("both", [False, True])
def test_trial_that_never_recovers_is_no_comparison(
    monkeypatch: pytest.MonkeyPatch, both: bool
) -> None:
    """A censored recovery is not dropped: the comparison is invalid, never a pass."""
    old = [trial(None if both else 1.0 + i / 10) for i in range(6)]
    new = [trial(1.0 + i / 11) for i in range(5)] + [trial(None)]

    found = compare(monkeypatch, old, new)["x recovery_s"]

    assert found.verdict is Verdict.INVALID
    assert f"{6 if both else 0} of 6 and 1 of 6 trials had not recovered" in found.sentence


def test_stored_runs_are_compared_in_what_the_live_gate_compares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Errors before the harm, goodput and TTFT of the runs fail as those of a live trial would."""
    old = [trial(2.0 + i / 9, **{TTFT.name: 0.1 + i / 2000}) for i in range(6)]
    worse = {TTFT.name: 0.2, ERRORS.name: 0.05, GOODPUT.name: 0.9}
    new = [trial(2.0 + i / 8, **{k: v + i / 2000 for k, v in worse.items()}) for i in range(6)]

    found = compare(monkeypatch, old, new)

    assert {name for name, one in found.items() if one.verdict is Verdict.FAIL} == {*worse}


def test_a_number_that_a_run_lacks_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too few requests to tell an SLI leave it invalid by name, and not out."""
    old = [trial(2.0 + i / 9) for i in range(6)]
    new = [trial(2.0 + i / 8, **{TPOT.name: math.nan}) for i in range(6)]

    assert compare(monkeypatch, old, new)[TPOT.name].verdict is Verdict.INVALID
