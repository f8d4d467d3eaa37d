"""How much may be hit, whatever a file intends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from faultload.errors import RefusedError


@dataclass(frozen=True)
class Limits:
    """The blast radius, and the seed of every choice: what a run allows, whatever a file intends.

    Attributes:
        seed: of random choices, and to break ties.
        share_max: largest share of a component's ready replicas that may be hit, 0-1.
        replicas_max: most of them; None: no such limit.
        healthy_min: component → how many must stay ready; absent: no such limit.
    """

    seed: int = 0
    share_max: float = 1.0
    replicas_max: int | None = None
    healthy_min: Mapping[str, int] = field(default_factory=dict)

    def check(self, component: str, hit: int, ready: int) -> None:
        """See that hitting `hit` of `ready` replicas is allowed.

        Raises:
            RefusedError: it is not; says by which limit.
        """
        of = f"hitting {hit} of {ready} ready {component} replicas"
        if self.replicas_max is not None and hit > self.replicas_max:
            raise RefusedError(f"{of} is over the blast radius of {self.replicas_max}")
        if ready and hit / ready > self.share_max:
            raise RefusedError(
                f"{of} is {hit / ready:.0%} of them, over the blast radius of {self.share_max:.0%}"
            )
        least = self.healthy_min.get(component, 0)
        if hit and ready - hit < least:
            raise RefusedError(
                f"{of} leaves {ready - hit}, and the target's healthy_min wants {least}"
            )


NO_LIMITS = Limits()
"""For reverting, which hits nobody."""
