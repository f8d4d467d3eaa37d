"""The bodies of the control API's orders: what may be asked, and of what type."""

from __future__ import annotations

from signal import Signals
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Order(BaseModel):
    """Frozen, and refuses keys that it does not know. The empty order needs no body."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ReplicaOrder(Order):
    """An order about one replica; `uid` is a precondition, as Kubernetes has it.

    It is the uid of the replica's process, "" for one that has had none yet.
    """

    uid: str


class SignalOrder(ReplicaOrder):
    """POST /v1/replicas/{name}/signal: to all of its processes or to one."""

    signal: Literal["KILL", "TERM", "STOP", "CONT"]
    process: Literal["all", "server", "engine-core"] = "all"

    @property
    def number(self) -> Signals:
        """The signal."""
        return Signals[f"SIG{self.signal}"]


class DeleteOrder(ReplicaOrder):
    """POST /v1/replicas/{name}/delete: grace in scaled seconds, None for its tier's."""

    grace_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class EngineOrder(ReplicaOrder):
    """POST /v1/replicas/{name}/engine/{command}: what its port for faults takes as a body."""

    body: dict[str, Any] = {}


class ComponentOrder(Order):
    """POST /v1/components/{name}/signal; `hold` keeps it down until it is started.

    `uid` is a precondition as for replicas; None: whichever process of it runs.
    """

    signal: Literal["KILL", "TERM", "STOP", "CONT"]
    hold: bool = False
    uid: str | None = None

    @property
    def number(self) -> Signals:
        """The signal."""
        return Signals[f"SIG{self.signal}"]


class ScaleOrder(Order):
    """POST /v1/tiers/{name}/scale.

    `annotation` is kept until the tier is scaled again, and means nothing to the platform.
    """

    replicas: Annotated[int, Field(ge=0, le=100, strict=True)]
    annotation: str = ""


class ReleaseOrder(Order):
    """POST /v1/tiers/{name}/release: engine keys that change, and whether there is an image.

    `annotation` is kept with the revision and means nothing to the platform.
    """

    engine: dict[str, Any] = {}
    pullable: bool = True
    annotation: Annotated[str, Field(max_length=200)] = ""


class RollbackOrder(Order):
    """POST /v1/tiers/{name}/rollback; None: to the revision before."""

    to: str | None = None


class LinkOrder(Order):
    """POST /v1/links/{name}: everything that is wrong with it; `{}` is undisturbed."""

    latency_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    jitter_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    bandwidth_bytes_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    reset_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    partitioned: bool = False


class ModelOrder(Order):
    """POST /v1/models/{model}: harm a model in the store, or restore it."""

    change: Literal["empty", "corrupt", "truncate", "restore"]


class CapacityOrder(Order):
    """POST /v1/capacity: what EC2 has none of, or has again; an empty field means all."""

    available: bool
    zone: str = ""
    capacity_type: Literal["", "on-demand", "spot"] = ""
    instance_type: str = ""


class LeaseOrder(Order):
    """POST /v1/leases/{name}: for how long it is held, unless it is renewed; this machine's s."""

    ttl_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
