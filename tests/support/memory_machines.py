"""The machines, zones and capacity of a target in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from faultload.errors import FaultError
from faultload.targets import Capacity, Mark, Node, Replica
from faultload.targets.machine_acts import INTERRUPTION, REBALANCE

NOTICE_S = 120.0


class MachinesInMemory:
    """That part of it.

    Attributes:
        told: machine → what it reads of its notices.
        shortages: what the cloud has none of.
        refused: launches so far; None: nobody counts.
        stranded: who had not left a machine when it ended; None: nobody knows.
    """

    machines: dict[str, Node]
    engines: dict[str, Replica]
    acts: list[tuple[str, str]]
    deaf: bool
    heals: bool
    _end: Callable[[str], None]

    def __init__(self) -> None:
        self.told: dict[str, dict[str, float]] = {}
        self.shortages: list[Capacity] = []
        self.refused: int | None = 0
        self.stranded: list[str] | None = []

    def end_machine(self, node: str) -> None:
        """Let a machine end with all that is on it; another of its name takes its place."""
        old = self.machines.pop(node)
        self.told.pop(node, None)
        for name in [one.name for one in self.engines.values() if one.node == node]:
            self._end(name)
        short = any(kind.zone in ("", old.zone) for kind in self.shortages)
        if short and self.refused is not None:
            self.refused += 1
        elif self.heals:
            self.machines[node] = replace(old, uid=f"{old.uid}'")

    def lose_node(self, node: str, uid: str) -> None:
        self._insist_on_machine(node, uid)
        self.acts.append(("lose", node))
        if not self.deaf:
            self.end_machine(node)

    def interrupt_spot(self, node: str, uid: str) -> None:
        self._insist_on_machine(node, uid)
        self.acts.append(("interrupt", node))
        if not self.deaf:
            self.told.setdefault(node, {})[INTERRUPTION] = time.time() + NOTICE_S

    def advise_rebalance(self, node: str, uid: str) -> None:
        self._insist_on_machine(node, uid)
        self.acts.append(("advise", node))
        if not self.deaf:
            self.told.setdefault(node, {})[REBALANCE] = time.time()

    def spot_notices(self, node: str) -> Mapping[str, float]:
        return self.told.get(node, {})

    def ended_with(self, node: str, uid: str, replicas: Collection[str]) -> Collection[str] | None:
        return self.stranded

    def fail_zone(self, zone: str, mark: Mark) -> None:
        self.acts.append(("fail", zone))
        if not self.deaf:
            self.shortages.append(Capacity(zone=zone))
            for name in [one.name for one in self.machines.values() if one.zone == zone]:
                self.end_machine(name)

    def restore_zone(self, zone: str, token: str) -> None:
        self._offer(Capacity(zone=zone))

    def withhold_capacity(self, kind: Capacity, mark: Mark) -> None:
        if not any(
            kind.zone in ("", one.zone) and kind.instance_type == ""
            for one in self.machines.values()
        ):
            raise FaultError(f"no node group has {kind}")
        self.acts.append(("withhold", str(kind)))
        if not self.deaf:
            self.shortages.append(kind)

    def offer_capacity(self, kind: Capacity, token: str) -> None:
        self._offer(kind)

    def withheld(self) -> Collection[Capacity]:
        return self.shortages

    def launches_refused(self) -> int | None:
        return self.refused

    def _offer(self, kind: Capacity) -> None:
        if kind in self.shortages:
            self.acts.append(("offer", str(kind)))
            self.shortages.remove(kind)

    def _insist_on_machine(self, node: str, uid: str) -> None:
        if node not in self.machines or self.machines[node].uid != uid:
            raise FaultError(f"node {node} is gone, or is another by now")
