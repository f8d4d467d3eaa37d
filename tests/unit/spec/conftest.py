"""A small project on disk: one experiment, one scenario, two SLO files, one target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

EXPERIMENT = """\
title: Losing one engine replica is over in 30 seconds
description: The router goes round the gap.
tags: [engine]
configuration: {hold_s: 4}
extensions:
  - name: faultload
    scenario: chat
    slos: [chat-ttft, batch]
    phases: {warmup_s: 1, baseline_s: 10, recovery_s: 90}
    blast_radius: {component: engine, replicas: 1}
    requires: [kill-replica]
    expects: {recovery_s_max: 30}
steady-state-hypothesis:
  title: Users are served
  probes:
    - type: probe
      name: served
      tolerance: true
      provider: {type: python, module: builtins, func: bool}
method:
  - type: action
    name: kill
    provider: {type: python, module: builtins, func: bool}
    pauses: {after: "${hold_s}"}
rollbacks:
  - type: action
    name: undo
    provider: {type: python, module: builtins, func: bool}
"""

SCENARIO = """\
name: chat
description: Steady chat.
arrivals: {kind: poisson, rate_rps: 8}
tiers:
  - tier: fast
    model: small
    weight: 1
    prompt_tokens: {median: 200, sigma: 0.5}
    output_tokens: {median: 60, max: 200}
"""


def slo_text(name: str, good: str = "ttft_s <= 0.5", tier: str = "fast") -> str:
    """Return one OpenSLO document whose rows come from the load client."""
    return f"""\
apiVersion: openslo/v1
kind: SLO
metadata: {{name: {name}}}
spec:
  description: First tokens come soon.
  service: chat
  indicator:
    metadata: {{name: {name}}}
    spec:
      ratioMetric:
        rawType: success
        raw:
          metricSource:
            type: requests
            spec: {{tier: {tier}, good: {good}}}
  timeWindow: [{{duration: 30d, isRolling: true}}]
  budgetingMethod: Occurrences
  objectives: [{{target: 0.95}}]
"""


TARGET = """\
name: local
kind: local
local: {config: platform.yaml}
phases: {baseline_s: 5}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Root of the project; every file in it is valid."""
    files = {
        "experiments/engine/replica-loss.yaml": EXPERIMENT,
        "scenarios/chat.yaml": SCENARIO,
        "slos/chat.yaml": slo_text("chat-ttft") + "---\n" + slo_text("chat-served", "served"),
        "slos/batch.yaml": slo_text("batch-e2e", "e2e_s <= 60"),
        "targets/local.yaml": TARGET,
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def mend(project: Path) -> Callable[[str, str, str], Path]:
    """Replace a piece of one file; the piece must be there, else the test tests nothing."""

    def replace(name: str, old: str, new: str) -> Path:
        path = project / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return path

    return replace
