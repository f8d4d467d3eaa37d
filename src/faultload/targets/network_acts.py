"""What can be done to the network around replicas, short of cutting it, and how to see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from faultload.errors import FaultError

if TYPE_CHECKING:
    from faultload.targets.base import Mark


@dataclass(frozen=True)
class Disturbance:
    """What is wrong with a network; the default is nothing.

    Attributes:
        latency_s: added each way.
        jitter_s: up to so much more or less.
        bandwidth_bytes_per_s: all that passes, each way; None: as much as there is.
        reset_ratio: share of connections that are reset, 0-1.
    """

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bandwidth_bytes_per_s: float | None = None
    reset_ratio: float = 0.0


class NetworkActs(Protocol):
    """Acts on the way to replicas (name, uid), of whatever component; bounded and idempotent."""

    def disturb(self, victims: Sequence[tuple[str, str]], how: Disturbance, mark: Mark) -> None:
        """Disturb the way to each of them. Needs `DISTURB_NETWORK`.

        Raises:
            FaultError: one is gone or another by now, or there is nothing to disturb before it.
        """
        ...

    def mend(self, victims: Sequence[tuple[str, str]], token: str) -> None:
        """Undo the disturbance of `token`, on victims that are gone too; a partition stays."""
        ...

    def disturbed(self, token: str) -> Mapping[str, Disturbance]:
        """Return victim name → what the disturbance of `token` does to it now."""
        ...

    def round_trip_s(self, replica: str) -> float | None:
        """Ask the replica something small, the way its callers go; return how long that took.

        None: there is no such replica, or no answer within 5 s.
        """
        ...


class NoNetworkActs:
    """A target that reaches no network beneath its API: every act is refused."""

    def disturb(
        self,
        victims: Sequence[tuple[str, str]],
        how: Disturbance,  # noqa: ARG002
        mark: Mark,  # noqa: ARG002
    ) -> None:
        """Nothing: not offered; raises `FaultError`."""
        names = ", ".join(name for name, _ in victims)
        raise FaultError(f"{names}: this target can cut the network off, and not disturb it")

    def mend(self, victims: Sequence[tuple[str, str]], token: str) -> None:
        """Nothing to do: nothing was disturbed."""

    def disturbed(self, token: str) -> Mapping[str, Disturbance]:  # noqa: ARG002
        """Nothing: nothing was disturbed."""
        return {}

    def round_trip_s(self, replica: str) -> float | None:  # noqa: ARG002
        """Nothing: nobody to ask."""
        return None
