"""Scenarios: who is asking. Arrivals, lengths, tiers, tenants, sessions, timeouts and a seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from faultload.spec.fields import HeaderText, LengthS, Rate, Share, Tokens
from faultload.spec.reading import Spec, parse, read_document

_PREFIX_TOKENS_MAX = 10_000_000
"""About 60 MB of text."""


class ConstantArrivals(Spec):
    """One request every 1 / rate seconds."""

    kind: Literal["constant"]
    rate_rps: Rate


class PoissonArrivals(Spec):
    """Independent arrivals: exponential gaps with mean 1 / rate."""

    kind: Literal["poisson"]
    rate_rps: Rate


class Step(Spec):
    """One piece of a stepped rate."""

    for_s: LengthS
    rate_rps: float = Field(ge=0, le=100_000)


class StepArrivals(Spec):
    """Poisson arrivals whose rate changes in steps; the last step lasts until the run ends."""

    kind: Literal["steps"]
    steps: list[Step] = Field(min_length=1)

    @field_validator("steps")
    @classmethod
    def _asks(cls, steps: list[Step]) -> list[Step]:
        if not any(step.rate_rps for step in steps):
            raise ValueError("expected a rate above 0 in one step, found 0 in all")
        return steps


class RampArrivals(Spec):
    """Poisson arrivals whose rate moves linearly from `from_rps` to `to_rps` over `over_s`."""

    kind: Literal["ramp"]
    from_rps: float = Field(ge=0, le=100_000)
    to_rps: Rate
    over_s: LengthS


class BurstArrivals(Spec):
    """Poisson arrivals at `rate_rps`, and `burst_rps` for `burst_s` out of every `every_s`."""

    kind: Literal["burst"]
    rate_rps: Rate
    burst_rps: Rate
    every_s: float = Field(ge=0.1, le=86400)
    burst_s: LengthS

    @model_validator(mode="after")
    def _is_a_burst(self) -> Self:
        if self.burst_s > self.every_s:
            raise ValueError(
                f"expected burst_s up to every_s, found {self.burst_s:g} of {self.every_s:g} s"
            )
        if self.burst_rps < self.rate_rps:
            raise ValueError(
                f"expected burst_rps above rate_rps, found {self.burst_rps:g} and {self.rate_rps:g}"
            )
        return self


class TraceArrivals(Spec):
    """Requests as recorded in a trace file (`faultload trace make`), due times and all."""

    kind: Literal["trace"]
    path: str = Field(min_length=1)
    """Relative to the scenario file."""


class UserStep(Spec):
    """So many users at a time."""

    for_s: LengthS
    users: int = Field(ge=0, le=10_000)


class ClosedArrivals(Spec):
    """A closed loop: each user asks, waits for the end of the answer, thinks, and asks again.

    A platform that slows down is asked less often: see docs/load.md for what that hides.
    """

    kind: Literal["closed"]
    steps: list[UserStep] = Field(min_length=1)
    """The last step lasts until the run ends. A user who is one too many finishes their request."""
    think_s: float = Field(ge=0, le=86400)
    """Mean of the exponential pause between an answer's end and the next question."""

    @field_validator("steps")
    @classmethod
    def _asks(cls, steps: list[UserStep]) -> list[UserStep]:
        if not any(step.users for step in steps):
            raise ValueError("expected users in one step, found 0 in all")
        return steps


Arrivals = Annotated[
    ConstantArrivals
    | PoissonArrivals
    | StepArrivals
    | RampArrivals
    | BurstArrivals
    | ClosedArrivals
    | TraceArrivals,
    Field(discriminator="kind"),
]


class Lengths(Spec):
    """A length in tokens: lognormal around `median` with log-sd `sigma`, cut to [min, max]."""

    median: Tokens
    sigma: float = Field(default=0.0, ge=0, le=3)
    """0: every length is the median."""
    min: Tokens = 1
    max: Tokens = 4096

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.median <= self.max:
            raise ValueError(
                f"expected min <= median <= max, found {self.min}, {self.median}, {self.max}"
            )
        return self


class TierMix(Spec):
    """One kind of request and how often it comes."""

    tier: HeaderText
    """Name the SLOs use: `fast`, `reasoning`."""
    model: HeaderText
    """The model asked for at the endpoint."""
    weight: float = Field(gt=0, le=1_000_000)
    """Share of requests, relative to the other tiers."""
    prompt_tokens: Lengths
    output_tokens: Lengths


class Timeouts(Spec):
    """When the client gives up; each ends a request as its own kind of failure."""

    connect_s: LengthS = 2.0
    first_token_s: LengthS = 20.0
    """From the due moment."""
    gap_s: LengthS = 10.0
    """Longest silence inside a stream."""
    total_s: LengthS = 60.0
    """From the due moment."""


class Sessions(Spec):
    """Requests of one conversation carry the same session id."""

    share: Share = 0.0
    """Share of requests that belong to a session; 0 turns sessions off."""
    turns: int = Field(default=4, ge=1, le=10_000)
    """Requests in one session; fewer where a growing context would pass the tier's longest."""
    context: Literal["own", "growing"] = "own"
    """`own`: a turn sends its own words only. `growing`: it sends the whole conversation first."""


class SharedPrefixes(Spec):
    """System prompts: texts that many requests begin with, whoever asks."""

    count: int = Field(ge=1, le=10_000)
    """How many there are; each is as likely as the others."""
    tokens: Tokens
    """Length of each; it comes on top of the tier's `prompt_tokens`."""
    share: Share = 1.0
    """Share of requests that begin with one; a session keeps its first request's choice."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.count * self.tokens > _PREFIX_TOKENS_MAX:
            raise ValueError(
                f"expected at most {_PREFIX_TOKENS_MAX} tokens in all prefixes, found"
                f" {self.count * self.tokens}"
            )
        return self


class Scenario(Spec):
    """One workload. The same file and seed give the same trace, byte for byte."""

    name: str
    description: str
    arrivals: Arrivals
    tiers: list[TierMix] = Field(min_length=1)
    tenants: list[HeaderText] = Field(default_factory=lambda: ["default"], min_length=1)
    """Requests are dealt to them in turn; one listed twice gets twice as many."""
    sessions: Sessions = Sessions()
    shared_prefixes: SharedPrefixes | None = None
    """None: no two requests begin alike."""
    timeouts: Timeouts = Timeouts()
    ignore_eos: bool = True
    """Ask for exactly the drawn number of output tokens (vLLM's `ignore_eos`)."""
    seed: int = Field(default=1, ge=0, le=2**63 - 1)


def load_scenario(path: Path) -> Scenario:
    """Read one scenario file.

    Raises:
        SpecError: the file, the key and the remedy.
    """
    return parse(Scenario, read_document(path), path)
