"""Deployment arithmetic: which replicas a tier creates and deletes next. Pure.

As Kubernetes' Deployment controller does it in pkg/controller/deployment (rolling.go): new replicas
up to `replicas + max_surge` in all, old ones down to `replicas - max_unavailable` ready in all, and
old ones that are not ready go first. Replicas that are stopping no longer count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inference_platform.local.settings import Rollout


@dataclass(frozen=True)
class Member:
    """One replica of a tier that is not stopping.

    Attributes:
        revision: what it was made from.
        ready: serves.
        bound: has a node.
        age: later ones have higher numbers.
        neighbours: replicas of its tier on its node, itself included.
    """

    name: str
    revision: str
    ready: bool
    bound: bool
    age: int
    neighbours: int = 1


@dataclass(frozen=True)
class Step:
    """What to do now: create so many replicas of the current revision, and delete these."""

    create: int = 0
    delete: tuple[str, ...] = ()


def next_step(wanted: int, revision: str, members: Sequence[Member], rollout: Rollout) -> Step:
    """Return the next step towards `wanted` replicas, all of one revision.

    Args:
        wanted: replicas of the tier.
        revision: the current one.
        members: every replica that is not stopping.
        rollout: how far above and below `wanted` it may go meanwhile.
    """
    new = [m for m in members if m.revision == revision]
    old = [m for m in members if m.revision != revision]
    if not old:
        return Step(max(0, wanted - len(new)), _first(new, len(new) - wanted))
    create = min(wanted - len(new), wanted + rollout.max_surge - len(members))
    surplus = _first(new, len(new) - wanted)
    return Step(max(0, create), surplus + _old_to_delete(wanted, new, old, rollout))


def _old_to_delete(
    wanted: int, new: Sequence[Member], old: Sequence[Member], rollout: Rollout
) -> tuple[str, ...]:
    """Return old replicas that may go: first those not ready, then while enough stay ready."""
    least = max(0, wanted - rollout.max_unavailable)
    not_ready_new = sum(not m.ready for m in new)
    room = len(new) + len(old) - least - not_ready_new
    idle = [m for m in old if not m.ready]
    gone = idle[: max(0, room)]
    ready = [m for m in old if m.ready]
    spare = len(ready) + sum(m.ready for m in new) - least
    return tuple(m.name for m in gone) + _first(ready, spare)


def _first(members: Sequence[Member], count: int) -> tuple[str, ...]:
    """Return whom a ReplicaSet deletes first: without a node, not ready, crowded, young."""
    order = sorted(members, key=lambda m: (m.bound, m.ready, -m.neighbours, -m.age))
    return tuple(m.name for m in order[: max(0, count)])


def disruptions_allowed(wanted: int, ready: int, max_disrupted: int | None) -> int:
    """Return how many ready replicas evictions may take now.

    As a PodDisruptionBudget with `maxUnavailable`; None: no budget, so all of them.
    """
    if max_disrupted is None:
        return ready
    return max(0, ready - max(0, wanted - max_disrupted))
