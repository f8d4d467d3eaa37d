"""A target made of plain objects, for tests of what is asked of it and in what order."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from memory_machines import MachinesInMemory
from memory_network import MemoryNetwork
from memory_releases import Releases

import faultload.targets
from faultload.errors import FaultError
from faultload.targets import (
    Identity,
    Lock,
    Mark,
    Node,
    Occupant,
    PlatformEvent,
    Pulse,
    Refusal,
    Replica,
    Workload,
)
from faultload.targets.base import Endpoints
from faultload.targets.calls import Calls

EVERYTHING = frozenset(
    value
    for name, value in vars(faultload.targets).items()
    if name.isupper() and isinstance(value, str)
)
"""Every capability there is."""


def replica(
    name: str,
    *,
    tier: str = "fast",
    ready: bool = True,
    inflight: int | None = 0,
    node: str = "node-a",
    zone: str = "zone-a",
) -> Replica:
    """Return an engine replica whose uid is derived from its name."""
    return Replica("engine", name, f"u-{name}", tier, node, zone, ready, 0, inflight)


class Platform(MachinesInMemory, MemoryNetwork, Releases):
    """A target in memory, with as many machines and workloads as its replicas need.

    Attributes:
        acts: what was asked of it, in order.
        deaf: ignores every act.
        heals: replaces what ends, where a machine takes replicas.
        residents: machine → what runs there beside the engines.
        refusals: what the next evictions are answered, before one is granted.
        others: replicas of other components.
        marks: what is left on machines and workloads, by name.
        cut: token → uids cut off.
        hung: uids whose core is stopped.
        log: replica and line, of all logs.
        slowed: uid → factor.
        lacking: what `missing_rights` says.
        price_usd_per_h: what its nodes cost; None: nobody knows.
        mark: whose the last acts were.
        ahead_s: how far its clock is ahead of ours.
        closed: by whoever opened it.

    What belongs to releases is in `Releases`.
    """

    def __init__(self, *replicas: Replica, deaf: bool = False, heals: bool = True) -> None:
        self.engines = {r.name: r for r in replicas}
        self.acts: list[tuple[str, str]] = []
        self.deaf, self.heals = deaf, heals
        self.capabilities = EVERYTHING
        self.identity = Identity("memory", "memory", "0" * 16)
        self.endpoints = Endpoints("http://127.0.0.1:1", "http://127.0.0.1:1")
        self.machines = {
            name: Node(name, f"i-{name}", zone, ready=True, schedulable=True)
            for name, zone in sorted({(r.node, r.zone) for r in replicas})
        }
        self.tiers = {
            name: Workload(name, f"w-{name}", "engine", name, count, "")
            for name in sorted({r.tier for r in replicas})
            for count in [sum(r.tier == name for r in replicas)]
        }
        self.residents: dict[str, list[Occupant]] = {}
        self.refusals: list[Refusal] = []
        self.others: list[Replica] = []
        self.marks: dict[str, Mark] = {}
        self.cut: dict[str, set[str]] = {}
        self.lacking: list[str] = []
        self.mark: Mark | None = None
        self.left: list[str] = []
        self.ahead_s = 0.0
        self.closed = False
        self.price_usd_per_h: float | None = None
        self.hung: set[str] = set()
        self.log: list[tuple[str, str]] = []
        self.slowed: dict[str, float] = {}
        self._made = 0
        MachinesInMemory.__init__(self)
        Releases.__init__(self)
        self.set_up_network()

    def attachment(self) -> Mapping[str, str]:
        return {}

    def replicas(self, component: str) -> Sequence[Replica]:
        everybody = [*self.engines.values(), *self.others]
        return [one for one in everybody if one.component == component]

    def describe(self) -> dict[str, Any]:
        return {}

    def events(self) -> Sequence[PlatformEvent]:
        return []

    def save_logs(self, folder: Path) -> None:
        """Nothing was logged."""

    def left_behind(self) -> Sequence[str]:
        return self.left

    def missing_rights(self, capabilities: Iterable[str]) -> Sequence[str]:
        return [line for line in self.lacking if set(capabilities)]

    def usd_per_h(self) -> float | None:
        return self.price_usd_per_h

    def calls(self, capability: str) -> Calls:
        return Calls([f"do {capability}"], ["look"], [f"undo {capability}"])

    @contextmanager
    def under(self, mark: Mark) -> Iterator[None]:
        self.mark = mark
        yield

    @contextmanager
    def lock(self, holder: str) -> Iterator[Lock]:
        self.acts.append(("lock", holder))
        yield SimpleNamespace(problem="")

    def kill_replica(self, name: str, uid: str) -> None:
        self._insist(name, uid)
        self.acts.append(("kill", name))
        self._crash(name)

    def stop_replica(self, name: str, uid: str) -> None:
        self._insist(name, uid)
        self.acts.append(("stop", name))
        self._set(name, ready=False)

    def continue_replica(self, name: str, uid: str) -> None:
        if self._has(name, uid):
            self.acts.append(("continue", name))
            self._set(name, ready=True)

    def pulse(self, name: str, uid: str) -> Pulse | None:
        if not self._has(name, uid):
            return None
        hangs, ready = uid in self.hung, self.engines[name].ready
        return Pulse(ready, ready and not hangs, int(ready and not hangs))

    def stop_engine(self, name: str, uid: str) -> None:
        self._insist(name, uid)
        self.acts.append(("stop core", name))
        if not self.deaf:
            self.hung.add(uid)

    def continue_engine(self, name: str, uid: str) -> None:
        if self._has(name, uid):
            self.acts.append(("continue core", name))
            self.hung.discard(uid)

    def kill_engine(self, name: str, uid: str) -> None:
        self._insist(name, uid)
        self.acts.append(("kill core", name))
        self._crash(name)

    def count_said(self, replica: str, text: str) -> int:
        return sum(who == replica and text in line for who, line in self.log)

    def hold_gpu_memory(self, name: str, uid: str) -> None:
        self._insist(name, uid)
        self.acts.append(("hold memory", name))
        if not self.deaf:
            self.log.append((name, "torch.OutOfMemoryError: CUDA out of memory."))
            self._set(name, ready=False)

    def release_gpu_memory(self, name: str, uid: str, node: str) -> None:
        self.acts.append(("release memory", name))
        if name in self.engines and not self.engines[name].ready:
            self._crash(name)
            self._set(name, ready=self.heals)

    def raise_xid(self, name: str, uid: str, xid: int) -> None:
        self._insist(name, uid)
        self.acts.append((f"xid {xid}", name))
        if self.deaf:
            return
        self.log.append((name, f"NVRM: Xid (PCI:0000:1b:00): {xid}, pid=7, name=VLLM::EngineCor, "))
        if xid == 74:
            self.hung.add(uid)
        else:
            self._set(name, ready=False)

    def reset_gpu(self, name: str, uid: str, node: str) -> None:
        self.acts.append(("reset", name))
        self._crash(name)
        self._set(name, ready=self.heals)

    def slow_engine(self, name: str, uid: str, factor: float) -> None:
        self._insist(name, uid)
        self.acts.append((f"slow {factor:g}", name))
        if not self.deaf:
            self.slowed[uid] = factor

    def quicken_engine(self, name: str, uid: str) -> None:
        if self.slowed.pop(uid, None):
            self.acts.append(("quicken", name))

    def token_time_s(self, name: str, uid: str) -> float | None:
        return 0.01 * self.slowed.get(uid, 1.0) if self._has(name, uid) else None

    def kv_cache_used(self, name: str, uid: str) -> float | None:
        return 0.1 if self._has(name, uid) else None

    def engine_url(self, name: str, uid: str) -> str | None:
        return "http://127.0.0.1:1" if self._has(name, uid) else None

    def served_model(self, name: str, uid: str) -> str | None:
        return f"chat-{self.engines[name].tier}" if self._has(name, uid) else None

    def delete_replica(self, name: str, uid: str, grace_s: float | None) -> None:
        self._insist(name, uid)
        self.acts.append((f"delete within {grace_s}", name))
        self._end(name)

    def evict_replica(self, name: str, uid: str) -> Refusal | None:
        residents = [one for here in self.residents.values() for one in here]
        if not self._has(name, uid) and not any(
            (one.name, one.uid) == (name, uid) for one in residents
        ):
            return None
        self.acts.append(("evict", name))
        if self.refusals:
            return self.refusals.pop(0)
        self._end(name)
        return None

    def nodes(self) -> Sequence[Node]:
        return list(self.machines.values())

    def occupants(self, node: str) -> Sequence[Occupant]:
        on = [r for r in [*self.engines.values(), *self.others] if r.node == node]
        mine = [Occupant(r.name, r.uid, r.component) for r in on]
        return [*mine, *self.residents.get(node, [])]

    def cordon_node(self, node: str, uid: str, mark: Mark) -> None:
        if node not in self.machines or self.machines[node].uid != uid:
            raise FaultError(f"{node} is another by now")
        self.acts.append(("cordon", node))
        if not self.deaf:
            self.machines[node] = replace(self.machines[node], schedulable=False)
            self.marks[node] = mark

    def uncordon_node(self, node: str, uid: str, token: str) -> None:
        mark = self.marks.get(node)
        if mark is None or mark.token != token or self.machines[node].uid != uid:
            return
        self.acts.append(("uncordon", node))
        self.machines[node] = replace(self.machines[node], schedulable=True)
        del self.marks[node]

    def workloads(self, component: str, tier: str | None) -> Sequence[Workload]:
        known = [one for one in self.tiers.values() if one.component == component]
        return [one for one in known if tier in (None, one.tier)]

    def set_scale(self, workload: str, uid: str, replicas: int, mark: Mark) -> None:
        if workload not in self.tiers or self.tiers[workload].uid != uid:
            raise FaultError(f"{workload} is another by now")
        self.acts.append((f"scale to {replicas}", workload))
        if not self.deaf:
            self.marks[workload] = mark
            self._scale(workload, replicas)

    def restore_scale(self, workload: str, uid: str, token: str, replicas: int) -> None:
        mark = self.marks.get(workload)
        if mark is None or mark.token != token or self.tiers[workload].uid != uid:
            return
        self.acts.append((f"scale back to {replicas}", workload))
        del self.marks[workload]
        self._scale(workload, replicas)

    def partition(self, victims: Sequence[tuple[str, str]], mark: Mark) -> None:
        for name, uid in victims:
            self._insist(name, uid)
            self.acts.append(("partition", name))
            if not self.deaf:
                self.cut.setdefault(mark.token, set()).add(uid)

    def join(self, victims: Sequence[tuple[str, str]], token: str) -> None:
        if token in self.cut:
            self.acts += [("join", name) for name, _ in victims]
            del self.cut[token]

    def partitioned(self, token: str) -> Collection[str]:
        return self.cut.get(token, set())

    def now_unix_s(self) -> float:
        return time.time() + self.ahead_s

    def revert_expired(self, now_unix_s: float) -> Sequence[str]:
        return []

    def close(self) -> None:
        """Note it; nothing is held."""
        self.closed = True

    def _has(self, name: str, uid: str) -> bool:
        return name in self.engines and self.engines[name].uid == uid

    def _insist(self, name: str, uid: str) -> None:
        if not self._has(name, uid):
            raise FaultError(f"{name} is gone, or another by now")

    def _set(self, name: str, *, ready: bool) -> None:
        if not self.deaf:
            self.engines[name] = replace(self.engines[name], ready=ready)

    def _crash(self, name: str) -> None:
        """Let a replica end and start again in place."""
        if self.deaf:
            return
        old = self.engines[name]
        again = replace(old, uid=old.uid + "'", restarts=1)
        self.engines[name] = again if self.heals else replace(old, ready=False)

    def _end(self, name: str) -> None:
        """Let something go; a replacement has another name."""
        if self.deaf:
            return
        for node, here in self.residents.items():
            self.residents[node] = [one for one in here if one.name != name]
        old = self.engines.pop(name, None)
        if old is not None and self.heals:
            self._make(old.tier)

    def _make(self, tier: str) -> None:
        open_ = [node.name for node in self.machines.values() if node.schedulable]
        if open_:
            self._made += 1
            zone = self.machines[open_[0]].zone
            made = replica(f"{tier}-new-{self._made}", tier=tier, node=open_[0], zone=zone)
            self.engines[made.name] = made

    def _scale(self, workload: str, replicas: int) -> None:
        self.tiers[workload] = replace(self.tiers[workload], wanted=replicas)
        component = self.tiers[workload].component
        if component != "engine":
            up = bool(replicas) and self.heals
            self.others = [
                replace(one, ready=up) if one.component == component else one for one in self.others
            ]
            return
        mine = [r.name for r in self.engines.values() if r.tier == workload]
        for name in mine[replicas:]:
            del self.engines[name]
        for _ in range(replicas - len(mine) if self.heals else 0):
            self._make(workload)
