"""What Chaos Toolkit's own experiments speak of: Kubernetes' namespaces, labels and names.

Only a cluster has them. A target that has can do these acts beside those of `targets.base`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from faultload.targets.base import Replica, Workload


@dataclass(frozen=True)
class Found:
    """A pod that a selector found.

    Attributes:
        replica: the pod; its component is "" where it is a replica of none of the target's.
        created: when it was made; later ones sort behind.
    """

    replica: Replica
    created: str


@runtime_checkable
class StockActs(Protocol):
    """Finding victims by Kubernetes' words, and letting chaosk8s ask.

    A namespace that is not the target's is refused: `RefusedError`.
    """

    def find_replicas(self, namespace: str, selector: str) -> Sequence[Found]:
        """Return the pods that a selector finds, by name; those that finished aside. "": all."""
        ...

    def find_workload(self, namespace: str, name: str) -> Workload | None:
        """Return what `deployment/NAME` is; None: the target's components have no such workload."""
        ...

    def kubernetes_client(self, namespace: str) -> Any:
        """Return a client of Kubernetes' library, signed in as this target is; for reading."""
        ...
