"""Take each detector out in turn: some run must then get a better verdict, else it is idle."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scenes import HARM, journal, load, outage, rows, scene, slo, steady
from streams import logistic, recovering, truth_s

from faultload.judge import Evidence, Verdict, judge, recovery, validity
from faultload.judge.interval import Slots
from faultload.record import InjectionStep
from faultload.spec.experiment import Expects

VALIDITY: dict[str, Callable[[], Evidence]] = {
    "run": lambda: scene(outcome="crashed"),
    "fault": lambda: scene(
        injections=journal(*list(InjectionStep)[:3], InjectionStep.VERIFIED_REVERTED)
    ),
    "isolation": lambda: scene(
        injections=[
            replace(
                entry, fault="partition_replica", plan={"victims": [{"name": "r0"}]}, evidence={}
            )
            for entry in journal()
        ]
    ),
    "phases": lambda: scene(phases=scene().phases[:3], expects=Expects()),
    "steady state": lambda: scene(steady_state_met=False),
    "load": lambda: scene(load=load(len(outage()), lag_s_p99=0.5)),
    "clock": lambda: scene(clock_drift_s=1.0),
    "requests": lambda: scene(rows(steady(), sent_s=steady() - 1.0)),
}


def test_every_validity_check_has_its_run() -> None:
    """A new check comes with a run that needs it."""
    assert set(VALIDITY) == {name for name, _ in validity.CHECKS}


@pytest.mark.parametrize("subject", VALIDITY)
def test_validity_checks(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its check, an invalid run is believed."""
    evidence = VALIDITY[subject]()
    assert judge(evidence).verdict is Verdict.INVALID

    others = [(name, check) for name, check in validity.CHECKS if name != subject]
    monkeypatch.setattr(validity, "CHECKS", others)

    assert judge(evidence).verdict is not Verdict.INVALID


def flow(seconds: int, *dips: tuple[int, int, float], rate: float = 40.0) -> Slots:
    """Return slots with a share of bad requests in each stretch."""
    bad = np.zeros(seconds)
    for start, stop, share in dips:
        bad[start:stop] = share * rate
    return Slots(0.0, bad, np.full(seconds, rate))


def test_the_tail_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a good half minute before many blips is where the looking ends."""
    blips = [(start, start + 4, 1.0) for start in (40, 57, 74, 91, 108)]
    slots = flow(160, (0, 3, 1.0), *blips)
    assert recovery.recovery_of("x", 0.05, slots, 3).recovery_s == 112

    monkeypatch.setattr(recovery, "interval", lambda _: (0.0, 1.0))

    assert recovery.recovery_of("x", 0.05, slots, 3).censored_at_s == 3


def test_the_relapse_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a second dip that comes after a good half minute is not part of the outage."""
    slots = flow(120, (0, 5, 0.5), (40, 50, 0.5))
    assert recovery.recovery_of("x", 0.1, slots, 5).recovery_s == 50

    monkeypatch.setattr(recovery, "_last_relapse", lambda *_: -1)

    assert recovery.recovery_of("x", 0.1, slots, 5).recovery_s == 5


def test_what_stays_at_its_budget_is_not_called_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wish to be sure, a service that stays at its budget has recovered."""
    slots = flow(120, (0, 20, 0.5), (20, 120, 0.05))
    assert recovery.recovery_of("x", 0.0501, slots, 20).censored_at_s == 20

    monkeypatch.setattr(recovery, "_is_sure", lambda *_: True)

    assert recovery.recovery_of("x", 0.0501, slots, 20).recovery_s == 20


def test_the_fit_around_the_first_good_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a slow return is called over too early."""
    slots = recovering(logistic(20, 4), 33, 200, 1, seed=5)[0]
    truth = truth_s(logistic(20, 4), 0.05, 200)
    found = recovery.recovery_of("x", 0.05, slots, 20).recovery_s

    monkeypatch.setattr(recovery, "_crossing", lambda *args: args[-1])

    early = recovery.recovery_of("x", 0.05, slots, 20).recovery_s
    assert early is not None
    assert found is not None
    assert abs(found - truth) < abs(early - truth)


@pytest.mark.parametrize(
    ("name", "value", "requests"),
    [
        # 16 s good, then shortly bad again: only a hold of 30 s sees it.
        ("HOLD_S", 5, (HARM + 2, HARM + 10, HARM + 26, HARM + 30)),
        # A drop that lasts: without the alarm nobody ever felt it.
        ("ALARM", 1e9, (HARM + 2, HARM + 80, 0, 0)),
    ],
)
def test_recovery_constants(
    name: str, value: float, requests: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a detector's constant put out of reach, a late recovery looks early."""
    due = steady()
    first, last, again, until = requests
    bad = ((due >= first) & (due < last)) | ((due >= again) & (due < until))
    evidence = scene(rows(due, bad), expects=Expects(recovery_s_max=20))
    assert judge(evidence).verdict is Verdict.FAIL

    monkeypatch.setitem(judge.__globals__["estimate_recovery"].__globals__, name, value)

    recovery = judge(evidence).recoveries[0].recovery_s
    assert recovery is not None
    assert recovery < 20


def test_the_autocorrelation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, one burst in the steady state is proof of a broken one."""
    due = steady()
    bad = (due >= 20) & (due < 22.2)
    evidence = scene(rows(due, bad), expects=Expects())
    assert judge(evidence).verdict is Verdict.INCONCLUSIVE

    def alone(slots: Slots) -> float:
        return 1e-9

    glob = judge.__globals__["judge_phase"].__globals__["interval"].__globals__
    monkeypatch.setitem(glob, "newey_west_error", alone)

    assert judge(evidence).verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("_recovery", {"requests": outage(end=HARM + 80)}),
        ("_budget", {"expects": Expects(budget_percent_max=0.001)}),
        ("_streams", {"requests": None, "expects": Expects(streams_lost_max=3)}),
    ],
)
def test_claims(name: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its check, a broken claim passes."""
    if changes.get("requests", 0) is None:
        due = steady()
        status = np.where((due >= HARM) & (due < HARM + 1), "cut", "ok").astype(object)
        changes = {**changes, "requests": rows(due, status=status)}
    evidence = scene(slos=[slo()], **changes)
    assert judge(evidence).verdict is Verdict.FAIL

    claims = judge.__globals__["hold_claims"].__globals__
    original = claims[name]

    def kept(*args: Any, **kwargs: Any) -> Any:
        from dataclasses import replace

        return replace(original(*args, **kwargs), verdict=Verdict.PASS)

    monkeypatch.setitem(claims, name, kept)

    assert judge(evidence).verdict is Verdict.PASS
