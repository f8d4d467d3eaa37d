"""What a cluster's GPU nodes cost an hour, where the price of each is known."""

from __future__ import annotations

from collections.abc import Iterable

from faultload.errors import UsageError
from faultload.spec.prices import Prices
from faultload.targets.kubernetes.api import Object

INSTANCE_TYPE = "node.kubernetes.io/instance-type"
CAPACITY_TYPES = (
    "karpenter.sh/capacity-type",
    "eks.amazonaws.com/capacityType",
    "cloud.google.com/gke-provisioning",
    "kubernetes.azure.com/scalesetpriority",
)
"""Labels that say how a node is paid for; one of them is there, or none."""
_REGION = "topology.kubernetes.io/region"
_GPU = "nvidia.com/gpu"
_GPU_PRESENT = "nvidia.com/gpu.present"
"""Set by GPU feature discovery, also while the device plugin offers none."""
_ON_DEMAND = ("on-demand", "ON_DEMAND")


def capacity_type(node: Object) -> str:
    """Return how a node is paid for, in its provisioner's words; "" where it is not labelled."""
    labels = _labels(node)
    return next((str(labels[key]) for key in CAPACITY_TYPES if key in labels), "")


def usd_per_h(nodes: Iterable[Object], prices: Prices) -> float | None:
    """Return what the GPU nodes among these cost together, US dollars an hour.

    None where there is no GPU node, and where one's price is not known: another region, not said
    to be on demand (what spot costs moves from hour to hour), or a type that is not listed.
    """
    total = 0.0
    found = [node for node in nodes if _has_gpus(node, prices)]
    for node in found:
        labels = _labels(node)
        if labels.get(_REGION) != prices.region or capacity_type(node) not in _ON_DEMAND:
            return None
        try:
            total += prices.of(str(labels.get(INSTANCE_TYPE, ""))).usd_per_hour
        except UsageError:
            return None
    return total if found else None


def _has_gpus(node: Object, prices: Prices) -> bool:
    labels, status = _labels(node), node.get("status") or {}
    offered = str((status.get("capacity") or {}).get(_GPU, "0"))
    listed = any(one.instance_type == labels.get(INSTANCE_TYPE) for one in prices.instances)
    return listed or offered != "0" or labels.get(_GPU_PRESENT) == "true"


def _labels(node: Object) -> Object:
    return node["metadata"].get("labels") or {}
