"""The PromQL that a stored run can answer: a counter's selector, or the sum of one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from faultload.spec.wording import found

_METRIC = r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?"
_SELECTOR = re.compile(rf"\s*(?:{_METRIC}|sum\s*\(\s*{_METRIC}\s*\))\s*", re.DOTALL)
_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "=": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
    "=~": lambda found, wanted: re.fullmatch(wanted, found) is not None,
    "!~": lambda found, wanted: re.fullmatch(wanted, found) is None,
}
_MATCHER = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


@dataclass(frozen=True)
class CounterSelector:
    """Which series a query adds up.

    Attributes:
        metric: its name.
        matchers: label, operator and value of each condition.
    """

    metric: str
    matchers: tuple[tuple[str, str, str], ...]

    def accepts(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a series with these labels is meant; a label it lacks is empty."""
        return all(_COMPARE[how](labels.get(key, ""), text) for key, how, text in self.matchers)

    @property
    def promql(self) -> str:
        """As PromQL: `done_total{code="200"}`."""
        inner = ",".join(f"{label}{how}{json.dumps(text)}" for label, how, text in self.matchers)
        return f"{self.metric}{{{inner}}}" if inner else self.metric


def parse_counter(query: str) -> CounterSelector | None:
    """Return what a query selects; None: it is something else than a selector or the sum of one."""
    match = _SELECTOR.fullmatch(query)
    if match is None:
        return None
    name, inner = match[1] or match[3], match[2] or match[4] or ""
    matchers, at = [], 0
    while inner[at:].strip():
        matcher = _MATCHER.match(inner, at)
        if matcher is None:
            return None
        matchers.append((matcher[1], matcher[2], re.sub(r"\\(.)", r"\1", matcher[3])))
        at = matcher.end()
    return CounterSelector(name, tuple(matchers))


def _is_counter_query(query: str) -> str:
    selector = parse_counter(query)
    if selector is None:
        raise ValueError(
            'expected a counter\'s selector, or the sum of one, such as sum(done_total{code="200"})'
            f" (its increase is taken from the record), found {found(query)}"
        )
    for label, how, value in selector.matchers:
        try:
            re.compile(value if "~" in how else "")
        except re.error as error:
            raise ValueError(
                f"expected a regular expression for {label}, found {value!r}: {error}"
            ) from None
    return query


CounterQuery = Annotated[str, AfterValidator(_is_counter_query)]
