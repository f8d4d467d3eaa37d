"""Kubernetes' HorizontalPodAutoscaler for external metrics. Pure: no clock, no network.

The rules are those of pkg/controller/podautoscaler on Kubernetes' main branch of 2026, for an HPA
that has a `behavior`; each function names the one it follows. Not played: the HPAScaleToZero and
HPAConfigurableTolerance feature gates, resource, pod and object metrics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from inference_platform.local.autoscaling.decision import (
    Condition,
    Decision,
    Event,
    ReadingError,
    Scale,
    Seen,
)
from inference_platform.local.autoscaling.spec import Policy, ScaledObject, ScalingRules

# Flags of kube-controller-manager and their defaults: --horizontal-pod-autoscaler-sync-period and
# --horizontal-pod-autoscaler-tolerance.
SYNC_PERIOD_S = 15.0
TOLERANCE = 0.1
# Quantities are 64-bit integers of thousandths there.
MILLI_MAX = 2**63 - 1

_LIMITS = {
    "ScaleUpLimit": "the desired replica count is increasing faster than the maximum scale rate",
    "ScaleDownLimit": "the desired replica count is decreasing faster than the maximum scale rate",
    "TooManyReplicas": "the desired replica count is more than the maximum replica count",
    "TooFewReplicas": "the desired replica count is less than the minimum replica count",
    "DesiredWithinRange": "the desired count is within the acceptable range",
}
_ABLE = {
    "SucceededGetScale": "the HPA controller was able to get the target's current scale",
    "ReadyForNewScale": "recommended size matches current size",
    "ScaleUpStabilized": (
        "recent recommendations were lower than current one, applying the lowest recent "
        "recommendation"
    ),
    "ScaleDownStabilized": (
        "recent recommendations were higher than current one, applying the highest recent "
        "recommendation"
    ),
}


def milli(value: float) -> int:
    """Return a value in thousandths, as KEDA and Kubernetes pass metrics on.

    Three decimals, negative and not-a-number as 0: quantityFromFloat64 of KEDA's scaler.go.
    """
    if math.isnan(value) or math.isinf(value) or value < 0:
        return 0
    return min(round(float(f"{value:.3f}") * 1000), MILLI_MAX)


@dataclass(frozen=True)
class Metric:
    """One external metric of the HPA.

    Attributes:
        average: the target is per replica (AverageValue), else for all of them (Value).
        target_milli: the target, thousandths.
        seen: what was read of it, for the decision's account.
        value_milli: what KEDA's metrics server answers, thousandths.
    """

    average: bool
    target_milli: int
    seen: Seen
    value_milli: int | ReadingError


def proposal(metric: Metric, scale: Scale) -> int | ReadingError:
    """Return how many replicas one metric asks for.

    Replicas that are not ready yet do not matter with AverageValue, which divides by all there
    are; with Value they are left out of the count (GetExternalPerPodMetricReplicas,
    GetExternalMetricReplicas and getUsageRatioReplicaCount of replica_calculator.go).
    """
    value = metric.value_milli
    if isinstance(value, ReadingError):
        return value
    if metric.average:
        wanted = math.ceil(value / metric.target_milli)
        # Without any replica the ratio is infinite or undefined there, and never close to 1.
        near = scale.status > 0 and _near(value / (metric.target_milli * scale.status))
        return scale.status if near else wanted
    ratio = value / metric.target_milli
    if _near(ratio):
        return scale.spec
    if scale.status == scale.ready == 0:
        return ReadingError("no pods returned by selector while calculating replica count")
    return math.ceil(ratio * scale.ready)


def _near(ratio: float) -> bool:
    """Say whether it is too close to the target to do anything (Tolerances.isWithin)."""
    return 1.0 - TOLERANCE <= ratio <= 1.0 + TOLERANCE


class Hpa:
    """One HPA and what it remembers between syncs."""

    def __init__(self, spec: ScaledObject, namespace: str) -> None:
        """Know nothing yet; made as KEDA makes it (controllers/keda/hpa.go)."""
        self.name = f"keda-hpa-{spec.name}"
        # GetHPAMinReplicas: sleep is KEDA's affair, never the HPA's.
        self.min_replicas = max(1, spec.min_replica_count)
        self.max_replicas = spec.max_replica_count
        self.current: int | None = None
        self.desired: int | None = None
        self._object = f"horizontalpodautoscaler/{self.name}"
        self._namespace = namespace
        # How Go prints the selector that KEDA gives each metric.
        self._selector = (
            "&LabelSelector{MatchLabels:map[string]string{scaledobject.keda.sh/name: "
            f"{spec.name},}},MatchExpressions:[]LabelSelectorRequirement{{}},}}"
        )
        self._behavior = spec.behavior
        self._conditions: dict[str, Condition] = {}
        self._recommendations: list[tuple[float, int]] | None = None
        self._ups: list[tuple[float, int]] = []
        self._downs: list[tuple[float, int]] = []
        self._warned: frozenset[Event] = frozenset()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """AbleToScale, ScalingActive and ScalingLimited, as far as they have been set."""
        return tuple(self._conditions.values())

    def sync(self, now: float, scale: Scale, metrics: Sequence[Metric]) -> Decision:
        """Decide once; what is decided counts as carried out (reconcileAutoscaler).

        Args:
            now: seconds, from any beginning.
            scale: of the tier.
            metrics: every metric of the HPA, in the order of the triggers.
        """
        self.current = scale.spec
        if self._recommendations is None:  # recordInitialRecommendation
            self._recommendations = [(now, scale.spec)]
        self._set("AbleToScale", "true", "SucceededGetScale", _ABLE["SucceededGetScale"])
        if scale.spec == 0:
            reason = "ScalingDisabled"
            message = "scaling is disabled since the replica count of the target is zero"
            self._set("ScalingActive", "false", reason, message)
            return self._keep(scale, Decision(0, reason, message))
        if scale.spec > self.max_replicas:
            why = "Current number of replicas above Spec.MaxReplicas"
            return self._rescale(now, scale, Decision(self.max_replicas, "", why))
        if scale.spec < self.min_replicas:
            why = "Current number of replicas below Spec.MinReplicas"
            return self._rescale(now, scale, Decision(self.min_replicas, "", why))
        return self._by_metrics(now, scale, metrics)

    def _by_metrics(self, now: float, scale: Scale, metrics: Sequence[Metric]) -> Decision:
        """Decide between the bounds (computeReplicasForMetrics, then the normalization)."""
        proposals = [proposal(metric, scale) for metric in metrics]
        seen = tuple(
            replace(metric.seen, proposal=None if isinstance(p, ReadingError) else p)
            for metric, p in zip(metrics, proposals, strict=True)
        )
        problems = [
            self._problem(one.name, p)
            for one, p in zip(seen, proposals, strict=True)
            if isinstance(p, ReadingError)
        ]
        valid = [(one.proposal, one.name) for one in seen if one.proposal is not None]
        wanted, by = max(valid, key=lambda pair: pair[0], default=(0, ""))
        warnings = [Event("FailedGetExternalMetric", self._object, text) for text in problems]
        if problems and (not valid or wanted < scale.spec):
            # Shrinking on the word of some metrics only could take what the silent ones need.
            message = f"the HPA was unable to compute the replica count: {problems[0]}"
            self._set("ScalingActive", "false", "FailedGetExternalMetric", message)
            text = (
                f"invalid metrics ({len(problems)} invalid out of {len(metrics)}), first error is: "
                f"failed to get external metric: {problems[0]}"
            )
            warnings.append(Event("FailedComputeMetricsReplicas", self._object, text))
            kept = Decision(scale.spec, "FailedGetExternalMetric", message, seen)
            return replace(kept, events=self._new(warnings))
        metric = f"external metric {by}({self._selector})"
        self._set(
            "ScalingActive",
            "true",
            "ValidMetricFound",
            f"the HPA was able to successfully calculate a replica count from {metric}",
        )
        why = f"{metric} above target" if wanted > scale.spec else "All metrics below target"
        desired, limit = self._normalize(now, scale.spec, wanted)
        limited_by = None if limit == "DesiredWithinRange" else limit
        decision = Decision(desired, "", why, seen, limited_by, self._new(warnings))
        if desired != scale.spec:
            return self._rescale(now, scale, decision)
        able = self._conditions["AbleToScale"]
        return self._keep(scale, replace(decision, reason=able.reason, message=able.message))

    def _problem(self, metric: str, error: ReadingError) -> str:
        where = f"{self._namespace}/{metric}/{self._selector}"
        return f"unable to get external metric {where}: {error.text}"

    def _new(self, warnings: Sequence[Event]) -> tuple[Event, ...]:
        """Return the warnings that the last sync did not have."""
        new = tuple(event for event in warnings if event not in self._warned)
        self._warned = frozenset(warnings)
        return new

    def _rescale(self, now: float, scale: Scale, decision: Decision) -> Decision:
        """Put a change down, and say it in Kubernetes' words."""
        desired, why = decision.desired, decision.message
        self._remember(now, scale.spec, desired)
        self.desired = desired
        text = f"the HPA controller was able to update the target scale to {desired}"
        self._set("AbleToScale", "true", "SucceededRescale", text)
        event = Event("SuccessfulRescale", self._object, f"New size: {desired}; reason: {why}")
        return replace(
            decision,
            reason=event.reason,
            message=event.message,
            events=(*decision.events, event),
        )

    def _keep(self, scale: Scale, decision: Decision) -> Decision:
        self.desired = scale.spec
        return decision

    def _normalize(self, now: float, current: int, wanted: int) -> tuple[int, str]:
        """Return what windows, policies and bounds leave of `wanted`, and the limit that held it.

        First the windows, then rate and bounds (normalizeDesiredReplicasWithBehaviors).
        """
        stable = self._stabilize(now, current, wanted)
        able = "ReadyForNewScale"
        if stable != wanted:
            able = "ScaleUpStabilized" if wanted >= current else "ScaleDownStabilized"
        self._set("AbleToScale", "true", able, _ABLE[able])
        desired, limit = self._limit(now, current, stable)
        self._set("ScalingLimited", "false" if desired == stable else "true", limit, _LIMITS[limit])
        return desired, limit

    def _stabilize(self, now: float, current: int, wanted: int) -> int:
        """Return what recent recommendations agree on (stabilizeRecommendationWithBehaviors).

        Grows only as far as all of the growing window want it, shrinks only as far as all of the
        shrinking window do. What is wanted now is remembered as it is.
        """
        up_s = self._behavior.scale_up.stabilization_window_seconds
        down_s = self._behavior.scale_down.stabilization_window_seconds
        kept = [(at, n) for at, n in self._recommendations or () if at > now - max(up_s, down_s)]
        lowest = min([wanted, *(n for at, n in kept if at > now - up_s)])
        highest = max([wanted, *(n for at, n in kept if at > now - down_s)])
        self._recommendations = [*kept, (now, wanted)]
        return min(max(current, lowest), highest)

    def _limit(self, now: float, current: int, wanted: int) -> tuple[int, str]:
        """Apply the policies and the bounds (convertDesiredReplicasWithBehaviorRate)."""
        if wanted > current:
            rate = max(current, self._up_limit(now, current))
            high, limit = self.max_replicas, "TooManyReplicas"
            if high > rate:
                high, limit = rate, "ScaleUpLimit"
            if wanted > high:
                return high, limit
        elif wanted < current:
            rate = min(current, self._down_limit(now, current))
            low, limit = self.min_replicas, "TooFewReplicas"
            if low < rate:
                low, limit = rate, "ScaleDownLimit"
            if wanted < low:
                return low, limit
        return wanted, "DesiredWithinRange"

    def _up_limit(self, now: float, current: int) -> int:
        """Return the most that the policies allow (calculateScaleUpLimitWithScalingRules)."""
        rules = self._behavior.scale_up
        if rules.select_policy == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            start = self._at_start(now, current, policy)
            # Rounded up, so that a small tier can grow by percent at all.
            percent = math.ceil(start * (1 + policy.value / 100))
            limits.append(start + policy.value if policy.type == "Pods" else percent)
        return min(limits) if rules.select_policy == "Min" else max(limits)

    def _down_limit(self, now: float, current: int) -> int:
        """Return the least that the policies allow (calculateScaleDownLimitWithBehaviors)."""
        rules = self._behavior.scale_down
        if rules.select_policy == "Disabled":
            return current
        limits = []
        for policy in rules.policies:
            start = self._at_start(now, current, policy)
            percent = int(start * (1 - policy.value / 100))
            limits.append(start - policy.value if policy.type == "Pods" else percent)
        return max(limits) if rules.select_policy == "Min" else min(limits)

    def _at_start(self, now: float, current: int, policy: Policy) -> int:
        """Return the replicas there were when the policy's period began."""
        since = now - policy.period_seconds
        added = sum(n for at, n in self._ups if at > since)
        removed = sum(n for at, n in self._downs if at > since)
        return current - added + removed

    def _remember(self, now: float, before: int, after: int) -> None:
        """Keep a change in the place of one that has grown too old (storeScaleEvent).

        Too old is measured by the periods of its own direction only, also where those of the other
        direction are longer and would still count it. That is how Kubernetes does it.
        """
        up = after > before
        changes = self._ups if up else self._downs
        rules: ScalingRules = self._behavior.scale_up if up else self._behavior.scale_down
        longest = max(policy.period_seconds for policy in rules.policies)
        old = [i for i, (at, _) in enumerate(changes) if at < now - longest]
        change = (now, abs(after - before))
        if old:
            changes[old[-1]] = change
        else:
            changes.append(change)

    def _set(self, kind: str, holds: Literal["true", "false"], reason: str, message: str) -> None:
        self._conditions[kind] = Condition(kind, holds, reason, message)
