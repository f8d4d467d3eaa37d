"""What a fault cost: budget, streams, tokens."""

import numpy as np
import pytest
from scenes import GONE, HARM, PHASES, outage, rows, slo, steady

from faultload.judge.budget import count_streams_lost, spend_budget, spend_counted
from faultload.judge.ledger import balance_tokens
from faultload.judge.rows import Rows
from faultload.judge.slo import count_events


@pytest.mark.parametrize(("target", "percent"), [(0.999, 2.3148), (0.95, 0.046296)])
def test_a_minute_of_outage(target: float, percent: float) -> None:
    """One minute of total outage is one bad minute of the month's."""
    objective = slo(target=target)
    events = count_events(outage(start=HARM, end=HARM + 60), objective)

    spent = spend_budget(objective, events, HARM, 160.0)

    assert spent.bad_minutes == pytest.approx(1.0)
    assert spent.budget_percent == pytest.approx(percent, rel=1e-3)
    assert spent.burn_rate_max == pytest.approx(1 / objective.budget)


def test_it_equals_a_count_by_hand() -> None:
    """The sum over seconds agrees with a loop over requests."""
    generator = np.random.default_rng(3)
    due = np.sort(generator.uniform(0, 100.5, 3000))
    bad = generator.random(3000) < 0.2
    events = count_events(rows(due, bad), slo())
    expected = 0.0
    for second in range(40, 101):
        inside = (due >= second) & (due < second + 1)
        width = 0.5 if second == 100 else 1.0
        expected += bad[inside].sum() / inside.sum() * width / 60

    assert spend_budget(slo(), events, 40.0, 100.5).bad_minutes == pytest.approx(expected)


def test_counts_by_phase() -> None:
    """From Prometheus, whole phases after the harm are added; a missing one leaves no number."""
    counted = [(phase, (90.0, 100.0)) for phase in PHASES]

    spent = spend_counted(slo(), counted, 1.0)

    assert spent is not None
    assert spent.bad_minutes == pytest.approx(0.1 * 120 / 60)
    assert spent_without_last(counted) is None


def spent_without_last(counted: list[tuple[object, object]]) -> object:
    """Spend with the last phase's counts missing."""
    return spend_counted(slo(), [*counted[:-1], (counted[-1][0], None)], 1.0)


@pytest.mark.parametrize("good", [101.0, 100.0])
def test_what_one_phase_lost_no_other_makes_up_for(good: float) -> None:
    """A count of more good events than there were, as of two scrapes, is none bad: not fewer."""
    fault, recovery = PHASES[-2:]

    spent = spend_counted(slo(), [(fault, (50.0, 100.0)), (recovery, (good, 100.0))], 1.0)

    assert spent is not None
    assert spent.bad_minutes == pytest.approx(0.5 * (fault.end_s - fault.start_s) / 60)


@pytest.mark.parametrize("pair", [(125.0, 100.0), (-1.0, 100.0), (float("nan"), 100.0)])
def test_counts_that_contradict_each_other_are_no_number(pair: tuple[float, float]) -> None:
    """More good events than there were, and no scrape that explains it: nothing is known."""
    assert spend_counted(slo(), [(PHASES[-1], pair)], 1.0) is None


def test_streams_lost_begin_and_break_after_the_harm() -> None:
    """Requests that got no token, are still open, or broke before, are not streams lost."""
    due = np.array([HARM - 5, HARM + 1, HARM + 2, HARM + 3, HARM + 4])
    status = np.array(["cut", "cut", "timeout_gap", "unfinished", "ok"], dtype=object)

    lost = Rows.of(rows(due, status=status))

    assert count_streams_lost(lost, HARM) == 2
    assert count_streams_lost(lost, None) == 0


def test_the_token_ledger_balances() -> None:
    """Asked is delivered, lost, wasted and refused, when every request ended."""
    due = steady(rate=5, end=GONE)
    kind = np.arange(len(due)) % 3
    requests = rows(
        due,
        kind == 1,
        status=np.array(["ok", "http_error", "cut"], dtype=object)[kind],
        output_tokens=np.array([21, 0, 8])[kind],
    )

    ledger = balance_tokens(Rows.of(requests))

    parts = ledger.delivered + ledger.lost + ledger.wasted + ledger.refused
    assert parts == ledger.asked == 21 * len(due)
    assert ledger.lost == 13 * (len(due) // 3)
