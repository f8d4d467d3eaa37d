"""Stop conditions: what ends a run before it has cost more than was agreed.

An experiment's block and a target file may have the key `stop`; what both name is watched, so the
stricter of the two holds. `stop: none` says that nothing is to be watched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_validator
from pydantic.functional_serializers import WrapSerializer

from faultload.spec.reading import Spec


class BadRequests(Spec):
    """Too many of the requests that ended of late were not answered completely."""

    share_max: float = Field(ge=0, lt=1)
    """Largest share of them, 0-1."""
    window_s: float = Field(default=10.0, gt=0, le=3600)
    """How long ago they may have ended."""
    requests_min: int = Field(default=20, ge=1)
    """Fewer in the window say nothing."""
    for_s: float = Field(default=2.0, ge=0, le=3600)
    """How long it must be so, without a break."""


class StopQuery(Spec):
    """A PromQL query of one's own; every series that it yields counts."""

    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    promql: str = Field(min_length=1)
    above: float | None = Field(default=None, allow_inf_nan=False)
    """Reached when one series is over this."""
    below: float | None = Field(default=None, allow_inf_nan=False)
    """Reached when one series is under this."""
    for_s: float = Field(default=5.0, ge=0, le=3600)
    """From the first answer that is so to the last, all between them being so too."""

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"query {self.name}: expected one limit, either above or below")
        return self


class StopSpec(Spec):
    """Conditions, each of which ends the run; None and empty: not watched.

    One without any condition is `none`, said on purpose.
    """

    budget_percent_max: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Largest part of an SLO's 30-day error budget, in percent, that this run may burn; of every
    SLO that is counted on request rows."""
    bad_requests: BadRequests | None = None
    queries: list[StopQuery] = Field(default_factory=list)
    telemetry_missing_s: float | None = Field(default=None, gt=0, le=3600)
    """Longest time without an answer of Prometheus whose samples are fresh, without data for one of
    `queries`, and without the request rows that are overdue."""
    tokens_max: int | None = Field(default=None, ge=1)
    """Most tokens that may be delivered."""
    usd_max: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Most that the target's machines may cost while the load runs, US dollars."""


def _read(value: Any) -> Any:
    if value == "none":
        return StopSpec()
    if isinstance(value, str | bool | list):
        raise ValueError(f"expected conditions, or none, found {value!r}")  # noqa: TRY004  # pydantic's
    if isinstance(value, Mapping) and not any(one not in (None, []) for one in value.values()):
        raise ValueError("it names no condition: name one, or say none")
    return value


def _write(value: StopSpec | None, write: SerializerFunctionWrapHandler) -> Any:
    return "none" if value == StopSpec() else write(value)


Stop = Annotated[StopSpec | None, BeforeValidator(_read), WrapSerializer(_write)]
"""The key `stop` of a file; None: the file does not say."""
