"""The claim about how long reverting lasts, read off the journal alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import journal, scene

from faultload.judge import Expectation, Verdict, judge
from faultload.record import InjectionEntry, InjectionStep
from faultload.spec.experiment import Expects


def claim(injections: list[InjectionEntry], limit: float = 60) -> Expectation:
    """Return what becomes of the claim; a scene's fault takes 1 s to revert."""
    (found,) = judge(scene(injections=injections, expects=Expects(revert_s_max=limit))).expectations
    return found


def later(entries: list[InjectionEntry], step: InjectionStep, by_s: float) -> list[InjectionEntry]:
    """Return a journal in which one step came later."""
    return [
        replace(one, time_unix_s=one.time_unix_s + by_s * (one.step is step)) for one in entries
    ]


def test_reverting_lasts_until_proven_gone() -> None:
    """The order to revert, and even its return, is not the end."""
    found = claim(later(journal(), InjectionStep.VERIFIED_REVERTED, 30.25))

    assert (found.verdict, found.found) == (Verdict.PASS, pytest.approx(31.25))
    assert found.text == "reverted, and proven gone, in 31.2 s (claimed under 60 s)"


def test_the_slowest_fault_counts_and_is_named() -> None:
    """A quick one beside it excuses nothing, whatever order they come in."""
    slow = [
        replace(one, fault="bad_release")
        for one in later(journal(name="i2"), InjectionStep.VERIFIED_REVERTED, 70)
    ]
    for entries in (journal() + slow, slow + journal()):
        found = claim(entries)
        assert (found.verdict, found.found) == (Verdict.FAIL, pytest.approx(71))
        assert found.text.startswith("bad_release was proven gone only 71.0 s after")


def test_every_attempt_counts() -> None:
    """A revert that failed and was made again lasts from the first attempt on."""
    again = later(journal(InjectionStep.REVERTING), InjectionStep.REVERTING, 50)
    entries = [*later(journal(), InjectionStep.VERIFIED_REVERTED, 60), *again]

    assert claim(entries).found == pytest.approx(61)


@pytest.mark.parametrize(
    "steps",
    [
        (InjectionStep.INJECTING,),
        (InjectionStep.INJECTING, InjectionStep.REVERTING),
        (InjectionStep.INJECTING, InjectionStep.VERIFIED_REVERTED),
    ],
)
def test_what_was_not_reverted_is_not_known(steps: tuple[InjectionStep, ...]) -> None:
    """No end, or no begin, is no number; another fault's number is not this one's."""
    alone = claim(journal(*steps))
    beside = claim(journal(*steps) + journal(name="i2"))

    for found in (alone, beside):
        assert (found.verdict, found.found) == (Verdict.INCONCLUSIVE, None)
        assert "kill_replica was not seen to be reverted" in found.text


def test_what_is_known_to_take_too_long_is_broken_whatever_else_is_unknown() -> None:
    """One fault over the limit decides."""
    slow = later(journal(name="i2"), InjectionStep.VERIFIED_REVERTED, 70)

    assert claim(journal(InjectionStep.INJECTING) + slow).verdict is Verdict.FAIL


def test_a_run_without_harm_proves_nothing() -> None:
    """A plan that was never carried out has nothing to revert."""
    for entries in ([], journal(InjectionStep.PLANNED)):
        found = claim(entries)
        assert (found.verdict, found.found) == (Verdict.INCONCLUSIVE, None)
        assert "a fault was not seen" in found.text


def test_its_finding_points_to_the_journal() -> None:
    """Whoever doubts it looks there."""
    expects = Expects(revert_s_max=0.5)
    judgement = judge(scene(expects=expects))

    (finding,) = [one for one in judgement.findings if one.subject == "revert_s_max"]
    assert (finding.verdict, finding.evidence) == (Verdict.FAIL, "injections.jsonl")


def test_platform_that_did_not_heal_has_not_kept_the_claim() -> None:
    """The fault gave up waiting within the limit: that is no end of the harm."""
    entries = [
        replace(one, evidence={"text": "no", "data": {"healed": False}})
        if one.step is InjectionStep.VERIFIED_REVERTED
        else one
        for one in journal()
    ]

    found = claim(entries)

    assert found.verdict is Verdict.FAIL
    assert "was not seen to heal" in found.text
