"""The files that others follow: endpoints for the router, targets for Prometheus, platform.json.

Each is replaced by rename, so that a reader never sees half of one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from inference_platform.local.addresses import Address, url
from inference_platform.local.pod import Pod
from inference_platform.local.settings import PlatformConfig


def write(path: Path, document: Any, mode: int = 0o644) -> None:
    """Write a JSON document in one step."""
    text = document if isinstance(document, str) else json.dumps(document, indent=1) + "\n"
    new = path.with_name(f".{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def endpoints(pods: Iterable[Pod], config: PlatformConfig) -> dict[str, Any]:
    """Return what the router reads: replicas that were started, and are not on their way out."""
    return {
        "endpoints": [
            {
                "name": pod.name,
                "uid": pod.process_uid,
                "tier": pod.tier,
                "url": url(pod.addresses.link if config.links else pod.addresses.engine),
                "model": config.tiers[pod.tier].model,
                "ready": pod.unit is not None and pod.unit.ready,
            }
            for pod in pods
            if pod.process_uid and pod.routed
        ]
    }


def engine_targets(
    pods: Iterable[Pod], zones: Mapping[str, str], port: Callable[[Pod], Address]
) -> list[dict[str, Any]]:
    """Return file_sd targets: a dead replica stays one, so that `up` says 0 and not nothing.

    Args:
        pods: the replicas; those without a node are left out.
        zones: by node.
        port: which of a replica's ports.
    """
    return [
        {
            "targets": ["{}:{}".format(*port(pod))],
            "labels": {
                "tier": pod.tier,
                "replica": pod.name,
                "node": pod.node,
                "zone": zones.get(pod.node, ""),
            },
        }
        for pod in pods
        if pod.node
    ]


def router_targets(address: Address) -> list[dict[str, Any]]:
    """Return the file_sd target of the router; tier and replica are labels of its own series."""
    return [{"targets": [f"{address[0]}:{address[1]}"], "labels": {}}]


def prometheus_yml(config: PlatformConfig, folder: Path, control: Address) -> str:
    """Return Prometheus' configuration; its paths are relative to the file it is written to."""
    interval = f"{round(config.prometheus.scrape_interval_s * 1000)}ms"

    def followed(job: str) -> dict[str, Any]:
        files = [{"files": [str(folder / f"{job}.json")], "refresh_interval": "5s"}]
        return {"job_name": job, "file_sd_configs": files}

    kube_state_metrics = {
        "job_name": "kube-state-metrics",
        "honor_labels": True,  # its namespace and pod are about others
        "authorization": {"credentials_file": str(folder.parent / "token")},
        "static_configs": [{"targets": [f"{control[0]}:{control[1]}"]}],
    }
    document = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [
            *(followed("engine"), followed("dcgm"), followed("router")),
            kube_state_metrics,
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)
