"""The verdict of whole runs: one scene for each rule of the precedence."""

import time

import numpy as np
import pytest
from scenes import (
    END,
    GONE,
    HARM,
    PHASES,
    journal,
    load,
    outage,
    rows,
    scene,
    slo,
    steady,
)

from faultload.judge import Evidence, Verdict, judge
from faultload.record import InjectionStep, Outcome, PhaseName
from faultload.spec.experiment import Expects

PROMQL = slo("server", promql=('done_total{outcome="ok"}', "done_total"))
COUNTED = {("server", phase.name): (1000.0, 1000.0) for phase in PHASES}


def test_pass_says_what_was_claimed_and_found() -> None:
    """A run that kept every claim passes, in one sentence with the numbers."""
    judgement = judge(scene())

    assert judgement.verdict is Verdict.PASS
    assert judgement.reason == (
        "Users kept their objectives in this run: recovered in 12.0 s (claimed under 30 s),"
        " 0.0077 % of the month's error budget spent (claimed under 1 %), 0 streams lost."
    )
    assert judgement.fault_window_s == pytest.approx((HARM, GONE))


@pytest.mark.parametrize(
    ("changes", "verdict", "word"),
    [
        ({"requests": outage(end=HARM + 80)}, Verdict.FAIL, "recovered in 80.0 s"),
        ({"requests": outage(end=END)}, Verdict.FAIL, "not seen to recover"),
        ({"expects": Expects(budget_percent_max=0.001)}, Verdict.FAIL, "budget"),
        (
            {"requests": outage(start=GONE + 5, end=END, share=0.09), "expects": Expects()},
            Verdict.FAIL,
            "after recovery",
        ),
        ({"outcome": Outcome.ABORTED, "reason": "burn rate"}, Verdict.FAIL, "burn rate"),
        ({"slos": []}, Verdict.INCONCLUSIVE, "no SLO"),
        ({"slos": [slo(tier="reasoning")]}, Verdict.INCONCLUSIVE, "not seen to recover"),
        ({"requests": outage(start=10, end=HARM)}, Verdict.INVALID, "steady state was not met"),
        ({"outcome": Outcome.INTERRUPTED, "reason": "SIGINT"}, Verdict.INVALID, "SIGINT"),
        ({"outcome": Outcome.ABORTED, "aborted_by_person": True}, Verdict.INVALID, "person"),
        ({"outcome": Outcome.CRASHED}, Verdict.INVALID, "died"),
        ({"outcome": Outcome.STOPPED, "reason": "no steady state"}, Verdict.INVALID, "steady"),
        ({"outcome": Outcome.ABORTED, "injections": []}, Verdict.INVALID, "before any fault"),
    ],
)
def test_verdict(changes: dict[str, object], verdict: Verdict, word: str) -> None:
    """Each way in which a run can end has its verdict, and a reason that names it."""
    judgement = judge(scene(**changes))

    assert (judgement.verdict, word in judgement.reason) == (verdict, True), judgement.reason


def test_an_abort_is_judged_on_what_there_is() -> None:
    """A stop condition during the fault fails the run, though no recovery was recorded."""
    requests = outage(end=END)
    requests = requests[requests["due_s"] < HARM + 10]
    evidence = scene(
        requests,
        phases=[*PHASES[:2], PHASES[2].model_copy(update={"end_s": HARM + 10})],
        outcome=Outcome.ABORTED,
        reason="half the budget is spent",
        injections=[
            entry if entry.step is not InjectionStep.VERIFIED_REVERTED else _earlier(entry)
            for entry in journal(
                InjectionStep.PLANNED, InjectionStep.INJECTING, InjectionStep.VERIFIED_REVERTED
            )
        ],
    )

    judgement = judge(evidence)

    assert judgement.verdict is Verdict.FAIL
    assert "half the budget is spent" in judgement.reason


def _earlier(entry: object) -> object:
    from dataclasses import replace

    return replace(entry, time_unix_s=entry.time_unix_s - 10)


class TestPrecedence:
    """Worst wins, and missing telemetry hides no failure."""

    def test_fail_beats_a_telemetry_gap(self) -> None:
        """Complete client rows over budget are a fail, whatever Prometheus lost."""
        evidence = scene(outage(end=END), slos=[slo(), PROMQL], coverage={"done_total": 0.0})

        assert judge(evidence).verdict is Verdict.FAIL

    def test_invalid_beats_fail(self) -> None:
        """What cannot be believed cannot fail either."""
        assert judge(scene(outage(end=END), clock_drift_s=3.0)).verdict is Verdict.INVALID

    def test_findings_are_worst_first(self) -> None:
        """A person reads the worst finding first."""
        findings = judge(scene(outage(end=END), clock_drift_s=3.0)).findings

        order = [Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS]
        places = [order.index(finding.verdict) for finding in findings]
        assert places == sorted(places)


class TestPrometheusSource:
    """SLOs read from Prometheus, the only ones that a gap there can touch."""

    def test_counts_within_budget_pass(self) -> None:
        """Counts from Prometheus are judged like rows."""
        evidence = scene(slos=[slo(), PROMQL], counted=COUNTED)

        assert judge(evidence).verdict is Verdict.PASS

    @pytest.mark.parametrize(
        ("gaps", "verdict"),
        [((), Verdict.INCONCLUSIVE), (("done_total",), Verdict.PASS)],
    )
    def test_a_gap_after_the_fault(self, gaps: tuple[str, ...], verdict: Verdict) -> None:
        """A gap makes its SLO inconclusive unless the experiment declared it."""
        counted = {
            **COUNTED,
            ("server", PhaseName.FAULT): None,
            ("server", PhaseName.RECOVERY): None,
        }
        evidence = scene(
            slos=[slo(), PROMQL], counted=counted, gaps=gaps, coverage={"done_total": 0.4}
        )

        assert judge(evidence).verdict is verdict

    def test_a_declared_gap_excuses_nothing_before_the_fault(self) -> None:
        """The fault cannot have taken away what was missing before it."""
        counted = {**COUNTED, ("server", PhaseName.BASELINE): None}
        evidence = scene(slos=[PROMQL], counted=counted, gaps=["done_total"], expects=Expects())

        assert judge(evidence).verdict is Verdict.INCONCLUSIVE

    def test_a_gap_that_carries_nothing_is_only_mentioned(self) -> None:
        """A series no SLO rests on cannot change a verdict."""
        judgement = judge(scene(coverage={"vllm:num_requests_running": 0.1, "up": 1.0}))

        assert judgement.verdict is Verdict.PASS
        assert any("no objective rests on it" in f.text for f in judgement.findings)

    @pytest.mark.parametrize(
        ("gaps", "verdict"), [((), Verdict.INCONCLUSIVE), (("a", "b"), Verdict.PASS)]
    )
    def test_prometheus_away_is_never_a_pass(self, gaps: tuple[str, ...], verdict: Verdict) -> None:
        """Where every series has holes Prometheus was away: no pass, unless that was declared."""
        judgement = judge(scene(coverage={"a": 0.0, "b": 0.6}, gaps=gaps))

        assert judgement.verdict is verdict
        assert ("Prometheus was away" in judgement.reason) is (not gaps)

    def test_zero_events_are_no_data(self) -> None:
        """0 of 0 is neither good nor bad."""
        counted = dict.fromkeys(COUNTED, (0.0, 0.0))

        judgement = judge(scene(slos=[PROMQL], counted=counted, expects=Expects()))

        assert judgement.verdict is Verdict.INCONCLUSIVE


def test_a_broken_check_is_never_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception inside any part of the judge makes the run invalid and says so."""
    names = (
        "events_of estimate_recovery spend_budget count_streams_lost hold_claims judge_phase"
        " balance_tokens _phase_findings _telemetry_findings _judge_outcome"
    )
    for name in names.split():
        with monkeypatch.context() as patch:

            def broken(*_: object, **__: object) -> None:
                raise ZeroDivisionError("boom")

            patch.setitem(judge.__globals__, name, broken)
            judgement = judge(scene())

        assert judgement.verdict is Verdict.INVALID, name
        assert "boom" in judgement.reason


def test_streams_open_when_harm_came_are_the_faults() -> None:
    """A stream due before the harm and cut by it breaks the fault's claims, not the baseline."""
    due = steady()
    long = due + 8.0
    cut = (due < HARM) & (long > HARM) & (np.arange(len(due)) % 4 == 0)
    requests = rows(
        due,
        last_token_s=np.where(cut, HARM, long),
        end_s=np.where(cut, HARM + 0.1, long),
        status=np.where(cut, "cut", "ok").astype(object),
    )

    judgement = judge(scene(requests, slos=[slo(target=0.995)]))

    baseline = next(p for p in judgement.phases if p.phase is PhaseName.BASELINE)
    assert (baseline.bad, baseline.verdict) == (0, Verdict.PASS)
    assert judgement.streams_lost == int(cut.sum())
    assert judgement.verdict is Verdict.FAIL


def test_as_json_is_plain_data() -> None:
    """The verdict can be written as JSON, the shape machines read."""
    import json

    data = json.loads(json.dumps(judge(scene()).as_json(), allow_nan=False))

    assert data["verdict"] == "pass"


def test_a_hundred_thousand_rows_take_under_a_second() -> None:
    """Judging is fast enough to be done again at will."""
    slos = [
        slo(),
        slo("whole", "intact"),
        slo("ttft", "ttft_s <= 0.1"),
        slo("e2e", "e2e_s <= 1"),
        slo("tpot", "tpot_s <= 0.05"),
    ]
    evidence: Evidence = scene(rows(steady(rate=625)), slos=slos)
    began = time.process_time()

    judgement = judge(evidence)

    assert judgement.verdict is Verdict.PASS
    assert judgement.requests == 100_000
    assert time.process_time() - began < 1.0


def test_categories_change_no_number() -> None:
    """Rows as they are read, texts as categories, are judged as those that hold each by itself."""
    requests = outage(share=0.3)
    requests["tier"] = np.where(np.arange(len(requests)) % 3 == 0, "slow", "fast").astype(object)
    requests.loc[5, "tier"] = None
    slos = [slo(), slo("fast", "ttft_s <= 0.1", tier="fast"), slo("whole", "intact")]
    texts = dict.fromkeys(("status", "tier", "served_by", "error"), "category")

    one_by_one = judge(scene(requests, slos=slos))

    assert judge(scene(requests.astype(texts), slos=slos)) == one_by_one
    assert one_by_one.phases[4].events < one_by_one.phases[0].events


def test_too_few_requests_cannot_pass() -> None:
    """Where one bad request would break the budget, good ones prove nothing."""
    requests = rows(np.arange(0.5, END, 10.0))

    judgement = judge(scene(requests, load=load(len(requests)), expects=Expects()))

    assert judgement.verdict is Verdict.INCONCLUSIVE
