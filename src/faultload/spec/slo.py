"""SLOs: OpenSLO v1 documents, strict, in the part of OpenSLO that faultload can judge.

An SLI counts good events among valid ones: a `ratioMetric`, or a `thresholdMetric` whose objective
says which values are good. Its source is either the rows of the load client (`type: requests`) or
counters of Prometheus (`type: prometheus`). What OpenSLO has beyond that is refused by `openslo`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from faultload.errors import SpecError
from faultload.spec.indicator import (
    LIMIT_S_MAX,
    Condition,
    IndicatorSpec,
    PrometheusSource,
    RequestsQuery,
    RequestsSource,
)
from faultload.spec.openslo import refuse_unsupported
from faultload.spec.promql import parse_counter
from faultload.spec.reading import Spec, join, parse, read_documents
from faultload.spec.server_view import ServerView, declared_view, disagreement
from faultload.spec.wording import found

__all__ = [
    "SLO",
    "Condition",
    "PrometheusSource",
    "RequestsQuery",
    "RequestsSource",
    "load_slos",
]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DURATION = re.compile(r"(\d+)([mhdw])\Z")
_WINDOW_S_MAX = 366 * 86400
_DURATION_S = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


class Metadata(Spec):
    """OpenSLO `metadata`."""

    name: str = Field(max_length=63)
    display_name: str = Field(default="", alias="displayName")
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _is_a_label(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError(
                f"expected lower-case letters, digits and '-' inside (chat-ttft), found {value!r}"
            )
        return value

    @field_validator("annotations")
    @classmethod
    def _declares_counters(cls, value: dict[str, str]) -> dict[str, str]:
        declared_view(value)
        return value


class Indicator(Spec):
    """OpenSLO inline `indicator`."""

    metadata: Metadata
    spec: IndicatorSpec


class TimeWindow(Spec):
    """The period the budget is for."""

    duration: str
    is_rolling: Literal[True] = Field(alias="isRolling")

    @field_validator("duration")
    @classmethod
    def _duration(cls, value: str) -> str:
        match = _DURATION.match(value)
        if not match or not 0 < int(match[1]) * _DURATION_S[match[2]] <= _WINDOW_S_MAX:
            raise ValueError(
                f"expected a number with m, h, d or w, up to a year (30d), found {found(value)}"
            )
        return value


class Objective(Spec):
    """How good is good enough."""

    display_name: str = Field(default="", alias="displayName")
    op: Literal["lte"] | None = None
    """With `thresholdMetric`: good is at or under `value`."""
    value: float | None = Field(default=None, gt=0, le=LIMIT_S_MAX)
    """With `thresholdMetric`, in seconds."""
    target_percent: float | None = Field(default=None, gt=0, lt=100, alias="targetPercent")
    target: float | None = Field(default=None, gt=0, lt=1, validate_default=True)
    """Least share of good events, 0-1, unless it is given in percent."""

    @field_validator("target")
    @classmethod
    def _one_target(cls, value: float | None, info: ValidationInfo) -> float | None:
        percent = info.data.get("target_percent")
        if value is None and percent is None:
            raise PydanticCustomError("missing", "required")
        if value is not None and percent is not None:
            raise ValueError(f"expected target or targetPercent, found both ({value}, {percent})")
        return value

    @property
    def share(self) -> float:
        """Least share of good events, 0-1."""
        if self.target is not None:
            return self.target
        return float(Decimal(str(self.target_percent)) / 100)


class SLOSpec(Spec):
    """OpenSLO `spec` of an SLO."""

    description: str
    service: str
    indicator: Indicator
    time_window: list[TimeWindow] = Field(alias="timeWindow", min_length=1, max_length=1)
    budgeting_method: Literal["Occurrences"] = Field(alias="budgetingMethod")
    objectives: list[Objective] = Field(min_length=1, max_length=1)


class SLO(Spec):
    """One OpenSLO v1 SLO document."""

    api_version: Literal["openslo/v1"] = Field(alias="apiVersion")
    kind: Literal["SLO"]
    metadata: Metadata
    spec: SLOSpec

    @property
    def name(self) -> str:
        """The name experiments use."""
        return self.metadata.name

    @property
    def target(self) -> float:
        """Least share of good events, 0-1."""
        return self.spec.objectives[0].share

    @property
    def budget(self) -> float:
        """Share of events that may be bad, 0-1."""
        return 1.0 - self.target

    @property
    def window_s(self) -> float:
        """Length of the budget's period."""
        match = _DURATION.match(self.spec.time_window[0].duration)
        assert match is not None  # noqa: S101  # the validator saw to it
        return float(match[1]) * _DURATION_S[match[2]]

    @property
    def source(self) -> RequestsSource | PrometheusSource:
        """Where its events are counted."""
        metrics, limit = self.spec.indicator.spec, self.spec.objectives[0].value
        if metrics.ratio_metric is not None:
            return metrics.ratio_metric.source
        assert metrics.threshold_metric and limit  # noqa: S101, PT018  # `load_slos` saw to it
        return metrics.threshold_metric.source(limit)

    @property
    def server_view(self) -> ServerView | None:
        """What Prometheus counts of it, for alerts; None: nobody said which counters do."""
        source = self.source
        if isinstance(source, RequestsSource):
            return declared_view(self.metadata.annotations)
        good, total = parse_counter(source.spec.good), parse_counter(source.spec.total)
        assert good and total  # noqa: S101, PT018  # the validator saw to it
        return ServerView(good, total, nearest=False)

    @property
    def statement(self) -> str:
        """The SLO in words, e.g. `95 % of fast: ttft_s <= 0.1`."""
        percent = f"{self.target * 100:g} %"
        source = self.source
        if isinstance(source, RequestsSource):
            return f"{percent} of {source.spec.tier or 'all'} requests: {source.spec.good}"
        return f"{percent}: {source.spec.good} / {source.spec.total}"


def load_slos(path: Path) -> list[SLO]:
    """Read every SLO document of one file, in order.

    Raises:
        SpecError: a document is not an SLO we can judge, or a name is given twice.
    """
    slos: list[SLO] = []
    documents: list[dict[str, Any]] = read_documents(path)
    for index, document in enumerate(documents):
        key = f"document[{index}]" if len(documents) > 1 else ""
        refuse_unsupported(path, document, key)
        slo = parse(SLO, document, path, key)
        if problem := _other_metric(slo):
            raise SpecError(path, join(key, "spec.objectives[0]"), problem)
        if any(other.name == slo.name for other in slos):
            raise SpecError(
                path, f"document[{index}].metadata.name", f"{slo.name!r} is given twice; rename one"
            )
        if problem := _disagreement(slo):
            raise SpecError(path, join(key, "metadata.annotations"), problem)
        slos.append(slo)
    return slos


def _other_metric(slo: SLO) -> str:
    """Return what an objective lacks for its metric, or has for another; "": nothing."""
    objective, is_ratio = slo.spec.objectives[0], slo.spec.indicator.spec.ratio_metric is not None
    pair = {"op": objective.op, "value": objective.value}
    given = [name for name, value in pair.items() if value is not None]
    if is_ratio and given:
        value = pair[given[0]]
        return f"expected no {given[0]}, as ratioMetric's query says what is good, found {value}"
    if not is_ratio and len(given) < len(pair):
        return f"expected op and value with thresholdMetric, found {', '.join(given) or 'neither'}"
    return ""


def _disagreement(slo: SLO) -> str:
    declared, source = declared_view(slo.metadata.annotations), slo.source
    if declared is None:
        return ""
    if not isinstance(source, RequestsSource):
        return "expected no counters beside a source that is Prometheus already; drop them"
    condition = source.spec.condition
    limit_s = condition.limit_s if condition.kind == "latency" else None
    return disagreement(declared, source.spec.tier, limit_s)
