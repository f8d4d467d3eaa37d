"""What of chaosk8s, Chaos Toolkit's extension for Kubernetes, may stand in an experiment, and why.

The functions were read as of version 0.39. What is not listed as allowed is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Stock:
    """An action of chaosk8s that may be used.

    Attributes:
        fault: the fault of ours that plays it, with the same arguments.
        why: why that is sound.
    """

    fault: str
    why: str


ACTIONS: Mapping[str, Stock] = {
    "chaosk8s.pod.actions.terminate_pods": Stock(
        "terminate_pods", "a deletion within a grace period; who was deleted is known by uid"
    ),
    "chaosk8s.deployment.actions.scale_deployment": Stock(
        "scale_deployment", "one number, which is what it was before once it is set back"
    ),
    "chaosk8s.statefulset.actions.scale_statefulset": Stock(
        "scale_statefulset", "one number, which is what it was before once it is set back"
    ),
}
"""Function → what plays it."""

PROBES: Mapping[str, str] = {
    "chaosk8s.pod.probes.pods_in_phase": "no pod at all is no",
    "chaosk8s.pod.probes.pods_in_conditions": "no pod at all is no",
    "chaosk8s.pod.probes.pods_not_in_phase": "no pod at all is no",
    "chaosk8s.pod.probes.count_min_pods": "compares for itself",
    "chaosk8s.deployment.probes.deployment_available_and_healthy": "no deployment is no",
    "chaosk8s.deployment.probes.deployment_fully_available": "waits, within its timeout",
    "chaosk8s.statefulset.probes.statefulset_fully_available": "waits, within its timeout",
}
"""Function → why it may say whether the state is steady: it answers yes or no, and not of nothing.
"""

REFUSED: Mapping[str, str] = {
    "chaosk8s.node.actions.drain_nodes": "evicts no pod that has an emptyDir and calls that a"
    " success, gives up when a budget first refuses, and leaves the node cordoned; use drain_node",
    "chaosk8s.node.actions.cordon_node": "with no argument it cordons every node; use cordon_node",
    "chaosk8s.node.actions.uncordon_node": "takes off cordons that others set",
    "chaosk8s.node.actions.delete_nodes": "draws nodes at random with replacement, one machine"
    " several times, and nothing brings them back",
    "chaosk8s.node.actions.create_node": "makes an object that no machine stands behind",
    "chaosk8s.pod.actions.exec_in_pods": "runs any command, whose harm nobody can plan, prove or"
    " undo; without container_name it does nothing, and exit codes are ignored",
    "chaosk8s.deployment.actions.rollout_deployment": "returns before the rollout begins, and says"
    " of none when it ends",
    "chaosk8s.deployment.actions.create_deployment": "makes what no run would remove",
    "chaosk8s.deployment.actions.delete_deployment": "nothing puts back what it deletes, and with"
    " no name it deletes all of a namespace",
    "chaosk8s.statefulset.actions.create_statefulset": "makes what no run would remove",
    "chaosk8s.statefulset.actions.remove_statefulset": "nothing puts back what it deletes",
    "chaosk8s.networking.actions.deny_all_ingress": "nothing tells whether the network enforces the"
    " policy; use partition_replica",
    "chaosk8s.networking.actions.deny_all_egress": "as deny_all_ingress",
    "chaosk8s.namespace.actions.delete_namespace": "nothing puts back what it deletes",
    "chaosk8s.pod.probes.count_pods": "answers with a number; use count_min_pods",
    "chaosk8s.pod.probes.pod_is_not_available": "of no pod at all it says yes",
    "chaosk8s.pod.probes.read_pod_logs": "answers with texts; logs are in the record",
    "chaosk8s.deployment.probes.deployment_partially_available": "ends with a TypeError where none"
    " is available",
}
"""Function → why it is refused; those that are not here, and not allowed, were not examined."""


def refusal(function: str) -> str:
    """Return why a function of chaosk8s is refused, and what may be used."""
    why = REFUSED.get(function, "not on the list of those that were found sound")
    return (
        f"{function} is refused: {why}. Allowed are {', '.join([*ACTIONS, *PROBES])}"
        " (docs/faults.md has the reasons)"
    )
