"""Claims about scaling: from samples alone, and no sample is never a pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scenes import END, GONE, HARM, journal, outage, rows, scene, steady

from faultload.judge import Evidence, Expectation, ReplicaCounts, Verdict, judge
from faultload.record import InjectionStep, Outcome
from faultload.spec.experiment import Expects

Steps = list[tuple[float, float]]


def sampled(*steps: tuple[float, float], until_s: float = END) -> Steps:
    """Return a sample a second of a number that changes at the given times."""
    moments = [float(second) for second in range(int(until_s))]
    return [(at, [count for since, count in steps if since <= at][-1]) for at in moments]


def grown(up_s: float = 20.0, down_s: float = 30.0, **changes: Any) -> dict[str, ReplicaCounts]:
    """Return a tier of one replica that has two from `up_s` after the harm on, and again one."""
    wanted = sampled((0, 1), (HARM + 5, 2), (GONE + down_s - 2, 1))
    ready = sampled((0, 1), (HARM + up_s, 2), (GONE + down_s, 1))
    return {"ns/slow": ReplicaCounts(**{"wanted": wanted, "ready": ready, **changes})}


def claim(
    replicas: dict[str, ReplicaCounts], evidence: Evidence | None = None, **expects: Any
) -> Expectation:
    """Return what comes of the only claim."""
    about = replace(evidence or scene(), expects=Expects(**expects), replicas=replicas)
    (found,) = judge(about).expectations
    return found


def test_growth_counts_from_the_harm_to_the_ready_replica() -> None:
    """What is wanted is not there yet, and what was there before does not count."""
    found = claim(grown(up_s=20), scale_up_s_max=25)

    assert (found.verdict, found.found) == (Verdict.PASS, 20)
    assert claim(grown(up_s=26), scale_up_s_max=25).verdict is Verdict.FAIL


def test_slowest_tier_decides() -> None:
    """One tier in time does not make up for another."""
    both = grown(up_s=20) | {"ns/other": grown(up_s=30)["ns/slow"]}

    assert claim(both, scale_up_s_max=25).verdict is Verdict.FAIL


def test_tier_that_was_not_to_grow_is_not_waited_for() -> None:
    """Nobody asked for more of it."""
    still = ReplicaCounts(sampled((0, 2)), sampled((0, 2)))

    assert claim(grown() | {"ns/still": still}, scale_up_s_max=25).verdict is Verdict.PASS
    assert claim({"ns/still": still}, scale_up_s_max=25).verdict is Verdict.FAIL
    assert claim({"ns/still": still}, scale_up_s_max=500).verdict is Verdict.INCONCLUSIVE


def test_replica_that_never_got_ready_breaks_the_claim() -> None:
    """A wish is no replica; whoever looked too shortly cannot tell."""
    never = grown(ready=sampled((0, 1)))

    assert claim(never, scale_up_s_max=25).verdict is Verdict.FAIL
    assert claim(never, scale_up_s_max=500).verdict is Verdict.INCONCLUSIVE


def test_shrinking_counts_from_the_end_of_the_fault_and_must_last() -> None:
    """Both what is wanted and what serves; back up again is not down."""
    assert claim(grown(down_s=30), scale_down_s_max=35).found == pytest.approx(30, abs=1)
    assert claim(grown(down_s=40), scale_down_s_max=35).verdict is Verdict.FAIL
    again = grown(ready=sampled((0, 1), (HARM + 9, 2), (GONE + 9, 1), (GONE + 50, 2)))
    assert claim(again, scale_down_s_max=35).verdict is Verdict.FAIL
    assert claim(again, scale_down_s_max=500).verdict is Verdict.INCONCLUSIVE


def test_where_nothing_grew_nothing_shrank() -> None:
    """A claim about what could not be seen is not held."""
    still = {"ns/still": ReplicaCounts(sampled((0, 2)), sampled((0, 2)))}

    assert claim(still, scale_down_s_max=35).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    "replicas",
    [
        {},
        grown(ready=[]),
        grown(wanted=[]),
        grown(ready=sampled((0, 1), until_s=HARM)),
        grown(ready=sampled((0, 1), (HARM + 20, 2))[int(HARM) + 1 :]),
    ],
    ids=["none", "none ready", "none wanted", "until the harm", "from the harm on"],
)
def test_no_data_is_never_a_pass(replicas: dict[str, ReplicaCounts]) -> None:
    """Before and after the harm must have been seen."""
    for expects in ({"scale_up_s_max": 500.0}, {"scale_down_s_max": 500.0}):
        assert claim(replicas, **expects).verdict is Verdict.INCONCLUSIVE


def without(samples: Steps, since_s: float, until_s: float = END) -> Steps:
    """Return samples with none of those from `since_s` to before `until_s`."""
    return [(at, count) for at, count in samples if not since_s <= at < until_s]


STILL = sampled((0, 2))


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "none of them was taken"),
        (without(STILL, HARM + 6), "none was taken after 45.0 s of the run"),
        (without(STILL, HARM + 6, HARM + 30), "none was taken from 45.0 to 70.0 s of the run"),
        (without(STILL, 0, HARM + 10), "none was taken before 50.0 s of the run"),
    ],
    ids=["absent", "end", "gap", "begin late"],
)
@pytest.mark.parametrize(
    ("series", "words"), [("wanted", "replicas wanted"), ("ready", "replicas ready")]
)
def test_tier_with_missing_samples_may_have_grown(
    series: str, words: str, samples: Steps, said: str
) -> None:
    """That another tier grew in time, or none was seen to, says nothing of it; who and when."""
    unseen = {"ns/b": ReplicaCounts(**{"wanted": STILL, "ready": STILL, series: samples})}

    for replicas in (unseen, grown(up_s=25) | unseen):
        found = claim(replicas, scale_up_s_max=60)
        assert (found.verdict, found.found) == (Verdict.INCONCLUSIVE, None)
        assert f"samples of ns/b's {words} are missing: {said}" in found.text


@pytest.mark.parametrize("series", ["wanted", "ready"])
def test_tier_with_missing_samples_may_not_have_shrunk(series: str) -> None:
    """Neither one that was not seen to grow, nor one that was back and then not looked at."""
    still = ReplicaCounts(**{"wanted": STILL, "ready": STILL, series: without(STILL, GONE + 11)})
    back = grown(down_s=5)
    short = replace(
        back["ns/slow"], **{series: without(getattr(back["ns/slow"], series), GONE + 11)}
    )
    empty = replace(back["ns/slow"], **{series: []})

    for replicas, at in (
        (back | {"ns/b": still}, "after 70.0 s"),
        (back | {"ns/b": short}, "after 70.0 s"),
        (back | {"ns/b": empty}, "none of them"),
    ):
        found = claim(replicas, scale_down_s_max=60)
        assert found.verdict is Verdict.INCONCLUSIVE
        assert f"samples of ns/b's replicas {series} are missing" in found.text
        assert at in found.text


def test_what_was_seen_in_time_needs_no_more_samples() -> None:
    """Growth that was seen is growth; a shrunk tier of a run that ended was watched to its end."""
    seen = grown(ready=without(grown()["ns/slow"].ready, HARM + 25))
    assert claim(seen, scale_up_s_max=60).verdict is Verdict.PASS
    wish = grown(wanted=without(grown()["ns/slow"].wanted, HARM + 8))
    assert claim(wish, scale_up_s_max=60).verdict is Verdict.PASS
    ready = grown(down_s=5)["ns/slow"].ready
    later = grown(down_s=5, ready=without(ready, GONE + 20, GONE + 40))
    assert claim(later, scale_down_s_max=60).verdict is Verdict.PASS
    assert claim(grown(), scale_down_s_max=500).verdict is Verdict.PASS


def test_a_few_scrapes_may_fail() -> None:
    """What is a gap depends on how often was looked."""
    few = grown(ready=without(grown()["ns/slow"].ready, HARM + 3, HARM + 6))
    many = grown(ready=without(grown()["ns/slow"].ready, HARM + 3, HARM + 15))
    seldom = scene(scrape_interval_s=15.0)

    assert claim(few, scale_up_s_max=60).verdict is Verdict.PASS
    assert claim(many, scale_up_s_max=60).verdict is Verdict.INCONCLUSIVE
    assert claim(many, seldom, scale_up_s_max=60).verdict is Verdict.PASS


def test_missing_samples_hide_no_failure_and_make_none() -> None:
    """A tier seen to be too late breaks the claim, one not looked at when it mattered does not."""
    unseen = {"ns/b": ReplicaCounts([], STILL)}
    assert claim(grown(up_s=70) | unseen, scale_up_s_max=60).verdict is Verdict.FAIL
    assert claim(grown(down_s=70) | unseen, scale_down_s_max=60).verdict is Verdict.FAIL

    up = grown(ready=without(grown()["ns/slow"].ready, HARM + 10, HARM + 70))
    assert claim(up, scale_up_s_max=60).verdict is Verdict.INCONCLUSIVE
    unknown = grown(ready=sampled((0, 2))[int(HARM) + 10 :])
    assert claim(unknown, scale_up_s_max=60).verdict is Verdict.INCONCLUSIVE
    down = grown(wanted=without(grown()["ns/slow"].wanted, GONE + 10))
    assert claim(down, scale_down_s_max=60).verdict is Verdict.INCONCLUSIVE


def test_no_harm_is_no_claim_held() -> None:
    """There is no moment to count from."""
    for expects in ({"scale_up_s_max": 500.0}, {"scale_down_s_max": 500.0}, {"refused_max": 5}):
        found = claim(grown(), scene(injections=[]), **expects)
        assert found.verdict is Verdict.INCONCLUSIVE


def test_refusals_are_counted_with_those_of_added_traffic() -> None:
    """Its own rows are not the run's, and its users are users."""
    refused = int((outage()["http_status"] == 503).sum())
    assert claim({}, refused_max=0).found == refused
    calm, added = rows(steady()), {"data": {"refused_requests": 4}}
    entries = [
        replace(e, evidence=added if e.step is InjectionStep.VERIFIED_REVERTED else {})
        for e in journal()
    ]

    assert claim({}, scene(calm, injections=entries), refused_max=4).verdict is Verdict.PASS
    assert claim({}, scene(calm, injections=entries), refused_max=3).verdict is Verdict.FAIL
    assert claim({}, scene(calm), refused_max=0).verdict is Verdict.PASS


def test_refusals_not_all_seen_are_no_pass() -> None:
    """A sender without a word, or a run that was cut short."""
    silent = {"data": {"refused_requests": None}}
    entries = [
        replace(e, evidence=silent if e.step is InjectionStep.VERIFIED_REVERTED else {})
        for e in journal()
    ]
    for evidence in (
        scene(rows(steady()), injections=entries),
        scene(rows(steady()), outcome=Outcome.INTERRUPTED),
    ):
        assert claim({}, evidence, refused_max=4).verdict is Verdict.INCONCLUSIVE
