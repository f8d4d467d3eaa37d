"""What each order changes: what a lease that is over has to put back, or why there is nothing.

An effect that names nothing to put back must say why, so that no order can do harm unseen. What is
read here is read before and after the order; how it is put back never depends on who ordered it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from inference_platform.local import engine_port, orders
from inference_platform.local.cluster import Cluster
from inference_platform.local.errors import OrderError
from inference_platform.local.leases import Effect, State, Subject
from inference_platform.local.machines import Shortage, described
from inference_platform.local.pod import Pod
from inference_platform.local.stored import StoredWeights
from inference_platform.local.tiers import TierState
from inference_platform.local.unit import Unit

Path = Mapping[str, str]

RESTARTED = Effect(why="what ends is started again after its back-off")
REPLACED = Effect(why="its tier makes another one")
LAUNCHED = Effect(why="its node group, or a pool, launches another machine")
STANDS = Effect(why="EC2 takes no notice back")
QUESTION = Effect(why="it is a question")
UNKNOWN = Effect(why="there is no such order")

PROCESSES = ("all", "server", "engine-core")


class Effects:
    """The effects of orders to one cluster."""

    def __init__(self, cluster: Cluster, weights: StoredWeights) -> None:
        """Keep what is read and written."""
        self._cluster, self._weights = cluster, weights
        self._nodes: Mapping[str, Callable[[str], Effect]] = {
            "cordon": lambda node: Effect([self._cordon(node)]),
            "uncordon": lambda node: Effect([self._cordon(node)], heals=True),
            "terminate": lambda _: LAUNCHED,
            "rebalance": lambda _: STANDS,
            "interrupt": lambda _: STANDS,
            "reset-gpus": self._reset_gpus,
        }

    def signal_replica(self, path: Path, order: orders.SignalOrder) -> Effect:
        """A replica's processes stand still."""
        if order.signal in ("KILL", "TERM"):
            return RESTARTED
        name, uid = path["name"], order.uid
        about = f"replica/{name}"

        def read(process: str) -> Subject:
            return self._stopped(about, process, uid, lambda: self._pod_unit(name, uid)[1], name)

        if order.signal == "STOP":
            return Effect([read(order.process)])
        let_go = PROCESSES if order.process == "all" else (order.process,)
        return Effect([read(process) for process in let_go], heals=True)

    def engine(self, path: Path, order: orders.EngineOrder) -> Effect:
        """An engine hangs or is slow, or its GPU is hurt."""
        name, uid, body = path["name"], order.uid, order.body
        command = path["command"]
        subjects = {
            "hang": self._hung,
            "slow": self._slow,
            "memory": self._gpu_of,
            "xid": self._gpu_of,
        }
        if command in subjects:
            undoes = {"hang": ("seconds", 0), "slow": ("factor", 1), "memory": ("gib", 0)}
            key, sound = undoes.get(command, ("", None))
            heals = key in body and body[key] == sound
            return Effect([subjects[command](name, uid)], heals=heals)
        return {"die": RESTARTED, "oom": RESTARTED, "state": QUESTION}.get(command, UNKNOWN)

    def signal_component(self, path: Path, order: orders.ComponentOrder) -> Effect:
        """A component stands still, or is held down."""
        name = path["name"]
        subjects = [self._held(name)] if order.hold else []
        if order.signal in ("STOP", "CONT"):
            subjects.append(self._stopped_component(name, order.uid))
        if not subjects:
            return RESTARTED
        return Effect(subjects, heals=order.signal == "CONT" and not order.hold)

    def start_component(self, path: Path, _order: orders.Order) -> Effect:
        """A component may run."""
        return Effect([self._held(path["name"])], heals=True)

    def scale(self, path: Path, _order: orders.ScaleOrder) -> Effect:
        """A tier has another number of replicas."""
        tier = self._cluster.tiers.get(path["name"])

        async def read() -> State | None:
            if tier is None:
                return None
            return {"replicas": tier.wanted, "annotation": tier.scale_annotation}

        async def write(state: State) -> None:
            self._cluster.scale(path["name"], state["replicas"], "put back")
            self._cluster.tier(path["name"]).scale_annotation = state["annotation"]

        return Effect([Subject(f"tier/{path['name']}", "scale", read, write)])

    def release(self, path: Path, _order: orders.Order) -> Effect:
        """A tier's replicas are made from something else.

        A release that changes nothing leaves nothing to put back: what is new is as the old was.
        """
        tier = self._cluster.tiers.get(path["name"])

        async def read() -> State | None:
            return None if tier is None else {"revision": _first_like(tier, tier.revision.name)}

        async def write(state: State) -> None:
            assert tier is not None  # noqa: S101  # what cannot be read is not written
            known = [revision.name for revision in reversed(tier.revisions)]
            to = next(name for name in known if _first_like(tier, name) == state["revision"])
            tier.roll_back(to)
            self._cluster.note("RolledBack", f"tier/{tier.name}", f"to revision {to}")

        return Effect([Subject(f"tier/{path['name']}", "release", read, write)])

    def node(self, path: Path, _order: orders.Order) -> Effect:
        """A machine, by what becomes of it."""
        act = self._nodes.get(path["act"])
        return UNKNOWN if act is None else act(path["name"])

    def zone(self, path: Path, _order: orders.Order) -> Effect:
        """A zone has no machines: those that ended stay lost, and others may be launched again."""
        if path["act"] not in ("fail", "restore"):
            return UNKNOWN
        return Effect([self._short(Shortage(path["name"]))], heals=path["act"] == "restore")

    def capacity(self, _path: Path, order: orders.CapacityOrder) -> Effect:
        """EC2 has none of a kind."""
        shortage = Shortage(order.zone, order.capacity_type, order.instance_type)
        return Effect([self._short(shortage)], heals=order.available)

    def link(self, path: Path, order: orders.LinkOrder) -> Effect:
        """The network before something is disturbed."""
        name, cluster = path["name"], self._cluster

        async def read() -> State | None:
            return cluster.network.conditions(name)

        async def write(state: State) -> None:
            await cluster.disturb(name, dict(state), keep=True)

        subject = Subject(f"link/{name}", "conditions", read, write)
        return Effect([subject], heals=order == orders.LinkOrder())

    def model(self, path: Path, order: orders.ModelOrder) -> Effect:
        """A model in the store is not what it was published as."""
        model, weights = path["name"], self._weights

        async def read() -> State:
            return {"spoilt": model in weights.spoilt}

        async def write(state: State) -> None:
            if not state["spoilt"]:
                await weights.change(model, "restore")

        subject = Subject(f"model/{model}", "weights", read, write)
        return Effect([subject], heals=order.change == "restore")

    def replaced(self, _path: Path, _order: orders.Order) -> Effect:
        """A replica goes."""
        return REPLACED

    def _pod_unit(self, name: str, uid: str) -> tuple[Pod | None, Unit | None]:
        """Return a replica and what runs it; None: that uid is gone, or nothing of it runs."""
        pod = self._cluster.pods.get(name)
        if pod is None or pod.unit is None or pod.unit.uid != uid or pod.unit.pid is None:
            return None, None
        return pod, pod.unit

    def _stopped(
        self, about: str, process: str, uid: str, unit: Callable[[], Unit | None], replica: str = ""
    ) -> Subject:
        async def read() -> State | None:
            found = unit()
            return None if found is None else {"stopped": process in found.stopped}

        async def write(state: State) -> None:
            found = unit()
            if found is None or state["stopped"]:
                return
            if process == "engine-core":
                pod = self._cluster.named(replica)
                await engine_port.signal_core(pod, self._token, signal.SIGCONT)
            else:
                found.send(signal.SIGCONT, group=process == "all")

        return Subject(about, f"processes ({process}) of {uid}", read, write)

    def _stopped_component(self, name: str, uid: str | None) -> Subject:
        now = self._cluster.components.get(name)
        uid = uid or (now.uid if now else "")

        def unit() -> Unit | None:
            found = self._cluster.components.get(name)
            return found if found and found.uid == uid and found.pid is not None else None

        return self._stopped(f"component/{name}", "all", uid, unit)

    def _held(self, name: str) -> Subject:
        async def read() -> State | None:
            unit = self._cluster.components.get(name)
            return None if unit is None else {"held down": unit.held}

        async def write(state: State) -> None:
            if not state["held down"]:
                self._cluster.components[name].release()

        return Subject(f"component/{name}", "hold", read, write)

    def _hung(self, name: str, uid: str) -> Subject:
        async def read() -> State | None:
            said = await self._ask(name, uid, "state", {})
            return None if said is None else {"hung": said["state"] == "hung"}

        async def write(state: State) -> None:
            if not state["hung"]:
                await self._ask(name, uid, "hang", {"seconds": 0})

        return Subject(f"replica/{name}", f"engine of {uid}", read, write)

    def _slow(self, name: str, uid: str) -> Subject:
        async def read() -> State | None:
            said = await self._ask(name, uid, "state", {})
            return None if said is None else {"slow factor": said["slow_factor"]}

        async def write(state: State) -> None:
            await self._ask(name, uid, "slow", {"factor": state["slow factor"]})

        return Subject(f"replica/{name}", f"speed of {uid}", read, write)

    async def _ask(
        self, name: str, uid: str, command: str, body: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Return what an engine answers; None: that uid is gone."""
        pod, _ = self._pod_unit(name, uid)
        if pod is None:
            return None
        return await engine_port.ask(pod.addresses.chaos, self._token, command, body)

    def _gpu_of(self, name: str, uid: str) -> Subject:
        """The first GPU of a replica: what happens to it outlives the engine."""
        pod, _ = self._pod_unit(name, uid)
        machine = self._cluster.machines.by_name.get(pod.node) if pod else None
        if pod is None or machine is None:
            return _gone(f"replica/{name}", f"GPU of {uid}")
        return self._gpu(machine.name, machine.instance_id, pod.gpus[0], uid)

    def _reset_gpus(self, node: str) -> Effect:
        machine = self._cluster.machines.by_name.get(node)
        if machine is None:
            return UNKNOWN
        gpus = range(machine.spec.gpus)
        return Effect([self._gpu(node, machine.instance_id, n, "") for n in gpus], heals=True)

    def _gpu(self, node: str, instance_id: str, index: int, uid: str) -> Subject:
        """A GPU; `uid` is the process on it that was hurt with it, "" for none."""
        cluster = self._cluster

        async def read() -> State | None:
            machine = cluster.machines.by_name.get(node)
            if machine is None or machine.instance_id != instance_id or machine.state == "lost":
                return None
            return cluster.gpus.state(machine, index)

        async def write(state: State) -> None:
            machine = cluster.machines.named(node)
            now = cluster.gpus.state(machine, index)
            hurt = any(now[key] != state[key] for key in ("xid", "broken", "gone"))
            for pod in cluster.pods.values():
                if pod.node != node or index not in pod.gpus or pod.unit is None:
                    continue
                if hurt and pod.unit.uid == uid:
                    pod.unit.send(signal.SIGKILL)  # no driver resets a GPU that somebody uses
                elif now["foreign_gib"] != state["foreign_gib"] and pod.unit.pid is not None:
                    await self._free(pod, state["foreign_gib"])
            cluster.gpus.put(machine, index, state)

        return Subject(f"node/{node}", f"GPU {index} of {instance_id}", read, write)

    async def _free(self, pod: Pod, gib: float) -> None:
        """Have an engine give memory back; one that does not listen yet reads it as it starts."""
        try:
            asked = {"gib": gib}
            await engine_port.ask(pod.addresses.chaos, self._token, "memory", asked)
        except OrderError:
            return

    def _cordon(self, node: str) -> Subject:
        machine = self._cluster.machines.by_name.get(node)
        if machine is None:
            return _gone(f"node/{node}", "cordon")

        async def read() -> State | None:
            here = self._cluster.machines.by_name.get(node) is machine
            return {"cordoned": machine.cordoned} if here else None

        async def write(state: State) -> None:
            self._cluster.machines.cordon(node, on=state["cordoned"])

        return Subject(f"node/{node}", f"cordon of {machine.instance_id}", read, write)

    def _short(self, shortage: Shortage) -> Subject:
        machines = self._cluster.machines

        async def read() -> State:
            return {"short": shortage in machines.shortages}

        async def write(state: State) -> None:
            (machines.run_short if state["short"] else machines.recover)(shortage)

        return Subject("ec2/capacity", described(shortage), read, write)

    @property
    def _token(self) -> str:
        return self._cluster.layout.chaos_token.read_text(encoding="utf-8")


def _first_like(tier: TierState, name: str) -> str:
    """Return the oldest revision that makes the same replicas."""
    known = {revision.name: revision for revision in tier.revisions}
    here = known[name]
    like = [
        one for one in known.values() if (one.engine, one.pullable) == (here.engine, here.pullable)
    ]
    return min((one.name for one in like), key=lambda name: int(name[1:]))


def _gone(about: str, aspect: str) -> Subject:
    """Something that is not there: the order will be refused."""

    async def read() -> None:
        return None

    async def write(_state: State) -> None:
        return None

    return Subject(about, aspect, read, write)
