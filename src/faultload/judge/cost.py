"""What a run cost: the bill, what became of it, and what a token came to. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from faultload.judge.cost_model import INPUT_WEIGHT, WHOLE_RUN, Cost, Share
from faultload.judge.rows import Flags, Floats, Rows
from faultload.judge.slo import mark_rows
from faultload.record import Phase, PhaseName
from faultload.record.fleet import Fleet, Machine
from faultload.spec.prices import PriceBook, Quote, region_of
from faultload.spec.slo import SLO, RequestsSource

BILLED_S_MIN = 60.0
"""EC2 bills Linux by the second and for a minute at the least
(https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html)."""

_H = 3600.0


@dataclass(frozen=True)
class Tokens:
    """Tokens of each request.

    Attributes:
        due_s: when it was due.
        prompt: of requests that began; 0 of others.
        output: received.
        wasted: of those, what was of no use to anybody.
    """

    due_s: Floats
    prompt: Floats
    output: Floats
    wasted: Floats


def count_tokens(requests: pd.DataFrame, slos: Sequence[SLO], rows: Rows | None = None) -> Tokens:
    """Return what each request got, and how much of it was of use.

    A token is of use in a request that was answered completely and kept every SLO that is about it;
    a request that was open when the load stopped, and had not missed any yet, wasted nothing.

    Args:
        requests: rows in the record's request schema.
        slos: what is good; those read from Prometheus say nothing of one request.
        rows: the same requests as arrays, where somebody has them already.
    """
    rows = rows or Rows.of(requests)
    good: Flags = rows.served | rows.unfinished
    for slo in slos:
        if isinstance(slo.source, RequestsSource):
            valid, kept, _ = mark_rows(rows, slo.source)
            good &= kept | ~valid
    prompt = requests["prompt_tokens"].to_numpy(dtype=np.float64)
    output = np.nan_to_num(rows.received)
    doubled = np.minimum(np.nan_to_num(rows.duplicated), output)
    return Tokens(
        due_s=rows.due,
        prompt=np.where(rows.began, np.nan_to_num(prompt), 0.0),
        output=output,
        wasted=np.where(good, doubled, output),
    )


def work_out(
    fleet: Fleet,
    phases: Sequence[Phase],
    tokens: Tokens,
    prices: PriceBook | None,
    *,
    time_scale: float = 1.0,
) -> Cost:
    """Return what a run cost.

    Args:
        fleet: the machines, over the run.
        phases: in order; the fleet's cells do not cross their ends.
        tokens: of the requests.
        prices: for machines whose price the platform does not say; None: the record has none.
        time_scale: of the platform. A machine's shortest bill is scaled as its life is.
    """
    if fleet.problem:
        return Cost(problem=fleet.problem, time_scale=time_scale)
    book = prices or PriceBook(())
    paid: list[tuple[Machine, Quote]] = []
    for machine in fleet.machines:
        quote = _quote(machine, book)
        if quote is None:
            return Cost(problem=_no_price(machine), time_scale=time_scale)
        paid.append((machine, quote))
    bill = _Bill.of(fleet, paid, BILLED_S_MIN * time_scale)
    shares = [_share(phase.name, bill, tokens, phase) for phase in phases]
    if fleet.parts_problem:
        shares = [_without_parts(share) for share in shares]
    shares.append(_sum(shares))
    whole, prompt = shares[-1], float(tokens.prompt.sum())
    output, good = float(tokens.output.sum()), float((tokens.output - tokens.wasted).sum())
    hours = bill.seconds.sum(axis=1) / _H
    spot = np.array([quote.capacity_type == "spot" for _, quote in paid])
    fault_usd, fault_lost_usd = _of_fault(shares[:-1])
    known = all(quote.capacity_type for _, quote in paid)
    on_demand, spots = (_all(paid, hours, book, kind) for kind in ("on-demand", "spot"))
    return Cost(
        parts_problem=fleet.parts_problem,
        usd=whole.usd,
        error_usd=sum(quote.usd_per_hour * one.error_s / _H for one, quote in paid),
        shares=shares,
        prompt_tokens=round(prompt),
        output_tokens=round(output),
        good_tokens=round(good),
        usd_per_1k_output_tokens=_per(whole.usd, output / 1e3),
        usd_per_1k_good_tokens=_per(whole.usd, good / 1e3),
        usd_per_1m_tokens=_per(whole.usd, (prompt + output) / 1e6),
        usd_per_1k_equivalent_tokens=_per(whole.usd, (output + INPUT_WEIGHT * prompt) / 1e3),
        node_hours=float(hours.sum()),
        spot_share=_per(float(hours[spot].sum()), float(hours.sum())) if known else None,
        usd_all_on_demand=on_demand[0],
        usd_all_spot=spots[0],
        other_typical=on_demand[1] or spots[1],
        fault_usd=fault_usd,
        fault_lost_usd=fault_lost_usd,
        time_scale=time_scale,
        prices=tuple(dict.fromkeys(quote for _, quote in paid)),
    )


@dataclass(frozen=True)
class _Bill:
    """The bill by machine and cell, and its parts by cell.

    Attributes:
        edges_s: of the cells.
        seconds: billed, by machine and cell.
        usd, busy, cold: by cell; what is neither busy nor cold is idle.
    """

    edges_s: Floats
    seconds: Floats
    usd: Floats
    busy: Floats
    cold: Floats

    @classmethod
    def of(cls, fleet: Fleet, paid: Sequence[tuple[Machine, Quote]], billed_s_min: float) -> _Bill:
        edges = fleet.edges_s
        seconds = np.zeros((len(paid), len(edges) - 1))
        usd, busy, cold = (np.zeros(len(edges) - 1) for _ in range(3))
        for row, (machine, quote) in enumerate(paid):
            start_s, end_s = machine.start_s, machine.end_s
            overlap = np.minimum(edges[1:], end_s) - np.maximum(edges[:-1], start_s)
            overlap = np.maximum(overlap, 0.0)
            if machine.began and machine.ended and end_s - start_s < billed_s_min:
                last = int(np.flatnonzero(overlap)[-1]) if overlap.any() else 0
                overlap[last] += billed_s_min - (end_s - start_s)
            bill, rate = overlap * quote.usd_per_hour / _H, quote.usd_per_hour / _H / machine.gpus
            worked = np.clip(machine.busy_gpu_s * rate, 0.0, bill)
            seconds[row] = overlap
            usd, busy = usd + bill, busy + worked
            cold += np.clip(machine.cold_gpu_s * rate, 0.0, bill - worked)
        return cls(edges, seconds, usd, busy, cold)

    def within(self, values: Floats, start_s: float, end_s: float) -> float:
        """Return the sum over the cells between two edges."""
        middles = (self.edges_s[:-1] + self.edges_s[1:]) / 2
        return float(values[(middles >= start_s) & (middles < end_s)].sum())


def readings_of(cost: Cost | None) -> dict[str, float]:
    """Return the scorecard's numbers by the mark's name; what is not known is left out."""
    if cost is None:
        return {}
    readings = {"cost_usd_per_1m_tokens": cost.usd_per_1m_tokens}
    if cost.usd_all_spot is not None and cost.usd_all_on_demand and not cost.other_typical:
        readings["spot_saved"] = 1 - cost.usd_all_spot / cost.usd_all_on_demand
    return {name: value for name, value in readings.items() if value is not None}


def _share(name: str, bill: _Bill, tokens: Tokens, phase: Phase) -> Share:
    span = (phase.start_s, phase.end_s)
    usd, worked = bill.within(bill.usd, *span), bill.within(bill.busy, *span)
    cold = bill.within(bill.cold, *span)
    due = (tokens.due_s >= span[0]) & (tokens.due_s < span[1])
    output, wasted = float(tokens.output[due].sum()), float(tokens.wasted[due].sum())
    if not output:  # what was computed here was asked for before
        share = _per(float(tokens.wasted.sum()), float(tokens.output.sum())) or 0.0
    else:
        share = wasted / output
    return Share(
        part=str(name),
        seconds=span[1] - span[0],
        usd=usd,
        busy_usd=worked * (1 - share),
        idle_usd=max(0.0, usd - worked - cold),
        cold_usd=cold,
        wasted_usd=worked * share,
        output_tokens=round(output),
        good_tokens=round(output - wasted),
        usd_per_1k_good_tokens=_per(usd, (output - wasted) / 1e3),
    )


def _without_parts(share: Share) -> Share:
    nothing = (None, None, None, None)
    counted = (share.output_tokens, share.good_tokens, share.usd_per_1k_good_tokens)
    return Share(share.part, share.seconds, share.usd, *nothing, *counted)


def _sum(shares: Sequence[Share]) -> Share:
    def total(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    usd, good = sum(one.usd for one in shares), sum(one.good_tokens for one in shares)
    return Share(
        part=WHOLE_RUN,
        seconds=sum(one.seconds for one in shares),
        usd=usd,
        busy_usd=total([one.busy_usd for one in shares]),
        idle_usd=total([one.idle_usd for one in shares]),
        cold_usd=total([one.cold_usd for one in shares]),
        wasted_usd=total([one.wasted_usd for one in shares]),
        output_tokens=sum(one.output_tokens for one in shares),
        good_tokens=good,
        usd_per_1k_good_tokens=_per(usd, good / 1e3),
    )


def _of_fault(shares: Sequence[Share]) -> tuple[float | None, float | None]:
    """Return bill and loss from the first harm on, beyond the baseline's rate."""
    before = [one for one in shares if one.part == PhaseName.BASELINE and one.seconds > 0]
    after = [one for one in shares if one.part in (PhaseName.FAULT, PhaseName.RECOVERY)]
    if not before or not after:
        return None, None
    seconds, rate_s = sum(one.seconds for one in after), before[0].seconds

    def beyond(found: float, base: float) -> float:
        return found - base / rate_s * seconds

    usd = beyond(sum(one.usd for one in after), before[0].usd)
    lost = [_lost(one) for one in (before[0], *after)]
    if any(one is None for one in lost):
        return usd, None
    known = [one for one in lost if one is not None]
    return usd, beyond(sum(known[1:]), known[0])


def _lost(share: Share) -> float | None:
    if share.cold_usd is None or share.wasted_usd is None:
        return None
    return share.cold_usd + share.wasted_usd


def _quote(machine: Machine, book: PriceBook) -> Quote | None:
    region = region_of(machine.zone)
    if machine.usd_per_h:  # 0 is what exporters say that know no price
        kind = (machine.instance_type, region, machine.capacity_type)
        own, typical = "the platform's own series", machine.typical
        return Quote(*kind, machine.usd_per_h, "", own, typical)
    return book.find(machine.instance_type, region, machine.capacity_type)


def _no_price(machine: Machine) -> str:
    kind = machine.instance_type or "a machine whose type is not known"
    paid = machine.capacity_type or "paid for in a way that is not known"
    where = region_of(machine.zone) or f"zone {machine.zone or 'not known'}"
    return (
        f"no price for {kind}, {paid}, in {where} (node {machine.node}): put one into prices/,"
        " see faultload prices list"
    )


def _all(
    paid: Sequence[tuple[Machine, Quote]], hours: Floats, book: PriceBook, capacity_type: str
) -> tuple[float | None, bool]:
    """Return the bill with every machine paid for in one way, and if a price in it is typical.

    None: a price is not known. A machine of the same type that was paid for so in this run says it
    best.
    """
    seen = {quote.instance_type: quote for _, quote in paid if quote.capacity_type == capacity_type}
    total, typical = 0.0, False
    for (_, quote), long_h in zip(paid, hours.tolist(), strict=True):
        kind, region = quote.instance_type, quote.region
        other = quote if quote.capacity_type == capacity_type else seen.get(kind)
        other = other or book.find(kind, region, capacity_type)
        if other is None:
            return None, typical
        total, typical = total + other.usd_per_hour * long_h, typical or other.typical
    return total, typical


def _per(value: float, of: float) -> float | None:
    return value / of if of else None
