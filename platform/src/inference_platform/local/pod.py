"""One replica as Kubernetes keeps it: bound to a node, started, routed to, and stopped in order."""

from __future__ import annotations

import asyncio
import math
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
        annotation: what whoever released it wants to find again.
    """

    name: str
    engine: Engine
    pullable: bool = True
    annotation: str = ""


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
        gone_by_unix: when its grace ends, None while it is wanted.
        kill_at: when SIGKILL comes, by the loop's clock; infinite before it is stopping.
        hurried: set when that has become sooner.
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
    gone_by_unix: float | None = None
    routed: bool = True
    waits_for: str = ""
    created_unix: float = field(default_factory=time.time)
    task: asyncio.Task[None] | None = None
    kill_at: float = math.inf
    hurried: asyncio.Event = field(default_factory=asyncio.Event)

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

    def hurry(self, grace_s: float) -> None:
        """Let the end of the grace be sooner, as a second delete with a shorter one does."""
        at = asyncio.get_running_loop().time() + grace_s
        if at < self.kill_at:
            self.kill_at = at
            self.hurried.set()

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
    time; then SIGTERM to its first process, and SIGKILL to all when the grace period, preStop
    included, is over. `Pod.hurry` can make that sooner. A process that was stopped (SIGSTOP) hears
    no SIGTERM, so it ends with the grace.

    Args:
        pod: which one; already marked as stopping.
        grace: how long each part takes.
        unroute: takes it out of what the router follows.
    """
    loop = asyncio.get_running_loop()
    pod.kill_at = loop.time() + grace.total_s
    term_at = loop.time() + grace.pre_stop_s
    late = loop.call_later(grace.unroute_after_s, unroute)
    try:
        if pod.task is not None:
            pod.task.cancel()  # nobody restarts it any more
        if pod.unit is not None and pod.unit.pid is not None:
            ended = asyncio.ensure_future(pod.unit.ended())
            await _wait(pod, ended, term_at)
            pod.unit.send(signal.SIGTERM, group=False)
            await _wait(pod, ended, math.inf)
            pod.unit.send(signal.SIGKILL)
            await ended  # the kernel keeps nobody from SIGKILL for long
    finally:
        late.cancel()
        unroute()


async def _wait(pod: Pod, ended: asyncio.Future[None], until: float) -> None:
    """Wait for a time of the loop's clock, the end of the grace, or that of the process."""
    loop = asyncio.get_running_loop()
    while not ended.done() and (left_s := min(until, pod.kill_at) - loop.time()) > 0:
        pod.hurried.clear()
        hurried = asyncio.ensure_future(pod.hurried.wait())
        both: set[asyncio.Future[Any]] = {ended, hurried}
        await asyncio.wait(both, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
