"""What GET /v1/state says about a cluster, as one JSON document."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Any

from inference_platform.local import probe
from inference_platform.local.addresses import url
from inference_platform.local.cluster import Cluster
from inference_platform.local.kube_state import waiting_reason
from inference_platform.local.machines import Machine
from inference_platform.local.pod import Pod
from inference_platform.local.tiers import TierState

IN_FLIGHT_AGE_S = 0.5  # asking every engine on every GET /v1/state would be load of its own


class View:
    """Describes one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        """Ask nobody yet."""
        self._cluster = cluster
        self._in_flight: dict[str, int | None] = {}
        self._asked_at = 0.0

    async def state(self) -> dict[str, Any]:
        """Return the document, but for the platform's id."""
        await self._ask_in_flight()
        cluster = self._cluster
        return {
            "time_unix": time.time(),
            "replicas": [self._replica(pod) for pod in cluster.pods.values()],
            "components": [
                {
                    "name": unit.recipe.name,
                    "uid": unit.uid,
                    "phase": unit.phase,
                    "pid": unit.pid,
                    "ready": unit.ready,
                    "restarts": unit.restarts,
                    "url": unit.recipe.url,
                    "held": unit.held,
                }
                for unit in cluster.components.values()
            ],
            "nodes": [self._node(machine) for machine in cluster.machines.by_name.values()],
            "tiers": [self._tier(tier) for tier in cluster.tiers.values()],
            "links": cluster.network.state(),
            "shortages": [dataclasses.asdict(one) for one in cluster.machines.shortages],
        }

    def _replica(self, pod: Pod) -> dict[str, Any]:
        unit, machine = pod.unit, self._cluster.machines.by_name.get(pod.node)
        running = unit is not None and unit.pid is not None
        return {
            "name": pod.name,
            "uid": pod.process_uid,
            "pod_uid": pod.uid,
            "tier": pod.tier,
            "revision": pod.revision.name,
            "node": pod.node,
            "zone": machine.spec.zone if machine else "",
            "gpus": list(pod.gpus),
            "phase": pod.phase,
            "waits_for": waiting_reason(pod) or pod.waits_for,
            "ready": pod.ready,
            "pid": unit.pid if unit else None,
            "url": url(pod.addresses.engine),
            "restarts": unit.restarts if unit else 0,
            "started_unix": unit.started_unix if unit else None,
            "ready_unix": unit.ready_unix if unit else None,
            "inflight": self._in_flight.get(pod.name) if running else None,
        }

    def _node(self, machine: Machine) -> dict[str, Any]:
        return {
            "name": machine.name,
            **machine.spec.model_dump(mode="json"),
            "pool": machine.pool,
            "instance_id": machine.instance_id,
            "state": machine.state,
            "broken_gpus": [
                n for n in range(machine.spec.gpus) if not self._cluster.gpus.works(machine, n)
            ],
            "cordoned": machine.cordoned,
            "since_unix": machine.since_unix,
            "rebalance_unix": machine.rebalance_unix,
            "notice_unix": machine.notice_unix,
            "replicas": [p.name for p in self._cluster.pods.values() if p.node == machine.name],
        }

    def _tier(self, tier: TierState) -> dict[str, Any]:
        pods = self._cluster.of_tier(tier.name)
        current = [pod for pod in pods if pod.revision.name == tier.revision.name]
        scaler = self._cluster.scaler
        return {
            "name": tier.name,
            "wanted": tier.wanted,
            "scale_annotation": tier.scale_annotation,
            "scaled_by": scaler.owner(tier.name) if scaler else "",
            "ready": sum(pod.ready for pod in pods),
            "model": tier.spec.model,
            "max_unavailable": tier.spec.rollout.max_unavailable,
            "revision": tier.revision.name,
            "annotation": tier.revision.annotation,
            "slow_factor": tier.revision.engine.slow_factor,
            "revisions": [revision.name for revision in tier.revisions],
            "updated": len(current),
            "complete": len(pods) == tier.wanted == sum(pod.ready for pod in current),
            "stalled": tier.stalled,
            "disruptions_allowed": self._cluster.disruptions_allowed(tier.name),
        }

    async def _ask_in_flight(self) -> None:
        """Learn each engine's requests in flight, unless that was learnt just now."""
        if time.monotonic() - self._asked_at < IN_FLIGHT_AGE_S:
            return
        self._asked_at = time.monotonic()

        async def ask(pod: Pod) -> tuple[str, int | None]:
            asked = pod.unit is not None and pod.unit.ready and not pod.unit.lost
            address = pod.addresses.engine
            answer = await probe.http_get(address, "/metrics", 0.3) if asked else None
            found = probe.in_flight(answer[1]) if answer and answer[0] == 200 else None
            return pod.name, found

        pods = list(self._cluster.pods.values())
        self._in_flight = dict(await asyncio.gather(*(ask(pod) for pod in pods)))
