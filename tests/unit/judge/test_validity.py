"""Runs that say nothing: each row of the missing-data table is found, and named."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scenes import END, GONE, HARM, PHASES, health, journal, load, outage, rows, scene, steady

from faultload.judge import LOAD_CLIENT, Verdict, judge, validity
from faultload.record import (
    REQUEST_SCHEMA,
    InjectionEntry,
    InjectionStep,
    Outcome,
    Phase,
    PhaseName,
)

ALL = [step for step in InjectionStep if step is not InjectionStep.FAILED]
COUNT = len(outage())


def spoiled(**columns: float) -> pd.DataFrame:
    """Return a good run whose 100th row is not."""
    requests = outage()
    for column, value in columns.items():
        requests.loc[100, column] = value
    return requests


def without(*steps: InjectionStep) -> list[object]:
    """Return a journal that lacks steps."""
    return journal(*(step for step in ALL if step not in steps))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"requests": pd.DataFrame(columns=REQUEST_SCHEMA.names)}, "No request was due"),
        ({"requests": pd.DataFrame()}, "broke"),
        ({"requests": outage().iloc[::2], "load": load(COUNT)}, "incomplete"),
        ({"requests": spoiled(first_token_s=np.nan)}, "served without finite token times"),
        ({"requests": spoiled(last_token_s=np.inf)}, "infinite"),
        ({"requests": spoiled(end_s=np.nan)}, "no finite sent or end time"),
        ({"requests": spoiled(sent_s=0.0)}, "sent before they were due"),
        ({"requests": spoiled(first_token_s=1.0)}, "a token before they were sent"),
        ({"requests": spoiled(last_token_s=2.51)}, "last token before the first"),
        ({"requests": spoiled(end_s=2.52)}, "ended before"),
        ({"requests": outage().iloc[::-1]}, "order of due time"),
        ({"requests": rows(steady(end=HARM))}, "No request was due in the fault phase"),
        ({"load": None}, "No load was measured"),
        ({"load": load(COUNT, requests_sent=COUNT * 98 // 100)}, "were sent"),
        ({"load": load(COUNT, lag_s_p99=0.045)}, "45 ms late"),
        ({"load": load(COUNT, lag_s_p99=float("nan"))}, "late"),
        ({"load": load(COUNT, lag_s_p99=None)}, "lag is not known"),
        ({"load": load(COUNT, lag_s_p99=0.015, cpu_share_max=0.95)}, "95% of its core"),
        ({"load": load(COUNT, workers_lost=1)}, "workers were lost"),
        ({"load": load(COUNT, rows_lost=3)}, "3 rows that load workers wrote did not arrive"),
        ({"load": load(COUNT, health=[health(stalled_share=0.03)])}, "still for 3.0% of the run"),
        ({"load": load(COUNT, health=[health(stall_s_max=1.4)])}, "stood still for 1.4 s"),
        ({"load": load(COUNT, health=[health(), health(lag_s_p99=0.3)])}, "sent 300 ms late"),
        ({"load": load(COUNT, health=[health(clock_step_s_max=2.0)])}, "wall clock step"),
        ({"load": load(COUNT, health=[health(clock_error_s=0.08)])}, "knows the time to 80 ms"),
        ({"load": load(COUNT, health=[health(stalled_share=float("nan"))])}, "stood still for nan"),
        ({"load": load(0, rows=0)}, "No request was due"),
        ({"clock_drift_s": -0.4}, "clock"),
        ({"clock_drift_s": float("nan")}, "clock"),
        ({"t0_unix_s": 1_700_000_003.0}, "clocks disagree"),
        ({"steady_state_met": False}, "steady state was not met"),
        ({"steady_state_met": None}, "never checked"),
        ({"injections": []}, "injected no fault"),
        ({"injections": without(InjectionStep.VERIFIED)}, "never proven to act"),
        ({"injections": without(InjectionStep.VERIFIED_REVERTED)}, "never proven gone"),
        ({"injections": journal(InjectionStep.PLANNED)}, "never proven to act"),
        ({"injections": journal(*ALL, InjectionStep.FAILED)}, "failed"),
        ({"injections": [*journal(), *journal(ALL[0], ALL[1], name="i2")]}, "i2"),
        ({"phases": PHASES[:3]}, "no recovery phase"),
    ],
)
def test_what_cannot_be_believed_is_invalid(changes: dict[str, object], word: str) -> None:
    """Broken evidence is invalid, and some finding says what is broken."""
    judgement = judge(scene(**changes))

    assert judgement.verdict is Verdict.INVALID
    invalid = [f.text for f in judgement.findings if f.verdict is Verdict.INVALID]
    assert any(word in text for text in invalid), invalid


@pytest.mark.parametrize(
    ("changes", "is_late"),
    [
        ({"load": load(COUNT, lag_s_p99=0.045)}, True),
        ({"load": load(COUNT, health=[health(stall_s_max=1.4)])}, True),
        ({"load": None}, False),
        ({"load": load(COUNT, lag_s_p99=None)}, False),
        ({"load": load(COUNT, workers_lost=1)}, False),
        ({"load": load(COUNT, health=[health(clock_step_s_max=2.0)])}, False),
        ({"requests": outage().iloc[:0], "load": load(0)}, False),
    ],
)
def test_only_a_client_that_was_late_is_said_to_be(
    changes: dict[str, object], is_late: bool
) -> None:
    """Such a run may be repeated; what a target, a fault or a scenario brings about may not."""
    subjects = {finding.subject for finding in judge(scene(**changes)).findings}

    assert (LOAD_CLIENT in subjects) is is_late


def sent(*senders: dict[str, object]) -> list[InjectionEntry]:
    """Return a journal of traffic whose senders left these results."""
    seen = {"text": "ended", "data": {"refused_requests": 0, "senders": list(senders)}}
    return [
        replace(e, evidence=seen if e.step is InjectionStep.VERIFIED_REVERTED else {})
        for e in journal()
    ]


TOLD: dict[str, object] = {"why": "told to", "sent": 100}


@pytest.mark.parametrize(
    ("early", "said"),
    [
        ({"why": "expired", "sent": 100}, "had ended already (expired)"),
        ({"sent": 100}, "had ended already (no reason given)"),
        ({}, "left no word"),
    ],
)
def test_traffic_that_ended_early_is_no_fault_that_was_held(
    early: dict[str, object], said: str
) -> None:
    """One of its senders that ended by itself, or cannot say, is enough."""
    judgement = judge(scene(injections=sent(TOLD, early)))

    assert judgement.verdict is Verdict.INVALID
    assert "before it was taken back" in judgement.reason
    assert said in judgement.reason


def test_traffic_that_was_told_to_end_is_sound() -> None:
    """And a run that did not complete is what it is for another reason."""
    assert judge(scene(injections=sent(TOLD, TOLD))).verdict is Verdict.PASS

    aborted = scene(injections=sent({}), outcome=Outcome.ABORTED, reason="too many errors")
    assert judge(aborted).verdict is judge(replace(aborted, injections=sent(TOLD))).verdict
    assert "sender" not in judge(aborted).reason


def test_all_errors_from_the_start_are_no_steady_state() -> None:
    """A platform that was down before the fault proves nothing about the fault."""
    due = steady()

    judgement = judge(scene(rows(due, np.ones(len(due), dtype=bool))))

    assert judgement.verdict is Verdict.INVALID
    assert "steady state" in judgement.reason


def test_one_request_is_not_evidence() -> None:
    """One good request in the whole run is no pass."""
    requests = rows(np.array([20.0]))

    assert judge(scene(requests, load=load(1))).verdict is Verdict.INVALID


def test_a_silent_recovery_is_invalid() -> None:
    """Traffic that stopped with the fault would hide that nobody was served."""
    requests = rows(steady(end=GONE))

    judgement = judge(scene(requests))

    assert judgement.verdict is Verdict.INVALID
    assert "recovery phase" in judgement.reason


def test_a_busy_client_that_is_on_time_is_sound() -> None:
    """CPU alone is no reason: what counts is whether requests left late."""
    assert judge(scene(load=load(COUNT, cpu_share_max=0.95))).verdict is Verdict.PASS


def test_a_healthy_worker_is_sound() -> None:
    """A worker within every limit, and one that measured nothing, invalidate nothing."""
    unknown = dict.fromkeys(["lag_s_p99", "stall_s_max", "stalled_share", "clock_step_s_max"])
    workers = [health(), health(worker=1, **unknown)]

    assert judge(scene(load=load(COUNT, health=workers))).verdict is Verdict.PASS


def test_unsent_requests_are_the_clients_own_failure() -> None:
    """A request that was never sent says nothing about the platform."""
    requests = spoiled(sent_s=np.nan, first_token_s=np.nan, last_token_s=np.nan)
    requests.loc[100, "status"] = "unsent"

    judgement = judge(scene(requests, load=load(COUNT, requests_sent=COUNT - 1)))

    assert judgement.verdict is Verdict.PASS
    assert sum(p.events for p in judgement.phases if p.phase is PhaseName.WARMUP) == 399


def test_a_silent_warm_up_is_fine() -> None:
    """Nothing is judged during warm-up."""
    due = steady()
    requests = rows(due[due >= 10])
    phases = [Phase(name=PhaseName.WARMUP, start_s=0, end_s=10), *PHASES[1:]]

    judgement = judge(scene(requests, phases=phases))

    assert judgement.verdict is Verdict.PASS
    assert requests["due_s"].max() < END


def test_the_documented_limits_are_the_limits() -> None:
    """docs/load.md names every limit on the load client, with the number it has here."""
    text = (Path(__file__).parents[3] / "docs" / "load.md").read_text(encoding="utf-8")
    said = {
        name: line
        for line in text.splitlines()
        for name in re.findall(r"\(`([A-Z_]+)`\)", line.split(" | ")[1] if " | " in line else "")
    }
    limits = {
        "LAG_S_MAX": f"{validity.LAG_S_MAX * 1000:g} ms",
        "CPU_SHARE_MAX": f"{validity.CPU_SHARE_MAX:.0%}",
        "STALLED_SHARE_MAX": f"{validity.STALLED_SHARE_MAX:.0%}",
        "STALL_S_MAX": f"{validity.STALL_S_MAX:g} s",
        "DRIFT_S_MAX": f"{validity.DRIFT_S_MAX * 1000:g} ms",
        "CLOCK_ERROR_S_MAX": f"{validity.CLOCK_ERROR_S_MAX * 1000:g} ms",
        "SENT_SHARE_MIN": f"{validity.SENT_SHARE_MIN:.0%}",
    }
    assert said.keys() == limits.keys()
    for name, limit in limits.items():
        assert limit.replace("%", " %") in said[name], (name, limit)
