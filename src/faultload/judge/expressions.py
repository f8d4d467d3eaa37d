"""Which rows a number was counted from, as text that pandas understands.

`pandas.read_parquet("record/requests.parquet").query(text, engine="python")` gives those rows. The
texts are written from the rules of SLIs anew, not from the code that counts, so that the one can be
held against the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from faultload.spec.slo import Condition, RequestsQuery


@dataclass(frozen=True)
class Rules:
    """An SLI in words of columns.

    Attributes:
        counts: which rows are valid events.
        bad: which of those are bad.
        late: which were bad by age at some moment `{now}` although they were open then.
    """

    counts: str
    bad: str
    late: str


def rules_of(query: RequestsQuery, patience_s: float) -> Rules:
    """Return the rules of an SLI.

    Args:
        query: the SLI's.
        patience_s: the silence after which an open request is taken for lost.
    """
    condition = query.condition
    make = {"served": _served, "intact": _intact}.get(condition.kind)
    rules = make(patience_s) if make else _latency(condition)
    if query.tier is None:
        return rules
    return Rules(f"tier == {query.tier!r} and {rules.counts}", rules.bad, rules.late)


def in_window(rules: Rules, start_s: float, end_s: float, harm_s: float | None) -> str:
    """Return which rows are events of [start_s, end_s).

    A request that the harm found open, and that was not bad by age then, counts at the harm.
    """
    due = f"due_s >= {start_s!r} and due_s < {end_s!r}"
    if harm_s is None:
        return f"{rules.counts} and {due}"
    late = rules.late.replace("{now}", repr(harm_s))
    moved = f"due_s < {harm_s!r} and not end_s <= {harm_s!r} and not ({late})"
    if start_s > harm_s:
        return f"{rules.counts} and {due}"
    if start_s <= harm_s < end_s:
        return f"{rules.counts} and (({due}) or ({moved}))"
    return f"{rules.counts} and {due} and not ({moved})"


def _served(patience_s: float) -> Rules:
    silent = f"end_s - last_token_s.fillna(due_s) > {patience_s!r}"
    silent_then = (
        f"first_token_s <= {{now}} and {{now}} - last_token_s > {patience_s!r}"
        f" or not first_token_s <= {{now}} and {{now}} - due_s > {patience_s!r}"
    )
    return Rules(
        f"status != 'unsent' and (status != 'unfinished' or {silent})",
        "status != 'ok'",
        f"status != 'ok' and ({silent_then})",
    )


def _intact(patience_s: float) -> Rules:
    served = _served(patience_s)
    silent = f"end_s - last_token_s > {patience_s!r}"
    return Rules(
        f"first_token_s.notna() and (status != 'unfinished' or {silent})",
        "not (status == 'ok' and tokens_missing == 0 and tokens_duplicated == 0)",
        served.late,
    )


def _latency(condition: Condition) -> Rules:
    limit = repr(condition.limit_s)
    began = "first_token_s <= {now}"
    if condition.column == "ttft_s":
        value = open_ = f"first_token_s.fillna(end_s) - due_s > {limit}"
        late = f"{began} and first_token_s - due_s > {limit}"
        late += f" or not {began} and {{now}} - due_s > {limit}"
        none = ""
    elif condition.column == "e2e_s":
        value = f"last_token_s - due_s > {limit}"
        open_, late, none = f"end_s - due_s > {limit}", f"{{now}} - due_s > {limit}", ""
    elif condition.column == "gap_s_max":
        value = f"gap_s_max > {limit}"
        open_ = f"(gap_s_max > {limit} or end_s - last_token_s > {limit})"
        late, none = f"{began} and {{now}} - last_token_s > {limit}", "gap_s_max.isna()"
    else:
        value = f"(last_token_s - first_token_s) / (output_tokens - 1) > {limit}"
        asked = "(output_tokens_asked - 1)"
        open_ = f"(output_tokens_asked > 1 and (end_s - first_token_s) / {asked} > {limit})"
        late = f"{began} and output_tokens_asked > 1"
        late += f" and ({{now}} - first_token_s) / {asked} > {limit}"
        none = "output_tokens < 2"
    counts = f"status != 'unsent' and (status != 'unfinished' or {open_})"
    if none:
        counts += f" and not (status == 'ok' and {none})"
    return Rules(counts, f"not (status == 'ok' and not {value})", late)
