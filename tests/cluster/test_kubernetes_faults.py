"""Every fault that the target's capabilities allow, on a real control plane, as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from kube_objects import make_node, wait_for
from kube_targets import before_restarts, nothing_else_changes
from kubelet import Kubelet
from kubernetes import client

from faultload.errors import FaultError
from faultload.faults import FAULTS, FaultSession
from faultload.faults.limits import Limits
from faultload.record import InjectionJournal
from faultload.targets.kubernetes import KubernetesTarget

PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "scale_to": {"replicas": 3},
    "terminate_pods": {"label_selector": "app=engine"},
    "scale_deployment": {"name": "engine", "replicas": 3},
    "outage": {"component": "engine"},
    "slow_network": {"latency_s": 0.1},
}
"""Of faults that have no default for one, or one that this cluster has nothing for."""
ELSEWHERE = {"scale_statefulset", "add_load"}
"""There is no StatefulSet here and no front door: tests/unit/faults has them."""
RESTARTS = {"roll_out"}
"""Faults that take nothing back of what `kubectl rollout restart` leaves, too."""


@pytest.mark.usefixtures("controllers", "engines")
@pytest.mark.parametrize("name", sorted(FAULTS.keys() - ELSEWHERE))
def test_a_fault_is_proven_and_proven_gone(
    target: KubernetesTarget,
    admin: client.ApiClient,
    namespace: str,
    tmp_path: Path,
    name: str,
) -> None:
    """Planned, journalled, injected, seen, reverted, seen gone; pods aside all is as it was."""
    make_node(admin, "other")
    fault_class = FAULTS[name]
    own = {"ns": namespace} if name in ("terminate_pods", "scale_deployment") else {}
    intent = fault_class.intent(**PARAMETERS.get(name, {}), **own)
    fault = fault_class(target, intent, Limits(seed=1))
    session = FaultSession(target, InjectionJournal(tmp_path / "injections.jsonl"))
    if fault.capability not in target.capabilities:
        with pytest.raises(FaultError, match=f"the target lacks {fault.capability}"):
            session.apply(fault)
        return

    def are_two_ready() -> bool:
        return [replica.ready for replica in target.replicas("engine")] == [True, True]

    seen_as = before_restarts if name in RESTARTS else dict
    with Kubelet(admin, namespace), nothing_else_changes(admin, namespace, "pods", seen_as):
        done = session.apply(fault)
        assert done["text"]
        (reverted,) = session.revert_all()
        assert "did not heal" not in reverted["text"]
        wait_for(are_two_ready, "two ready engines")
    assert session.journal.unreverted() == []
