"""What a model writes, it reads back; and what SLOs derive follows from what they say."""

from __future__ import annotations

import string
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from faultload.errors import SpecError
from faultload.spec import Scenario, load_experiment, load_scenario, load_slos
from faultload.spec.slo import RequestsQuery

_positive = st.floats(min_value=0.001, max_value=1000, allow_nan=False)
_name = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12)
_printable = st.characters(exclude_categories=("Cc", "Cs"))
_lengths = st.tuples(st.integers(1, 500), st.integers(0, 500), st.integers(0, 500)).map(
    lambda t: {"min": t[0], "median": t[0] + t[1], "max": t[0] + t[1] + t[2]}
)
_arrivals = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["constant", "poisson"]), "rate_rps": _positive}
    ),
    st.fixed_dictionaries(
        {
            "kind": st.just("steps"),
            "steps": st.lists(
                st.fixed_dictionaries({"for_s": _positive, "rate_rps": _positive}), min_size=1
            ),
        }
    ),
    st.fixed_dictionaries(
        {"kind": st.just("ramp"), "from_rps": _positive, "to_rps": _positive, "over_s": _positive}
    ),
    st.fixed_dictionaries({"kind": st.just("trace"), "path": _name}),
)
_scenarios = st.fixed_dictionaries(
    {
        "name": _name,
        "description": st.text(_printable, max_size=40),
        "arrivals": _arrivals,
        "tiers": st.lists(
            st.fixed_dictionaries(
                {
                    "tier": _name,
                    "model": _name,
                    "weight": _positive,
                    "prompt_tokens": _lengths,
                    "output_tokens": _lengths,
                }
            ),
            min_size=1,
            max_size=3,
        ),
        "seed": st.integers(0, 2**31),
    }
)


@settings(deadline=None)
@given(_scenarios)
def test_scenario_survives_yaml(data: dict[str, object]) -> None:
    """A scenario kept in a record is the scenario that ran: nothing is lost on the way."""
    scenario = Scenario.model_validate(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scenario.yaml")
        path.write_text(yaml.safe_dump(scenario.model_dump(mode="json", by_alias=True)), "utf-8")
        assert load_scenario(path) == scenario


def test_slos_survive_yaml(project: Path) -> None:
    """SLOs written by alias are OpenSLO again."""
    path = project / "slos" / "chat.yaml"
    slos = load_slos(path)
    path.write_text(yaml.safe_dump_all(slo.model_dump(by_alias=True) for slo in slos), "utf-8")
    assert load_slos(path) == slos


@settings(deadline=None)
@given(st.floats(min_value=0.001, max_value=900).map(lambda x: round(x, 3)))
def test_latency_condition_is_read_as_written(limit_s: float) -> None:
    """The limit in words is the limit compared with."""
    condition = RequestsQuery(good=f"ttft_s <= {limit_s:.3f}").condition
    assert (condition.kind, condition.column, condition.limit_s) == ("latency", "ttft_s", limit_s)


@pytest.mark.parametrize(
    "good", ["ttft_s < 0.5", "ttft_s <= -1", "served ", "ok", "ttft_s <= 1e3", "ttft_s <= 1\n"]
)
def test_other_conditions_are_refused(good: str) -> None:
    """What is not exactly one of the forms is an error, never a guess."""
    with pytest.raises(ValidationError):
        RequestsQuery(good=good)


def test_slo_derives_budget_and_window(project: Path) -> None:
    """95 % over 30 days leaves 5 % of events; the statement is what reports print."""
    slo = load_slos(project / "slos" / "chat.yaml")[0]
    assert slo.budget == pytest.approx(0.05)
    assert slo.window_s == 30 * 86400
    assert slo.statement == "95 % of fast requests: ttft_s <= 0.5"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
_keys = st.sampled_from(
    "title description tags configuration extensions method rollbacks"
    " steady-state-hypothesis".split()
)


@settings(deadline=None)
@given(st.dictionaries(_keys, _json))
def test_any_experiment_is_read_or_refused(changes: dict[str, object]) -> None:
    """Whatever YAML holds, reading it ends in an experiment or in one line, never in a crash."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "any.yaml")
        document = {**_minimal(), **changes}
        path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
        try:
            experiment = load_experiment(path)
        except SpecError as error:
            assert "\n" not in error.problem  # noqa: PT017  # both ends are right
        else:
            assert experiment.hold_s >= 0


def _minimal() -> dict[str, object]:
    return {
        "title": "A",
        "description": "B",
        "method": [{"type": "action", "name": "c", "provider": {"type": "python"}}],
        "extensions": [
            {
                "name": "faultload",
                "scenario": "chat",
                "slos": ["chat"],
                "phases": {"warmup_s": 0, "baseline_s": 1, "recovery_s": 1},
                "blast_radius": {"component": "engine", "replicas": 1},
            }
        ],
    }
