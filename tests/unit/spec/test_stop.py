"""The key `stop`: what it may say, what it may not, and that it survives being written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from faultload.errors import SpecError
from faultload.spec import StopSpec, TargetSpec
from faultload.spec.reading import parse

EVERYTHING = {
    "budget_percent_max": 1.5,
    "bad_requests": {"share_max": 0.5, "window_s": 10, "requests_min": 20, "for_s": 2},
    "queries": [{"name": "kv-full", "promql": "max(kv)", "above": 0.99, "for_s": 10}],
    "telemetry_missing_s": 15,
    "tokens_max": 1000,
    "usd_max": 2.5,
}


def read(stop: Any) -> TargetSpec:
    """Return a target file that says this."""
    return parse(TargetSpec, {"name": "t", "kind": "x", "stop": stop}, Path("t.yaml"))


@pytest.mark.parametrize("stop", ["none", None, EVERYTHING, {"tokens_max": 1}])
def test_what_a_record_keeps_of_it_reads_back(stop: Any) -> None:
    """A run's copy of the file says the same: `none` is not the same as nothing said."""
    spec = read(stop)

    again = parse(TargetSpec, spec.model_dump(mode="json", by_alias=True), Path("t.yaml"))

    assert again == spec
    assert (spec.stop == StopSpec()) == (stop == "none")
    assert (spec.stop is None) == (stop is None)


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        ({}, "stop: it names no condition: name one, or say none"),
        ({"queries": []}, "stop: it names no condition"),
        ({"tokens_max": None}, "stop: it names no condition"),
        ("never", "stop: expected conditions, or none, found 'never'"),
        (False, "stop: expected conditions, or none, found False"),
        ({"token_max": 1}, "stop.token_max: unknown key .*did you mean 'tokens_max'"),
        ({"tokens_max": 0}, "stop.tokens_max: .*found 0"),
        ({"usd_max": float("nan")}, "stop.usd_max: .*found nan"),
        ({"budget_percent_max": 0}, "stop.budget_percent_max: .*found 0"),
        ({"bad_requests": {}}, "stop.bad_requests.share_max: this key is required"),
        ({"bad_requests": {"share_max": 1}}, "stop.bad_requests.share_max: .*found 1"),
        ({"telemetry_missing_s": -1}, "stop.telemetry_missing_s: .*found -1"),
        ({"queries": [{"name": "a", "promql": "x"}]}, "query a: expected one limit"),
        (
            {"queries": [{"name": "a", "promql": "x", "above": 1, "below": 1}]},
            "query a: expected one limit",
        ),
        ({"queries": [{"name": "a", "promql": "", "above": 1}]}, r"queries\[0\]\.promql: "),
    ],
)
def test_what_would_never_stop_anything_is_refused(stop: Any, said: str) -> None:
    """The file, the key and the remedy; a condition that says nothing is no condition."""
    with pytest.raises(SpecError, match=f"t.yaml: .*{said}"):
        read(stop)
