"""What is shown beside the verdict: stages of recovery, moved tails, goodput, scorecard."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scenes import END, GONE, HARM, PHASES, journal, outage, rows, scene, slo, steady
from streams import latencies

from faultload.judge import Judgement, Mark, ReplicaCounts, Stage, Verdict, judge
from faultload.judge.ledger import balance_tokens
from faultload.judge.rows import Rows
from faultload.judge.slo import Events
from faultload.judge.tails import find_degraded
from faultload.record import PhaseName, RequestStatus
from faultload.spec.experiment import Expects

TTFT = slo("ttft", "ttft_s <= 0.2", target=0.8)


def slower(share: float, to_s: float = 0.15, rate: float = 40.0) -> pd.DataFrame:
    """Return a run in which a share of first tokens come late since the harm."""
    due = steady(rate)
    late = (due >= HARM) & (np.arange(len(due)) % 100 < share * 100)
    # Every third answer is a little slower, or quantiles would have no spread at all.
    first = due + np.where(late, to_s, 0.05 + 0.01 * (np.arange(len(due)) % 3))
    return rows(due, first_token_s=first, last_token_s=first + 0.2, end_s=first + 0.2)


class TestDegraded:
    """A tail that moved is said, and is no verdict."""

    def test_a_moved_tail_inside_a_pass(self) -> None:
        """The budget held, so the run passes; p95 and p99 are named with their bounds."""
        judgement = judge(scene(slower(0.1), slos=[TTFT], expects=Expects()))

        assert judgement.verdict is Verdict.PASS
        assert [(d.slo, d.share) for d in judgement.degraded] == [("ttft", 0.95), ("ttft", 0.99)]
        worst = judgement.degraded[0]
        assert worst.after_s is not None
        assert worst.before_s <= worst.before_s_max < worst.after_s_min <= worst.after_s
        assert worst.after_s == pytest.approx(0.15)

    def test_a_tail_that_moved_by_little_is_not(self) -> None:
        """Under a tenth is what the gate tolerates."""
        assert not judge(scene(slower(0.1, 0.075), slos=[TTFT], expects=Expects())).degraded

    def test_a_p95_moves_only_when_enough_requests_do(self) -> None:
        """2 % of slow requests move the p99 alone."""
        judgement = judge(scene(slower(0.02), slos=[TTFT], expects=Expects()))

        assert [d.share for d in judgement.degraded] == [0.99]

    def test_nothing_is_said_of_a_run_that_does_not_pass(self) -> None:
        """A fail says worse things already."""
        judgement = judge(scene(slower(0.5, 0.5), slos=[TTFT]))

        assert judgement.verdict is Verdict.FAIL
        assert not judgement.degraded

    def test_how_often_it_is_wrong(self) -> None:
        """Where nothing moved hardly any tail is called moved; half as much again is seen.

        The full size is `benchmarks/judge_calibration.py`.
        """

        def moved(factor: float) -> int:
            hits = 0
            for seed in range(15):
                due, took = latencies(33, 30, 120, factor, seed)
                due += PHASES[1].start_s
                events = {"ttft": Events(due, np.zeros_like(due, dtype=np.bool_), took)}
                found = find_degraded([TTFT], events, (PHASES[1], PHASES[3]), HARM)
                hits += any(one.share == 0.95 for one in found)
            return hits

        assert moved(1.0) <= 2
        assert moved(1.5) >= 14

    def test_too_few_requests_say_nothing(self) -> None:
        """No bound, no word."""
        few = slower(0.1, rate=0.6)

        assert not [d for d in judge(scene(few, slos=[TTFT])).degraded if d.share == 0.99]


class TestGoodput:
    """What met every SLO, by second."""

    def test_counts_requests_and_tokens_that_met_all(self) -> None:
        """A request that one SLO calls bad is not good, whatever the others say."""
        judgement = judge(scene(slower(0.1, 0.5), slos=[slo(), TTFT], expects=Expects()))

        by_phase = {goodput.phase: goodput for goodput in judgement.goodput}
        assert by_phase[PhaseName.BASELINE].requests_per_s == 40.0
        assert by_phase[PhaseName.BASELINE].tokens_per_s == 40.0 * 21
        assert by_phase[PhaseName.RECOVERY].requests_per_s == 36.0

    def test_what_the_harm_broke_is_the_harms(self) -> None:
        """A stream due before the harm and cut by it does not spoil the baseline."""
        due = steady()
        cut = (due < HARM) & (due > HARM - 1)
        status = np.where(cut, "cut", "ok").astype(object)
        evidence = scene(rows(due, status=status, end_s=due + 2))

        by_phase = {goodput.phase: goodput for goodput in judge(evidence).goodput}

        assert by_phase[PhaseName.BASELINE].requests == by_phase[PhaseName.BASELINE].good
        lost = by_phase[PhaseName.FAULT].requests - by_phase[PhaseName.FAULT].good
        assert lost == int(cut.sum())

    def test_without_slos_on_rows_there_is_none(self) -> None:
        """Nothing to be good at."""
        assert not judge(scene(slos=[])).goodput


def stage(judgement: Judgement, name: str) -> Stage:
    """Return one stage of the way back."""
    return next(one for one in judgement.stages if one.name == name)


class TestStages:
    """From harm to health, each part from what the record has."""

    def counted(self, back_s: float = HARM + 25) -> dict[str, ReplicaCounts]:
        """Return samples each second: one replica of two is missing until `back_s`."""
        ready = [(t + 0.5, 1.0 if HARM + 2 < t < back_s else 2.0) for t in range(int(END))]
        return {"ns/engine": ReplicaCounts([(t, 2.0) for t, _ in ready], ready)}

    def test_each_part_with_its_error(self) -> None:
        """A router that sends again, then leaves the dead one out; capacity; latency."""
        due = steady()
        again = (due >= HARM + 1) & (due < HARM + 4) & (np.arange(len(due)) % 2 == 0)
        late = (due >= HARM) & (due < HARM + 30)
        first = due + np.where(late, 0.5, 0.05)
        requests = rows(
            due,
            retries=again.astype(int),
            first_token_s=first,
            last_token_s=first + 0.2,
            end_s=first + 0.2,
        )
        slow = slo("ttft", "ttft_s <= 0.2")

        judgement = judge(scene(requests, slos=[slow], replicas=self.counted(), expects=Expects()))

        detect, reroute = stage(judgement, "detect"), stage(judgement, "reroute")
        assert detect.reached_s == pytest.approx(1.25)
        assert detect.error_s == pytest.approx(0.25)
        assert reroute.reached_s == pytest.approx(3.95)
        assert stage(judgement, "capacity").reached_s == pytest.approx(25.5)
        assert stage(judgement, "warm").reached_s == pytest.approx(30, abs=1)
        known = [one for one in judgement.stages if one.took_s is not None]
        assert sum(one.took_s for one in known) == pytest.approx(
            max(one.reached_s for one in known)
        )

    @pytest.mark.parametrize(
        ("name", "changes", "why"),
        [
            ("detect", {}, "replicas were not counted"),
            ("reroute", {"requests": rows(steady())}, "sent again or failed"),
            ("reroute", {"requests": outage(end=END)}, "not seen to be well"),
            ("capacity", {}, "not counted"),
            ("warm", {"requests": outage(end=END)}, "not back for sure"),
            ("warm", {"requests": rows(np.arange(0.5, END, 1.0))}, "answers in the baseline"),
        ],
    )
    def test_what_is_not_known_says_why(
        self, name: str, changes: dict[str, object], why: str
    ) -> None:
        """No part is guessed from the others."""
        found = stage(judge(scene(**changes)), name)

        assert (found.reached_s, found.took_s, found.error_s) == (None, None, None)
        assert why in found.text

    def test_capacity_that_did_not_come_back_is_not_known(self) -> None:
        """Fewer replicas to the last sample is no time."""
        judgement = judge(scene(replicas=self.counted(back_s=END + 1)))

        assert "and more" in stage(judgement, "capacity").text

    def test_missing_samples_are_not_capacity(self) -> None:
        """Samples that end early may hide anything."""
        counts = self.counted()["ns/engine"]
        cut = ReplicaCounts(counts.wanted, [s for s in counts.ready if s[0] < HARM + 30])

        assert "missing" in stage(judge(scene(replicas={"e": cut})), "capacity").text

    def test_a_router_that_takes_a_replica_out_has_noticed(self) -> None:
        """Its own count is the earliest sign here."""
        usable = [(float(t), 4.0 if t < HARM + 1 else 3.0) for t in range(int(END))]

        found = stage(judge(scene(usable={"r1": usable})), "detect")

        assert found.reached_s == pytest.approx(1.0)
        assert "router r1" in found.text

    def test_no_harm_no_stages(self) -> None:
        """Without harm there is nothing to come back from."""
        assert not judge(scene(injections=[])).stages


def mark(judgement: Judgement, name: str) -> Mark:
    """Return one row of the scorecard."""
    return next(one for one in judgement.scorecard if one.name == name)


class TestScorecard:
    """Each target is met, missed or not known; not known is never met."""

    def test_what_a_healthy_run_shows(self) -> None:
        """Latency and throughput from the baseline; what one run cannot show is not known."""
        judgement = judge(scene())

        met = {one.name: one.met for one in judgement.scorecard}
        assert met["ttft_s_p95"] is met["fast_ttft_s_p95"] is met["tpot_s_p50"] is True
        assert met["throughput_rps"] is True
        unknown = "rollback_s refused awq_memory_saved spot_saved cache_hit_share cache_lookup_s"
        assert {met[name] for name in unknown.split()} == {None}
        assert all(one.text for one in judgement.scorecard)

    @pytest.mark.parametrize(
        ("name", "requests", "met"),
        [
            ("ttft_s_p95", rows(steady(), first_token_s=steady() + 0.6), False),
            ("fast_ttft_s_p95", rows(steady(), tier="slow"), None),
            ("tpot_s_p50", rows(steady(), last_token_s=steady() + 3.0), False),
            ("throughput_rps", rows(steady(rate=8)), None),
            ("ttft_s_p95", outage(start=10, end=HARM), False),
            ("ttft_s_p95", rows(np.arange(0.0, END, 1.0)), None),
        ],
    )
    def test_rows_of_the_baseline(
        self, name: str, requests: pd.DataFrame, met: bool | None
    ) -> None:
        """A load that asks for little shows no capacity; too few requests show no p95."""
        assert mark(judge(scene(requests)), name).met is met

    def test_a_rollback_is_timed_from_its_order(self) -> None:
        """Only of a release; one that was not seen to end is missed."""
        entries = [replace(entry, fault="bad_release") for entry in journal()]

        done = mark(judge(scene(injections=entries)), "rollback_s")
        open_ = mark(judge(scene(injections=entries[:-1])), "rollback_s")

        assert (done.measured, done.met) == (pytest.approx(1.0), True)
        assert open_.met is False

    def test_a_planned_change_may_refuse_and_cut_nobody(self) -> None:
        """One 503 after a roll-out began is a miss; a kill is not a planned change."""
        entries = [replace(entry, fault="roll_out") for entry in journal()]

        planned = judge(scene(injections=entries))
        quiet = judge(scene(rows(steady()), injections=entries))

        assert mark(planned, "refused").met is False
        assert mark(quiet, "refused").met is mark(quiet, "unfinished_streams").met is True
        assert mark(judge(scene()), "refused").met is None

    def test_numbers_from_elsewhere(self) -> None:
        """What others worked out is held against the target; not a number is not known."""
        given = scene(readings={"cost_usd_per_1m_tokens": 0.7, "cache_hit_share": math.nan})

        assert mark(judge(given), "cost_usd_per_1m_tokens").met is False
        assert mark(judge(given), "cache_hit_share").met is None


def test_the_ledger_leaves_no_token_out() -> None:
    """Whatever became of a request, its tokens are in exactly one place."""
    due = steady(rate=20, end=GONE)
    generator = np.random.default_rng(5)
    status = generator.choice(np.array(list(RequestStatus), dtype=object), len(due))
    got = generator.integers(0, 30, len(due))
    began = (got > 0) | (status == "ok")
    requests = rows(
        due,
        status=status,
        output_tokens=got,
        first_token_s=np.where(began, due + 0.05, np.nan),
        last_token_s=np.where(began, due + 2.0, np.nan),
        gap_s_max=np.where(generator.random(len(due)) < 0.1, 1.5, 0.02),
    )

    t = balance_tokens(Rows.of(requests))

    parts = (t.delivered, t.unneeded, t.lost, t.wasted, t.refused, t.open, t.unsent)
    assert sum(parts) == t.asked == 21 * len(due)
    assert 0 < t.stalled < t.delivered
    assert min(parts) > 0


def test_a_part_that_breaks_is_never_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is shown may not break in silence."""
    for name in ("split_recovery", "find_degraded", "add_goodput", "make_scorecard"):
        with monkeypatch.context() as patch:

            def broken(*_: object) -> None:
                raise ZeroDivisionError("boom")

            patch.setitem(judge.__globals__, name, broken)
            assert judge(scene()).verdict is Verdict.INVALID, name
