"""The network of a target in memory: what is wrong with each way, and how answers come by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from faultload.targets import ANSWER_S, Disturbance

if TYPE_CHECKING:
    from faultload.targets import Mark, Replica

_UNDISTURBED = Disturbance()


class MemoryNetwork:
    """A way before every replica, which each connection takes.

    Attributes:
        ways: replica → what is wrong with the way to it.
        without_way: who has none.
        deaf_network: conditions are listed and have no effect.
        listens: whether what is gone still accepts connections; None: not to be told.
    """

    acts: list[tuple[str, str]]
    deaf: bool

    def set_up_network(self) -> None:
        self.ways: dict[str, Disturbance] = {}
        self.without_way: set[str] = set()
        self.deaf_network = False
        self.listens: bool | None = False
        self._asked = 0

    def replicas(self, component: str) -> Sequence[Replica]:
        raise NotImplementedError

    def _insist(self, name: str, uid: str) -> None:
        raise NotImplementedError

    def disturb(self, victims: Sequence[tuple[str, str]], how: Disturbance, mark: Mark) -> None:
        for name, uid in victims:
            self._insist(name, uid)
            self.acts.append(("disturb", name))
            if not self.deaf:
                self.ways[name] = how

    def mend(self, victims: Sequence[tuple[str, str]], how: Disturbance, token: str) -> None:
        for name, _ in victims:
            if self.ways.get(name) == how:
                self.acts.append(("mend", name))
                del self.ways[name]

    def disturbed(self, token: str) -> Mapping[str, Disturbance]:
        return self.ways

    def round_trip_s(self, replica: str, extra_bytes: int = 0) -> float | None:
        if replica in self.without_way:
            return None
        how = self._way(replica)
        rate = how.bandwidth_bytes_per_s
        trip_s = 0.001 + 2 * how.latency_s + (extra_bytes / rate if rate else 0)
        return trip_s if trip_s <= ANSWER_S else None

    def resets(self, replica: str, connections: int) -> tuple[int, int] | None:
        if replica in self.without_way:
            return None
        ratio, first = self._way(replica).reset_ratio, self._asked
        self._asked += connections
        return int(self._asked * ratio) - int(first * ratio), connections

    def refuses(self, component: str) -> bool | None:
        return None if self.listens is None else not self.listens

    def _way(self, replica: str) -> Disturbance:
        known = {} if self.deaf_network else self.ways
        return known.get(replica, _UNDISTURBED)
