"""One replica as Kubernetes keeps it: bound to a node, started, routed to, and stopped in order."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from inference_platform.local.addresses import ReplicaAddresses
from inference_platform.local.settings import Engine
from inference_platform.local.unit import Unit


@dataclass(frozen=True)
class Revision:
    """What the replicas of a tier are made from.

    Attributes:
        name: `r1`, `r2`, … in the order of the tier's releases.
        engine: speed, capacity and flags.
        pullable: whether its image exists.
    """

    name: str
    engine: Engine
    pullable: bool = True


@dataclass(eq=False)
class Pod:
    """A replica, from the decision to have it until it has ended.

    Attributes:
        name: of the replica; never used again.
        uid: the pod's; processes have their own in `unit.uid`.
        number: its place among the addresses.
        first: one of those the platform came up with.
        made: counts over the tier's replicas; a later one has a higher number.
        node: where it runs; "" while it fits nowhere.
        gpus: numbers of the GPUs that it has there.
        gpu_state: file with what has happened to the first of them; None before it has a node.
        weights: folder with its weights; None when it brings them along.
        unit: its process; None while it has no node.
        stopping_unix: since when it is no longer wanted, None while it is; it may still serve what
            it has begun.
        routed: in the endpoints that the router follows.
        waits_for: why no process of it runs, in Kubernetes' words; "" when one does.
    """

    name: str
    tier: str
    revision: Revision
    number: int
    addresses: ReplicaAddresses
    first: bool
    made: int
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    node: str = ""
    gpus: tuple[int, ...] = ()
    gpu_state: Path | None = None
    weights: Path | None = None
    unit: Unit | None = None
    stopping_unix: float | None = None
    routed: bool = True
    waits_for: str = ""
    created_unix: float = field(default_factory=time.time)
    task: asyncio.Task[None] | None = None

    @property
    def stopping(self) -> bool:
        """Whether it is on its way out."""
        return self.stopping_unix is not None

    @property
    def ready(self) -> bool:
        """Whether Kubernetes would call it ready; what was last heard, when its node is lost."""
        return self.unit is not None and self.unit.ready and not self.stopping

    @property
    def phase(self) -> str:
        """Return pending, starting, ready, backoff, stopped or stopping."""
        if self.stopping:
            return "stopping"
        return "pending" if self.unit is None else self.unit.phase

    @property
    def process_uid(self) -> str:
        """Of the running or last process; "" before the first."""
        return "" if self.unit is None else self.unit.uid


@dataclass(frozen=True)
class Grace:
    """How a replica is stopped, in seconds of this platform.

    Attributes:
        total_s: until SIGKILL; 0 ends it at once.
        pre_stop_s: until SIGTERM.
        unroute_after_s: until the router hears that it must not be used.
    """

    total_s: float
    pre_stop_s: float = 0.0
    unroute_after_s: float = 0.0


async def end(pod: Pod, grace: Grace, unroute: Callable[[], None]) -> None:
    """End a replica in Kubernetes' order.

    It leaves the endpoints, of which the router hears a little later; preStop begins at the same
    time; then SIGTERM, and SIGKILL when the grace period, preStop included, is over.

    Args:
        pod: which one; already marked as stopping.
        grace: how long each part takes.
        unroute: takes it out of what the router follows.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + grace.total_s
    late = loop.call_later(grace.unroute_after_s, unroute)
    try:
        if pod.task is not None:
            pod.task.cancel()  # nobody restarts it any more
        if pod.unit is not None and pod.unit.pid is not None:
            await asyncio.sleep(min(grace.total_s, grace.pre_stop_s))
            await pod.unit.stop(max(0.0, deadline - loop.time()))
    finally:
        late.cancel()
        unroute()
