"""Broken data, kind by kind, and the verdict each gives: none passes, and none is a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scenes import END, GONE, HARM, PHASES, health, load, outage, rows, scene, slo, steady

from faultload.judge import Verdict, judge
from faultload.record import REQUEST_SCHEMA, PhaseName
from faultload.spec.experiment import Expects

Change = Callable[[pd.DataFrame], pd.DataFrame]
INVALID, INCONCLUSIVE, FAIL = Verdict.INVALID, Verdict.INCONCLUSIVE, Verdict.FAIL


def put(column: str, value: Any, count: int = 1) -> Change:
    """Return a change of one column in some rows of the baseline."""

    def change(requests: pd.DataFrame) -> pd.DataFrame:
        requests[column] = requests[column].astype(float)
        requests.loc[700 : 699 + count, column] = value
        return requests

    return change


def refused(start_s: float, status: int = 503) -> Change:
    """Return a change: from a moment on every request is refused."""

    def change(requests: pd.DataFrame) -> pd.DataFrame:
        due = requests["due_s"].to_numpy()
        return rows(due, due >= start_s, http_status=np.where(due >= start_s, status, 200))

    return change


def ended(status: str | None, **columns: Any) -> Change:
    """Return a change: every request ends like this."""
    return lambda requests: requests.assign(status=status, **columns)


def twice_for_another(requests: pd.DataFrame) -> pd.DataFrame:
    """Put a row in the place of the next: as many as were due, and one of them lost."""
    requests.loc[701] = requests.loc[700]
    return requests


def ordered(requests: pd.DataFrame) -> pd.DataFrame:
    """Put rows in order of due time, as a record is read."""
    return requests.sort_values("due_s", kind="stable", ignore_index=True)


ROWS: dict[str, tuple[Change, Verdict, str]] = {
    "no rows": (lambda r: r.iloc[:0], INVALID, "No request was due"),
    "no columns": (lambda r: r[[]], INVALID, "broke"),
    "one request": (lambda r: r.iloc[[800]], INVALID, "No request was due in the fault phase"),
    "half of the rows": (lambda r: r.iloc[::2], INVALID, "incomplete"),
    "rows of the baseline only": (lambda r: r[r["due_s"] < HARM], INVALID, "incomplete"),
    "every row twice": (lambda r: ordered(pd.concat([r, r])), INVALID, "stand twice"),
    "a row twice for another": (twice_for_another, INVALID, "1 rows stand twice"),
    "rows in reverse": (lambda r: r.iloc[::-1], INVALID, "not in order of due time"),
    "two rows swapped": (
        lambda r: r.iloc[[*range(700), 701, 700, *range(702, len(r))]],
        INVALID,
        "not in order of due time",
    ),
    "a due time that is NaN": (put("due_s", np.nan), INVALID, "no finite due time"),
    "an infinite due time": (put("due_s", np.inf), INVALID, "no finite due time"),
    "a negative wait for the first token": (
        put("first_token_s", 1.0),
        INVALID,
        "a token before they were sent",
    ),
    "an infinite first token": (put("first_token_s", np.inf), INVALID, "infinite or half-known"),
    "a first token that is NaN": (
        put("first_token_s", np.nan),
        INVALID,
        "served without finite token times",
    ),
    "a last token before the first": (
        put("last_token_s", 17.51),
        INVALID,
        "last token before the first",
    ),
    "an end that is NaN": (put("end_s", np.nan), INVALID, "no finite sent or end time"),
    "an end at minus infinity": (put("end_s", -np.inf), INVALID, "no finite sent or end time"),
    "tokens that are NaN": (put("output_tokens", np.nan), INVALID, "fewer than one token"),
    "no tokens in a whole answer": (put("output_tokens", 0.0), INVALID, "fewer than one token"),
    "negative tokens": (put("output_tokens", -3.0), INVALID, "fewer than one token"),
    "all errors": (refused(0.0), INVALID, "steady state was not met"),
    "all 429": (refused(0.0, 429), INVALID, "steady state was not met"),
    "errors from the harm on": (refused(HARM), FAIL, "not seen to recover"),
    "429 from the harm on": (refused(HARM, 429), FAIL, "not seen to recover"),
    "errors after the fault only": (refused(GONE), FAIL, "not seen to recover"),
    "a status nobody knows": (ended("splendid"), INVALID, "steady state was not met"),
    "no status": (ended(None), INVALID, "steady state was not met"),
    "all unsent": (ended("unsent", sent_s=np.nan), INVALID, "Only 0 of"),
    "all open at the end": (ended("unfinished", end_s=END), INVALID, "steady state was not met"),
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows(kind: str) -> None:
    """Rows that are not what a run leaves are invalid or a fail, and some finding says why."""
    change, verdict, word = ROWS[kind]
    good = outage(start=HARM, end=HARM)
    count = len(good)

    judgement = judge(scene(change(good), load=load(count)))

    assert judgement.verdict is verdict
    said = [finding.text for finding in judgement.findings if finding.verdict is verdict]
    assert any(word in text for text in said), said


def test_what_the_rows_are_made_of_is_sound() -> None:
    """Unspoilt they pass: each verdict above is the spoiling's."""
    assert judge(scene(outage(start=HARM, end=HARM))).verdict is Verdict.PASS


CLOCKS: dict[str, dict[str, Any]] = {
    "stepped forward": {"clock_drift_s": 2.0},
    "stepped back": {"clock_drift_s": -2.0},
    "of unknown drift": {"clock_drift_s": float("nan")},
    "an hour off the journal's": {"t0_unix_s": 1_700_003_600.0},
    "of a worker stepped": {"load": load(len(outage()), health=[health(clock_step_s_max=3.0)])},
    "of a worker unsure": {"load": load(len(outage()), health=[health(clock_error_s=0.5)])},
}


@pytest.mark.parametrize("kind", CLOCKS)
def test_clocks(kind: str) -> None:
    """A clock that cannot be trusted makes a run invalid, and the finding says so."""
    judgement = judge(scene(**CLOCKS[kind]))

    assert judgement.verdict is INVALID
    assert any("clock" in f.text or "the time" in f.text for f in judgement.findings)


NAN, INFINITE = float("nan"), float("inf")
COUNTS: dict[str, tuple[float, float] | None] = {
    "none": None,
    "zero": (0.0, 0.0),
    "NaN": (NAN, NAN),
    "NaN good": (NAN, 1000.0),
    "infinite": (INFINITE, INFINITE),
    "infinite total": (10.0, INFINITE),
    "one good event": (1.0, 1.0),
    "more good than there are": (1500.0, 1000.0),
    "less than none": (-10.0, 1000.0),
}


@pytest.mark.parametrize("kind", COUNTS)
@pytest.mark.parametrize("phase", [PhaseName.BASELINE, PhaseName.RECOVERY])
def test_counts_of_prometheus(kind: str, phase: PhaseName) -> None:
    """A count that says nothing decides nothing, in whichever phase, and is no defect."""
    server = slo("server", promql=('done_total{outcome="ok"}', "done_total"))
    counted = {("server", p.name): (1000.0, 1000.0) for p in PHASES}
    counted |= {("server", phase): COUNTS[kind]}

    judgement = judge(scene(slos=[server], counted=counted, expects=Expects()))

    assert judgement.verdict is INCONCLUSIVE
    assert not any("broke" in finding.text for finding in judgement.findings)


COVERAGE: dict[str, dict[str, float]] = {
    "nothing came": {"up": 0.0, "done_total": 0.0},
    "half came": {"up": 0.5, "done_total": 0.5},
    "one series vanished": {"up": 1.0, "done_total": 0.4},
    "of unknown share": {"up": 1.0, "done_total": NAN},
}


@pytest.mark.parametrize("kind", COVERAGE)
def test_missing_telemetry(kind: str) -> None:
    """What rests on samples that did not come is not known, however good the rest looks."""
    server = slo("server", promql=('done_total{outcome="ok"}', "done_total"))
    counted = {("server", phase.name): (1000.0, 1000.0) for phase in PHASES}

    judgement = judge(
        scene(slos=[slo(), server], counted=counted, coverage=COVERAGE[kind], expects=Expects())
    )

    assert judgement.verdict is INCONCLUSIVE


def test_an_empty_run_has_no_number_but_zero_rows() -> None:
    """Nothing measured is shown as nothing: no ratio, no interval, no quantile."""
    judgement = judge(scene(pd.DataFrame(columns=REQUEST_SCHEMA.names), load=load(0)))

    assert all(phase.bad_ratio is None and phase.interval is None for phase in judgement.phases)
    assert all(phase.value_s_p95 is None for phase in judgement.phases)
    assert all(recovery.recovery_s is None for recovery in judgement.recoveries)


def test_requests_too_few_to_decide() -> None:
    """A handful of good requests is not a pass."""
    requests = rows(steady(rate=0.1))

    assert judge(scene(requests, load=load(len(requests)))).verdict is not Verdict.PASS
