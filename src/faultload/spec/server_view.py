"""The server's nearest counters to an SLO that is counted from the load client's rows.

An alert cannot be made of rows that only a test has. Two annotations of the SLO document name the
counters of the platform that come closest; what they leave out is said in docs/slos.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from faultload.spec.promql import CounterSelector, parse_counter
from faultload.spec.wording import found, unknown_key

_OURS = "faultload.dev/"
_GOOD, _TOTAL = f"{_OURS}server-good", f"{_OURS}server-total"


@dataclass(frozen=True)
class ServerView:
    """What Prometheus counts of an SLO's events.

    Attributes:
        good: those that were good.
        total: all of them.
        nearest: True where these stand in for rows of the load client, and see less than users do.
    """

    good: CounterSelector
    total: CounterSelector
    nearest: bool

    def narrowed(self, matchers: Mapping[str, str]) -> ServerView:
        """Return the same of the series alone that bear these labels."""
        more = tuple((label, "=", text) for label, text in sorted(matchers.items()))
        good, total = (
            CounterSelector(one.metric, (*one.matchers, *more)) for one in (self.good, self.total)
        )
        return ServerView(good, total, self.nearest)


def declared_view(annotations: Mapping[str, str]) -> ServerView | None:
    """Return the view that an SLO's annotations declare; None: they declare none.

    Raises:
        ValueError: one of ours that is unknown, alone, or no counter's selector.
    """
    ours = {key: text for key, text in annotations.items() if key.startswith(_OURS)}
    for key in ours:
        if key not in (_GOOD, _TOTAL):
            raise ValueError(unknown_key(key, (_GOOD, _TOTAL)))
    if not ours:
        return None
    missing = [key for key in (_GOOD, _TOTAL) if key not in ours]
    if missing:
        raise ValueError(f"expected both {_GOOD} and {_TOTAL}, found no {missing[0]}")
    good, total = parse_counter(ours[_GOOD]), parse_counter(ours[_TOTAL])
    if good is None or total is None:
        wrong = _GOOD if good is None else _TOTAL
        raise ValueError(
            f'expected a counter\'s selector as {wrong}, such as done_total{{code="200"}},'
            f" found {found(ours[wrong])}"
        )
    return ServerView(good, total, nearest=True)


def disagreement(view: ServerView, tier: str | None, limit_s: float | None) -> str:
    """Return what a declared view counts otherwise than the rows it stands in for; "": nothing.

    Args:
        view: as declared.
        tier: whose rows count; None: all.
        limit_s: good is at or under it; None: good is no latency.
    """
    for selector in (view.good, view.total):
        tiers = [text for label, how, text in selector.matchers if (label, how) == ("tier", "=")]
        if tiers != ([tier] if tier is not None else []):
            asked = f'tier="{tier}"' if tier is not None else "no tier, as every tier counts"
            return f"expected {asked} in {selector.metric}, found {', '.join(tiers) or 'none'}"
    edges = [text for label, how, text in view.good.matchers if (label, how) == ("le", "=")]
    if limit_s is not None and [_number(edge) for edge in edges] != [limit_s]:
        return (
            f'expected le="{limit_s:g}", the limit of good requests, in {view.good.metric},'
            f" found {', '.join(edges) or 'none'}"
        )
    return ""


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
