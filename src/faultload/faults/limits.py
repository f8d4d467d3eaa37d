"""How much may be hit, whatever a file intends."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from faultload.errors import RefusedError
from faultload.spec.target import TargetSpec


@dataclass(frozen=True)
class Radius:
    """The most of one component that an experiment may hit.

    Attributes:
        replicas_max: so many replicas.
        share_max: largest share of those that are ready, 0-1.
    """

    replicas_max: int
    share_max: float = 1.0


@dataclass(frozen=True)
class Limits:
    """The blast radius, and the seed of every choice: what a run allows, whatever a file intends.

    Attributes:
        seed: of random choices, and to break ties.
        share_max: largest share of a component's ready replicas that the target lets anybody hit,
            0-1.
        radius: component → what the experiment may hit; None: as much as the target lets it.
        expendable: components that the target lets be hit whole, whatever `share_max` is.
        healthy_min: component → how many must stay ready; absent: no such limit.
        earlier: component → how many replicas the faults still in force hit, and how many were
            ready before any of them; absent: none does.
    """

    seed: int = 0
    share_max: float = 1.0
    radius: Mapping[str, Radius] | None = None
    expendable: Collection[str] = ()
    healthy_min: Mapping[str, int] = field(default_factory=dict)
    earlier: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def check(self, component: str, hit: int, ready: int) -> None:
        """See that hitting `hit` of `ready` replicas is allowed, also beside the earlier faults.

        One that is cut off is ready still, and one that was killed is missing among the ready:
        so what is hit adds up, and counts against those who were ready before.

        Raises:
            RefusedError: it is not; says by which limit.
        """
        self._check(component, hit, ready)
        before, were_ready = self.earlier.get(component, (0, 0))
        if hit and before:
            self._check(component, hit + before, max(ready, were_ready), " by several faults")

    def after(self, hit: Mapping[str, Sequence[int]]) -> Self:
        """Return the limits for what comes beside a fault that hits this: `Plan.hit`."""
        earlier = dict(self.earlier)
        for component, (replicas, ready) in hit.items():
            before, were_ready = earlier.get(component, (0, 0))
            earlier[component] = (before + replicas, max(were_ready, ready))
        return replace(self, earlier=earlier)

    def _check(self, component: str, hit: int, ready: int, how: str = "") -> None:
        of = f"hitting {hit} of {ready} ready {component} replicas{how}"
        share_max = 1.0 if component in self.expendable else self.share_max
        if self.radius is not None:
            allowed = self.radius.get(component, Radius(0))
            share_max = min(share_max, allowed.share_max)
            if hit > allowed.replicas_max:
                raise RefusedError(f"{of} is over the blast radius of {allowed.replicas_max}")
        if ready and hit / ready > share_max:
            raise RefusedError(
                f"{of} is {hit / ready:.0%} of them, over the blast radius of {share_max:.0%}"
            )
        least = self.healthy_min.get(component, 0)
        if hit and ready - hit < least:
            raise RefusedError(
                f"{of} leaves {ready - hit}, and the target's healthy_min wants {least}"
            )


def limits_of(
    target: TargetSpec, seed: int = 0, radius: Mapping[str, Radius] | None = None
) -> Limits:
    """Return what a target file allows, within an experiment's blast radius."""
    return Limits(
        seed=seed,
        share_max=target.blast_radius_share_max,
        radius=radius,
        expendable=target.expendable,
        healthy_min=target.healthy_min,
    )


NO_LIMITS = Limits()
"""For reverting, which hits nobody."""
