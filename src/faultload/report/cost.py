"""What the run cost: one sentence and one table. A cost that is not known says why."""

from __future__ import annotations

from collections.abc import Sequence

from faultload.judge.cost_model import WHOLE_RUN, Cost, Share
from faultload.report import formats
from faultload.spec.prices import Quote

COLUMNS = ("Bill", "Busy", "Idle", "Cold", "Wasted", "Good tokens", "USD per 1k good tokens")

NOTE = (
    "Machines with GPUs only, billed by the second while they were there. Busy: a GPU whose replica"
    " computed tokens of good requests. Wasted: tokens of requests that broke or missed an SLO."
    " Cold: a replica or machine that was there and could not serve. Idle: the rest. The four add"
    " up to the bill. What is not counted: docs/cost.md."
)


def usd(value: float | None) -> str:
    """Return US dollars with three significant digits: `$0.0123`."""
    if value is None or formats.is_missing(value):
        return formats.NO_DATA
    return f"{'-' if value < 0 else ''}${formats.number(abs(value))}"


def sentence(cost: Cost | None) -> str:
    """Return what the run cost, in one or two sentences."""
    if cost is None or cost.usd is None:
        why = cost.problem if cost else "nobody looked at the machines"
        return f"Not known: {why}."
    per = f"{usd(cost.usd_per_1m_tokens)} per million tokens"
    if cost.usd_per_1m_tokens is None:
        per = "and no token was served"
    text = (
        f"The run cost {usd(cost.usd)} (± {usd(cost.error_usd)}), {per},"
        f" {usd(cost.usd_per_1k_output_tokens)} per thousand output tokens"
        f" and {usd(cost.usd_per_1k_good_tokens)} per thousand good ones."
    )
    if cost.parts_problem:
        text += f" What became of it is not known: {cost.parts_problem}."
    return text


def facts(cost: Cost | None) -> list[tuple[str, str]]:
    """Return what else there is to say: label and text."""
    if cost is None or cost.usd is None or cost.node_hours is None:
        return []
    weight = f"{cost.input_weight:g}"
    fault = "no fault was in force, or nothing was seen before it"
    if cost.fault_usd is not None:
        more, lost = usd(cost.fault_usd), usd(cost.fault_lost_usd)
        fault = f"{more} beyond the baseline's rate on the bill, {lost} beyond it cold and wasted"
    spot = formats.percent(cost.spot_share)
    rows = [
        ("The fault", fault),
        ("Node-hours", f"{formats.number(cost.node_hours)}, {spot} of them spot"),
        ("All of it on demand", usd(cost.usd_all_on_demand)),
        ("All of it spot", usd(cost.usd_all_spot)),
        (
            f"Per 1k equivalent tokens (a prompt token counts {weight})",
            usd(cost.usd_per_1k_equivalent_tokens),
        ),
        *((f"Price of {_kind(quote)}", _price(quote)) for quote in cost.prices),
    ]
    if cost.time_scale != 1 and cost.shares and cost.shares[-1].cold_usd is not None:
        real = cost.shares[-1].cold_usd / cost.time_scale
        text = (
            f"starting and waiting take {formats.number(cost.time_scale)} of a cluster's time here:"
            f" there, cold alone would be {usd(real)}"
        )
        rows.append(("Shortened time", text))
    return rows


def table(cost: Cost | None) -> list[tuple[str, Sequence[str]]]:
    """Return (part of the run, its cells in the order of `COLUMNS`); empty: not known."""
    return [(_name(share), _cells(share)) for share in cost.shares] if cost else []


def _cells(share: Share) -> Sequence[str]:
    parts = (share.usd, share.busy_usd, share.idle_usd, share.cold_usd, share.wasted_usd)
    tokens = formats.count(share.good_tokens)
    return [*map(usd, parts), tokens, usd(share.usd_per_1k_good_tokens)]


def _name(share: Share) -> str:
    return "the whole run" if share.part == WHOLE_RUN else share.part


def _kind(quote: Quote) -> str:
    return " ".join(filter(None, (quote.instance_type, quote.capacity_type, quote.region)))


def _price(quote: Quote) -> str:
    when = f", {quote.as_of}" if quote.as_of else ""
    typical = ", a typical value and not the one paid" if quote.typical else ""
    return f"{usd(quote.usd_per_hour)} an hour: {quote.source}{when}{typical}"
