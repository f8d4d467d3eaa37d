"""Every number of an explanation, counted again from the rows that it names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scenes import END, HARM, PHASES, journal, load, outage, rows, scene, slo, steady

from faultload.judge import LOAD_CLIENT, Evidence, Judgement, Verdict, judge
from faultload.judge.expectations import hold_claims
from faultload.judge.explain import Explanation, Number, explain
from faultload.judge.expressions import in_window, rules_of
from faultload.judge.interval import Slots, interval
from faultload.judge.model import Finding, Recovery
from faultload.judge.recovery import recovery_of
from faultload.judge.rows import Rows
from faultload.judge.slo import events_of, patience_of
from faultload.record import SERIES_SCHEMA, PhaseName, RequestStatus
from faultload.spec.experiment import Expects

NO_SERIES = pd.DataFrame(columns=SERIES_SCHEMA.names)
CONDITIONS = (
    "served",
    "intact",
    "ttft_s <= 0.4",
    "tpot_s <= 0.03",
    "e2e_s <= 3",
    "gap_s_max <= 0.5",
)


def wild(seed: int) -> pd.DataFrame:
    """Return rows of every status, with streams across the harm and open at the end."""
    draw = np.random.default_rng(seed)
    due = steady(rate=10)
    count = len(due)
    usual = ["ok"] * 20
    status = draw.choice(np.array([*usual, *map(str, RequestStatus)], dtype=object), count)
    began = draw.random(count) < 0.9
    began |= status == "ok"
    first = np.where(began, due + draw.exponential(0.3, count), np.nan)
    last = first + draw.exponential(1.0, count)
    end = np.where(began, last, due) + draw.exponential(2.0, count)
    end = np.where(status == "unfinished", END + 5.0, end)
    return rows(
        due,
        status=status,
        first_token_s=first,
        last_token_s=last,
        end_s=end,
        tier=draw.choice(np.array(["fast", "reasoning"], dtype=object), count),
        output_tokens=draw.integers(1, 40, count),
        output_tokens_asked=draw.integers(1, 40, count),
        tokens_missing=(draw.random(count) < 0.02).astype(int),
        gap_s_max=np.where(draw.random(count) < 0.1, np.nan, draw.exponential(0.2, count)),
    )


@pytest.mark.parametrize("good", CONDITIONS)
@pytest.mark.parametrize("tier", [pytest.param(None, marks=pytest.mark.full), "fast"])
def test_expressions_count_what_the_judge_counts(good: str, tier: str | None) -> None:
    """Two ways to say what an event is agree on each phase, with and without a harm."""
    requests = wild(seed=4)
    columns = Rows.of(requests)
    query = slo("x", good, tier=tier).source.spec
    rules = rules_of(query, patience_of(columns))
    for harm_s, windows in (
        (None, [(0.0, END)]),
        (HARM, [(10.0, HARM), (HARM, 60.0), (60.0, END)]),
    ):
        events = events_of(columns, slo("x", good, tier=tier).source, harm_s)
        for start_s, end_s in windows:
            inside = (events.at_s >= start_s) & (events.at_s < end_s)
            text = in_window(rules, start_s, end_s, harm_s)
            found = requests.query(text, engine="python")
            bad = requests.query(f"{text} and {rules.bad}", engine="python")
            assert (len(found), len(bad)) == (inside.sum(), events.is_bad[inside].sum())
            assert len(bad) > 0


def explained(evidence: Evidence) -> tuple[Judgement, Explanation]:
    """Return a judgement and its explanation."""
    judgement = judge(evidence)
    return judgement, explain(evidence, judgement, NO_SERIES)


def again(number: Number, others: dict[str, Number], requests: pd.DataFrame) -> float:
    """Return a number, computed from nothing but the rows that it and the others name."""

    def chosen(name: str) -> pd.DataFrame:
        return requests.query(others[name].rows, engine="python")

    def bad_minutes() -> float:
        bad, events = (by_second(chosen(name)) for name in ("bad_minutes", "events"))
        ratio = np.divide(bad, events, out=np.zeros_like(bad), where=events > 0)
        return float(ratio.sum()) / 60

    def recovery(name: str) -> float:
        slots = Slots(HARM, by_second(found), by_second(chosen("error_s")))
        return float(getattr(recovery_of("x", 0.05, slots, 20.0), name))

    def bound(side: int) -> float:
        events = chosen("events")
        phase = PHASES[1] if events["due_s"].max() < HARM else PHASES[3]
        first = np.floor(events["due_s"].min())
        length = int(phase.end_s - first)
        bad, count = (by_second(frame, first, length) for frame in (chosen("bad"), events))
        return (interval(Slots(first, bad, count)) or (0.0, 0.0))[side]

    found = requests.query(number.rows, engine="python")
    assert len(found) == number.count
    if number.how.startswith("count"):
        return len(found)
    return {
        "bad_ratio": lambda: len(found) / len(chosen("events")),
        "bad_minutes": bad_minutes,
        "budget_percent": lambda: 100 * bad_minutes() / others["budget_minutes"].value,
        "recovery_s": lambda: recovery("recovery_s"),
        "impact_s": lambda: recovery("impact_s"),
        "censored_at_s": lambda: recovery("censored_at_s"),
        "error_s": lambda: recovery("error_s"),
        "interval_low": lambda: bound(0),
        "interval_high": lambda: bound(1),
    }[number.name]()


def by_second(
    frame: pd.DataFrame, start_s: float = HARM, seconds: int = int(END - HARM)
) -> np.ndarray:
    """Count rows by second, those from before the start in the first."""
    at = np.maximum(frame["due_s"].to_numpy(dtype=float), start_s) - start_s
    return np.bincount(at.astype(int), minlength=seconds).astype(float)


@pytest.mark.parametrize(
    "evidence",
    [
        scene(outage(end=END)),
        pytest.param(
            scene(outage(share=0.3), slos=[slo(), slo("ttft", "ttft_s <= 0.2")]),
            marks=pytest.mark.full,
        ),
        scene(outage(), expects=Expects(budget_percent_max=0.001, refused_max=3)),
    ],
)
def test_every_number_recomputes_from_its_rows(evidence: Evidence) -> None:
    """What the explanation says is what the record holds, number by number."""
    judgement, explanation = explained(evidence)

    assert (explanation.verdict, explanation.reason) == (judgement.verdict, judgement.reason)
    assert len(explanation.findings) == len(judgement.findings)
    checked = 0
    for finding in explanation.findings:
        others = {number.name: number for number in finding.numbers}
        for number in finding.numbers:
            if number.file == "requests.parquet":
                if number.value is None:
                    continue
                found = again(number, others, evidence.requests)
                assert found == pytest.approx(number.value), (finding.subject, number)
                checked += 1
    assert checked > 10


def test_the_worst_requests_are_named() -> None:
    """Those that took longest, first; and the seconds in which most went bad."""
    requests = outage().assign(end_s=lambda frame: frame["end_s"] + frame["index"] % 7)
    _, explanation = explained(scene(requests))

    number = next(n for f in explanation.findings for n in f.numbers if n.name == "bad_minutes")

    took = [one["took_s"] for one in number.worst]
    assert took == sorted(took, reverse=True)
    assert len(took) == 5
    bad = requests.query(number.rows, engine="python")
    assert {one["index"] for one in number.worst} <= set(bad["index"])
    assert took[0] == pytest.approx(float((bad["end_s"] - bad["due_s"]).max()))
    assert number.seconds[0][1] == 40


def test_findings_that_are_not_of_rows() -> None:
    """The journal, the manifest and the series are named too, by rows or by key."""
    good = ('done_total{outcome="ok"}', "done_total")
    server = slo("server", promql=good)
    evidence = scene(
        slos=[slo(), server],
        counted={("server", phase.name): (99.0, 100.0) for phase in PHASES},
        expects=Expects(revert_s_max=5),
        load=load(len(outage()), lag_s_p99=0.5),
        coverage={"up": 0.2},
    )
    samples = [("done_total", '{"outcome":"ok"}', float(t), float(t)) for t in range(int(END))]
    series = pd.DataFrame(samples, columns=SERIES_SCHEMA.names)
    judgement = judge(evidence)

    explanation = explain(evidence, judgement, series)

    numbers = {(f.subject, n.name): n for f in explanation.findings for n in f.numbers}
    entries = pd.DataFrame([{"index": 0, **vars(entry)} for entry in journal()])
    revert = numbers["revert_s_max", "revert_s"]
    at = entries.query(revert.rows, engine="python")["time_unix_s"]
    assert revert.value == pytest.approx(at.max() - at.min()) == 1.0
    assert numbers[LOAD_CLIENT, "lag_s_p99"].value == 0.5
    assert numbers[LOAD_CLIENT, "lag_s_p99"].rows == "load.lag_s_p99"
    total = numbers["server", "total"]
    assert (total.value, total.count) == (100.0, len(series.query(total.rows, engine="python")))
    assert numbers["telemetry", "up"].value == 0.2


def test_the_claim_is_explained_by_the_slo_it_is_about() -> None:
    """One recovered late, one was watched too short: the numbers are of the former."""
    late, unseen = slo("late"), slo("unseen")
    evidence = scene(outage(), slos=[late, unseen], expects=Expects(recovery_s_max=30))
    known = [
        Recovery("late", 0.0, 1.0, 50.0, None, 6.0),
        Recovery("unseen", 0.0, 1.0, None, 20.0, 6.0),
    ]
    (claim,) = hold_claims(
        evidence.expects,
        recoveries=known,
        budgets=[],
        streams_lost=0,
        injections=[],
        complete=True,
        unknown=[],
    )
    finding = Finding(claim.verdict, claim.name, claim.text, "requests.parquet")
    judgement = replace(judge(evidence), recoveries=known, findings=[finding])

    explanation = explain(evidence, judgement, pd.DataFrame(columns=SERIES_SCHEMA.names))

    numbers = {n.name: n for one in explanation.findings for n in one.numbers}
    assert (claim.verdict, claim.found) == (Verdict.FAIL, 50.0)
    assert numbers["recovery_s"].value == 50.0
    assert "of late:" in numbers["recovery_s"].how


def test_a_run_without_anything_is_explained() -> None:
    """No rows, no harm, no load: an explanation without numbers, not a crash."""
    evidence = scene(rows(np.empty(0)), injections=[], load=None, slos=[])

    judgement, explanation = explained(evidence)

    assert judgement.verdict is Verdict.INVALID
    assert explanation.as_json()["verdict"] is Verdict.INVALID


def test_it_follows_the_recovery_that_the_phase_began_with() -> None:
    """Rows of the recovered phase begin where the SLO was met again."""
    evidence = scene(outage(end=HARM + 40), expects=Expects())
    judgement, explanation = explained(replace(evidence, slos=[slo()]))
    phase = next(p for p in judgement.phases if p.phase is PhaseName.RECOVERY)

    finding = next(f for f in explanation.findings if "after recovery" in f.text)

    events = next(n for n in finding.numbers if n.name == "events")
    assert events.count == events.value == phase.events == 80 * 40
