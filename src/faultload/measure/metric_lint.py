"""The dead-metric lint: a query names only series, labels and values that somebody exports.

Prometheus answers a misspelt name with nothing and no error, so a dead panel looks like calm, a
dead alert never fires and a dead trigger never scales.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import promql_parser as promql

from faultload.errors import nearest
from faultload.measure.catalogue import bucket_edges
from faultload.measure.queries import Kind, Query
from faultload.spec.metrics import MetricsFile

Labels = frozenset[str] | None
"""What the elements of a result can be told apart by; None: anything, nobody can say."""

ALERTS = ("ALERTS", "ALERTS_FOR_STATE")
"""What Prometheus makes of the alerts themselves."""
_SETS = {"and", "unless"}
_KEEPS_LABELS = {"topk", "bottomk", "limitk", "limit_ratio"}
_ALTERNATIVES = re.compile(r"[^()\[\]\\]+")


@dataclass(frozen=True)
class Finding:
    """Something that a query names and nobody exports, or nobody answered."""

    query: Query
    problem: str

    def __str__(self) -> str:
        """As one line: file, panel or rule, what is dead, what to use."""
        return f"{self.query.file}: {self.query.where}: {self.problem}"


def lint(
    queries: Sequence[Query], metrics: MetricsFile, rules: Sequence[Query] = ()
) -> list[Finding]:
    """Return what is dead in these queries, in their order.

    What one of them records, every other may ask for.

    Args:
        queries: all that belong together.
        metrics: what is exported.
        rules: others, whose recorded series may be asked for, too.
    """
    lookup = Names([*queries, *rules], metrics)
    return [Finding(query, one) for query in queries for one in _problems(query, lookup)]


def selectors_of(query: Query) -> list[promql.VectorSelector]:
    """Return every selector of a query that can be parsed."""
    found: list[promql.VectorSelector] = []

    def visit(node: promql.Expr) -> None:
        if isinstance(node, promql.VectorSelector):
            found.append(node)

    promql.walk(promql.parse(query.promql), visit)
    return found


def name_of(selector: promql.VectorSelector) -> str:
    """Return the series that a selector names; "" when it names none."""
    if selector.name:
        return selector.name
    named = [m.value for m in selector.matchers.matchers if m.name == "__name__" and _is_equal(m)]
    return named[0] if named else ""


class Names:
    """What may be asked for: what is exported, and what the queries at hand record themselves."""

    def __init__(self, queries: Iterable[Query], metrics: MetricsFile) -> None:
        """Take the recording rules among these queries."""
        self.metrics = metrics
        self.recorded: dict[str, list[Query]] = {}
        for query in queries:
            if query.kind is Kind.RECORD:
                self.recorded.setdefault(query.name, []).append(query)
        self._known: dict[str, Labels] = dict.fromkeys(ALERTS)

    def labels_of(self, name: str) -> Labels:
        """Return the labels of a series.

        Raises:
            KeyError: nobody exports or records it.
        """
        if name in self._known:
            return self._known[name]
        if name not in self.recorded:
            return self.metrics.labels_of(name)
        self._known[name] = None  # a rule that is made of itself
        found: Labels = frozenset()
        for rule in self.recorded[name]:
            try:
                made = _Walk(self).labels(promql.parse(rule.promql))
            except ValueError:
                made = None
            own = frozenset(rule.labels)
            found = None if found is None or made is None else found | made | own
        self._known[name] = found
        return found

    def values_of(self, name: str, label: str) -> tuple[str, ...]:
        """Return the values that a label of a series can have; (): any."""
        if name in self.metrics.by_name and name not in self.recorded:
            return self.metrics.values_of(name, label)
        rules = self.recorded.get(name, [])
        values = [rule.labels[label] for rule in rules if label in rule.labels]
        return tuple(values) if len(values) == len(rules) else ()

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name there is."""
        return frozenset([*self.metrics.by_name, *self.recorded, *ALERTS])


def _problems(query: Query, names: Names) -> list[str]:
    found = [f"variable ${name} is not one of the dashboard's" for name in query.undeclared]
    try:
        tree = promql.parse(query.promql)
    except ValueError as error:
        return [*found, f"is not PromQL: {error}; it reads {query.text[:80]!r}"]
    walk = _Walk(names)
    walk.labels(tree)
    return found + list(dict.fromkeys(walk.problems))


class _Walk:
    """Follows the labels of a query from its selectors up, and collects what is dead."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.problems: list[str] = []

    def labels(self, node: promql.Expr) -> Labels:
        """Return the labels that the result of an expression can have."""
        if isinstance(node, promql.VectorSelector):
            return self._selector(node)
        if isinstance(node, promql.MatrixSelector):
            return self._selector(node.vector_selector)
        if isinstance(node, promql.AggregateExpr):
            return self._aggregate(node)
        if isinstance(node, promql.BinaryExpr):
            return self._binary(node)
        if isinstance(node, promql.Call):
            return self._call(node)
        inner = getattr(node, "expr", None)  # parentheses, a sign, a subquery
        return self.labels(inner) if isinstance(inner, promql.Expr) else frozenset()

    def _selector(self, node: promql.VectorSelector) -> Labels:
        name = name_of(node)
        if not name:
            self.problems.append("a selector without a name cannot be checked; name its series")
            return None
        try:
            known = self._names.labels_of(name)
        except KeyError:
            instead = self._names.metrics.instead_of(name)
            instead = instead or nearest(name, self._names.names)
            self.problems.append(f"{name}: no such series{instead or '; is it in metrics.yaml?'}")
            return None
        for matcher in node.matchers.matchers:
            if matcher.name == "__name__":
                continue
            if known is not None and matcher.name not in known:
                self._dead_label(matcher.name, known, f"{name} has no label")
            else:
                self.problems += self._dead_values(name, matcher)
        return known

    def _dead_values(self, name: str, matcher: promql.Matcher) -> Iterator[str]:
        edges = [f"{edge:.1f}" if edge == int(edge) else f"{edge:g}" for edge in bucket_edges(name)]
        values = self._names.values_of(name, matcher.name)
        if matcher.name == "le" and edges:
            values = (*edges, "+Inf")
        if not values or not matcher.value:
            return
        literal = matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual)
        several = not literal and _ALTERNATIVES.fullmatch(matcher.value)
        for one in matcher.value.split("|") if several else [matcher.value]:
            if one not in values and (literal or not any(_fits(one, value) for value in values)):
                listed = nearest(one, values) or f"; it is one of {', '.join(values)}"
                yield f"{name}: label {matcher.name} is never {one!r}{listed}"

    def _dead_label(self, label: str, known: Iterable[str], what: str) -> None:
        known = sorted(known)
        near = nearest(label, known) or f"; there is {', '.join(known) or 'none'}"
        self.problems.append(f"{what} {label!r}{near}")

    def _expect(self, labels: Iterable[str], known: Labels, what: str) -> None:
        for label in labels:
            if known is not None and label not in known:
                self._dead_label(label, known, what)

    def _aggregate(self, node: promql.AggregateExpr) -> Labels:
        inner = self.labels(node.expr)
        if str(node.op) in _KEEPS_LABELS:
            return inner
        made = frozenset[str]()
        if str(node.op) == "count_values" and isinstance(node.param, promql.StringLiteral):
            made = frozenset({node.param.val})
        if node.modifier is None:
            return made
        asked = node.modifier.labels
        what = f"{node.op} groups by a label that nothing under it has:"
        self._expect(asked, inner, what)
        if node.modifier.type == promql.AggModifierType.By:
            return frozenset(asked) | made
        return None if inner is None else (inner - frozenset(asked)) | made

    def _binary(self, node: promql.BinaryExpr) -> Labels:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        modifier = node.modifier
        matching = modifier.matching if modifier is not None else None
        for label in matching.labels if matching is not None else ():
            for known in (left, right):
                if matching is not None and matching.type == promql.LabelModifierType.Include:
                    self._expect([label], known, "the sides are matched on a label that one lacks:")
        if str(node.op) == "or":
            return None if left is None or right is None else left | right
        if str(node.op) in _SETS:
            return left
        many_right = (
            modifier is not None and modifier.card == promql.VectorMatchCardinality.OneToMany
        )
        included = frozenset((modifier.group_labels if modifier is not None else None) or ())
        self._expect(included, left if many_right else right, "no such label to take over:")
        many = right if many_right or _is_scalar(node.lhs) else left
        if included or many_right or _is_grouped(modifier):
            return None if many is None else many | included
        if matching is not None and matching.type == promql.LabelModifierType.Include:
            return frozenset(matching.labels)
        return many

    def _call(self, node: promql.Call) -> Labels:
        name, arguments = node.func.name, list(node.args)
        texts = [one.val for one in arguments if isinstance(one, promql.StringLiteral)]
        vectors = [one for one in arguments if not isinstance(one, promql.StringLiteral)]
        found: Labels = frozenset()
        for one in vectors:
            labels = self.labels(one)
            found = None if found is None or labels is None else found | labels
        if name in ("label_replace", "label_join"):
            sources = texts[2:3] if name == "label_replace" else texts[2:]
            self._expect(filter(None, sources), found, f"{name} reads a label that is not there:")
            return None if found is None else found | set(texts[:1])
        if name == "histogram_quantile":
            self._expect(["le"], found, "a histogram's quantile needs the label")
            return None if found is None else found - {"le"}
        if name in ("absent", "absent_over_time"):
            return None
        return frozenset() if name in ("vector", "time", "scalar", "pi") else found


def _fits(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except re.error:
        return False


def _is_equal(matcher: promql.Matcher) -> bool:
    return bool(matcher.op == promql.MatchOp.Equal)


def _is_grouped(modifier: promql.BinModifier | None) -> bool:
    return modifier is not None and modifier.card == promql.VectorMatchCardinality.ManyToOne


def _is_scalar(node: promql.Expr) -> bool:
    if isinstance(node, promql.Call):
        return node.func.name in ("scalar", "time", "pi")
    inner = getattr(node, "expr", None)
    if isinstance(inner, promql.Expr) and not isinstance(node, promql.AggregateExpr):
        return _is_scalar(inner)
    if isinstance(node, promql.BinaryExpr):
        return _is_scalar(node.lhs) and _is_scalar(node.rhs)
    return isinstance(node, promql.NumberLiteral)
