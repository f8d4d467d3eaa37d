"""What can be done to machines, zones and what the cloud has to offer, and how to see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from faultload.errors import FaultError

if TYPE_CHECKING:
    from faultload.targets.base import Mark

INTERRUPTION, REBALANCE = "interruption", "rebalance"
"""What a spot machine is told: it will be taken away soon; it may be."""
SPOT = "spot"
"""The capacity type of machines that the cloud may take away."""


@dataclass(frozen=True)
class Capacity:
    """A kind of machine that the cloud may have none of.

    Attributes:
        zone, capacity_type, instance_type: of the machines meant; "": any. `capacity_type` is
            `spot` or `on-demand`.
    """

    zone: str = ""
    capacity_type: str = ""
    instance_type: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        words = " ".join(filter(None, (self.capacity_type, self.instance_type))) or "any machine"
        return f"{words} in {self.zone or 'any zone'}"


class MachineActs(Protocol):
    """Acts on machines, named by name and uid; all bounded and idempotent.

    They raise `FaultError` when the machine is gone or another by now, unless they say otherwise.
    """

    def lose_node(self, node: str, uid: str) -> None:
        """End a machine at once, as a failing host does. Needs `LOSE_NODE`."""
        ...

    def interrupt_spot(self, node: str, uid: str) -> None:
        """Give a spot machine its notice, which is never taken back. Needs `INTERRUPT_SPOT`."""
        ...

    def advise_rebalance(self, node: str, uid: str) -> None:
        """Tell a spot machine that it is at risk. Needs `INTERRUPT_SPOT`."""
        ...

    def spot_notices(self, node: str) -> Mapping[str, float]:
        """Return what the machine itself reads: `INTERRUPTION`, `REBALANCE` → Unix time.

        When it will be taken away, and when the advice was given; to the second, as EC2 says it.
        Empty: it reads neither, or there is no such machine.
        """
        ...

    def ended_with(self, node: str, uid: str, replicas: Collection[str]) -> Collection[str] | None:
        """Return which of these replicas had not ended before their machine did.

        None: the machine has not ended, or it cannot be told.
        """
        ...

    def fail_zone(self, zone: str, mark: Mark) -> None:
        """End every machine of a zone, and let none be launched there. Needs `FAIL_ZONE`."""
        ...

    def restore_zone(self, zone: str, token: str) -> None:
        """Let machines be launched there again; nothing to do where they may be."""
        ...

    def withhold_capacity(self, kind: Capacity, mark: Mark) -> None:
        """Have the cloud refuse to launch machines of a kind. Needs `WITHHOLD_CAPACITY`."""
        ...

    def offer_capacity(self, kind: Capacity, token: str) -> None:
        """Have it launch them again; nothing to do where it does."""
        ...

    def withheld(self) -> Collection[Capacity]:
        """Return what the cloud refuses now, a failed zone's machines among it."""
        ...

    def launches_refused(self) -> int | None:
        """Return how many launches it has refused so far; None: it cannot be told."""
        ...


class NoMachineActs:
    """A target whose control plane cannot reach the cloud beneath it: every act is refused."""

    def lose_node(self, node: str, uid: str) -> None:  # noqa: ARG002
        """Nothing: not offered; raises `FaultError`, as all others do."""
        raise _not_offered(node)

    def interrupt_spot(self, node: str, uid: str) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(node)

    def advise_rebalance(self, node: str, uid: str) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(node)

    def spot_notices(self, node: str) -> Mapping[str, float]:  # noqa: ARG002
        """Nothing: none was given."""
        return {}

    def ended_with(
        self,
        node: str,  # noqa: ARG002
        uid: str,  # noqa: ARG002
        replicas: Collection[str],  # noqa: ARG002
    ) -> Collection[str] | None:
        """Nobody can tell."""
        return None

    def fail_zone(self, zone: str, mark: Mark) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(zone)

    def restore_zone(self, zone: str, token: str) -> None:
        """Nothing to do: none failed."""

    def withhold_capacity(self, kind: Capacity, mark: Mark) -> None:  # noqa: ARG002
        """Nothing: not offered."""
        raise _not_offered(str(kind))

    def offer_capacity(self, kind: Capacity, token: str) -> None:
        """Nothing to do: nothing was withheld."""

    def withheld(self) -> Collection[Capacity]:
        """Nothing: nothing was withheld."""
        return ()

    def launches_refused(self) -> int | None:
        """Nobody can tell."""
        return None


def _not_offered(what: str) -> FaultError:
    return FaultError(f"{what}: this target reaches no machine and no cloud beneath its cluster")
