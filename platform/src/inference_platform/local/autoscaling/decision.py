"""What the autoscaler's loops are told, and what they answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Scale:
    """A tier as its Deployment's scale subresource and its pods show it.

    Attributes:
        spec: replicas asked for.
        status: replicas there are, ready or not, without those that are stopping.
        ready: replicas that are running and ready. One that is stopping and still ready counts,
            as Kubernetes lists pods by label only.
    """

    spec: int
    status: int
    ready: int


@dataclass(frozen=True)
class ReadingError:
    """Why a trigger could not be read; never a number in disguise."""

    text: str


Reading = float | ReadingError


@dataclass(frozen=True)
class Event:
    """What Kubernetes would record.

    Attributes:
        reason: Kubernetes' or KEDA's word, such as SuccessfulRescale.
        object: kind and name, such as `horizontalpodautoscaler/keda-hpa-fast`.
        message: the sentence.
    """

    reason: str
    object: str
    message: str


@dataclass(frozen=True)
class Condition:
    """One condition of an HPA's status: AbleToScale, ScalingActive or ScalingLimited."""

    type: str
    status: Literal["true", "false", "unknown"]
    reason: str
    message: str


@dataclass(frozen=True)
class Seen:
    """One trigger as a loop saw it.

    Attributes:
        name: what the HPA calls the metric.
        reading: what was read.
        fallback: a number stood in for it, because reading has failed too often.
        active: whether KEDA takes the trigger for active.
        proposal: replicas the HPA made of it; None: it could not, or was not asked.
    """

    name: str
    reading: Reading
    active: bool
    fallback: bool = False
    proposal: int | None = None


@dataclass(frozen=True)
class Decision:
    """What one look came to.

    Attributes:
        desired: replicas to have from now on; those asked for already when nothing changes.
        reason: the event's reason when it changes, else the reason of the condition that explains
            why not: ReadyForNewScale, ScaleDownStabilized, FailedGetExternalMetric, …
        message: the sentence that goes with it.
        triggers: what was seen, in the order of the file; empty when the HPA did not look.
        limited_by: ScaleUpLimit, ScaleDownLimit, TooManyReplicas or TooFewReplicas when one of them
            kept the number from what the metrics want; else None.
        events: what is new to tell. A warning is told when it begins, not at every look.
    """

    desired: int
    reason: str
    message: str
    triggers: tuple[Seen, ...] = ()
    limited_by: str | None = None
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class TargetMetric:
    """One metric of an HPA's spec, as kube-state-metrics shows it."""

    name: str
    target_type: Literal["average", "value"]
    value: float


@dataclass(frozen=True)
class HpaStatus:
    """An HPA as kube-state-metrics shows it.

    Attributes:
        name: of the HPA.
        tier: that it scales.
        min_replicas: at least 1: sleep is KEDA's affair.
        current_replicas: replicas asked for at the last sync; None before the first.
        desired_replicas: what the last sync wanted; None before the first.
    """

    name: str
    tier: str
    min_replicas: int
    max_replicas: int
    current_replicas: int | None
    desired_replicas: int | None
    conditions: tuple[Condition, ...]
    targets: tuple[TargetMetric, ...]
