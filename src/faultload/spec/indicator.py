"""SLIs of OpenSLO: which events count and which are good, from rows or from counters."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from faultload.spec.promql import CounterQuery, parse_counter
from faultload.spec.reading import Spec
from faultload.spec.wording import found

LIMIT_S_MAX = 3600.0
"""Largest limit of a latency: longer than any request is let to take."""

_COLUMNS = ("ttft_s", "tpot_s", "e2e_s", "gap_s_max")
_CONDITION = re.compile(rf"(served|intact|({'|'.join(_COLUMNS)})\s*<=\s*(\d+(?:\.\d+)?))\Z")


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
        if not match or (match[2] and not 0 < float(match[3]) <= LIMIT_S_MAX):
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


class CountQuery(Spec):
    """PromQL for one cumulative count."""

    query: CounterQuery


class CountSource(Spec):
    """One counter of Prometheus."""

    type: Literal["prometheus"]
    spec: CountQuery


class CountHolder(Spec):
    """OpenSLO nests every source one level down."""

    metric_source: CountSource = Field(alias="metricSource")


class RatioMetric(Spec):
    """OpenSLO `ratioMetric`: one source that yields the good ratio, or two counters."""

    raw_type: Literal["success"] | None = Field(default=None, alias="rawType")
    raw: MetricSourceHolder | None = None
    counter: Literal[True] | None = None
    good: CountHolder | None = None
    total: CountHolder | None = None

    @model_validator(mode="after")
    def _one_form(self) -> RatioMetric:
        parts = {
            "rawType": self.raw_type,
            "raw": self.raw,
            "counter": self.counter,
            "good": self.good,
            "total": self.total,
        }
        given = [name for name, part in parts.items() if part is not None]
        if given not in (["rawType", "raw"], ["counter", "good", "total"]):
            raise ValueError(
                "expected rawType and raw, or counter, good and total,"
                f" found {', '.join(given) or 'nothing'}"
            )
        return self

    @property
    def source(self) -> RequestsSource | PrometheusSource:
        """Where good events and all events are counted."""
        if self.raw is not None:
            return self.raw.metric_source
        assert self.good and self.total  # noqa: S101, PT018  # the validator saw to it
        good, total = (one.metric_source.spec.query for one in (self.good, self.total))
        return PrometheusSource(type="prometheus", spec=PrometheusQuery(good=good, total=total))


class RowsValue(Spec):
    """Which rows of the load client count, and which latency of theirs is compared."""

    tier: str | None = None
    """None: every tier."""
    value: Literal["ttft_s", "tpot_s", "e2e_s", "gap_s_max"]


class RowsValueSource(Spec):
    """One latency of each row."""

    type: Literal["requests"]
    spec: RowsValue


class HistogramQuery(Spec):
    """A histogram's buckets, by their selector without `le`."""

    query: CounterQuery

    @field_validator("query")
    @classmethod
    def _is_a_histogram(cls, value: str) -> str:
        selector = parse_counter(value)
        labels = [label for label, _, _ in selector.matchers] if selector else []
        if selector is None or not selector.metric.endswith("_bucket") or "le" in labels:
            raise ValueError(
                "expected the buckets of a histogram without le, which is the objective's value"
                f" (ttft_seconds_bucket), found {found(value)}"
            )
        return value


class HistogramSource(Spec):
    """A histogram of Prometheus, each of whose events has a value."""

    type: Literal["prometheus"]
    spec: HistogramQuery


class ThresholdMetric(Spec):
    """OpenSLO `thresholdMetric`: events with a value, of which the objective says what is good."""

    metric_source: Annotated[
        RowsValueSource | HistogramSource, Field(alias="metricSource", discriminator="type")
    ]

    def source(self, limit: float) -> RequestsSource | PrometheusSource:
        """Return where events at or under a limit and all events are counted."""
        metric = self.metric_source
        if isinstance(metric, RowsValueSource):
            text = f"{limit:.9f}".rstrip("0").rstrip(".")
            query = RequestsQuery(tier=metric.spec.tier, good=f"{metric.spec.value} <= {text}")
            return RequestsSource(type="requests", spec=query)
        selector = parse_counter(metric.spec.query)
        assert selector is not None  # noqa: S101  # the validator saw to it
        good, total = (
            replace(selector, matchers=(*selector.matchers, ("le", "=", edge))).promql
            for edge in (str(float(limit)), "+Inf")
        )
        return PrometheusSource(type="prometheus", spec=PrometheusQuery(good=good, total=total))


class IndicatorSpec(Spec):
    """OpenSLO `indicator.spec`."""

    description: str = ""
    ratio_metric: RatioMetric | None = Field(default=None, alias="ratioMetric")
    threshold_metric: ThresholdMetric | None = Field(default=None, alias="thresholdMetric")

    @model_validator(mode="after")
    def _one_metric(self) -> IndicatorSpec:
        if (self.ratio_metric is None) is (self.threshold_metric is None):
            both = "none" if self.ratio_metric is None else "both"
            raise ValueError(f"expected ratioMetric or thresholdMetric, found {both}")
        return self
