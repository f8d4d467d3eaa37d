"""What a cluster's GPU nodes cost an hour, where the price of each is known."""

from __future__ import annotations

from collections.abc import Iterable

from faultload.spec.prices import PriceBook
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


def capacity_type(node: Object) -> str:
    """Return how a node is paid for, in its provisioner's words; "" where it is not labelled."""
    labels = _labels(node)
    return next((str(labels[key]) for key in CAPACITY_TYPES if key in labels), "")


def usd_per_h(nodes: Iterable[Object], prices: PriceBook) -> float | None:
    """Return what the GPU nodes among these cost together, US dollars an hour.

    None where there is no GPU node, and where one's price is not known: a region or type that is
    in no list, or not said how it is paid for. A typical price is none here: a run that is to end
    at so many dollars must not rest on a guess of what spot costs now.
    """
    total = 0.0
    found = [node for node in nodes if _has_gpus(node, prices)]
    for node in found:
        labels, paid = _labels(node), capacity_type(node).lower().replace("_", "-")
        kind, region = str(labels.get(INSTANCE_TYPE, "")), str(labels.get(_REGION, ""))
        quote = prices.find(kind, region, paid)
        if quote is None or quote.typical:
            return None
        total += quote.usd_per_hour
    return total if found else None


def _has_gpus(node: Object, prices: PriceBook) -> bool:
    labels, status = _labels(node), node.get("status") or {}
    offered = str((status.get("capacity") or {}).get(_GPU, "0"))
    listed = prices.gpus(str(labels.get(INSTANCE_TYPE, ""))) is not None
    return listed or offered != "0" or labels.get(_GPU_PRESENT) == "true"


def _labels(node: Object) -> Object:
    return node["metadata"].get("labels") or {}
