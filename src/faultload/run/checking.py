"""What experiment, scenario, SLOs and target say of each other, seen before anything starts."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from faultload import faults, targets
from faultload.errors import SpecError, nearest
from faultload.faults.protocol import FaultClass, Intent
from faultload.measure import CATALOGUE, bucket_edges
from faultload.spec import SLO, Experiment, Scenario
from faultload.spec.promql import parse_counter
from faultload.spec.reading import join
from faultload.spec.slo import RequestsSource
from faultload.spec.wording import explain, found, is_unknown_key, key_of

_BLOCK = "extensions[faultload]"
_TIMEOUTS = {
    "ttft_s": "first_token_s",
    "tpot_s": "gap_s",
    "e2e_s": "total_s",
    "gap_s_max": "gap_s",
}
"""Column of the request rows → the timeout of a scenario that ends what takes longer."""
_OURS = "faultload.faults"


def check_names(experiment: Experiment) -> None:
    """See that capabilities, gaps and functions of ours are ones that there are.

    Raises:
        SpecError: one is not; names the nearest.
    """
    capabilities = {value for name, value in vars(targets).items() if name.isupper()}
    known = {value for value in capabilities if isinstance(value, str)}
    for index, name in enumerate(experiment.block.requires):
        _demand(experiment, f"{_BLOCK}.requires[{index}]", name, known)
    series = {entry.name for entry in CATALOGUE}
    for index, name in enumerate(experiment.block.gaps):
        if not any(fnmatchcase(one, name) for one in series):
            _demand(experiment, f"{_BLOCK}.gaps[{index}]", name, series)


def check_rollbacks(experiment: Experiment) -> None:
    """See that `chaos run`, which knows no journal of ours, would take the harm back as well.

    Raises:
        SpecError: it would not.
    """
    rollbacks = [one["provider"].get("func") for one in experiment.raw.get("rollbacks", [])]
    if "revert_all" not in rollbacks:
        raise SpecError(
            experiment.path,
            "rollbacks",
            f"expected an action with module: {_OURS} and func: revert_all, found none; add it, or"
            " `chaos run` would leave the harm in force",
        )
    strategy = experiment.raw.get("runtime", {}).get("rollbacks", {}).get("strategy")
    if strategy in ("never", "deviated"):
        raise SpecError(
            experiment.path,
            "runtime.rollbacks.strategy",
            f"expected always, found {strategy}: `chaos run` would leave the harm in force",
        )


def check_function(experiment: Experiment, at: str, provider: Mapping[str, Any]) -> None:
    """See that a function of ours is one that there is.

    Raises:
        SpecError: it is not; names the nearest.
    """
    module = str(provider.get("module", ""))
    if module.partition(".")[0] == "faultload":
        _demand(experiment, f"{at}.provider.module", module, [_OURS])
        functions = {*faults.FAULTS, *_probes(), "revert_all"}
        _demand(experiment, f"{at}.provider.func", provider["func"], functions)


def intent_of(experiment: Experiment, at: str, fault: FaultClass, arguments: Any) -> Intent:
    """Return what a fault is asked to do.

    Raises:
        SpecError: an argument is unknown, missing or wrong.
    """
    key = f"{at}.provider.arguments"
    known = [field.name for field in fields(fault.intent)]  # type: ignore[arg-type]  # a dataclass
    try:
        return fault.intent(**_named(experiment, key, arguments))
    except ValidationError as error:
        raise _wrong_argument(experiment, key, error, arguments, known) from None


def check_arguments(
    experiment: Experiment, at: str, func: str, arguments: Any, slos: Sequence[SLO]
) -> None:
    """See that a probe or a rollback of ours can be called with its arguments.

    Raises:
        SpecError: one is unknown, missing or wrong.
    """
    key = f"{at}.provider.arguments"
    function = getattr(faults, func)
    given = _named(experiment, key, arguments)
    try:
        _parameters(function).model_validate(given)
    except ValidationError as error:
        known = list(inspect.signature(function).parameters)
        raise _wrong_argument(experiment, key, error, given, known) from None
    for index, name in enumerate((func == "slos_are_met" and given.get("slos")) or []):
        _demand(experiment, f"{key}.slos[{index}]", name, [slo.name for slo in slos])


def check_slos(experiment: Experiment, scenario: Scenario, slos: Sequence[SLO]) -> None:
    """See that each SLO can be judged on what this load is, and on what is collected.

    Raises:
        SpecError: it is about a tier that nobody asks for, its limit is beyond the timeout, or its
            series or bucket is not collected.
    """
    asked = {mix.tier for mix in scenario.tiers}
    for slo in slos:
        source = slo.source
        if not isinstance(source, RequestsSource):
            _check_queries(experiment, slo, source.spec.good, source.spec.total)
            continue
        if source.spec.tier is not None and source.spec.tier not in asked:
            _refuse_slo(
                experiment,
                f"expected SLOs on what scenario {scenario.name!r} asks for"
                f" ({', '.join(sorted(asked))}), found {slo.name!r}, which is about tier"
                f" {source.spec.tier!r}",
            )
        _check_limit(experiment, scenario, slo, source)


def _check_limit(
    experiment: Experiment, scenario: Scenario, slo: SLO, source: RequestsSource
) -> None:
    condition = source.spec.condition
    if condition.kind != "latency":
        return
    name = _TIMEOUTS[condition.column]
    timeout_s = getattr(scenario.timeouts, name)
    if condition.limit_s > timeout_s:
        _refuse_slo(
            experiment,
            f"expected limits up to timeouts.{name} of scenario {scenario.name!r} ({timeout_s:g}"
            f" s), found {source.spec.good!r} of SLO {slo.name!r}, which no answer could miss; is"
            " it in milliseconds?",
        )


def _check_queries(experiment: Experiment, slo: SLO, *queries: str) -> None:
    series = {entry.name for entry in CATALOGUE if entry.raw}
    for query in queries:
        selector = parse_counter(query)
        assert selector is not None  # noqa: S101  # validated
        if selector.metric not in series:
            near = nearest(selector.metric, series) or "; take one of docs/writing-experiments.md"
            _refuse_slo(
                experiment,
                f"expected a series that is collected, found {selector.metric!r} in SLO"
                f" {slo.name!r}{near}",
            )
        edges = [str(float(edge)) for edge in bucket_edges(selector.metric)]
        for label, how, value in selector.matchers:
            if label == "le" and how == "=" and edges and value not in (*edges, "+Inf"):
                at = ", ".join(edges)
                _refuse_slo(
                    experiment,
                    f"expected an edge of a bucket of {selector.metric} ({at}), found le={value!r}"
                    f" in SLO {slo.name!r}",
                )


def _refuse_slo(experiment: Experiment, problem: str) -> None:
    raise SpecError(experiment.path, f"{_BLOCK}.slos", problem)


def _demand(experiment: Experiment, key: str, name: object, known: Collection[str]) -> None:
    if name not in known:
        listed = ", ".join(sorted(known)) if len(known) <= len(_TIMEOUTS) else "one that there is"
        near = nearest(str(name), known) or f"; there are {', '.join(sorted(known))}"
        raise SpecError(experiment.path, key, f"expected {listed}, found {found(name)}{near}")


def _named(experiment: Experiment, key: str, arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, dict) and all(isinstance(name, str) for name in arguments):
        return arguments
    problem = f"expected a mapping of names, found {found(arguments)}"
    raise SpecError(experiment.path, key, problem)


def _wrong_argument(
    experiment: Experiment,
    key: str,
    error: ValidationError,
    arguments: Any,
    known: Collection[str],
) -> SpecError:
    errors = [dict(one) for one in error.errors(include_url=False)]
    first = next(filter(is_unknown_key, errors), errors[0])
    at = join(key, key_of(first, arguments))
    return SpecError(experiment.path, at, explain(first, known))


def _probes() -> list[str]:
    return ["ask_chaosk8s", "replicas_are_ready", "slos_are_met"]


@cache
def _parameters(function: Any) -> type[BaseModel]:
    """Return a model of what a function takes."""
    given = inspect.signature(function).parameters.items()
    defaults = {
        name: (one.annotation, ... if one.default is one.empty else one.default)
        for name, one in given
    }
    config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    model: type[BaseModel] = create_model(  # type: ignore[call-overload]  # names from a signature
        function.__name__, __config__=config, **defaults
    )
    return model
