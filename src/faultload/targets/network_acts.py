"""What can be done to the network around replicas, short of cutting it, and how to see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from faultload.errors import FaultError

if TYPE_CHECKING:
    from faultload.targets.base import Mark

ANSWER_S = 5.0
"""Longest wait for one answer."""


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

    def mend(self, victims: Sequence[tuple[str, str]], how: Disturbance, token: str) -> None:
        """Undo the disturbance of `token`, on victims that are gone too.

        What of `how` is there still is taken back, and nothing else: what others did stays.
        """
        ...

    def disturbed(self, token: str) -> Mapping[str, Disturbance]:
        """Return victim name → what the disturbance of `token` does to it now.

        A target that keeps no marks returns all disturbances there are.
        """
        ...

    def round_trip_s(self, replica: str, extra_bytes: int = 0) -> float | None:
        """Ask the replica something small, the way its callers go; return how long that took.

        `extra_bytes` are sent along and must have come before it answers. None: there is no such
        replica, or no answer within `ANSWER_S`.
        """
        ...

    def resets(self, replica: str, connections: int) -> tuple[int, int] | None:
        """Ask on so many new connections, the way its callers go, one after the other.

        Returns:
            How many were reset, and how many were tried within `ANSWER_S`. None: there is no such
            replica.
        """
        ...

    def refuses(self, component: str) -> bool | None:
        """Say whether connections to a component are refused: nobody listens where it did.

        None: that cannot be told from here.
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

    def mend(self, victims: Sequence[tuple[str, str]], how: Disturbance, token: str) -> None:
        """Nothing to do: nothing was disturbed."""

    def disturbed(self, token: str) -> Mapping[str, Disturbance]:  # noqa: ARG002
        """Nothing: nothing was disturbed."""
        return {}

    def round_trip_s(self, replica: str, extra_bytes: int = 0) -> float | None:  # noqa: ARG002
        """Nothing: nobody to ask."""
        return None

    def resets(self, replica: str, connections: int) -> tuple[int, int] | None:  # noqa: ARG002
        """Nothing: nobody to ask."""
        return None

    def refuses(self, component: str) -> bool | None:  # noqa: ARG002
        """Nothing: nobody to ask."""
        return None
