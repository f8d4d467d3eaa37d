"""The actions of chaosk8s that a stock experiment may have, as faults: planned, proven, undone.

They take chaosk8s's own arguments and mean the same. They act through the target and not through
chaosk8s, which signs in by itself, names its victims by name alone, and keeps no way back
(docs/decisions/0008-stock-actions-are-played-by-faults.md).
"""

from __future__ import annotations

import importlib
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator
from pydantic.dataclasses import dataclass

from faultload.errors import FaultError, RefusedError
from faultload.faults.component_scale import ScaleTo, Size
from faultload.faults.limits import NO_LIMITS, Limits
from faultload.faults.loss import ReplicaLoss
from faultload.faults.proofs import ready_now
from faultload.faults.protocol import Plan
from faultload.faults.stock_list import PROBES, refusal
from faultload.faults.victims import STRICT, as_victims
from faultload.targets import (
    SCALE_WORKLOAD,
    TERMINATE_PODS,
    Found,
    Replica,
    StockActs,
    Target,
    Workload,
)


@dataclass(frozen=True, config=STRICT)
class Pods:
    """Which pods to terminate, in chaosk8s's words.

    Attributes:
        label_selector: as kubectl takes it. None: `name_pattern` alone chooses.
        name_pattern: a regular expression that is found in the name. None: any name.
        all: all that match.
        rand: chosen at random, by the run's seed; else the first by `order`.
        mode: what `qty` is: so many, or so many percent of those that match, rounded up.
        qty: how many; no more than match.
        grace_period: until they are killed; below 0: their own; 0: at once.
        ns: their namespace, one of the target's.
        order: `alphabetic` by name, or `oldest` first.
    """

    label_selector: str | None = None
    name_pattern: str | None = None
    all: bool = False
    rand: bool = False
    mode: Literal["fixed", "percentage"] = "fixed"
    qty: Annotated[int, Field(ge=1)] = 1
    grace_period: Annotated[int, Field(ge=-1, le=86400)] = -1
    ns: str = "default"
    order: Literal["alphabetic", "oldest"] = "alphabetic"

    component: ClassVar[str] = ""
    """Only the target knows whose pods they are."""

    @field_validator("name_pattern")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression: {error}") from None
        return value

    hits: ClassVar[None] = None

    def resolve(self, target: StockActs, seed: int) -> list[Replica]:
        """Return the victims, all ready; nothing is touched.

        Raises:
            FaultError: none that is ready matches.
            RefusedError: one that matches is no replica of the target's, or anything would match.
        """
        if not (self.label_selector or self.name_pattern):
            raise RefusedError(
                "terminate_pods: expected label_selector or name_pattern; without either, any pod"
                f" of namespace {self.ns} would do"
            )
        found = target.find_replicas(self.ns, self.label_selector or "")
        found = [one for one in found if re.search(self.name_pattern or "", one.replica.name)]
        whom = f"{self.label_selector or 'any label'}, {self.name_pattern or 'any name'}"
        if strangers := [one.replica.name for one in found if not one.replica.component]:
            raise RefusedError(
                f"terminate_pods: {whom} in namespace {self.ns} matches"
                f" {', '.join(strangers)} too, of none of the target's components"
            )
        ready = [one for one in found if one.replica.ready]
        if not ready:
            raise FaultError(
                f"expected ready pods in namespace {self.ns} to match {whom}; found none"
                f" ({len(found)} match in all)"
            )
        count = math.ceil(self.qty * len(ready) / 100) if self.mode == "percentage" else self.qty
        chosen = self._ordered(ready, seed)
        return [one.replica for one in (chosen if self.all else chosen[:count])]

    def _ordered(self, found: list[Found], seed: int) -> list[Found]:
        if self.rand:
            return [found[index] for index in np.random.default_rng(seed).permutation(len(found))]
        by_age = self.order == "oldest"
        return sorted(found, key=lambda one: (one.created if by_age else "", one.replica.name))


class TerminatePods(ReplicaLoss):
    """Terminate pods as chaosk8s's `terminate_pods` does: what a stock experiment has.

    It takes the same arguments and deletes pods within their grace; Kubernetes only. Unlike there,
    only ready pods are chosen, only replicas of the target's components, one that took a victim's
    name is spared, and a selector that finds nobody is an error and no success.

    In force when no victim is a ready replica under its planned uid; it may still be serving open
    streams then.

    Reverted by the platform alone, as for `kill_replica`: said is whether each tier has as many
    ready replicas as before within 60 s.
    """

    name: ClassVar[str] = "terminate_pods"
    capability: ClassVar[str] = TERMINATE_PODS
    intent: ClassVar[type[Pods]] = Pods
    over = "the termination is over"

    def __init__(self, target: Target, intent: Pods = Pods(), limits: Limits = NO_LIMITS) -> None:
        """Hit what `intent` says on `target`, within `limits`."""
        super().__init__(target, limits=limits)
        self._pods = intent

    def plan(self) -> Plan:
        """Find the victims, and hold each component's limits."""
        chosen = self._pods.resolve(speaking(self._target), self._limits.seed)
        ready, hit = Counter[str](), dict[str, list[int]]()
        for component, count in sorted(Counter(one.component for one in chosen).items()):
            known = ready_now(self._target, component)
            self._limits.check(component, count, sum(known.values()))
            ready.update(known)
            hit[component] = [count, sum(known.values())]
        before = {"ready": dict(ready), "grace_period": self._pods.grace_period}
        return Plan(as_victims(chosen), before=before, hit=hit)

    def inject(self, plan: Plan) -> None:
        """Begin to stop each victim, or end it at once where it has no grace."""
        grace_s = plan.before["grace_period"]
        for victim in plan.victims:
            if grace_s == 0:
                self._target.kill_replica(victim["name"], victim["uid"])
            else:
                own = None if grace_s < 0 else grace_s
                self._target.delete_replica(victim["name"], victim["uid"], own)


@dataclass(frozen=True, config=STRICT)
class Scaling:
    """What to scale, in chaosk8s's words.

    Attributes:
        name: of the workload.
        replicas: how many it is to have.
        ns: its namespace, one of the target's.
    """

    name: str
    replicas: Annotated[int, Field(ge=0, le=10_000)]
    ns: str = "default"

    component: ClassVar[str] = ""
    """Only the target knows whose replicas it keeps."""
    hits: ClassVar[None] = None


class ScaleDeployment(ScaleTo):
    """Scale a Deployment as chaosk8s's `scale_deployment` does, and set it back.

    It takes the same arguments; Kubernetes only. Unlike there, the Deployment must keep replicas of
    one of the target's components, one that an autoscaler owns is refused, and the number it had
    is kept and set back.

    In force when the Deployment is to have that many and that many are ready.

    Reverted by setting the number back, as for `scale_to`. Proven is that it is to have what it
    had; said is whether as many are ready as before within 60 s.
    """

    name: ClassVar[str] = "scale_deployment"
    capability: ClassVar[str] = SCALE_WORKLOAD
    intent: ClassVar[type[Any]] = Scaling
    kind: ClassVar[str] = "deployment"

    def __init__(
        self,
        target: Target,
        intent: Scaling = Scaling(name="", replicas=1),
        limits: Limits = NO_LIMITS,
    ) -> None:
        """Change what `intent` says on `target`, within `limits`."""
        super().__init__(target, Size(intent.replicas), limits)
        self._named = intent

    def plan(self) -> Plan:
        """Find the workload, then plan as for any other."""
        self._size = Size(self._named.replicas, component=self._workload().component)
        return super().plan()

    def _workload(self) -> Workload:
        named, kind = self._named, self.kind
        found = speaking(self._target).find_workload(named.ns, f"{kind}/{named.name}")
        if found is None:
            raise FaultError(
                f"expected a {kind} {named.name!r} that keeps replicas of the target's components"
                f" in namespace {named.ns}, found none"
            )
        return found


class ScaleStatefulset(ScaleDeployment):
    """Scale a StatefulSet as chaosk8s's `scale_statefulset` does, and set it back.

    It takes the same arguments; Kubernetes only. As `scale_deployment` otherwise.

    In force when the StatefulSet is to have that many and that many are ready.

    Reverted by setting the number back, as for `scale_to`. Proven is that it is to have what it
    had; said is whether as many are ready as before within 60 s.
    """

    name: ClassVar[str] = "scale_statefulset"
    kind: ClassVar[str] = "statefulset"


def speaking(target: Target) -> StockActs:
    """Return a target that knows Kubernetes' names.

    Raises:
        FaultError: it has none.
    """
    if not isinstance(target, StockActs):
        raise FaultError(
            f"target {target.identity.name!r} has no pods, namespaces or labels: what is chaosk8s's"
            " needs a cluster"
        )
    return target


def ask(target: Target, probe: str, arguments: Mapping[str, Any]) -> bool:
    """Have a probe of chaosk8s answer, signed in as the target is and not as chaosk8s would be.

    Raises:
        RefusedError: it is not on the list, or looks into a namespace that is not the target's.
        FaultError: it answered neither yes nor no.
    """
    if probe not in PROBES:
        raise RefusedError(refusal(probe))
    client = speaking(target).kubernetes_client(str(arguments.get("ns", "default")))
    path, _, function = probe.rpartition(".")
    module: Any = importlib.import_module(path)
    own = module.create_k8s_api_client
    module.create_k8s_api_client = lambda _secrets=None: client
    try:
        answer = getattr(module, function)(**arguments)
    finally:
        module.create_k8s_api_client = own
        client.close()
    if not isinstance(answer, bool):
        raise FaultError(f"{probe}: expected yes or no, found {answer!r}")
    return answer
