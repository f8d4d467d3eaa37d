"""Label selectors, for what the API cannot select: the labels of pods that do not exist yet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TERM = re.compile(
    r"\s*(?:(?P<not>!)\s*)?(?P<key>[A-Za-z0-9][\w./-]*)"
    r"(?:\s*(?P<equal>==?|!=)\s*(?P<value>[\w.-]*)"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[\w.,\s-]*)\))?\s*(?:,|$)"
)
_OPERATORS = {
    "=": "In",
    "==": "In",
    "!=": "NotIn",
    "in": "In",
    "notin": "NotIn",
}


@dataclass(frozen=True)
class Requirement:
    """One condition on labels.

    Attributes:
        key: of the label.
        operator: In, NotIn, Exists or DoesNotExist.
        values: of In and NotIn.
    """

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def is_met(self, labels: Mapping[str, str]) -> bool:
        """Tell whether labels meet it; a label that is absent is not in any set."""
        if self.operator in ("Exists", "DoesNotExist"):
            return (self.key in labels) == (self.operator == "Exists")
        return (labels.get(self.key) in self.values) == (self.operator == "In")


def parse(selector: str) -> tuple[Requirement, ...]:
    """Return the requirements of a selector as kubectl takes it.

    Raises:
        ValueError: it is none; says where.
    """
    found, at = [], 0
    while at < len(selector):
        term = _TERM.match(selector, at)
        if term is None or (term["not"] and (term["equal"] or term["set"])):
            raise ValueError(
                f"expected a label selector such as app=vllm,tier in (fast,slow), found"
                f" {selector!r}, which is none from {selector[at:]!r} on"
            )
        if term["equal"] or term["set"]:
            given = term["values"].split(",") if term["set"] else [term["value"]]
            values = frozenset(value.strip() for value in given)
            found.append(Requirement(term["key"], _OPERATORS[term["equal"] or term["set"]], values))
        else:
            found.append(Requirement(term["key"], "DoesNotExist" if term["not"] else "Exists"))
        at = term.end()
    return tuple(found)


def of_object(selector: Mapping[str, Any] | None) -> tuple[Requirement, ...]:
    """Return the requirements of a LabelSelector as manifests have it."""
    selector = selector or {}
    labels = [
        Requirement(key, "In", frozenset([value]))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    expressions = [
        Requirement(term["key"], term["operator"], frozenset(term.get("values") or []))
        for term in selector.get("matchExpressions") or []
    ]
    return (*labels, *expressions)


def matches(requirements: Sequence[Requirement], labels: Mapping[str, str] | None) -> bool:
    """Tell whether labels meet every requirement; no requirements: anything does."""
    return all(requirement.is_met(labels or {}) for requirement in requirements)
