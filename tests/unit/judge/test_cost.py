"""The bill: whole, split without a rest, and never made up."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import END, GONE, HARM, PHASES, rows, scene, slo, steady

from faultload.judge import Verdict
from faultload.judge.cost import count_tokens, work_out
from faultload.judge.cost_model import Cost
from faultload.judge.judge import judge
from faultload.record.fleet import Fleet, Machine
from faultload.spec.experiment import Expects
from faultload.spec.prices import InstancePrice, PriceBook, Prices

EDGES = np.arange(0.0, END + 1, 1.0)


def machine(**changes: Any) -> Machine:
    """Return one that was there all along, with four idle GPUs, at 3.60 USD an hour."""
    about: dict[str, Any] = {
        "node": "a",
        "provider_id": "i-1",
        "instance_type": "g6.12xlarge",
        "capacity_type": "on-demand",
        "zone": "us-east-1a",
        "gpus": 4,
        "usd_per_h": 3.6,
        "start_s": 0.0,
        "end_s": END,
        "began": False,
        "ended": False,
        "error_s": 0.0,
        "busy_gpu_s": np.zeros(len(EDGES) - 1),
        "cold_gpu_s": np.zeros(len(EDGES) - 1),
    }
    return Machine(**(about | changes))


def price(*machines: Machine, book: PriceBook | None = None, **tokens: Any) -> Cost:
    """Return the cost of these machines over 160 s of a healthy load."""
    requests = rows(steady(), **tokens)
    return work_out(Fleet(EDGES, machines), PHASES, count_tokens(requests, [slo()]), book)


def listed(capacity_type: str, usd: float, *, typical: bool = False, year: int = 2026) -> Prices:
    """Return a price list of one type."""
    return Prices(
        region="us-east-1",
        as_of=date(year, 1, 1),
        source="made up",
        capacity_type=capacity_type,
        typical=typical,
        instances=[InstancePrice(instance_type="g6.12xlarge", usd_per_hour=usd)],
    )


def seconds(start_s: float, end_s: float, gpus: float) -> np.ndarray:
    """Return GPU-seconds by cell: so many GPUs from then to then."""
    return np.where((EDGES[:-1] >= start_s) & (EDGES[:-1] < end_s), gpus, 0.0)


def test_a_bill_by_hand() -> None:
    """3.60 USD an hour is 0.001 a second; two of four GPUs busy for all of it is half."""
    cost = price(machine(busy_gpu_s=seconds(0, END, 2), cold_gpu_s=seconds(40, 60, 1)))
    whole = cost.whole

    assert whole is not None
    assert cost.usd == pytest.approx(0.160)
    assert whole.busy_usd == pytest.approx(0.080)
    assert whole.cold_usd == pytest.approx(0.005)
    assert whole.idle_usd == pytest.approx(0.075)
    assert whole.wasted_usd == 0
    requests = 40 * END
    assert cost.output_tokens == cost.good_tokens == 21 * requests
    assert cost.usd_per_1k_output_tokens == pytest.approx(160 / (21 * requests))
    assert cost.usd_per_1m_tokens == pytest.approx(0.160e6 / (121 * requests))
    assert cost.usd_per_1k_equivalent_tokens == pytest.approx(160 / (46 * requests))
    assert cost.node_hours == pytest.approx(END / 3600)
    assert [share.part for share in cost.shares][-2:] == ["recovery", "run"]


_COARSE = np.arange(0.0, END + 1, 10.0)
_GPU_SECONDS = st.lists(st.floats(0, 60), min_size=len(_COARSE) - 1, max_size=len(_COARSE) - 1)
_MACHINES = st.builds(
    lambda start, length, price, busy, cold, began, ended: machine(
        start_s=start,
        end_s=min(END, start + length),
        usd_per_h=price,
        busy_gpu_s=np.array(busy),
        cold_gpu_s=np.array(cold),
        began=began,
        ended=ended,
    ),
    st.floats(0, END - 1),
    st.floats(0.5, END),
    st.floats(0.01, 200),
    _GPU_SECONDS,
    _GPU_SECONDS,
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=40)
@given(machines=st.lists(_MACHINES, min_size=1, max_size=3), bad=st.floats(0, 1))
def test_the_parts_are_the_bill(machines: list[Machine], bad: float) -> None:
    """Busy, idle, cold and wasted leave nothing over, in each phase and in all, whatever came."""
    due = steady(1.0)
    requests = rows(due, np.arange(len(due)) % 10 < 10 * bad, tokens_duplicated=1)
    fleet = Fleet(_COARSE, machines)
    cost = work_out(fleet, PHASES, count_tokens(requests, [slo()]), None)

    for share in cost.shares:
        parts = [share.busy_usd, share.idle_usd, share.cold_usd, share.wasted_usd]
        assert all(part is not None and part >= 0 for part in parts)
        assert sum(part for part in parts if part is not None) == pytest.approx(share.usd)
    assert sum(share.usd for share in cost.shares[:-1]) == pytest.approx(cost.usd)
    billed = sum(
        max(one.end_s - one.start_s, 60.0 if one.began and one.ended else 0.0)
        * (one.usd_per_h or 0)
        for one in machines
    )
    assert cost.usd == pytest.approx(billed / 3600)


def test_the_shortest_bill_is_a_minute_and_follows_the_platforms_time() -> None:
    """EC2 bills 60 s at the least; where a minute passes in 6 s, it bills 6."""
    short = machine(start_s=20.0, end_s=22.0, began=True, ended=True)
    tokens = count_tokens(rows(steady()), [slo()])
    fleet = Fleet(EDGES, [short])

    assert work_out(fleet, PHASES, tokens, None).usd == pytest.approx(0.060)
    assert work_out(fleet, PHASES, tokens, None, time_scale=0.1).usd == pytest.approx(0.006)
    runs_on = Fleet(EDGES, [replace(short, ended=False)])
    assert work_out(runs_on, PHASES, tokens, None).usd == pytest.approx(0.002)


def test_tokens_of_no_use_are_wasted() -> None:
    """Broken streams, doubled tokens and answers that missed their SLO were paid for all the same.

    A request that was still open at the end broke no promise.
    """
    due = np.array([11.0, 12.0, 13.0, 14.0, 15.0])
    status = np.array(["ok", "cut", "ok", "ok", "unfinished"], dtype=object)
    late = np.where(np.arange(5) == 3, due + 2, due + 0.05)
    requests = rows(
        due,
        status=status,
        first_token_s=late,
        last_token_s=late + 0.2,
        end_s=late + 0.2,
        output_tokens=10,
        tokens_duplicated=np.array([0, 0, 4, 0, 0]),
    )
    tokens = count_tokens(requests, [slo(), slo("fast", "ttft_s <= 0.5")])

    assert tokens.wasted.tolist() == [0, 10, 4, 10, 0]


def test_wasted_is_the_share_of_the_work_that_was_of_no_use() -> None:
    """Half of the tokens lost is half of what was computed."""
    due = steady()
    broke = np.where(np.arange(len(due)) % 2, "cut", "ok").astype(object)
    cost = price(machine(busy_gpu_s=seconds(0, END, 4)), status=broke)
    whole = cost.whole

    assert whole is not None
    assert whole.wasted_usd == pytest.approx(0.080)
    assert whole.busy_usd == pytest.approx(0.080)
    assert cost.usd_per_1k_good_tokens == pytest.approx(2 * (cost.usd_per_1k_output_tokens or 0))


def test_what_a_fault_cost_is_beyond_the_baselines_rate() -> None:
    """A machine that was launched for it is on the bill; a GPU that stood cold was lost."""
    steady_one = machine(busy_gpu_s=seconds(0, END, 2), cold_gpu_s=seconds(HARM, GONE, 2))
    extra = machine(node="b", start_s=HARM, began=True)
    cost = price(steady_one, extra)

    assert cost.fault_usd == pytest.approx(0.120)
    assert cost.fault_lost_usd == pytest.approx(20 * 2 * 0.00025)


def test_a_price_that_is_missing_is_no_cost_at_all() -> None:
    """One machine that nobody can price, and the bill is not known: never what is left of it."""
    cost = price(machine(), machine(node="b", usd_per_h=None, capacity_type="spot"))

    assert cost.usd is None
    assert cost.usd_per_1m_tokens is None
    assert not cost.shares
    assert "no price for g6.12xlarge, spot, in us-east-1 (node b)" in cost.problem


def test_a_price_of_zero_is_no_price() -> None:
    """What it says there is that nobody knows: the list is asked, else the bill is not known."""
    listed_at = PriceBook((listed("on-demand", 3.6),))

    assert price(machine(usd_per_h=0.0), book=listed_at).usd == pytest.approx(0.160)
    assert price(machine(usd_per_h=0.0)).usd is None
    assert "no price for g6.12xlarge" in price(machine(usd_per_h=0.0)).problem


def test_the_newest_list_prices_what_the_platform_does_not() -> None:
    """The node's type, region and way to pay find it; where it comes from is kept."""
    old, new = listed("spot", 1.8, year=2025), listed("spot", 0.9, typical=True)
    spot = machine(node="b", usd_per_h=None, capacity_type="spot")
    cost = price(machine(), spot, book=PriceBook((new, old)))

    assert cost.usd == pytest.approx(0.160 + 0.040)
    assert cost.spot_share == pytest.approx(0.5)
    assert [quote.typical for quote in cost.prices] == [False, True]
    assert cost.usd_all_spot == pytest.approx(0.080)
    assert cost.usd_all_on_demand == pytest.approx(0.320)
    assert price(machine()).usd_all_spot is None


def test_no_tokens_have_no_unit_cost() -> None:
    """An outage for all of the run costs its machines, and nothing can be said of a token."""
    cost = price(machine(), status="http_error", output_tokens=0, first_token_s=np.nan)

    assert cost.usd == pytest.approx(0.160)
    assert cost.usd_per_1k_good_tokens is None
    assert cost.usd_per_1m_tokens is None


def test_a_bill_that_cannot_be_split_is_still_a_bill() -> None:
    """What the GPUs did is not known; what they cost is."""
    fleet = Fleet(EDGES, [machine()], parts_problem="nobody looked")
    cost = work_out(fleet, PHASES, count_tokens(rows(steady()), []), None)

    assert cost.usd == pytest.approx(0.160)
    assert all(share.busy_usd is None for share in cost.shares)
    assert cost.parts_problem == "nobody looked"
    assert cost.fault_lost_usd is None
    assert cost.fault_usd == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("limit", "fleet", "prices", "expected"),
    [
        (0.6, Fleet(EDGES, [machine()]), None, Verdict.PASS),
        (0.1, Fleet(EDGES, [machine()]), None, Verdict.FAIL),
        (0.2, Fleet(EDGES, [machine(error_s=60.0)]), None, Verdict.INCONCLUSIVE),
        (0.21, Fleet(EDGES, [machine(error_s=60.0)]), None, Verdict.INCONCLUSIVE),
        (
            0.6,
            Fleet(EDGES, [machine(usd_per_h=None)]),
            PriceBook((listed("on-demand", 3.6, typical=True),)),
            Verdict.INCONCLUSIVE,
        ),
        (0.6, Fleet(EDGES, [machine(usd_per_h=None)]), None, Verdict.INCONCLUSIVE),
        (0.6, Fleet(EDGES, [], problem="no nodes"), None, Verdict.INCONCLUSIVE),
        (0.6, None, None, Verdict.INCONCLUSIVE),
        (
            0.1,
            Fleet(EDGES, [machine(usd_per_h=None)]),
            PriceBook((listed("on-demand", 3.6, typical=True),)),
            Verdict.INCONCLUSIVE,
        ),
    ],
)
def test_the_claim_about_a_million_tokens(
    limit: float, fleet: Fleet | None, prices: PriceBook | None, expected: Verdict
) -> None:
    """0.160 USD for 774,400 tokens is 0.207 a million: held, broken, or not known."""
    claims = Expects(usd_per_1m_tokens_max=limit)
    judgement = judge(scene(rows(steady()), expects=claims, fleet=fleet, prices=prices))

    (claim,) = judgement.expectations
    assert claim.name == "usd_per_1m_tokens_max"
    assert claim.verdict is expected
    assert judgement.verdict is expected


def test_nobody_who_claims_nothing_fails_for_want_of_a_price() -> None:
    """A bill that is not known is said, and judges nothing."""
    judgement = judge(scene(fleet=Fleet(EDGES, [], problem="no nodes")))

    assert judgement.verdict is Verdict.PASS
    assert judgement.cost is not None
    assert judgement.cost.problem == "no nodes"


def test_the_scorecard_has_the_cost() -> None:
    """The bill over all tokens, and what spot saves; a missing or typical price leaves it out."""
    fleet = Fleet(EDGES, [machine()])
    book = PriceBook((listed("on-demand", 3.6), listed("spot", 1.44)))
    marks = {mark.name: mark for mark in judge(scene(fleet=fleet, prices=book)).scorecard}

    assert marks["cost_usd_per_1m_tokens"].measured is not None
    assert marks["spot_saved"].measured == pytest.approx(0.6)
    planned = PriceBook((listed("on-demand", 3.6), listed("spot", 1.44, typical=True)))
    at_typical = {m.name: m for m in judge(scene(fleet=fleet, prices=planned)).scorecard}
    assert at_typical["spot_saved"].met is None
    said = Fleet(EDGES, [machine(), machine(node="b", capacity_type="spot", typical=True)])
    assert {m.name: m for m in judge(scene(fleet=said)).scorecard}["spot_saved"].met is None
    unpriced = judge(scene(fleet=Fleet(EDGES, [machine(usd_per_h=None)])))
    assert {mark.name: mark for mark in unpriced.scorecard}["spot_saved"].met is None
