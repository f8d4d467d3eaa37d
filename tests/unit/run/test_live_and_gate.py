"""The steady-state check on live rows, and the gate's rules about which runs may be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faultload.errors import UsageError
from faultload.judge import Verdict
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


class Trial:
    """What the gate reads of one stored run."""

    def __init__(self, seed: int = 1, recovery_s: float | None = 2.0) -> None:
        self.experiment, self.scenario, self.slos, self.seed = "e", "s", ["x"], seed
        self.run_id = str(id(self))
        self.phases: list[Any] = []
        recovery = type("R", (), {"slo": "x", "recovery_s": recovery_s})
        self.recoveries = [recovery]


def compare(
    monkeypatch: pytest.MonkeyPatch, old: list[Trial], new: list[Trial]
) -> list[gate_room.Compared]:
    """Compare made-up trials."""
    trials = dict(enumerate([*old, *new]))
    monkeypatch.setattr(
        gate_room, "_trial", lambda path: (trials[int(path.name)], trials[int(path.name)])
    )
    paths = [Path(str(number)) for number in trials]
    return gate_room.compare_runs(paths[: len(old)], paths[len(old) :])


def test_runs_of_different_workloads_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that differ in seed, scenario, SLOs or experiment are a usage error."""
    with pytest.raises(UsageError, match="expected trials of one seed, found 1, 2"):
        compare(monkeypatch, [Trial(), Trial()], [Trial(seed=2), Trial(seed=2)])


def test_trial_given_twice_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial compared with itself would prove that nothing changed."""
    trial = Trial()

    with pytest.raises(UsageError, match="found .* more than once"):
        compare(monkeypatch, [trial, Trial()], [trial, Trial()])


def test_few_trials_are_inconclusive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trials a side decide nothing, and the sentence says how many more are needed."""
    (compared,) = compare(
        monkeypatch,
        [Trial(recovery_s=1.0), Trial(recovery_s=1.2)],
        [Trial(recovery_s=1.1), Trial(recovery_s=1.3)],
    )

    assert compared.verdict is Verdict.INCONCLUSIVE
    assert "too few" in compared.sentence


def test_trial_without_its_number_is_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """A censored recovery is not dropped: the comparison is invalid, never a pass."""
    old = [Trial(recovery_s=1.0 + i / 10) for i in range(6)]
    new = [Trial(recovery_s=1.0 + i / 11) for i in range(5)] + [Trial(recovery_s=None)]

    (compared,) = compare(monkeypatch, old, new)

    assert compared.verdict is Verdict.INVALID
