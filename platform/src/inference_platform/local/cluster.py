"""All units together, and what Kubernetes would say about them."""

from __future__ import annotations

import asyncio
import functools
import shutil
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from inference_platform.local import discovery, probe, programs
from inference_platform.local.addresses import Address, Addresses, url
from inference_platform.local.config import PlatformConfig
from inference_platform.local.placement import Backoff, Replica, place
from inference_platform.local.unit import Recipe, Unit

EVENTS_MAX = 10_000
IN_FLIGHT_AGE_S = 0.5  # asking every engine on every GET /v1/state would be load of its own


@dataclass(frozen=True)
class Layout:
    """Where a platform keeps its files.

    Attributes:
        state: the state directory.
        binaries: paths of prometheus and redis-server.
        router_fd: the router's listening socket.
    """

    state: Path
    binaries: dict[str, str]
    router_fd: int

    @property
    def logs(self) -> Path:
        """One file a unit."""
        return self.state / "logs"

    @property
    def endpoints(self) -> Path:
        """What the router follows."""
        return self.state / "endpoints.json"

    @property
    def prometheus(self) -> Path:
        """Prometheus' configuration, targets and data."""
        return self.state / "prometheus"


class Cluster:
    """The replicas and components of one platform."""

    def __init__(self, config: PlatformConfig, addresses: Addresses, layout: Layout) -> None:
        """Plan everything, start nothing."""
        self.config = config
        self.addresses = addresses
        self.layout = layout
        self.placement = {replica.name: replica for replica in place(config)}
        # A pod outlives its containers: kube-state-metrics' uid stays when a process is replaced,
        # or a restart would begin a new series and no increase() would ever see it.
        self._pod_uids = {name: str(uuid.uuid4()) for name in self.placement}
        self.changed: Callable[[str], None] = lambda _line: None
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        self._sequence = 0
        self._in_flight: dict[str, int | None] = {}
        self._in_flight_at = 0.0
        self.replicas = {name: self._replica(one) for name, one in self.placement.items()}
        self.components = {name: self._component(name) for name in self._commands()}

    @property
    def units(self) -> list[Unit]:
        """Components first: they are what the replicas are watched with."""
        return [*self.components.values(), *self.replicas.values()]

    def prepare(self) -> None:
        """Write every file that a unit reads when it starts; an earlier platform's go."""
        folder = self.layout.prometheus
        for made in (folder, self.layout.logs):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
        services = self.addresses.services
        yml = discovery.prometheus_yml(self.config, folder, services["control"])
        discovery.write(folder / "prometheus.yml", yml)
        engines = [(r, self.addresses.engines[r.number]) for r in self.placement.values()]
        discovery.write(folder / "engine.json", discovery.engine_targets(engines))
        discovery.write(folder / "router.json", discovery.router_targets(services["router"]))
        self._write_endpoints()

    def note(self, reason: str, obj: str, message: str) -> None:
        """Record an event, and let the router know what changed."""
        self._sequence += 1
        self._events.append(
            {
                "seq": self._sequence,
                "time_unix": time.time(),
                "reason": reason,
                "object": obj,
                "message": message,
            }
        )
        if obj.startswith("replica/"):
            self._write_endpoints()
        self.changed(f"{obj}: {reason}: {message}")

    async def serves(self) -> bool:
        """Say whether the router has a usable replica for every tier."""
        timeout_s = self.config.readiness.timeout_s
        return await probe.http_ok(self.addresses.services["router"], "/health", timeout_s)

    def events(self, since: int) -> list[dict[str, Any]]:
        """Return the events after a sequence number, oldest first."""
        return [event for event in self._events if event["seq"] > since]

    async def state(self) -> dict[str, Any]:
        """Return what GET /v1/state says, but for the platform's id."""
        await self._ask_in_flight()
        return {
            "time_unix": time.time(),
            "replicas": [self._replica_state(r) for r in self.placement.values()],
            "components": [
                {
                    "name": unit.recipe.name,
                    "phase": unit.phase,
                    "pid": unit.pid,
                    "ready": unit.ready,
                    "restarts": unit.restarts,
                    "url": unit.recipe.url,
                    "held": unit.held,
                }
                for unit in self.components.values()
            ],
            "nodes": [
                {
                    "name": name,
                    **node.model_dump(mode="json"),
                    "replicas": [r.name for r in self.placement.values() if r.node == name],
                }
                for name, node in self.config.nodes.items()
            ],
        }

    def collect(self) -> Iterator[Metric]:
        """Yield what kube-state-metrics would export of the series that we query."""
        base = ["namespace", "pod", "uid"]
        ready = GaugeMetricFamily(
            "kube_pod_status_ready",
            "Describes whether the pod is ready to serve requests.",
            labels=[*base, "condition"],
        )
        restarts = CounterMetricFamily(
            "kube_pod_container_status_restarts",
            "The number of container restarts per container.",
            labels=[*base, "container"],
        )
        pods = GaugeMetricFamily(
            "kube_pod_info",
            "Information about pod.",
            labels=[*base, "host_ip", "pod_ip", "node", "created_by_kind", "created_by_name"],
        )
        for replica in self.placement.values():
            unit = self.replicas[replica.name]
            pod = [self.config.namespace, replica.name, self._pod_uids[replica.name]]
            host = self.addresses.engines[replica.number][0]
            for condition, holds in (("true", unit.ready), ("false", not unit.ready)):
                ready.add_metric([*pod, condition], float(holds))
            ready.add_metric([*pod, "unknown"], 0.0)
            restarts.add_metric([*pod, "vllm"], unit.restarts)
            owner = ["StatefulSet", replica.tier]
            pods.add_metric([*pod, "127.0.0.1", host, replica.node, *owner], 1.0)
        yield from (ready, restarts, pods)
        yield from self._node_series()

    def _node_series(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "kube_node_info",
            "Information about a cluster node.",
            labels=["node", "internal_ip", "provider_id"],
        )
        labels = GaugeMetricFamily(
            "kube_node_labels",
            "Kubernetes labels converted to Prometheus labels.",
            labels=[
                "node",
                "label_topology_kubernetes_io_zone",
                "label_node_kubernetes_io_instance_type",
                "label_karpenter_sh_capacity_type",
            ],
        )
        for name, node in self.config.nodes.items():
            info.add_metric([name, "127.0.0.1", f"local:///{node.zone}/{name}"], 1.0)
            labels.add_metric([name, node.zone, node.instance_type, node.capacity_type], 1.0)
        yield from (info, labels)

    def _replica_state(self, replica: Replica) -> dict[str, Any]:
        unit = self.replicas[replica.name]
        return {
            "name": replica.name,
            "uid": unit.uid,
            "tier": replica.tier,
            "node": replica.node,
            "zone": replica.zone,
            "phase": unit.phase,
            "ready": unit.ready,
            "pid": unit.pid,
            "url": unit.recipe.url,
            "restarts": unit.restarts,
            "started_unix": unit.started_unix,
            "ready_unix": unit.ready_unix,
            "inflight": self._in_flight.get(replica.name) if unit.pid is not None else None,
        }

    async def _ask_in_flight(self) -> None:
        """Learn each engine's requests in flight, unless that was learnt just now."""
        if time.monotonic() - self._in_flight_at < IN_FLIGHT_AGE_S:
            return
        self._in_flight_at = time.monotonic()

        async def ask(replica: Replica) -> None:
            address = self.addresses.engines[replica.number]
            unit = self.replicas[replica.name]
            answer = await probe.http_get(address, "/metrics", 0.3) if unit.ready else None
            found = probe.in_flight(answer[1]) if answer and answer[0] == 200 else None
            self._in_flight[replica.name] = found

        await asyncio.gather(*(ask(replica) for replica in self.placement.values()))

    def _write_endpoints(self) -> None:
        rows = [
            (
                replica,
                self.replicas[replica.name].uid,
                self.replicas[replica.name].recipe.url,
                self.config.tiers[replica.tier].model,
                self.replicas[replica.name].ready,
            )
            for replica in self.placement.values()
        ]
        discovery.write(self.layout.endpoints, discovery.endpoints(rows))

    def _replica(self, replica: Replica) -> Unit:
        address = self.addresses.engines[replica.number]
        config = self.config

        def command(first: bool) -> list[str]:  # noqa: FBT001  # named by its type
            startup_s = config.first_start_s if first else config.cold_start_s
            return programs.engine(config, replica, address, startup_s)

        timeout_s = config.readiness.timeout_s
        return self._unit(
            Recipe(
                name=replica.name,
                kind="replica",
                url=url(address),
                command=command,
                probe=functools.partial(probe.http_ok, address, "/health", timeout_s),
                log=self.layout.logs / f"{replica.name}.log",
            )
        )

    def _commands(self) -> dict[str, list[str]]:
        """Return the components in the order in which they start, with their command lines."""
        services, layout = self.addresses.services, self.layout
        folder = layout.prometheus
        return {
            "redis": programs.redis(
                layout.binaries["redis-server"], layout.state, services["redis"]
            ),
            "prometheus": programs.prometheus(
                layout.binaries["prometheus"],
                self.config,
                folder / "prometheus.yml",
                folder / "data",
                services["prometheus"],
            ),
            "router": programs.router(
                self.config, layout.router_fd, layout.endpoints, services["redis"]
            ),
        }

    def _component(self, name: str) -> Unit:
        address: Address = self.addresses.services[name]
        timeout_s = self.config.readiness.timeout_s
        command = self._commands()[name]
        # Not the router's /health: a tier without replicas is no reason to call the router dead.
        path = {"router": "/v1/models", "prometheus": "/-/ready"}.get(name, "")
        asked = (
            functools.partial(probe.http_ok, address, path, timeout_s)
            if path
            else functools.partial(probe.redis_ok, address, timeout_s)
        )
        return self._unit(
            Recipe(
                name=name,
                kind="component",
                url=url(address, "redis" if name == "redis" else "http"),
                command=lambda _first: command,
                probe=asked,
                log=self.layout.logs / f"{name}.log",
                pass_fds=(self.layout.router_fd,) if name == "router" else (),
            )
        )

    def _unit(self, recipe: Recipe) -> Unit:
        return Unit(recipe, Backoff(self.config.restart), self.config.readiness, self.note)
