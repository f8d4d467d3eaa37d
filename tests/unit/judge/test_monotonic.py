"""More harm never makes a pass."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import END, HARM, rows, scene, slo, steady

from faultload.judge import Verdict, judge
from faultload.spec.experiment import Expects

DUE = steady(rate=20)
CLAIMS = Expects(recovery_s_max=30, budget_percent_max=0.02, streams_lost_max=5)
SLOS = [slo(), slo("ttft", "ttft_s <= 0.1")]
times = st.floats(0.0, END - 0.1)


@st.composite
def faults(draw: st.DrawFn) -> np.ndarray:
    """Draw which requests were bad: an outage of some depth and length, and scattered errors."""
    start = HARM + draw(st.floats(0, 10))
    length = draw(st.floats(0, 100))
    depth = draw(st.sampled_from([0.03, 0.06, 0.2, 1.0]))
    scatter = draw(st.sampled_from([0.0, 0.01, 0.04]))
    generator = np.random.default_rng(draw(st.integers(0, 1000)))
    share = np.where((start <= DUE) & (start + length > DUE), depth, scatter)
    return np.asarray(generator.random(len(DUE)) < share)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(bad=faults(), more=st.lists(times, min_size=1, max_size=40))
def test_adding_bad_requests_never_makes_a_pass(bad: np.ndarray, more: list[float]) -> None:
    """Whatever a run's verdict was, more bad requests do not make it pass."""
    before = judge(scene(rows(DUE, bad), expects=CLAIMS, slos=SLOS)).verdict
    due = np.concatenate([DUE, more])
    order = np.argsort(due, kind="stable")
    worse = rows(due[order], np.concatenate([bad, np.ones(len(more), dtype=bool)])[order])

    after = judge(scene(worse, expects=CLAIMS, slos=SLOS)).verdict

    assert before is Verdict.PASS or after is not Verdict.PASS


@settings(max_examples=60, deadline=None, derandomize=True)
@given(bad=faults(), picks=st.lists(st.integers(0, len(DUE) - 1), min_size=1, max_size=40))
def test_good_turned_bad_never_makes_a_pass(bad: np.ndarray, picks: list[int]) -> None:
    """The same with the load unchanged: good requests turned bad."""
    worse = bad.copy()
    worse[picks] = True

    before = judge(scene(rows(DUE, bad), expects=CLAIMS, slos=SLOS)).verdict
    after = judge(scene(rows(DUE, worse), expects=CLAIMS, slos=SLOS)).verdict

    assert before is Verdict.PASS or after is not Verdict.PASS


@settings(max_examples=40, deadline=None, derandomize=True)
@given(bad=faults(), more=st.lists(times, min_size=1, max_size=20))
def test_budget_and_streams_only_grow(bad: np.ndarray, more: list[float]) -> None:
    """Costs are monotone: more bad requests never spend less."""
    due = np.concatenate([DUE, more])
    order = np.argsort(due, kind="stable")
    worse = rows(due[order], np.concatenate([bad, np.ones(len(more), dtype=bool)])[order])

    before = judge(scene(rows(DUE, bad))).budgets[0]
    after = judge(scene(worse)).budgets[0]

    assert after.bad_minutes >= before.bad_minutes - 1e-9
