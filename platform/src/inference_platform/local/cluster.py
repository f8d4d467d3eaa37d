"""Keeps the platform as it should be: the replicas of each tier on machines, one step at a time.

What should be is in `tiers` and `machines`; `reconcile` compares it with what is and does what is
missing, as Kubernetes' controllers do: create and delete replicas, give them nodes, launch machines
for those that fit nowhere. It runs after every event and a few times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from inference_platform.local import components, deployments, discovery, probe
from inference_platform.local.addresses import REPLICAS_MAX, Addresses
from inference_platform.local.autoscaling import spec
from inference_platform.local.autoscaling.decision import Scale
from inference_platform.local.autoscaling.scaler import Scaler
from inference_platform.local.errors import OrderError
from inference_platform.local.gpus import Gpus
from inference_platform.local.interruptions import Interruptions
from inference_platform.local.layout import Layout
from inference_platform.local.machines import Machine, Machines
from inference_platform.local.network import Network
from inference_platform.local.placement import Backoff, choose
from inference_platform.local.pod import Grace, Pod, end
from inference_platform.local.pod_unit import PodUnits
from inference_platform.local.settings import PlatformConfig
from inference_platform.local.tiers import TierState
from inference_platform.local.unit import Recipe, Unit

EVENTS_MAX = 10_000
RECONCILE_S = 0.2


class Cluster:
    """The replicas, machines and components of one platform.

    Attributes:
        pods: every replica there is, by name; a name is never used again.
        components: everything else that runs, by name.
        changed: is told every event in one line.
    """

    def __init__(self, config: PlatformConfig, addresses: Addresses, layout: Layout) -> None:
        """Plan everything, start nothing."""
        self.config = config
        self.addresses = addresses
        self.layout = layout
        self.changed: Callable[[str], None] = lambda _line: None
        self.pods: dict[str, Pod] = {}
        self.tiers = {name: TierState(name, tier) for name, tier in config.tiers.items()}
        self.machines = Machines(config, self.note, self.later)
        self.interruptions = Interruptions(
            config, self.machines, self.note, self.later, self._drain_in_background, self.lose
        )
        self.gpus = Gpus(layout.gpus)
        self.network = Network(config, addresses, layout)
        self._pod_units = PodUnits(config, addresses, layout, self.note)
        self.components = {
            recipe.name: self._unit(recipe)
            for recipe in components.recipes(config, addresses, layout, self.network)
        }
        self.scaler = self._make_scaler() if config.autoscaling else None
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS_MAX)
        self._sequence = 0
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[None] | None = None
        self._started = False
        self._targets: list[dict[str, Any]] | None = None

    @property
    def units(self) -> list[Unit]:
        """Components first: they are what the replicas are watched with."""
        replicas = [pod.unit for pod in self.pods.values() if pod.unit is not None]
        return [*self.components.values(), *replicas]

    def prepare(self) -> None:
        """Write every file that a unit reads when it starts; an earlier platform's go."""
        layout, services = self.layout, self.addresses.services
        shutil.rmtree(layout.state / "weights", ignore_errors=True)
        for made in (layout.prometheus, layout.logs, layout.gpus):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir()
        yml = discovery.prometheus_yml(self.config, layout.prometheus, services["control"])
        discovery.write(layout.prometheus / "prometheus.yml", yml)
        targets = discovery.router_targets(services["router"])
        discovery.write(layout.prometheus / "router.json", targets)
        self._publish()

    async def run(self) -> None:
        """Keep everything running until this is cancelled; raises what a part of ours raised."""
        self._failure = asyncio.get_running_loop().create_future()
        for unit in self.components.values():
            self.spawn(unit.run())
        self.reconcile()
        self._started = True
        if self.scaler is not None:
            self.spawn(self.scaler.run())
        while True:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), RECONCILE_S)
            if self._failure.done():
                self._failure.result()
            self.reconcile()

    async def stop(self, grace_s: float) -> None:
        """End every process; nothing is started any more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*(unit.stop(grace_s) for unit in self.units))

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something in the background; its failure ends the platform."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._failure is not None and not self._failure.done():
            self._failure.set_exception(error)

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something after a while."""
        asyncio.get_running_loop().call_later(seconds, what)

    def note(self, reason: str, obj: str, message: str) -> None:
        """Record an event, let others know what changed, and look what there is to do."""
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
            self._publish()
        self._wake.set()
        self.changed(f"{obj}: {reason}: {message}")

    async def serves(self) -> bool:
        """Say whether the router has a usable replica for every tier."""
        timeout_s = self.config.readiness.timeout_s
        return await probe.http_ok(self.addresses.services["router"], "/health", timeout_s)

    def events(self, since: int) -> list[dict[str, Any]]:
        """Return the events after a sequence number, oldest first."""
        return [event for event in self._events if event["seq"] > since]

    def of_tier(self, tier: str) -> list[Pod]:
        """Return a tier's replicas that are not stopping."""
        return [pod for pod in self.pods.values() if pod.tier == tier and not pod.stopping]

    def reconcile(self) -> None:
        """Do what is missing."""
        for tier in self.tiers.values():
            self._move(tier)
        homeless = [pod for pod in self.pods.values() if not pod.node and not pod.stopping]
        needs = [self.config.tiers[p.tier].gpus for p in homeless if not self._bind(p)]
        self.machines.launch_missing(sum(needs), max(needs, default=0))
        self.machines.remove_empty(pod.node for pod in self.pods.values())

    def _make_scaler(self) -> Scaler:
        return Scaler(
            spec.load(Path(self.config.triggers or spec.DEFAULT_PATH), set(self.tiers)),
            self.addresses.services["prometheus"],
            current=self._scale_of,
            set_replicas=self.scale,
            note=self.note,
            time_scale=self.config.time_scale,
            namespace=self.config.namespace,
        )

    def _scale_of(self, tier: str) -> Scale:
        """Return what an autoscaler sees; Kubernetes counts stopping pods that are still ready."""
        pods = [pod for pod in self.pods.values() if pod.tier == tier]
        ready = sum(pod.unit is not None and pod.unit.ready for pod in pods)
        return Scale(self.tiers[tier].wanted, sum(not pod.stopping for pod in pods), ready)

    def _move(self, tier: TierState) -> None:
        """Bring a tier one step nearer to what it should be."""
        pods = self.of_tier(tier.name)
        members = [
            deployments.Member(
                pod.name,
                pod.revision.name,
                ready=pod.ready,
                bound=bool(pod.node),
                age=pod.made,
                neighbours=sum(other.node == pod.node for other in pods),
            )
            for pod in pods
        ]
        step = deployments.next_step(tier.wanted, tier.revision.name, members, tier.spec.rollout)
        for name in step.delete:
            self.delete(name, why=f"tier {tier.name} has no place for it")
        for _ in range(step.create):
            self._create(tier)
        tier.look(
            sum(m.ready and m.revision == tier.revision.name for m in members),
            self.note,
            self.config.scaled(tier.spec.rollout.progress_deadline_s),
        )

    def _create(self, tier: TierState) -> None:
        taken = {pod.number for pod in self.pods.values()}
        number = next((n for n in range(REPLICAS_MAX) if n not in taken), None)
        if number is None:
            return  # every address is in use; one that ends makes room
        name = f"{tier.name}-{tier.made}"
        pod = Pod(
            name,
            tier.name,
            tier.revision,
            number,
            self.addresses.replica(number),
            first=not self._started,
            made=tier.made,
        )
        tier.made += 1
        self.pods[name] = pod
        self.note("Created", f"replica/{name}", f"revision {tier.revision.name}")

    def _bind(self, pod: Pod) -> bool:
        """Give a replica a node and start it there; False when it fits nowhere."""
        gpus = self.config.tiers[pod.tier].gpus
        nodes = [other.node for other in self.of_tier(pod.tier) if other.node]
        machines = self.machines.by_name
        free = {name: self.gpus.free(one, self.pods.values()) for name, one in machines.items()}
        rooms = self.machines.rooms({name: len(found) for name, found in free.items()})
        node = choose(gpus, nodes, rooms)
        if node is None:
            if pod.waits_for != "Unschedulable":
                pod.waits_for = "Unschedulable"
                self.note(
                    "FailedScheduling", f"replica/{pod.name}", f"no node has {gpus} free GPUs"
                )
            return False
        machine = machines[node]
        pod.node, pod.waits_for, pod.gpus = node, "", tuple(free[node][:gpus])
        pod.gpu_state = self.gpus.file(machine.instance_id, pod.gpus[0])
        pod.unit = self._unit(self._pod_units.recipe(pod, machine))
        self.note("Scheduled", f"replica/{pod.name}", f"to node {node}")
        pod.task = self.spawn(pod.unit.run())
        return True

    def delete(self, name: str, *, why: str, grace_s: float | None = None) -> None:
        """Stop a replica in order; its tier makes another one if it should have it.

        Args:
            name: of the replica.
            why: for the event.
            grace_s: until SIGKILL, in seconds of this platform; None: as its tier says.
        """
        pod = self.named(name)
        spec, scaled = self.config.tiers[pod.tier], self.config.scaled
        total_s = scaled(spec.grace_s) if grace_s is None else grace_s
        if pod.stopping:
            pod.hurry(total_s)
            return
        delay_s = scaled(self.config.endpoints_delay_s)
        pod.stopping_unix, pod.gone_by_unix = time.time(), time.time() + total_s
        self.note("Killing", f"replica/{name}", why)
        self.spawn(self._end(pod, Grace(total_s, min(total_s, scaled(spec.pre_stop_s)), delay_s)))

    async def _end(self, pod: Pod, grace: Grace) -> None:
        def unroute() -> None:
            pod.routed = False
            self._publish()

        try:
            await end(pod, grace, unroute)
        finally:
            del self.pods[pod.name]
            self.note("Deleted", f"replica/{pod.name}", "ended")

    def evict(self, name: str) -> None:
        """Delete a replica if its tier's disruption budget allows it.

        One that is not ready may always go, as `unhealthyPodEvictionPolicy: AlwaysAllow` has it.

        Raises:
            OrderError: 429 when the budget does not allow it now.
        """
        pod = self.named(name)
        if pod.stopping:
            return
        if pod.ready and self.disruptions_allowed(pod.tier) == 0:
            text = "Cannot evict pod as it would violate the pod's disruption budget."
            raise OrderError(429, f"{text} Tier {pod.tier} needs its ready replicas")
        self.delete(name, why="evicted")

    def tier(self, name: str) -> TierState:
        """Return a tier; OrderError 404 when there is none of that name."""
        if name not in self.tiers:
            raise OrderError(404, f"no tier {name!r}; there are {', '.join(self.tiers)}")
        return self.tiers[name]

    def scale(self, name: str, replicas: int, why: str) -> None:
        """Let a tier have so many replicas."""
        tier = self.tier(name)
        if tier.wanted != replicas:
            before, tier.wanted = tier.wanted, replicas
            self.note("ScalingReplicaSet", f"tier/{name}", f"from {before} to {replicas}: {why}")

    async def disturb(self, link: str, conditions: dict[str, Any], *, keep: bool = False) -> None:
        """Set what is wrong with a link, and wait until it is so; `keep` it if it never is."""
        before = self.network.set(link, conditions)
        self._publish()
        try:
            await self.network.applied()
        except OrderError:
            if not keep:
                self.network.set(link, before)  # what was refused must not happen later
                self._publish()
            raise
        text = ", ".join(f"{key} {value}" for key, value in conditions.items() if value)
        self.note("LinkChanged", f"link/{link}", text or "undisturbed")

    def disruptions_allowed(self, tier: str) -> int:
        """Return how many ready replicas of a tier evictions may take now."""
        state = self.tiers[tier]
        ready = sum(pod.ready for pod in self.of_tier(tier))
        return deployments.disruptions_allowed(state.wanted, ready, state.spec.max_disrupted)

    def named(self, name: str) -> Pod:
        """Return a replica; OrderError 404 when there is none of that name."""
        if name not in self.pods:
            raise OrderError(404, f"no replica {name!r}; there are {', '.join(self.pods)}")
        return self.pods[name]

    def lose(self, machine: Machine, why: str, listed_s: float) -> None:
        """End a machine at once; its replicas are noticed to be gone when its node is."""
        if self.machines.by_name.get(machine.name) is not machine or machine.state == "lost":
            return
        pods = [pod for pod in self.pods.values() if pod.node == machine.name]
        for pod in pods:
            if pod.task is not None:
                pod.task.cancel()
            if pod.unit is not None:
                pod.unit.lose()
        self._publish()

        def forget() -> None:
            for pod in pods:
                if pod.name in self.pods:
                    self.delete(pod.name, why=f"node {machine.name} is gone", grace_s=0.0)

        self.machines.lose(machine, why, listed_s=listed_s)
        self.later(listed_s, forget)
        shutil.rmtree(self.layout.weights(machine.instance_id), ignore_errors=True)

    def _drain_in_background(self, machine: Machine) -> None:
        if not machine.draining:
            machine.draining = True
            self.spawn(self._drain(machine))

    async def _drain(self, machine: Machine) -> None:
        """Evict a machine's replicas as their budgets allow, then let it go.

        Bounded by the machine's end: a spot machine with a notice is taken when that is over.
        """
        self.machines.cordon(machine.name, on=True)
        while machine.state == "ready":
            pods = [pod for pod in self.pods.values() if pod.node == machine.name]
            if not pods:
                self.lose(machine, "drained", 0.0)
                return
            for pod in pods:
                try:
                    self.evict(pod.name)
                except OrderError:
                    continue  # its budget does not allow it yet
            await asyncio.sleep(RECONCILE_S)

    def _publish(self) -> None:
        """Write what the router, Prometheus and the links follow."""
        pods, layout = list(self.pods.values()), self.layout
        self.network.publish(pods)
        discovery.write(layout.endpoints, discovery.endpoints(pods, self.config))
        zones = {name: machine.spec.zone for name, machine in self.machines.by_name.items()}
        targets = discovery.engine_targets(pods, zones, lambda pod: pod.addresses.engine)
        if targets != self._targets:
            self._targets = targets
            discovery.write(layout.prometheus / "engine.json", targets)
            gpus = discovery.engine_targets(pods, zones, lambda pod: pod.addresses.dcgm)
            discovery.write(layout.prometheus / "dcgm.json", gpus)

    def _unit(self, recipe: Recipe) -> Unit:
        backoff = Backoff(self.config.restart, self.config.time_scale)
        return Unit(recipe, backoff, self.config.readiness, self.note)
