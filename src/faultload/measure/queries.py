"""The queries in other people's files: dashboards, rules, autoscaling triggers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from faultload.errors import SpecError, UsageError
from faultload.spec.documents import read_text, read_yaml

_SUFFIXES = (".json", ".yaml", ".yml")
_EXPECTED = (
    "a Grafana dashboard, Prometheus rules, a PrometheusRule, a ScaledObject or triggers.yaml"
)


class Kind(StrEnum):
    """What asks; what nothing in return means differs."""

    PANEL = "panel"
    VARIABLE = "variable"
    RECORD = "record"
    ALERT = "alert"
    TRIGGER = "trigger"


@dataclass(frozen=True)
class Query:
    """One question to Prometheus.

    Attributes:
        file: that holds it, as it was given.
        kind: what asks it.
        name: of panel, rule, trigger or variable.
        text: as the file has it.
        promql: without Grafana's variables, each of which stands for everything.
        undeclared: variables that the dashboard does not have.
        labels: of a rule: what it adds to its result.
    """

    file: Path
    kind: Kind
    name: str
    text: str
    promql: str
    undeclared: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """In words, such as `panel 'Queue'`."""
        return f"{self.kind} {self.name!r}"


def read_queries(paths: Iterable[Path]) -> list[Query]:
    """Return every query of these files, and of the JSON and YAML files in these folders.

    In a folder, files that ask nothing are passed over; a file that is named must ask something.

    Raises:
        SpecError: a file cannot be read, or is nothing that we know.
        UsageError: nothing at all was found.
    """
    found: list[Query] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES)
            found += [query for one in inside for query in _read(one)]
        elif queries := _read(path):
            found += queries
        else:
            raise SpecError(path, "", f"expected {_EXPECTED}, found no query in it")
    if not found:
        raise UsageError("expected files with queries, found none; name some, or give --root")
    return found


def _read(path: Path) -> list[Query]:
    text = read_text(path)
    if path.suffix == ".json":
        try:
            documents = [json.loads(text)]
        except ValueError as error:
            raise SpecError(path, "", f"expected JSON, found something else: {error}") from None
    else:
        documents = read_yaml(path, text)
    return [query for document in documents for query in _queries(path, document)]


def _queries(path: Path, document: Any) -> Iterator[Query]:
    if not isinstance(document, dict):
        return
    if isinstance(document.get("dashboard"), dict):  # as Grafana's API has it
        document = document["dashboard"]
    found = _KINDS.get(str(document.get("kind")))
    known = next((key for key in _KEYS if isinstance(document.get(key), list)), "")
    if found is not None:
        yield from found(path, document)
    elif known:
        yield from _KEYS[known](path, document)


def _config_map(path: Path, document: Mapping[str, Any]) -> Iterator[Query]:
    for name, text in (document.get("data") or {}).items():
        if str(name).endswith(_SUFFIXES):
            for inner in read_yaml(path, str(text)):  # JSON is YAML
                yield from _queries(path, inner)


def _items(path: Path, document: Mapping[str, Any]) -> Iterator[Query]:
    for item in document.get("items") or []:
        yield from _queries(path, item)


def _scaled_object(path: Path, document: Mapping[str, Any]) -> Iterator[Query]:
    spec = document.get("spec") or {}
    yield from _triggers(path, {**spec, "name": _at(document, "metadata", "name")})


def _scaled_objects(path: Path, document: Mapping[str, Any]) -> Iterator[Query]:
    for one in document["scaledObjects"]:
        yield from _triggers(path, one)


def _rules(path: Path, spec: Mapping[str, Any]) -> Iterator[Query]:
    for rule in (r for group in spec.get("groups") or [] for r in group.get("rules") or []):
        kind = Kind.ALERT if "alert" in rule else Kind.RECORD
        text, name = str(rule.get("expr", "")), str(rule.get(kind, ""))
        labels = {str(key): str(value) for key, value in (rule.get("labels") or {}).items()}
        yield Query(path, kind, name, text, text, labels=labels)


def _triggers(path: Path, scaled: Mapping[str, Any]) -> Iterator[Query]:
    for number, trigger in enumerate(scaled.get("triggers") or []):
        if trigger.get("type") == "prometheus":
            text = str(_at(trigger, "metadata", "query") or "")
            name = f"{scaled.get('name')}/{trigger.get('name', number)}"
            yield Query(path, Kind.TRIGGER, name, text, text)


def _dashboard(path: Path, board: Mapping[str, Any]) -> Iterator[Query]:
    filled = _Variables(_at(board, "templating", "list") or [])
    for panel in _panels(board):
        for target in panel.get("targets") or []:
            if target.get("expr"):
                name = str(panel.get("title", panel.get("id")))
                yield _asked(path, Kind.PANEL, name, str(target["expr"]), filled)
    for note in _at(board, "annotations", "list") or []:
        if note.get("expr"):
            name = f"annotation {note.get('name')}"
            yield _asked(path, Kind.PANEL, name, str(note["expr"]), filled)
    for variable in _at(board, "templating", "list") or []:
        query = variable.get("query")
        text = query.get("query") if isinstance(query, dict) else query
        if variable.get("type") == "query" and isinstance(text, str):
            inner = _LABEL_VALUES.fullmatch(text.strip())
            if inner is not None:
                # Grafana's own language; what must be there is a series that has the label.
                text = f"count by ({inner[2]}) ({inner[1]})"
            yield _asked(path, Kind.VARIABLE, str(variable.get("name")), text, filled)


def _panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in board.get("panels") or []:
        yield panel
        yield from _panels(panel)  # a row that is folded holds its own


def _asked(
    path: Path, kind: Kind, name: str, text: str, filled: Callable[[str], tuple[str, list[str]]]
) -> Query:
    promql, undeclared = filled(text)
    return Query(path, kind, name, text, promql, tuple(undeclared))


_Reader = Callable[[Path, Mapping[str, Any]], Iterator[Query]]
_KINDS: Mapping[str, _Reader] = {
    "PrometheusRule": lambda path, document: _rules(path, document.get("spec") or {}),
    "ScaledObject": _scaled_object,
    "ConfigMap": _config_map,
    "List": _items,
}
_KEYS: Mapping[str, _Reader] = {
    "panels": _dashboard,
    "groups": _rules,
    "scaledObjects": _scaled_objects,
}

_LABEL_VALUES = re.compile(r"label_values\(\s*(.+?)\s*,\s*(\w+)\s*\)", re.DOTALL)
_VARIABLE = re.compile(
    r"\$([A-Za-z_]\w*)|\$\{([A-Za-z_]\w*)(?:[.:][^}]*)?\}|\[\[([A-Za-z_]\w*)(?::\w+)?\]\]"
)
# What Grafana would put there for a dashboard of an hour that is scraped every 15 s.
_BUILT_IN = {
    "__rate_interval": "1m",
    "__interval": "15s",
    "__interval_ms": "15000",
    "__range": "1h",
    "__range_s": "3600",
    "__range_ms": "3600000",
}


class _Variables:
    """Takes Grafana's variables out of a text: each stands for everything that it can be."""

    def __init__(self, declared: Iterable[Mapping[str, Any]]) -> None:
        self._values = dict(_BUILT_IN)
        for one in declared:
            now = _at(one, "current", "value")
            first = str(one.get("query", "")).split(",")[0].strip()
            if one.get("type") in ("interval", "constant", "textbox"):
                self._values[str(one.get("name"))] = str(now or first)
            else:
                self._values[str(one.get("name"))] = ".*"

    def __call__(self, text: str) -> tuple[str, list[str]]:
        undeclared: list[str] = []

        def fill(match: re.Match[str]) -> str:
            name = match[1] or match[2] or match[3]
            if name not in self._values:
                undeclared.append(name)
            return self._values.get(name, ".*")

        return _VARIABLE.sub(fill, text), undeclared


def _at(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data
