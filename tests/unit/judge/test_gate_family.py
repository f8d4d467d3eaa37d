"""The gate over several SLIs, and the second gate that confirms a failure."""

import pytest

from faultload.judge import GateResult, Verdict, confirm, family

FOUR = (Verdict.INVALID, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def result(verdict: Verdict, reason: str = "So it is.") -> GateResult:
    """Return a gate's result."""
    return GateResult(verdict, reason, 0.0, 0.5, (-0.1, 0.1), 0.1, 0)


@pytest.mark.parametrize("number", range(4))
def test_the_worst_sli_counts(number: int) -> None:
    """Invalid before fail, inconclusive and pass; the reason names the SLIs that decided."""
    results = {verdict.value: result(verdict) for verdict in FOUR[number:]}

    found = family(results)

    assert found.verdict is FOUR[number]
    if number < 3:
        assert found.reason == f"{FOUR[number].value}: So it is."


def test_nothing_compared_is_inconclusive() -> None:
    """No SLI is no pass."""
    assert family({}).verdict is Verdict.INCONCLUSIVE


def test_false_alarms_add_up_and_confirming_multiplies() -> None:
    """Six SLIs at 1 % raise 6 % at most; when each must fail twice, 0.06 %."""
    results = {str(number): result(Verdict.PASS) for number in range(6)}

    assert family(results).false_alarms_max == pytest.approx(0.06)
    assert family(results, is_confirmed=True).false_alarms_max == pytest.approx(0.0006)


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        (Verdict.FAIL, Verdict.FAIL),
        (Verdict.PASS, Verdict.INCONCLUSIVE),
        (Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        (Verdict.INVALID, Verdict.INVALID),
        (None, Verdict.INCONCLUSIVE),
    ],
)
def test_a_failure_counts_when_it_is_repeated(second: Verdict | None, verdict: Verdict) -> None:
    """What fails once and not again is undecided, and never a pass."""
    again = {} if second is None else {"p95": result(second)}

    assert confirm({"p95": result(Verdict.FAIL)}, again)["p95"].verdict is verdict


def test_only_the_same_sli_confirms() -> None:
    """Another SLI's failure the second time is another false alarm; what passed is left alone."""
    first = {"p95": result(Verdict.FAIL), "p50": result(Verdict.PASS)}
    second = {"p95": result(Verdict.PASS), "p50": result(Verdict.FAIL)}

    found = confirm(first, second)

    assert found["p95"].verdict is Verdict.INCONCLUSIVE
    assert found["p50"] == first["p50"]
