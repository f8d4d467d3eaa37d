"""What the judge says of money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faultload.spec.prices import Quote

INPUT_WEIGHT = 0.25
"""What a prompt token counts for, beside an output token, in the cost of an equivalent token."""

WHOLE_RUN = "run"
"""The part of the run that is all of it."""


@dataclass(frozen=True)
class Share:
    """The bill of one part of the run, and what became of it.

    Attributes:
        part: a phase's name, or `run` for all of them.
        seconds: its length.
        usd: the bill.
        busy_usd: GPUs that computed tokens of good requests.
        idle_usd: GPUs without a replica, or whose replica had nothing to do.
        cold_usd: GPUs that were to serve and could not: machine or replica was starting or silent.
        wasted_usd: GPUs that computed tokens of requests that broke, doubled tokens or missed an
            SLO. The four add up to `usd`; all None: not known.
        output_tokens, good_tokens: received by requests due in it, and those of good requests.
        usd_per_1k_good_tokens: None: there were none.
    """

    part: str
    seconds: float
    usd: float
    busy_usd: float | None
    idle_usd: float | None
    cold_usd: float | None
    wasted_usd: float | None
    output_tokens: int
    good_tokens: int
    usd_per_1k_good_tokens: float | None


@dataclass(frozen=True)
class Cost:
    """What the machines with GPUs cost over one run, US dollars.

    Attributes:
        problem: why the bill is not known; "": it is.
        parts_problem: why what became of it is not known; "": it is.
        usd: the bill; None: not known.
        error_usd: how far it may be off, for want of knowing when a machine came or went.
        shares: one a phase in order, then the whole run; empty: not known.
        prompt_tokens, output_tokens, good_tokens: what the load's requests got.
        usd_per_1k_output_tokens, usd_per_1k_good_tokens, usd_per_1m_tokens,
            usd_per_1k_equivalent_tokens: None: the bill is not known, or there were none.
        input_weight: of a prompt token in an equivalent token.
        node_hours, spot_share: observed; the share is of the node-hours, 0-1.
        usd_all_on_demand, usd_all_spot: the same node-hours paid for otherwise; None: a price is
            missing.
        other_typical: one of these two rests on a typical price, so what is saved is not known.
        fault_usd: bill from the first harm on, minus the baseline's rate for as long; None: no
            baseline or no fault.
        fault_lost_usd: the same of what was cold or wasted.
        time_scale: a second of starting and waiting here stands for 1 / this on a cluster.
        prices: every price that was used.
    """

    problem: str = ""
    parts_problem: str = ""
    usd: float | None = None
    error_usd: float | None = None
    shares: Sequence[Share] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    good_tokens: int = 0
    usd_per_1k_output_tokens: float | None = None
    usd_per_1k_good_tokens: float | None = None
    usd_per_1m_tokens: float | None = None
    usd_per_1k_equivalent_tokens: float | None = None
    input_weight: float = INPUT_WEIGHT
    node_hours: float | None = None
    spot_share: float | None = None
    usd_all_on_demand: float | None = None
    usd_all_spot: float | None = None
    other_typical: bool = False
    fault_usd: float | None = None
    fault_lost_usd: float | None = None
    time_scale: float = 1.0
    prices: Sequence[Quote] = ()

    @property
    def whole(self) -> Share | None:
        """The whole run's share; None: the bill is not known."""
        return self.shares[-1] if self.shares else None
