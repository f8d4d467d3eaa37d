"""The machines of the platform, as EC2 and Kubernetes' node controllers keep them.

Machines of node groups come back when they are lost; those of pools are launched when replicas do
not fit and go when they are empty. Both need capacity, which a zone or a kind of machine may lack.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from inference_platform.local.errors import OrderError
from inference_platform.local.placement import Room
from inference_platform.local.settings import Instance, Node, PlatformConfig

State = Literal["launching", "ready", "lost"]
Note = Callable[[str, str, str], None]  # reason, object, message
Later = Callable[[float, Callable[[], None]], None]  # seconds, what to do then


@dataclass(eq=False)
class Machine:
    """One instance and its node.

    Attributes:
        name: of the node.
        pool: that launched it; "" for a machine of a node group.
        instance_id: as EC2 would say; a machine that comes back has a new one.
        state: launching, ready, or lost: the instance has ended, its node is still listed.
        since_unix: when the instance was launched.
        cordoned: takes no new replicas.
        draining: its replicas are being evicted, and then it goes.
        has_image: the engine's image has been pulled.
        pulled_at: when the pull that goes on will end, by the loop's clock; None: there is none.
        rebalance_unix: when EC2 advised to leave it, None: it did not.
        notice_unix: when EC2 will take it, None: no notice.
        empty_unix: since when it has no replicas, None: it has some.
    """

    name: str
    spec: Node
    pool: str = ""
    instance_id: str = field(default_factory=lambda: f"i-{secrets.token_hex(8)}")
    state: State = "ready"
    since_unix: float = field(default_factory=time.time)
    cordoned: bool = False
    draining: bool = False
    has_image: bool = True
    pulled_at: float | None = None
    rebalance_unix: float | None = None
    notice_unix: float | None = None
    empty_unix: float | None = None

    @property
    def open(self) -> bool:
        """Whether new replicas may come here."""
        return self.state == "ready" and not self.cordoned and not self.draining


@dataclass(frozen=True)
class Shortage:
    """Machines that EC2 cannot give now; an empty field means all of them."""

    zone: str = ""
    capacity_type: str = ""
    instance_type: str = ""

    def covers(self, zone: str, capacity_type: str, instance_type: str) -> bool:
        """Whether a machine of this kind in this zone is among them."""
        return (
            self.zone in ("", zone)
            and self.capacity_type in ("", capacity_type)
            and self.instance_type in ("", instance_type)
        )


class Machines:
    """Every machine, and what EC2 can give."""

    def __init__(self, config: PlatformConfig, note: Note, later: Later) -> None:
        """Begin with the node groups' machines, all ready."""
        self._config = config
        self._note = note
        self._later = later
        self._launched = 0
        self.shortages: list[Shortage] = []
        self._refused: set[str] = set()
        self.by_name = {name: Machine(name, node) for name, node in config.nodes.items()}

    def named(self, name: str) -> Machine:
        """Return a machine; OrderError 404 when there is none of that name."""
        if name not in self.by_name:
            raise OrderError(404, f"no node {name!r}; there are {', '.join(self.by_name)}")
        return self.by_name[name]

    def rooms(self, free_gpus: Mapping[str, int]) -> list[Room]:
        """Return what the scheduler may choose from.

        Args:
            free_gpus: GPUs that can be given away, by node.
        """
        return [
            Room(
                machine.name,
                machine.spec.zone,
                machine.spec.capacity_type == "on-demand",
                free_gpus[machine.name],
                machine.open,
            )
            for machine in self.by_name.values()
        ]

    def cordon(self, name: str, *, on: bool) -> None:
        """Let a node take no new replicas, or let it again."""
        self.named(name).cordoned = on
        self._note("NodeNotSchedulable" if on else "NodeSchedulable", f"node/{name}", "by order")

    def lose(self, machine: Machine, why: str, *, listed_s: float) -> None:
        """End an instance; its node stays listed for a while, then goes or comes back.

        Args:
            machine: which one.
            why: for the event.
            listed_s: how long its node stays listed, in seconds of this platform.
        """
        if machine.state == "lost":
            return
        machine.state = "lost"
        self._note("InstanceTerminated", f"node/{machine.name}", f"{machine.instance_id}: {why}")
        self._later(listed_s, lambda: self._unlist(machine))

    def _unlist(self, machine: Machine) -> None:
        if self.by_name.get(machine.name) is not machine or machine.state != "lost":
            return
        del self.by_name[machine.name]
        self._note("RemovingNode", f"node/{machine.name}", "its instance no longer exists")

    def launch_missing(self, wanted_gpus: int, largest: int) -> None:
        """Launch what node groups lack and, one at a time, what replicas without a node need.

        Args:
            wanted_gpus: GPUs of the replicas that fit nowhere.
            largest: the most GPUs that one of them needs.
        """
        for name, node in self._config.nodes.items():
            if name in self.by_name:
                continue
            if self._has_capacity(node.zone, node):
                self._launch(Machine(name, node))
            else:
                self._refuse(f"node/{name}", node, node.zone)
        coming = sum(m.spec.gpus for m in self.by_name.values() if m.state == "launching")
        if wanted_gpus <= coming:
            return
        for name, pool in self._config.pools.items():
            there = sum(machine.pool == name for machine in self.by_name.values())
            if there >= pool.nodes_max or pool.gpus < largest:
                continue
            zone = next((z for z in pool.zones if self._has_capacity(z, pool)), None)
            if zone is None:
                self._refuse(f"pool/{name}", pool, " or ".join(pool.zones))
                continue
            self._launched += 1
            node = Node(zone=zone, **pool.model_dump(exclude={"zones", "nodes_max"}))
            self._launch(Machine(f"{name}-{self._launched}", node, name))
            return

    def _refuse(self, obj: str, kind: Instance, where: str) -> None:
        """Say that EC2 has not what is asked for: once, however often it is asked again."""
        if obj not in self._refused:
            self._refused.add(obj)
            words = f"{kind.instance_type} {kind.capacity_type} in {where}"
            self._note("LaunchFailed", obj, f"InsufficientInstanceCapacity: {words}")

    def _launch(self, machine: Machine) -> None:
        machine.state, machine.has_image = "launching", False
        self.by_name[machine.name] = machine
        spec = machine.spec
        kind = f"{spec.instance_type} {spec.capacity_type} in {spec.zone}"
        self._note("Launched", f"node/{machine.name}", f"{machine.instance_id}: {kind}")

        def ready() -> None:
            if machine.state == "launching":
                machine.state = "ready"
                self._note("NodeReady", f"node/{machine.name}", "takes replicas")

        self._later(self._config.scaled(self._config.node_life.launch_s), ready)

    def remove_empty(self, occupied: Iterable[str]) -> None:
        """Take away launched machines that have had no replica for long enough."""
        occupied = set(occupied)
        patience_s = self._config.scaled(self._config.node_life.empty_for_s)
        for machine in list(self.by_name.values()):
            if not machine.pool or machine.state != "ready" or machine.name in occupied:
                machine.empty_unix = None
                continue
            machine.empty_unix = machine.empty_unix or time.time()
            if time.time() - machine.empty_unix >= patience_s:
                self.lose(machine, "empty", listed_s=0.0)

    def _has_capacity(self, zone: str, kind: Instance) -> bool:
        return not any(
            shortage.covers(zone, kind.capacity_type, kind.instance_type)
            for shortage in self.shortages
        )

    def has_kind(self, shortage: Shortage) -> bool:
        """Whether any node group or pool asks for machines of this kind in this zone."""
        kinds: list[tuple[str, Instance]] = [
            (node.zone, node) for node in self._config.nodes.values()
        ]
        kinds += [(zone, pool) for pool in self._config.pools.values() for zone in pool.zones]
        return any(shortage.covers(z, k.capacity_type, k.instance_type) for z, k in kinds)

    def run_short(self, shortage: Shortage) -> None:
        """Let EC2 have no more of these; what runs stays."""
        if shortage not in self.shortages:
            self.shortages.append(shortage)
            self._refused.clear()
            self._note("InsufficientInstanceCapacity", "ec2/capacity", described(shortage))

    def recover(self, shortage: Shortage) -> None:
        """Let EC2 have them again."""
        if shortage in self.shortages:
            self.shortages.remove(shortage)
            self._note("InstanceCapacity", "ec2/capacity", f"{described(shortage)} again")


def described(shortage: Shortage) -> str:
    """Write in words what is short."""
    kind = [shortage.capacity_type, shortage.instance_type]
    words = " ".join(word for word in kind if word) or "any machine"
    return f"{words} in {shortage.zone or 'every zone'}"
