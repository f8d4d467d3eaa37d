"""SLOs: OpenSLO v1 documents, strict, in the part of OpenSLO that faultload can judge.

An SLI counts good events among valid ones (OpenSLO `ratioMetric`). Its source is either the rows of
the load client (`type: requests`) or a pair of PromQL queries (`type: prometheus`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from faultload.errors import SpecError
from faultload.spec.promql import CounterQuery, parse_counter
from faultload.spec.reading import Spec, join, parse, read_documents
from faultload.spec.server_view import ServerView, declared_view, disagreement
from faultload.spec.wording import found

_COLUMNS = ("ttft_s", "tpot_s", "e2e_s", "gap_s_max")
_CONDITION = re.compile(rf"(served|intact|({'|'.join(_COLUMNS)})\s*<=\s*(\d+(?:\.\d+)?))\Z")
_LIMIT_S_MAX = 3600.0
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DURATION = re.compile(r"(\d+)([mhdw])\Z")
_WINDOW_S_MAX = 366 * 86400
_DURATION_S = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


class Condition(Spec):
    """What makes one request good.

    Attributes:
        kind: `served` (answered completely, whatever it took), `intact` (of the streams that began,
            those that delivered every token once) or `latency`.
        column: the latency compared, for `latency`; e.g. `ttft_s`.
        limit_s: a request is good at or under this. A request that was not served is never good.
    """

    kind: Literal["served", "intact", "latency"]
    column: str = ""
    limit_s: float = 0.0


class RequestsQuery(Spec):
    """Which rows of the load client count, and which of those are good."""

    tier: str | None = None
    """None: every tier."""
    good: str
    """`served`, `intact`, or a latency with its limit: `ttft_s <= 0.5`."""

    @field_validator("good")
    @classmethod
    def _readable(cls, value: str) -> str:
        match = _CONDITION.match(value)
        if not match or (match[2] and not 0 < float(match[3]) <= _LIMIT_S_MAX):
            raise ValueError(
                f"expected served, intact or one of {', '.join(_COLUMNS)} with a limit in seconds,"
                f" more than 0 and up to an hour (ttft_s <= 0.5), found {value!r}"
            )
        return value

    @property
    def condition(self) -> Condition:
        """`good`, parsed."""
        match = _CONDITION.match(self.good)
        assert match is not None  # noqa: S101  # the validator saw to it
        if match[2] is None:
            return Condition(kind="served" if match[1] == "served" else "intact")
        return Condition(kind="latency", column=match[2], limit_s=float(match[3]))


class RequestsSource(Spec):
    """Rows of the load client: what users saw."""

    type: Literal["requests"]
    spec: RequestsQuery


class PrometheusQuery(Spec):
    """PromQL for cumulative counts; read at the edges of a window, resets handled."""

    good: CounterQuery
    total: CounterQuery


class PrometheusSource(Spec):
    """Counters kept by Prometheus: what the platform saw."""

    type: Literal["prometheus"]
    spec: PrometheusQuery


class MetricSourceHolder(Spec):
    """OpenSLO nests every source one level down."""

    metric_source: Annotated[
        RequestsSource | PrometheusSource, Field(alias="metricSource", discriminator="type")
    ]


class RatioMetric(Spec):
    """OpenSLO `ratioMetric` in its `raw` form: one source that yields the good ratio."""

    raw_type: Literal["success"] = Field(alias="rawType")
    raw: MetricSourceHolder


class IndicatorSpec(Spec):
    """OpenSLO `indicator.spec`."""

    ratio_metric: RatioMetric = Field(alias="ratioMetric")


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

    target: float = Field(gt=0, lt=1)
    """Least share of good events, 0-1."""
    display_name: str = Field(default="", alias="displayName")


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
        return self.spec.objectives[0].target

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
        return self.spec.indicator.spec.ratio_metric.raw.metric_source

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
        slo = parse(SLO, document, path, key)
        if any(other.name == slo.name for other in slos):
            raise SpecError(
                path, f"document[{index}].metadata.name", f"{slo.name!r} is given twice; rename one"
            )
        if problem := _disagreement(slo):
            raise SpecError(path, join(key, "metadata.annotations"), problem)
        slos.append(slo)
    return slos


def _disagreement(slo: SLO) -> str:
    declared, source = declared_view(slo.metadata.annotations), slo.source
    if declared is None:
        return ""
    if not isinstance(source, RequestsSource):
        return "expected no counters beside a source that is Prometheus already; drop them"
    condition = source.spec.condition
    limit_s = condition.limit_s if condition.kind == "latency" else None
    return disagreement(declared, source.spec.tier, limit_s)
