"""What `chaos discover faultload` lists: every action and probe, with its arguments."""

from __future__ import annotations

from chaoslib.discovery.discover import (
    discover_actions,
    discover_probes,
    initialize_discovery_result,
)
from chaoslib.types import Discovery

from faultload.faults import actions, probes

_MODULE = "faultload.faults"  # what an experiment's `provider.module` names


def discover_activities(version: str) -> Discovery:
    """Return Chaos Toolkit's document of what we offer, as `version` of ours."""
    discovery = initialize_discovery_result("faultload", version, "llm-inference")
    for found, module in ((discover_actions, actions), (discover_probes, probes)):
        discovery["activities"] += [
            activity for activity in found(_MODULE) if activity["name"] in module.__all__
        ]
    return discovery
