"""What every target offers: identity, capabilities, replicas, and the acts faults are made of.

Faults speak of components and intents; a target resolves them. An act names its victim by name and
uid, so that it never hits a replacement that took the victim's name in the meantime.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from faultload.spec.target import PrometheusSignIn
from faultload.targets.calls import Calls
from faultload.targets.engine_acts import EngineActs
from faultload.targets.machine_acts import MachineActs
from faultload.targets.network_acts import NetworkActs
from faultload.targets.release_acts import ReleaseActs

KILL_REPLICA = "kill-replica"
"""Capability: end a replica at once, nothing drained."""
HANG_REPLICA = "hang-replica"
"""Capability: stop a replica's processes without ending them, and let them go on (SIGSTOP)."""
HANG_ENGINE = "hang-engine"
"""Capability: the same to its engine's core alone, while its server goes on."""
KILL_ENGINE = "kill-engine"
"""Capability: end its engine's core at once; its server is left to notice."""
GPU_MEMORY = "gpu-memory"
"""Capability: hold the memory that an engine left on its GPU, and give it back."""
GPU_XID = "gpu-xid"
"""Capability: have a GPU's driver report an Xid error, and reset the GPU."""
GPU_SLOW = "gpu-slow"
"""Capability: make every step of an engine take longer, and as long as before again."""
DELETE_REPLICA = "delete-replica"
"""Capability: stop a replica in order, within its grace period; the platform replaces it."""
EVICT_REPLICA = "evict-replica"
"""Capability: the same, if the platform's disruption budget allows it."""
CORDON_NODE = "cordon-node"
"""Capability: keep new replicas away from a node, and let them come again."""
DRAIN_NODE = "drain-node"
"""Capability: cordon a node and evict what runs there."""
SCALE = "scale"
"""Capability: set how many replicas a component or tier has, and set it back."""
PARTITION = "partition"
"""Capability: cut replicas off from the network, and join them again."""
LOSE_NODE = "lose-node"
"""Capability: end a machine at once, and everything on it."""
INTERRUPT_SPOT = "interrupt-spot"
"""Capability: advise a spot machine to rebalance, and take it away after its notice."""
FAIL_ZONE = "fail-zone"
"""Capability: take all machines of a zone away, and let new ones come again."""
WITHHOLD_CAPACITY = "withhold-capacity"
"""Capability: have the cloud refuse to launch machines of a kind, and launch them again."""
DISTURB_NETWORK = "disturb-network"
"""Capability: add latency, narrow a way, reset connections, and take that back."""
ROLL_OUT = "roll-out"
"""Capability: replace all replicas of a workload in a rolling update."""
BAD_RELEASE = "bad-release"
"""Capability: roll out a flawed release, and roll it back."""
SPOIL_MODEL = "spoil-model"
"""Capability: spoil the weights that new replicas load, and make them whole again."""
KV_PRESSURE = "kv-pressure"
"""Capability: ask one engine directly, past the router, and see how full its KV cache is."""
ADD_LOAD = "add-load"
"""Capability: take more traffic than the workload's own."""
AUTOSCALING = "autoscaling"
"""Capability: scales its workloads of its own accord."""

ASK_CHAOSK8S = "ask-chaosk8s"
"""Capability: let probes of chaosk8s ask; Kubernetes alone."""
TERMINATE_PODS = "terminate-pods"
"""Capability: delete-replica or kill-replica, of pods found in Kubernetes' own words."""
SCALE_WORKLOAD = "scale-workload"
"""Capability: scale, of a workload found by its Kubernetes name."""


@dataclass(frozen=True)
class Identity:
    """What a target is, beyond its name.

    Attributes:
        name: of the target file.
        kind: `local`, …
        fingerprint: the same only for the same platform; locks and journals are kept under it.
    """

    name: str
    kind: str
    fingerprint: str


@dataclass(frozen=True)
class Replica:
    """One replica of a component, as the target sees it now.

    Attributes:
        component: `engine`, `router`, …
        name: stays over restarts.
        uid: changes with every restart.
        tier: "" where the component has no tiers.
        node, zone: where it runs.
        ready: receives traffic.
        restarts: since the platform began.
        inflight: requests it is serving; None: unknown.
    """

    component: str
    name: str
    uid: str
    tier: str
    node: str
    zone: str
    ready: bool
    restarts: int
    inflight: int | None


@dataclass(frozen=True)
class Node:
    """One machine replicas run on.

    Attributes:
        name, uid: a machine of the same name that replaced it has another uid.
        zone: "" where unknown.
        ready: it answers its control plane.
        schedulable: new replicas may come.
        capacity_type: `spot` or `on-demand`; "" where unknown.
    """

    name: str
    uid: str
    zone: str
    ready: bool
    schedulable: bool
    capacity_type: str = ""


@dataclass(frozen=True)
class Occupant:
    """Something that runs on a node.

    Attributes:
        name, uid: of the replica or pod.
        component: "" where it is none of the target's components.
        stays: why a drain leaves it alone (it belongs to the node); "" when it would go.
        forbids: why it keeps the node from being drained at all; "" when it does not.
    """

    name: str
    uid: str
    component: str
    stays: str = ""
    forbids: str = ""


@dataclass(frozen=True)
class Workload:
    """What keeps a component's or tier's replicas: a Deployment, a tier.

    Attributes:
        name: `deployment/vllm-fast`; what `set_scale` takes.
        uid: of this very workload.
        component, tier: whose replicas it keeps.
        wanted: how many it is to have.
        scaled_by: the autoscaler that would undo a change at once; "" for none.
    """

    name: str
    uid: str
    component: str
    tier: str
    wanted: int
    scaled_by: str


@dataclass(frozen=True)
class Mark:
    """What is left on an object beside a change, so that the change can be undone without us.

    Attributes:
        token: the injection it belongs to.
        expires_unix_s: from then on anybody may undo it; by the target's clock.
    """

    token: str
    expires_unix_s: float


@dataclass(frozen=True)
class Refusal:
    """An eviction that was not granted.

    Attributes:
        reason: in the platform's words.
        retry_after_s: when to ask again.
    """

    reason: str
    retry_after_s: float


@dataclass(frozen=True)
class PlatformEvent:
    """Something the platform says happened.

    Attributes:
        time_unix_s: its own clock.
        reason: one word, as Kubernetes has it: Killing, Started, Ready, BackOff.
        subject: what it happened to.
        message: in words.
    """

    time_unix_s: float
    reason: str
    subject: str
    message: str


@dataclass(frozen=True)
class Endpoints:
    """Where the platform listens.

    Attributes:
        inference_url: OpenAI-compatible, without `/v1`.
        prometheus_url: its Prometheus.
        ca: PEM file of the authorities to trust at the former; None: the system's.
        api_key_env: name of the environment variable with the API key it wants; None: it wants
            none.
        prometheus_sign_in: None: Prometheus answers anybody.
    """

    inference_url: str
    prometheus_url: str
    ca: Path | None = None
    api_key_env: str | None = None
    prometheus_sign_in: PrometheusSignIn | None = None

    def prometheus_headers(self) -> dict[str, str]:
        """Return what to send with every query to Prometheus.

        Raises:
            MissingError: the variable with its token or password is not set.
        """
        return {} if self.prometheus_sign_in is None else self.prometheus_sign_in.headers()


class Lock(Protocol):
    """A hold on a target: against harnesses on other machines, or to keep its faults in force."""

    @property
    def problem(self) -> str:
        """Why it may be lost, and what that means; "" while it is certainly ours."""
        ...


class Acts(EngineActs, MachineActs, NetworkActs, ReleaseActs, Protocol):
    """What faults are made of: one thing done to one victim, named by name and uid.

    All are bounded and idempotent, and raise `FaultError` when the victim is gone or its uid is
    another by now, unless they say otherwise.
    """

    def kill_replica(self, replica: str, uid: str) -> None:
        """End the replica at once. Needs `KILL_REPLICA`."""
        ...

    def stop_replica(self, replica: str, uid: str) -> None:
        """Stop its processes without ending them. Needs `HANG_REPLICA`."""
        ...

    def continue_replica(self, replica: str, uid: str) -> None:
        """Let stopped processes go on; nothing to do when that uid is gone."""
        ...

    def delete_replica(self, replica: str, uid: str, grace_s: float | None) -> None:
        """Begin to stop it in order. Needs `DELETE_REPLICA`; grace_s None: its own grace period."""
        ...

    def evict_replica(self, replica: str, uid: str) -> Refusal | None:
        """Ask for its eviction; None: granted, or that uid is gone. Needs `EVICT_REPLICA`."""
        ...

    def nodes(self) -> Sequence[Node]:
        """Return the machines, by name."""
        ...

    def occupants(self, node: str) -> Sequence[Occupant]:
        """Return what runs on a node, by name."""
        ...

    def cordon_node(self, node: str, uid: str, mark: Mark) -> None:
        """Keep new replicas away. Needs `CORDON_NODE`."""
        ...

    def uncordon_node(self, node: str, uid: str, token: str) -> None:
        """Let new replicas come again if the cordon is that of `token`; else leave it alone."""
        ...

    def workloads(self, component: str, tier: str | None) -> Sequence[Workload]:
        """Return what keeps the replicas of a component, or of one of its tiers; by name."""
        ...

    def set_scale(self, workload: str, uid: str, replicas: int, mark: Mark) -> None:
        """Have it keep another number of replicas. Needs `SCALE`."""
        ...

    def restore_scale(self, workload: str, uid: str, token: str, replicas: int) -> None:
        """Have it keep `replicas` again if the change is that of `token`; else leave it alone."""
        ...

    def partition(self, victims: Sequence[tuple[str, str]], mark: Mark) -> None:
        """Cut these replicas (name, uid) off from everybody. Needs `PARTITION`."""
        ...

    def join(self, victims: Sequence[tuple[str, str]], token: str) -> None:
        """Undo the partition of `token`, on victims that are gone too."""
        ...

    def partitioned(self, token: str) -> Collection[str]:
        """Return the uids of the replicas that the partition of `token` cuts off now."""
        ...

    def now_unix_s(self) -> float:
        """Return the time by which marks expire: the target's own, one for all harnesses."""
        ...

    def revert_expired(self, now_unix_s: float) -> Sequence[str]:
        """Undo every change whose mark has expired at that time; say what was done, a line each.

        Raises:
            FaultError: after all were tried, what is still in force.
        """
        ...


class Target(Acts, Protocol):
    """One platform. Every call is bounded in time and raises `MissingError` when it is gone."""

    @property
    def identity(self) -> Identity:
        """Which platform this is."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """What faults may ask of it."""
        ...

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens."""
        ...

    def attachment(self) -> Mapping[str, str]:
        """Return what another process needs to reach the same platform. No secrets."""
        ...

    def replicas(self, component: str) -> Sequence[Replica]:
        """Return the component's replicas, by name; empty: there is no such component here."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return what the manifest keeps about the platform. No secrets."""
        ...

    def events(self) -> Sequence[PlatformEvent]:
        """Return what the platform reported since it began, oldest first."""
        ...

    def save_logs(self, folder: Path) -> None:
        """Write what the platform's processes logged into a folder of the record.

        Raises:
            OSError: it cannot be read or written.
        """
        ...

    def left_behind(self) -> Sequence[str]:
        """Return what harnesses changed and did not undo, a line each, as far as it can be seen."""
        ...

    def missing_rights(self, capabilities: Iterable[str]) -> Sequence[str]:
        """Return what we would have to be allowed to do and are not, a line each."""
        ...

    def calls(self, capability: str) -> Calls:
        """Return what may be asked for faults that need it, or for `EVERY_RUN`. Asks nobody."""
        ...

    def usd_per_h(self) -> float | None:
        """Return what the GPU nodes that run now cost, US dollars an hour.

        None where that is not known of every one of them: a missing price is never 0.
        """
        ...

    def under(self, mark: Mark) -> AbstractContextManager[None]:
        """Have what the acts inside change end when `mark` expires, if nobody undoes it before.

        Where a run's lock sees to that, or every change bears its mark, there is nothing to do.

        Raises:
            MissingError: nobody would see to it.
        """
        ...

    def lock(self, holder: str) -> AbstractContextManager[Lock]:
        """Keep other harnesses away, on other machines too, until the context ends.

        Raises:
            RefusedError: another one holds the target; says which.
        """
        ...

    def close(self) -> None:
        """End what this object started; leave alone what was there before. Idempotent."""
        ...
