"""Whoever is woken finds a page, and every page is found by somebody: rules and pages match."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_RULES = _ROOT / "platform/observability/rules"
_PAGES = {path.name: path.read_text() for path in (_ROOT / "docs/runbooks").glob("*.md")}
_ALERTS: list[dict[str, Any]] = [
    rule
    for path in sorted(_RULES.glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
_OF_SLOS = re.compile(r"\w+(Burn\d+\w|Blind)")


def _amiss(alerts: list[dict[str, Any]], pages: Mapping[str, str]) -> list[str]:
    """Return what does not fit, each with the rule or page at fault."""
    found, used = [], set()
    for rule in alerts:
        name, notes = rule["alert"], rule.get("annotations", {})
        if rule.get("labels", {}).get("severity") not in ("page", "ticket", "none"):
            found.append(f"{name}: severity is page, ticket or none: Alertmanager routes by it")
        found += [f"{name}: no {key}" for key in ("summary", "description") if not notes.get(key)]
        link = str(notes.get("runbook_url", ""))
        page, _, anchor = link.removeprefix("docs/runbooks/").partition("#")
        used.add(page)
        text = pages.get(page, "")
        if not text:
            found.append(f"{name}: runbook_url {link!r} is no page in docs/runbooks/")
        elif anchor and f"\n## {anchor.capitalize()}\n" not in text:
            found.append(f"{name}: {page} has no heading for #{anchor}")
        elif not anchor and not text.startswith(f"# {name}\n"):
            found.append(f"{name}: {page} is about something else")
    return found + [f"{page}: no rule leads here" for page in sorted(pages.keys() - used)]


def test_rules_and_pages_match() -> None:
    """Each alert names a severity, says what happened and leads to a page; no page is an orphan."""
    assert _amiss(_ALERTS, _PAGES) == []


@pytest.mark.parametrize("name", sorted(_PAGES))
def test_a_page_says_what_to_do_and_how_to_cause_it(name: str) -> None:
    """A page that only explains is no help at night."""
    for heading in ("How to see it", "What to do", "How to cause it"):
        assert re.search(rf"^##+ {heading}$", _PAGES[name], re.MULTILINE), heading


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("annotations", "runbook_url"), "", "EngineHung: runbook_url '' is no page"),
        (("annotations", "runbook_url"), "docs/runbooks/engine-down.md", "EngineHung: engine-down"),
        (("labels", "severity"), "critical", "EngineHung: severity"),
        (("annotations", "description"), "", "EngineHung: no description"),
    ],
)
def test_a_rule_without_its_page_is_named(path: tuple[str, str], value: str, said: str) -> None:
    """What is broken in one rule is said of that rule."""
    alerts = copy.deepcopy(_ALERTS)
    rule = next(rule for rule in alerts if rule["alert"] == "EngineHung")
    rule[path[0]][path[1]] = value

    assert said in "\n".join(_amiss(alerts, _PAGES))


def test_a_page_without_a_rule_is_named() -> None:
    """A page about an alert that is gone misleads whoever searches."""
    assert _amiss(_ALERTS, {**_PAGES, "old.md": "# Old\n"}) == ["old.md: no rule leads here"]


def _played() -> dict[str, str]:
    tests = [yaml.safe_load(path.read_text()) for path in (_RULES / "tests").glob("*.yaml")]
    return {
        str(test["name"]): str(test.get("promql_expr_test"))
        for file in tests
        for test in file["tests"]
    }


@pytest.mark.parametrize(
    "name",
    [
        rule["alert"]
        for rule in _ALERTS
        if not _OF_SLOS.fullmatch(rule["alert"]) and not rule["alert"].startswith("Cost")
    ],
)
def test_every_alert_is_played(name: str) -> None:
    """Each has a case in which it fires and one in which it is silent; the watchdog never is."""
    played = _played()

    assert f'alertname="{name}"' in played[f"{name}: fires"]
    assert name == "Watchdog" or f"{name}: silent" in played


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(_RULES.glob("*.yaml")) if p.name != "chat.yaml"],
    ids=lambda p: p.stem,
)
def test_every_file_is_played_without_any_series(path: Path) -> None:
    """What an alert says when nothing is exported is decided and not left to chance."""
    tests = yaml.safe_load((_RULES / "tests" / path.name).read_text())["tests"]

    assert any("nothing is" in test["name"] for test in tests)


def test_the_table_of_alerts_is_the_rules() -> None:
    """docs/observability.md lists each alert of ours with page, severity and patience."""
    text = (_ROOT / "docs/observability.md").read_text()
    listed = re.findall(r"^\| \[(\w+)\]\(([\w/.-]+)\) \| (\w+) \| (\w+) \|", text, re.MULTILINE)

    assert listed == [
        (
            rule["alert"],
            rule["annotations"]["runbook_url"].removeprefix("docs/"),
            rule["labels"]["severity"],
            rule.get("for", "0m"),
        )
        for name in ("engine", "gpu", "router", "scaling", "monitoring", "cost")
        for group in yaml.safe_load((_RULES / f"{name}.yaml").read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
