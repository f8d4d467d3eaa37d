"""Machines and replicas as the series of a platform tell of them, sampled every second."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from faultload.record import SERIES_SCHEMA

Row = tuple[str, str, float, float]
Flag = Callable[[float], bool]


@dataclass(frozen=True)
class PodSeen:
    """A replica that holds one GPU: when it was there, ready and busy, seconds since the start."""

    name: str
    there: Flag = lambda _: True
    ready: Flag = lambda _: True
    busy: Flag = lambda _: False


@dataclass(frozen=True)
class NodeSeen:
    """A node: of four GPUs; its price where the platform exports it."""

    name: str
    provider_id: str = "aws:///us-east-1a/i-1"
    zone: str = "us-east-1a"
    instance_type: str = "g6.12xlarge"
    capacity_type: str = "on-demand"
    usd_per_h: float | None = 3.6
    gpus: int = 4
    created_s: float = -1000.0
    there: Flag = lambda _: True
    listed: Flag | None = None
    """None: while it is there."""
    pods: list[PodSeen] = field(default_factory=list)


def fleet_series(
    *nodes: NodeSeen, end_s: float, t0_unix_s: float, at_s: np.ndarray | None = None
) -> pd.DataFrame:
    """Return what a Prometheus that scrapes every second would have stored of these."""
    looks = np.arange(0.05, end_s, 1.0) if at_s is None else at_s
    rows = [row for node in nodes for row in _node(node, looks, t0_unix_s)]
    return pd.DataFrame(rows, columns=SERIES_SCHEMA.names)


def _node(node: NodeSeen, looks: np.ndarray, t0_unix_s: float) -> Iterator[Row]:
    listed = node.listed or node.there
    identity = {"node": node.name, "provider_id": node.provider_id}
    labels = {
        "node": node.name,
        "label_topology_kubernetes_io_zone": node.zone,
        "label_node_kubernetes_io_instance_type": node.instance_type,
        "label_karpenter_sh_capacity_type": node.capacity_type,
    }
    gpus = {"node": node.name, "resource": "nvidia_com_gpu", "unit": "integer"}
    if node.usd_per_h is not None:
        paid = {**identity, "instance_type": node.instance_type}
        yield from _row("node_total_hourly_cost", paid, looks, node.there, node.usd_per_h)
    yield from _row("kube_node_info", {**identity, "internal_ip": "10.0.0.1"}, looks, listed, 1.0)
    yield from _row("kube_node_labels", labels, looks, listed, 1.0)
    created = t0_unix_s + node.created_s
    yield from _row("kube_node_created", {"node": node.name}, looks, listed, created)
    yield from _row("kube_node_status_allocatable", gpus, looks, listed, float(node.gpus))
    for pod in node.pods:
        about = {"namespace": "inference", "pod": pod.name, "uid": f"uid-{pod.name}"}
        held = {**about, **gpus, "container": "vllm"}
        yield from _row("kube_pod_container_resource_requests", held, looks, pod.there, 1.0)
        ready = {**about, "condition": "true"}
        yield from _row("kube_pod_status_ready", ready, looks, pod.there, pod.ready)
        engine = {"replica": pod.name, "model_name": "m", "engine": "0"}
        speaks = partial(_speaks, pod)
        yield from _row("vllm:num_requests_running", engine, looks, speaks, pod.busy)


def _speaks(pod: PodSeen, at_s: float) -> bool:
    """Tell whether its engine can be scraped."""
    return pod.there(at_s) and (pod.ready(at_s) or pod.busy(at_s))


def _row(
    name: str, labels: dict[str, str], looks: np.ndarray, there: Flag, value: float | Flag
) -> Iterator[Row]:
    scraped = {**labels, "job": "kube-state-metrics", "instance": "10.0.0.9:8080"}
    encoded = json.dumps(scraped, sort_keys=True, separators=(",", ":"))
    for look in looks.tolist():
        if there(look):
            yield name, encoded, look, float(value(look) if callable(value) else value)
