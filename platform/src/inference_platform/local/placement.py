"""Which replica runs on which node, and how long a dead process waits. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from inference_platform.local.config import PlatformConfig, Restart


@dataclass(frozen=True)
class Replica:
    """One place for an engine; its processes come and go."""

    name: str
    tier: str
    node: str
    zone: str
    number: int
    """Counts over all tiers from 0; decides the address and the seed."""


def place(config: PlatformConfig) -> list[Replica]:
    """Spread each tier over the nodes, so that losing one node leaves every tier a replica.

    A replica goes to the node with a free GPU that has the fewest of its tier, then the fewest in
    all, then to the one named first. The configuration has made sure that all of them fit.
    """
    free = {name: node.gpus for name, node in config.nodes.items()}
    of_tier: dict[tuple[str, str], int] = {}
    placed: list[Replica] = []
    for tier, wanted in config.tiers.items():
        for index in range(wanted.replicas):
            node = min(
                (name for name in free if free[name] > 0),
                key=lambda name: (
                    of_tier.get((tier, name), 0),
                    config.nodes[name].gpus - free[name],
                ),
            )
            free[node] -= 1
            of_tier[tier, node] = of_tier.get((tier, node), 0) + 1
            zone = config.nodes[node].zone
            placed.append(Replica(f"{tier}-{index}", tier, node, zone, len(placed)))
    return placed


class Backoff:
    """The pause before each restart: doubles, and begins anew after a good while ready."""

    def __init__(self, restart: Restart) -> None:
        """Begin with the first pause."""
        self._restart = restart
        self._failures = 0

    def next_s(self, ready_s: float) -> float:
        """Return the pause before the next start.

        Args:
            ready_s: how long the process that ended had been ready, 0 if it never was.
        """
        if ready_s >= self._restart.reset_after_s:
            self._failures = 0
        pause_s = self._restart.backoff_s * 2.0 ** min(self._failures, 30)
        self._failures += 1
        return min(pause_s, self._restart.backoff_s_max)
