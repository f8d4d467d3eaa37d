"""What a record keeps of a cluster: what it is, what it reported, what its containers logged."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from faultload.secrecy import redacted_bytes
from faultload.targets.base import PlatformEvent
from faultload.targets.kubernetes.api import ApiError, Call, Object, Patience
from faultload.targets.kubernetes.cluster import Cluster, has_condition, name_of
from faultload.targets.kubernetes.cost import INSTANCE_TYPE, capacity_type
from faultload.targets.kubernetes.nodes import zone_of
from faultload.targets.kubernetes.resources import EVENTS, NODES, PODS, Ref

_LOG_LINES_MAX = 20_000
_LOG_BYTES_MAX = 4 << 20
_LOGS_BYTES_MAX = 128 << 20
_LOGS_S_MAX = 120.0
_UNAVAILABLE = "unavailable.txt"
_LOG_PATIENCE = Patience(read_s=10.0, attempts=1)
"""A node that does not give its logs is lost or slow, and the next ones may be, too."""


def describe(cluster: Cluster) -> dict[str, Any]:
    """Return which cluster it is, its nodes, and what each component runs, with which flags."""
    version = cluster.api.call(Call("GET", "/version", "get /version"))
    components = {}
    for name in cluster.spec.components:
        pods = cluster.pods(name)
        containers = [one for pod in pods for one in pod["spec"]["containers"]]
        flags = {(*(one.get("command") or ()), *(one.get("args") or ())) for one in containers}
        components[name] = {
            "replicas": len(pods),
            "images": sorted({one["image"] for one in containers}),
            "flags": [list(words) for words in sorted(flags) if words],
        }
    return {
        "cluster_uid": cluster.spec.cluster_uid,
        "context": cluster.spec.context,
        "version": version["gitVersion"],
        "namespaces": list(cluster.namespaces),
        "nodes": [_describe_node(node) for node in cluster.api.list_all(NODES)],
        "components": components,
    }


def _describe_node(node: Object) -> dict[str, Any]:
    labels = node["metadata"].get("labels") or {}
    about = (node.get("status") or {}).get("nodeInfo") or {}
    return {
        "name": name_of(node),
        "instance_type": labels.get(INSTANCE_TYPE, ""),
        "zone": zone_of(node),
        "capacity_type": capacity_type(node),
        "ready": has_condition(node, "Ready"),
        "kubelet": about.get("kubeletVersion", ""),
    }


def events(cluster: Cluster) -> Sequence[PlatformEvent]:
    """Return the events of our namespaces, oldest first; a cluster keeps them for an hour."""
    found = [
        as_event(seen)
        for namespace in cluster.namespaces
        for seen in cluster.api.list_all(EVENTS, namespace)
    ]
    return sorted(found, key=lambda event: event.time_unix_s)


def as_event(seen: Object) -> PlatformEvent:
    """Return an event of the API; one that recurs has the time of its last occurrence."""
    subject, series = seen.get("involvedObject") or {}, seen.get("series") or {}
    text = (
        series.get("lastObservedTime")
        or seen.get("lastTimestamp")
        or seen.get("eventTime")
        or seen["metadata"]["creationTimestamp"]
    )
    return PlatformEvent(
        time_unix_s=datetime.fromisoformat(text).timestamp(),
        reason=seen.get("reason") or "",
        subject=f"{str(subject.get('kind', '')).lower()}/{subject.get('name', '')}",
        message=seen.get("message") or "",
    )


def save_logs(cluster: Cluster, folder: Path) -> None:
    """Write the last lines of every container of our components, also from before a restart.

    What cannot be read, or would be too much, is named in `unavailable.txt`.

    Raises:
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline, left = time.monotonic() + _LOGS_S_MAX, _LOGS_BYTES_MAX
    silent, unavailable = set[str](), list[str]()
    for pod, container, previous in _containers(cluster):
        node = pod["spec"].get("nodeName") or ""
        name = f"{name_of(pod)}_{container}{'.previous' if previous else ''}.log"
        if node in silent:
            unavailable.append(f"{name}: node {node} gave no other log")
        elif left <= 0 or time.monotonic() > deadline:
            unavailable.append(f"{name}: the bound of all logs was reached")
        else:
            try:
                text = _read_log(cluster, pod, container, previous=previous)
            except ApiError as error:
                unavailable.append(f"{name}: {error}")
                if error.status in (0, 500, 502, 503, 504):
                    silent.add(node)
                continue
            (folder / name).write_bytes(redacted_bytes(text))
            left -= len(text)
    if unavailable:
        lines = "".join(f"{line}\n" for line in unavailable)
        (folder / _UNAVAILABLE).write_text(lines, encoding="utf-8")


def _containers(cluster: Cluster) -> Iterator[tuple[Object, str, bool]]:
    """Yield pod, container, and whether its log from before its last restart is meant."""
    for component in cluster.spec.components:
        for pod in cluster.pods(component):
            for status in (pod.get("status") or {}).get("containerStatuses") or []:
                yield pod, status["name"], False
                if status.get("restartCount"):
                    yield pod, status["name"], True


def _read_log(cluster: Cluster, pod: Object, container: str, *, previous: bool) -> bytes:
    ref = Ref.of(PODS, pod)
    query = {
        "container": container,
        "tailLines": str(_LOG_LINES_MAX),
        "limitBytes": str(_LOG_BYTES_MAX),
        "timestamps": "true",
    }
    if previous:
        query["previous"] = "true"
    call = Call("GET", ref.path("log"), f"get {ref.words('log')}", query)
    return cluster.api.ask(call, _LOG_PATIENCE)
