"""KEDA's part: which triggers are active, sleep and waking, fallback; on top of the HPA. Pure.

The rules are those of KEDA 2.20 (pkg/scaling/scale_handler.go, pkg/scaling/executor/
scale_scaledobjects.go, pkg/fallback/fallback.go); each function names the one it follows.

KEDA's operator and the HPA look at the same triggers at their own times: `poll` every
`pollingInterval`, `sync` every 15 s, whatever `pollingInterval` says. The HPA asks KEDA's metrics
server, which asks Prometheus anew. Both count failed reads on the same counter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inference_platform.local.autoscaling import hpa
from inference_platform.local.autoscaling.decision import (
    Decision,
    Event,
    HpaStatus,
    Reading,
    ReadingError,
    Scale,
    Seen,
    TargetMetric,
)
from inference_platform.local.autoscaling.spec import Fallback, ScaledObject


@dataclass(frozen=True)
class _Answer:
    """What KEDA makes of one reading: a number that was read or stands in, or an error."""

    seen: Seen
    value_milli: int | ReadingError


class Autoscaler:
    """One scaled object: what it remembers, and what it decides."""

    def __init__(
        self, spec: ScaledObject, time_scale: float = 1.0, namespace: str = "inference"
    ) -> None:
        """Know nothing yet.

        Args:
            spec: what triggers.yaml says.
            time_scale: what a second of the file takes here, s. Scales intervals, cool-down,
                windows, periods and the HPA's sync; not the ranges inside queries.
            namespace: for the words of events.
        """
        self.spec = spec
        self.poll_interval_s = spec.polling_interval * time_scale
        self.sync_period_s = hpa.SYNC_PERIOD_S * time_scale
        self._time_scale = time_scale
        self._target = f"apps/v1.Deployment {namespace}/{spec.tier}"
        self._object = f"scaledobject/{spec.name}"
        self._hpa = hpa.Hpa(spec, namespace)
        self._names = [f"s{i}-prometheus" for i in range(len(spec.triggers))]
        self._failures = [0] * len(spec.triggers)
        self._created: float | None = None
        self._last_active: float | None = None
        self._fell_back = False
        self._warned: frozenset[Event] = frozenset()

    @property
    def status(self) -> HpaStatus:
        """What kube-state-metrics would say of the HPA."""
        return HpaStatus(
            name=self._hpa.name,
            tier=self.spec.tier,
            min_replicas=self._hpa.min_replicas,
            max_replicas=self._hpa.max_replicas,
            current_replicas=self._hpa.current,
            desired_replicas=self._hpa.desired,
            conditions=self._hpa.conditions,
            targets=tuple(
                TargetMetric(
                    name,
                    "average" if trigger.metric_type == "AverageValue" else "value",
                    hpa.milli(trigger.target) / 1000,
                )
                for name, trigger in zip(self._names, self.spec.triggers, strict=True)
            ),
        )

    def sync(self, now_s: float, scale: Scale, readings: Mapping[int, Reading]) -> Decision:
        """Let the HPA decide once; what it decides counts as carried out.

        Args:
            now_s: seconds of here, from any beginning; never less than before.
            scale: of the tier.
            readings: by trigger, counted from 0; all of them. Not looked at while the tier sleeps.
        """
        metrics = []
        for i, trigger in enumerate(self.spec.triggers if scale.spec else ()):
            answer = self._answer(i, scale, readings[i])
            average = trigger.metric_type == "AverageValue"
            target = hpa.milli(trigger.target)
            metrics.append(hpa.Metric(average, target, answer.seen, answer.value_milli))
        return self._hpa.sync(now_s / self._time_scale, scale, metrics)

    def poll(self, now_s: float, scale: Scale, readings: Mapping[int, Reading]) -> Decision:
        """Let KEDA's operator look once (checkScalers): wake the tier, or put it to sleep.

        Args:
            now_s: seconds of here, as for `sync`.
            scale: of the tier.
            readings: by trigger, counted from 0; all of them.
        """
        now = now_s / self._time_scale
        self._created = now if self._created is None else self._created
        answers = [self._answer(i, scale, readings[i]) for i in range(len(self.spec.triggers))]
        seen = tuple(answer.seen for answer in answers)
        failed = [answer for answer in answers if isinstance(answer.value_milli, ReadingError)]
        active = [one.name for one in seen if one.active]
        events = self._problems(answers)
        if active:
            desired, reason, message = self._awake(now, scale, active, failed=bool(failed))
        else:
            desired, reason, message = self._asleep(now, scale, failed=bool(failed))
        if reason.startswith("KEDAScaleTarget"):
            events += (Event(reason, self._object, message),)
        return Decision(desired, reason, message, seen, events=events)

    def _awake(
        self, now: float, scale: Scale, active: list[str], *, failed: bool
    ) -> tuple[int, str, str]:
        """Return replicas, reason and message with an active trigger (RequestScale)."""
        least = self.spec.min_replica_count
        idles = self.spec.idle_replica_count is not None
        if scale.spec == 0 or (idles and scale.spec < least):
            # scaleFromZeroOrIdle
            self._last_active = now
            woken = max(1, least)
            text = (
                f"Scaled {self._target} from {scale.spec} to {woken}, "
                f"triggered by {';'.join(active)}"
            )
            return woken, "KEDAScaleTargetActivated", text
        if failed:
            # As KEDA has it, a look with a failed read does not count as the last active one.
            text = "Some triggers defined in ScaledObject are not working correctly"
            return scale.spec, "PartialTriggerError", text
        self._last_active = now
        return scale.spec, "ScalerActive", "Scaling is performed because triggers are active"

    def _asleep(self, now: float, scale: Scale, *, failed: bool) -> tuple[int, str, str]:
        """Return replicas, reason and message without an active trigger (RequestScale)."""
        spec, fallback = self.spec, self.spec.fallback
        if failed and (fallback is None or fallback.replicas != 0):
            # Silence is no reason to sleep.
            text = "Triggers defined in ScaledObject are not working correctly"
            return scale.spec, "TriggerError", text
        idles = spec.idle_replica_count is not None
        if scale.spec > 0 and (idles or spec.min_replica_count == 0):
            if not self._cooled_down(now):
                text = "Scaler cooling down because triggers are not active"
                return scale.spec, "ScalerCooldown", text
            # scaleToZeroOrIdle: idleReplicaCount is 0 where it is set, and else minReplicaCount.
            text = f"Deactivated {self._target} from {scale.spec} to 0"
            return 0, "KEDAScaleTargetDeactivated", text
        if not idles and scale.spec < spec.min_replica_count:
            text = "Successfully set ScaleTarget replicas count to ScaledObject minReplicaCount"
            return spec.min_replica_count, "ScalerNotActive", text
        text = "Scaling is not performed because triggers are not active"
        return scale.spec, "ScalerNotActive", text

    def _cooled_down(self, now: float) -> bool:
        """Say whether the tier may sleep; one that was never active may so from the beginning."""
        if self._last_active is not None:
            return self._last_active + self.spec.cooldown_period < now
        created = now if self._created is None else self._created
        return created + self.spec.initial_cooldown_period <= now

    def _answer(self, i: int, scale: Scale, reading: Reading) -> _Answer:
        """Count a failed read, and let the fallback stand in when there were too many.

        GetMetricsWithFallback; since KEDA 2.19 a trigger in fallback counts as active.
        """
        name, trigger = self._names[i], self.spec.triggers[i]
        if not isinstance(reading, ReadingError):
            self._failures[i] = 0
            active = reading > float(trigger.metadata.activation_threshold)
            return _Answer(Seen(name, reading, active=active), hpa.milli(reading))
        self._failures[i] += 1
        fallback = self.spec.fallback
        if fallback is None or self._failures[i] <= fallback.failure_threshold:
            return _Answer(Seen(name, reading, active=False), reading)
        replicas: float = _fallback_replicas(fallback, scale.spec)
        if trigger.metric_type == "Value":
            if scale.ready == 0:
                error = ReadingError(f"error performing fallback: no ready replica; {reading.text}")
                return _Answer(Seen(name, reading, active=False), error)
            replicas /= scale.ready
        # doFallback: the metric that makes the HPA come out at that number.
        value = int(hpa.milli(trigger.target) * replicas)
        return _Answer(Seen(name, reading, active=True, fallback=True), value)

    def _problems(self, answers: list[_Answer]) -> tuple[Event, ...]:
        """Return what is new about failing triggers and the fallback."""
        warnings = [
            Event("KEDAScalerFailed", self._object, f"{a.seen.name}: {a.value_milli.text}")
            for a in answers
            if isinstance(a.value_milli, ReadingError)
        ]
        new = tuple(event for event in warnings if event not in self._warned)
        self._warned = frozenset(warnings)
        falls_back = any(answer.seen.fallback for answer in answers)
        if falls_back != self._fell_back:
            self._fell_back = falls_back
            word, text = (
                ("Activated", "active") if falls_back else ("Deactivated", "no longer active")
            )
            message = f"ScaledObject fallback is {text}"
            new += (Event(f"ScaledObjectFallback{word}", self._object, message),)
        return new


def _fallback_replicas(fallback: Fallback, current: int) -> int:
    return {
        "static": fallback.replicas,
        "currentReplicas": current,
        "currentReplicasIfHigher": max(current, fallback.replicas),
        "currentReplicasIfLower": min(current, fallback.replicas),
    }[fallback.behavior]
