"""The alert rules in the repository are what the SLOs say, and Prometheus plays them as meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from faultload.measure.promtool import find_promtool
from faultload.measure.rule_files import drift, rule_files
from faultload.spec import Catalogue
from faultload.spec.windows import load_windows

_ROOT = Path(__file__).parents[2]
_RULES = _ROOT / "platform/observability/rules"


def _run(*arguments: str) -> None:
    done = subprocess.run(
        [find_promtool(_ROOT), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_what_the_command_writes() -> None:
    """Whoever changes an SLO or a window makes the rules again: `faultload slo rules`."""
    catalogue = Catalogue(_ROOT)
    made = rule_files(catalogue.slo_paths(), load_windows(catalogue.windows_path))

    assert drift(made, _RULES, alone=True) == []


def test_prometheus_accepts_the_rules() -> None:
    """A rule that does not load is an alert that never fires."""
    _run("check", "rules", *map(str, sorted(_RULES.glob("*.yaml"))))


@pytest.mark.parametrize("path", sorted((_RULES / "tests").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_rules_fire_when_they_should_and_not_before(path: Path) -> None:
    """Prometheus' own engine plays total outages, silence and missing samples to each alert."""
    _run("test", "rules", str(path))
