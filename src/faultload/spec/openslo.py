"""What OpenSLO v1 knows and faultload does not do: refused by name, with what to write instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faultload.errors import SpecError
from faultload.spec.reading import join
from faultload.spec.wording import found

_KINDS = frozenset(
    "AlertCondition AlertNotificationTarget AlertPolicy DataSource Service SLI".split()
)
_METRICS = "spec.indicator.spec.ratioMetric"


def _is_given(value: Any) -> bool:
    return value is not None


def _is_one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


@dataclass(frozen=True)
class _Refusal:
    """One part of OpenSLO.

    Attributes:
        path: where it stands; `[]` is each entry of a list.
        applies: whether the value there is such a part.
        expected: what is read instead.
        remedy: what to do.
    """

    path: str
    applies: Callable[[Any], bool]
    expected: str
    remedy: str


_REFUSALS = (
    _Refusal(
        "kind",
        lambda value: isinstance(value, str) and value in _KINDS,
        "'SLO'",
        "alerts are made of slos/windows.yaml (faultload slo rules), and an SLI stands in its SLO",
    ),
    _Refusal(
        "spec.alertPolicies",
        _is_given,
        "no alertPolicies",
        "alerts are made of slos/windows.yaml (faultload slo rules): drop this key",
    ),
    _Refusal("spec.indicatorRef", _is_given, "no indicatorRef", "write the SLI under `indicator`"),
    _Refusal(
        "spec.budgetingMethod",
        _is_one_of("Timeslices", "RatioTimeslices"),
        "'Occurrences'",
        "events are counted here, not slices of time",
    ),
    _Refusal(
        "spec.timeWindow[].calendar",
        _is_given,
        "no calendar",
        "the period rolls here: drop this key and say isRolling: true",
    ),
    _Refusal(
        "spec.timeWindow[].isRolling",
        lambda value: value is False,
        "true",
        "a period that begins with a month knows nothing of the days before",
    ),
    _Refusal(
        "spec.timeWindow[].duration",
        lambda value: isinstance(value, str) and value[:-1].isdigit() and value[-1] in "MQY",
        "a number with m, h, d or w",
        "months, quarters and years differ in length: say 30d, 90d or 365d",
    ),
    _Refusal(
        "spec.objectives",
        lambda value: isinstance(value, list) and len(value) > 1,
        "at most 1 of them",
        "give each objective a document and a name of its own",
    ),
    _Refusal(
        "spec.objectives[].op",
        _is_one_of("lt", "gt", "gte"),
        "'lte'",
        "good is at or under a limit here, as buckets are",
    ),
    *(
        _Refusal(f"spec.objectives[].{key}", _is_given, f"no {key}", remedy)
        for key, remedy in (
            ("timeSliceTarget", "events are counted here, not slices of time: drop this key"),
            ("timeSliceWindow", "events are counted here, not slices of time: drop this key"),
            ("compositeWeight", "SLOs are not put together here: judge each of them"),
            ("indicator", "write the SLI under spec.indicator"),
            ("indicatorRef", "write the SLI under spec.indicator"),
        )
    ),
    _Refusal(f"{_METRICS}.bad", _is_given, "no bad", "count what is good: name `good` and `total`"),
    _Refusal(
        f"{_METRICS}.rawType",
        _is_one_of("failure"),
        "'success'",
        "count what is good, not what is bad",
    ),
    _Refusal(
        f"{_METRICS}.counter",
        lambda value: value is False,
        "true",
        "name counters, which only rise: of gauges nobody can tell what happened in between",
    ),
    *(
        _Refusal(
            f"{metric}.metricSource.metricSourceRef",
            _is_given,
            "no metricSourceRef",
            "say `type` and `spec` here; where Prometheus is, the target says",
        )
        for metric in (
            f"{_METRICS}.raw",
            f"{_METRICS}.good",
            f"{_METRICS}.total",
            "spec.indicator.spec.thresholdMetric",
        )
    ),
)


def refuse_unsupported(path: Path, document: dict[str, Any], key: str) -> None:
    """Refuse the first part of a document that OpenSLO has and we do not.

    Args:
        path: named in the error.
        document: one YAML document.
        key: where it stands in the file, "" for its root.

    Raises:
        SpecError: there is one.
    """
    for refusal in _REFUSALS:
        for at, value in _at(document, refusal.path.split(".")):
            if refusal.applies(value):
                shown = len(value) if refusal.path == "spec.objectives" else found(value)
                raise SpecError(
                    path,
                    join(key, at),
                    f"expected {refusal.expected}, found {shown}; {refusal.remedy}",
                )


def _at(data: Any, steps: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield what is at a path, and where: lists give each entry; nothing where there is none."""
    if not steps:
        yield "", data
        return
    name, rest = steps[0].removesuffix("[]"), steps[1:]
    if not isinstance(data, dict) or name not in data:
        return
    value = data[name]
    if steps[0] == name:
        yield from ((join(name, at), one) for at, one in _at(value, rest))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from ((join(f"{name}[{index}]", at), one) for at, one in _at(entry, rest))
