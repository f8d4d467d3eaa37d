"""What docs/deploy.md says of cost is what the prices say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from terraform_code import ROOT


@pytest.fixture(scope="module")
def table() -> str:
    """Return what scripts/terraform_cost.py prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/terraform_cost.py"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_document_has_the_table(table: str) -> None:
    """The table was printed by the script, after the last change of sizes or prices."""
    assert table.strip() in (ROOT / "docs/deploy.md").read_text()


def test_dev_is_added_up(table: str) -> None:
    """One g6.xlarge, a control plane and a gateway: (0.8048 + 0.10 + 0.045) x 730 hours."""
    dev = next(line for line in table.splitlines() if line.startswith("| dev"))
    assert dev.endswith("| 588 | 73 | 33 | 693 |")
