"""Which node a replica goes to, and how long a dead process waits. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inference_platform.local.settings import Restart


@dataclass(frozen=True)
class Room:
    """A node as the scheduler sees it.

    Attributes:
        free_gpus: GPUs that no replica holds; stopping ones hold theirs until they have ended.
        open: takes new replicas; not while it is cordoned, lost or being launched.
    """

    name: str
    zone: str
    on_demand: bool
    free_gpus: int
    open: bool = True


def choose(gpus: int, tier_nodes: Sequence[str], rooms: Iterable[Room]) -> str | None:
    """Return the node for one more replica of a tier, None when it fits nowhere.

    The tier's first on-demand place comes first: spot machines may all go at once. Then the tier is
    spread over zones and nodes, so that losing one leaves the others; then the emptiest node wins,
    and at last the one named first.

    Args:
        gpus: that the replica needs.
        tier_nodes: where the tier's replicas are, one entry each.
        rooms: every node.
    """
    known = {room.name: room for room in rooms}
    used = [known[name] for name in tier_nodes if name in known]
    has_on_demand = any(room.on_demand for room in used)
    fitting = [room for room in known.values() if room.open and room.free_gpus >= gpus]
    return (
        min(
            fitting,
            key=lambda room: (
                not has_on_demand and not room.on_demand,
                sum(other.zone == room.zone for other in used),
                sum(other.name == room.name for other in used),
                -room.free_gpus,
            ),
            default=Room("", "", on_demand=False, free_gpus=0),
        ).name
        or None
    )


class Backoff:
    """The pause before each restart: doubles, and begins anew after a good while ready."""

    def __init__(self, restart: Restart, time_scale: float = 1.0) -> None:
        """Begin with the first pause."""
        self._restart = restart
        self._scale = time_scale
        self._failures = 0

    def next_s(self, ready_s: float) -> float:
        """Return the pause before the next start.

        Args:
            ready_s: how long the process that ended had been ready, 0 if it never was.
        """
        if ready_s >= self._restart.reset_after_s * self._scale:
            self._failures = 0
        pause_s = self._restart.backoff_s * 2.0 ** min(self._failures, 30)
        self._failures += 1
        return min(pause_s, self._restart.backoff_s_max) * self._scale
