"""The cost rules: accepted by Prometheus, right where it matters, on series that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from inference_platform.local import programs
from inference_platform.local.errors import MissingError

HOME = Path(__file__).parents[3] / "platform/observability"
RULES = HOME / "rules/cost.yaml"
SITUATIONS = HOME / "rules/tests/cost.yaml"


@pytest.fixture(scope="module")
def promtool() -> str:
    """Skip where Prometheus' own tool cannot be had."""
    try:
        return programs.find("promtool")
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("words", [("check", "rules", RULES), ("test", "rules", SITUATIONS)])
def test_prometheus_accepts_the_rules_and_alerts_as_meant(
    promtool: str, words: tuple[str, str, Path]
) -> None:
    """Dear tokens page nobody and tell somebody; a price that is missing is said, not 0."""
    done = subprocess.run(
        [promtool, *map(str, words)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_ask_for_series_that_are_exported() -> None:
    """A query about a name that nobody exports would be silent for ever."""
    home: dict[str, Any] = yaml.safe_load((HOME / "metrics.yaml").read_text(encoding="utf-8"))
    known = {series["name"] for series in home["series"]}
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    known |= {rule["record"] for rule in rules if "record" in rule}

    bare = [re.sub(r'"[^"]*"', "", rule["expr"]) for rule in rules]
    asked = {word for expr in bare for word in re.findall(r"[a-z_]+[:_][\w:]+", expr)}
    assert asked - known == {"max_over_time", "avg_over_time"}
