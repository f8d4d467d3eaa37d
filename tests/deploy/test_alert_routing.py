"""Alertmanager wakes whom it should, and no secret is in its configuration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOME = ROOT / "platform/observability"
FILE = HOME / "alertmanager.yaml"
CONFIG: dict[str, Any] = yaml.safe_load(FILE.read_text())
ALERTS: list[dict[str, Any]] = [
    rule
    for path in sorted((HOME / "rules").glob("*.yaml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]
RECEIVER = {"page": "page", "ticket": "ticket", "none": "heartbeat"}


@pytest.fixture(scope="module")
def amtool() -> str:
    """Alertmanager's own tool; without it these tests are skipped, in CI they fail."""
    found = shutil.which("amtool") or shutil.which("amtool", path=str(ROOT / ".tools/bin"))
    if found is None:
        message = "amtool is missing; run: scripts/fetch_tools.py --only alertmanager"
        if os.environ.get("FAULTLOAD_REQUIRE_PLATFORM_TOOLS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def test_alertmanager_accepts_it(amtool: str) -> None:
    """A configuration that does not load delivers nothing."""
    _run(amtool, "check-config", str(FILE))


@pytest.mark.parametrize("severity", sorted({rule["labels"]["severity"] for rule in ALERTS}))
def test_severity_alone_decides_who_hears(amtool: str, severity: str) -> None:
    """Alertmanager's own routing of one alert of each kind."""
    rule = next(rule for rule in ALERTS if rule["labels"]["severity"] == severity)
    labels = [f"alertname={rule['alert']}", f"severity={severity}"]

    said = _run(amtool, "config", "routes", "test", f"--config.file={FILE}", *labels)

    assert said == RECEIVER[severity]


def test_an_unknown_severity_is_seen(amtool: str) -> None:
    """A rule that forgot its severity is a ticket and not silence."""
    said = _run(amtool, "config", "routes", "test", f"--config.file={FILE}", "alertname=X")

    assert said == "ticket"


def test_the_heartbeat_is_the_watchdog() -> None:
    """Nothing else may be `none`: it would be heard by nobody."""
    assert [r["alert"] for r in ALERTS if r["labels"]["severity"] == "none"] == ["Watchdog"]


def test_inhibitions_name_alerts_that_there_are() -> None:
    """An inhibition by a name that was changed never holds; each goes by a label that exists."""
    names = {rule["alert"] for rule in ALERTS}
    for rule in CONFIG["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            name = re.fullmatch(r'alertname(=~?)"(.+)"', matcher)
            for one in name[2].split("|") if name else ():
                assert any(re.fullmatch(one, known) for known in names), one
        for label in rule.get("equal", ()):
            assert any(matcher.startswith(label) for matcher in rule["source_matchers"])


def test_receivers_read_their_secrets_from_files() -> None:
    """Whoever may read the chart learns no key."""
    text = yaml.safe_dump(CONFIG["receivers"])

    assert not re.search(
        r"^\s*(api_url|routing_key|service_key|credentials|password):", text, re.MULTILINE
    )
    assert text.count("/etc/alertmanager/secrets/") == len(CONFIG["receivers"])
