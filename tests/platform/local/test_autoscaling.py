"""KEDA's part of autoscaling, and what must hold of the whole whatever is read."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_platform.local.autoscaling.algorithm import Autoscaler
from inference_platform.local.autoscaling.decision import (
    Decision,
    Reading,
    ReadingError,
    Scale,
    TargetMetric,
)
from inference_platform.local.autoscaling.spec import ScaledObject

LOST = ReadingError("lost")


def trigger(threshold: str = "4", kind: str = "AverageValue", activation: str = "0") -> Any:
    """Return one trigger as the file has it."""
    metadata = {"query": "q", "threshold": threshold, "activationThreshold": activation}
    return {"type": "prometheus", "metricType": kind, "metadata": metadata}


def scaled_object(*triggers: Any, **changes: Any) -> ScaledObject:
    """Return a scaled object of 1 to 6 replicas, each trigger per replica and 4."""
    spec = {
        "name": "fast",
        "scaleTargetRef": {"name": "fast"},
        "minReplicaCount": 1,
        "maxReplicaCount": 6,
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": changes.pop("behavior", {})}},
        "triggers": list(triggers) or [trigger()],
    }
    return ScaledObject.model_validate(spec | changes)


def ready(replicas: int) -> Scale:
    """Return a tier of which all replicas are ready."""
    return Scale(replicas, replicas, replicas)


def reasons(decision: Decision) -> list[str]:
    """Return the reasons of a decision's events."""
    return [event.reason for event in decision.events]


@pytest.mark.parametrize(
    ("changes", "replicas", "reading", "desired", "reason"),
    [
        # scale_scaledobjects_test.go of KEDA and its RequestScale, case by case.
        ({"minReplicaCount": 0}, 0, 1.0, 1, "KEDAScaleTargetActivated"),
        ({"minReplicaCount": 3}, 0, 1.0, 3, "KEDAScaleTargetActivated"),
        ({"minReplicaCount": 3, "idleReplicaCount": 0}, 0, 1.0, 3, "KEDAScaleTargetActivated"),
        ({"minReplicaCount": 3, "idleReplicaCount": 0}, 1, 1.0, 3, "KEDAScaleTargetActivated"),
        ({"minReplicaCount": 3}, 1, 1.0, 1, "ScalerActive"),
        ({}, 2, 1.0, 2, "ScalerActive"),
        # Never active: asleep at the first look, which is what initialCooldownPeriod is for.
        ({"minReplicaCount": 0}, 2, 0.0, 0, "KEDAScaleTargetDeactivated"),
        ({"minReplicaCount": 0, "initialCooldownPeriod": 9}, 2, 0.0, 2, "ScalerCooldown"),
        ({"minReplicaCount": 3, "idleReplicaCount": 0}, 3, 0.0, 0, "KEDAScaleTargetDeactivated"),
        ({"minReplicaCount": 0}, 0, 0.0, 0, "ScalerNotActive"),
        ({"minReplicaCount": 3}, 1, 0.0, 3, "ScalerNotActive"),
        ({"minReplicaCount": 3}, 5, 0.0, 5, "ScalerNotActive"),
        # Silence neither wakes nor puts to sleep.
        ({"minReplicaCount": 0}, 0, LOST, 0, "TriggerError"),
        ({"minReplicaCount": 0}, 2, LOST, 2, "TriggerError"),
        (
            {"minReplicaCount": 0, "fallback": {"failureThreshold": 3, "replicas": 2}},
            *(2, LOST, 2, "TriggerError"),
        ),
        (
            {"minReplicaCount": 0, "fallback": {"failureThreshold": 3, "replicas": 0}},
            *(2, LOST, 0, "KEDAScaleTargetDeactivated"),
        ),
    ],
)
def test_keda_wakes_and_puts_to_sleep(
    changes: dict[str, Any], replicas: int, reading: Reading, desired: int, reason: str
) -> None:
    """One first look: from or to zero only; everything between is the HPA's."""
    decision = Autoscaler(scaled_object(**changes)).poll(0.0, ready(replicas), {0: reading})

    assert (decision.desired, decision.reason) == (desired, reason)


def test_active_means_above_the_activation_threshold() -> None:
    """A value at the threshold is not active; one active trigger is enough, and is named."""
    one = Autoscaler(
        scaled_object(trigger(activation="5"), trigger(activation="0.5"), minReplicaCount=0)
    )

    assert one.poll(0.0, ready(0), {0: 5.0, 1: 0.5}).desired == 0
    woken = one.poll(10.0, ready(0), {0: 5.0, 1: 0.6})
    assert woken.desired == 1
    assert [(event.reason, event.object, event.message) for event in woken.events] == [
        (
            "KEDAScaleTargetActivated",
            "scaledobject/fast",
            "Scaled apps/v1.Deployment inference/fast from 0 to 1, triggered by s1-prometheus",
        )
    ]


def test_sleep_comes_a_cool_down_after_the_last_active_look() -> None:
    """Only what KEDA saw counts, and the cool-down must be over, not just reached."""
    one = Autoscaler(scaled_object(minReplicaCount=0, cooldownPeriod=300))
    one.poll(0.0, ready(0), {0: 1.0})
    one.poll(30.0, ready(1), {0: 1.0})

    seen = [one.poll(float(t), ready(1), {0: 0.0}).reason for t in (60, 330, 331)]
    assert seen == ["ScalerCooldown", "ScalerCooldown", "KEDAScaleTargetDeactivated"]


def test_a_partly_failed_look_is_not_the_last_active_one() -> None:
    """KEDA does not put down an active look in which another trigger failed."""
    one = Autoscaler(scaled_object(trigger(), trigger(), minReplicaCount=0, cooldownPeriod=100))
    one.poll(0.0, ready(1), {0: 1.0, 1: 0.0})

    assert one.poll(90.0, ready(1), {0: 1.0, 1: LOST}).reason == "PartialTriggerError"
    assert one.poll(101.0, ready(1), {0: 0.0, 1: 0.0}).desired == 0


@pytest.mark.parametrize(
    ("behavior", "kind", "scale", "desired"),
    [
        # fallback_test.go of KEDA: threshold 10 and 10 replicas make the metric 100.
        ("static", "AverageValue", ready(4), 5),
        ("static", "Value", ready(4), 5),
        ("static", "Value", Scale(4, 4, 3), 5),
        ("currentReplicas", "AverageValue", ready(4), 4),
        ("currentReplicasIfHigher", "AverageValue", ready(4), 5),
        ("currentReplicasIfHigher", "AverageValue", ready(6), 6),
        ("currentReplicasIfLower", "AverageValue", ready(4), 4),
        # Value needs a ready replica to divide by.
        ("static", "Value", Scale(4, 4, 0), 4),
    ],
)
def test_the_fallback_stands_in(behavior: str, kind: str, scale: Scale, desired: int) -> None:
    """Once a trigger has failed too often, the HPA is given the metric that makes it go there."""
    fallback = {"failureThreshold": 3, "replicas": 5, "behavior": behavior}
    one = Autoscaler(scaled_object(trigger("0.8", kind), fallback=fallback))

    borne = [one.sync(15.0 * i, scale, {0: LOST}) for i in range(3)]
    assert {decision.desired for decision in borne} == {scale.spec}
    assert one.sync(45.0, scale, {0: LOST}).desired == desired


def test_both_loops_count_failures_together() -> None:
    """KEDA keeps one number for each trigger; a good read of either loop starts it again."""
    one = Autoscaler(scaled_object(fallback={"failureThreshold": 3, "replicas": 5}))

    def fail_thrice() -> None:
        one.poll(0.0, ready(2), {0: LOST})
        one.sync(1.0, ready(2), {0: LOST})
        assert not one.poll(10.0, ready(2), {0: LOST}).triggers[0].fallback

    fail_thrice()
    one.sync(16.0, ready(2), {0: 8.0})
    fail_thrice()
    assert one.sync(16.0, ready(2), {0: LOST}).desired == 5


def test_a_fallback_counts_as_active_and_is_told_once() -> None:
    """Since KEDA 2.19 it wakes a tier; its beginning and its end are events."""
    spec = scaled_object(minReplicaCount=0, fallback={"failureThreshold": 0, "replicas": 2})
    one = Autoscaler(spec)

    first = one.poll(0.0, ready(0), {0: LOST})
    assert first.desired == 1
    assert reasons(first) == ["ScaledObjectFallbackActivated", "KEDAScaleTargetActivated"]
    assert reasons(one.poll(10.0, ready(1), {0: LOST})) == []
    assert reasons(one.poll(20.0, ready(1), {0: 1.0})) == ["ScaledObjectFallbackDeactivated"]


def test_a_failing_trigger_is_told_when_it_begins() -> None:
    """Once for each spell, not at every look."""
    one = Autoscaler(scaled_object())
    looks: list[Reading] = [LOST, LOST, 1.0, LOST]

    told = [reasons(one.poll(10.0 * i, ready(2), {0: read})) for i, read in enumerate(looks)]
    assert told == [["KEDAScalerFailed"], [], [], ["KEDAScalerFailed"]]


def test_a_sleeping_tier_is_left_to_keda() -> None:
    """The HPA reads nothing at zero, and what KEDA changes is no scale event of the HPA."""
    up = {"policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}
    one = Autoscaler(scaled_object(minReplicaCount=0, behavior={"scaleUp": up}))

    assert one.sync(0.0, ready(0), {}).reason == "ScalingDisabled"
    assert one.poll(1.0, ready(0), {0: 40.0}).desired == 1
    assert one.sync(15.0, ready(1), {0: 40.0}).desired == 3


def test_the_status_is_what_kube_state_metrics_shows() -> None:
    """Bounds and targets are there from the beginning, replicas only after a sync."""
    spec = scaled_object(trigger("4"), trigger("0.8", "Value"), minReplicaCount=0)
    one = Autoscaler(spec)

    assert (one.status.name, one.status.tier) == ("keda-hpa-fast", "fast")
    assert (one.status.min_replicas, one.status.max_replicas) == (1, 6)
    assert (one.status.current_replicas, one.status.desired_replicas) == (None, None)
    assert one.status.targets == (
        TargetMetric("s0-prometheus", "average", 4.0),
        TargetMetric("s1-prometheus", "value", 0.8),
    )
    one.sync(0.0, ready(2), {0: 12.0, 1: 0.8})
    assert (one.status.current_replicas, one.status.desired_replicas) == (2, 3)


# Anything that may be read: two triggers, one per replica and one ratio.
_READINGS = st.one_of(st.just(LOST), st.just(0.0), st.floats(0, 1000))
_LOOKS = st.lists(st.tuples(st.integers(1, 400), _READINGS, _READINGS), min_size=1, max_size=25)
_DIRECTIONS = st.fixed_dictionaries(
    {
        "stabilizationWindowSeconds": st.integers(0, 900),
        "selectPolicy": st.sampled_from(["Max", "Min", "Disabled"]),
        "policies": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["Pods", "Percent"]),
                    "value": st.integers(1, 200),
                    "periodSeconds": st.integers(1, 600),
                }
            ),
            min_size=1,
            max_size=3,
        ),
    }
)
_BEHAVIORS = st.fixed_dictionaries({"scaleUp": _DIRECTIONS, "scaleDown": _DIRECTIONS})
_QUICK = settings(max_examples=60, deadline=None)


def _spec(behavior: dict[str, Any], **changes: Any) -> ScaledObject:
    fallback = {"failureThreshold": 2, "replicas": 3, "behavior": "currentReplicasIfHigher"}
    changes = {"behavior": behavior, "fallback": fallback, "maxReplicaCount": 20} | changes
    return scaled_object(trigger("4"), trigger("0.8", "Value"), **changes)


def _play(
    spec: ScaledObject, looks: list[tuple[int, Reading, Reading]], time_scale: float = 1.0
) -> list[Decision]:
    """Let both loops look at each moment, in a world that does what they say at once."""
    one, now, replicas, decisions = Autoscaler(spec, time_scale), 0, 3, []
    for pause, waiting, usage in looks:
        now += pause
        for look in (one.poll, one.sync):
            readings = {0: waiting, 1: usage}
            decisions.append(look(now * time_scale, ready(replicas), readings))
            replicas = decisions[-1].desired
    return decisions


@_QUICK
@given(behavior=_BEHAVIORS, looks=_LOOKS, least=st.integers(0, 3))
def test_replicas_stay_within_bounds(behavior: Any, looks: Any, least: int) -> None:
    """Never above the most; never below the least, but for zero where a tier may sleep."""
    decisions = _play(_spec(behavior, minReplicaCount=least), looks)

    assert all(least <= decision.desired <= 20 for decision in decisions)
    if least == 0:
        assert all(d.desired > 0 or d.reason != "SuccessfulRescale" for d in decisions)


@_QUICK
@given(behavior=_BEHAVIORS, looks=_LOOKS)
def test_the_window_holds_what_was_wanted(behavior: Any, looks: Any) -> None:
    """No shrinking below the most that was wanted within the window."""
    window = behavior["scaleDown"]["stabilizationWindowSeconds"]
    one, now, replicas = Autoscaler(_spec(behavior)), 0, 3
    wanted: list[tuple[int, int]] = []
    for pause, waiting, usage in looks:
        now += pause
        decision = one.sync(float(now), ready(replicas), {0: waiting, 1: usage})
        asked = [seen.proposal for seen in decision.triggers if seen.proposal is not None]
        if decision.reason != "FailedGetExternalMetric":  # what was not decided is not remembered
            wanted.append((now, max(asked)))
        recent = max((n for at, n in wanted if at > now - window), default=0)
        assert decision.desired >= min(replicas, recent)
        replicas = decision.desired


@_QUICK
@given(behavior=_BEHAVIORS, looks=_LOOKS, more=st.floats(0, 500), which=st.sampled_from([0, 1]))
def test_more_load_never_means_fewer_replicas(
    behavior: Any, looks: Any, more: float, which: int
) -> None:
    """After the same past, a higher reading asks for as many or more."""
    one, now, replicas = Autoscaler(_spec(behavior)), 0, 3
    for pause, waiting, usage in looks:
        now += pause
        readings = {0: waiting, 1: usage}
        other = dict(readings)
        if not isinstance(readings[which], ReadingError):
            other[which] = readings[which] + more
        higher = copy.deepcopy(one).sync(float(now), ready(replicas), other)
        decision = one.sync(float(now), ready(replicas), readings)
        assert higher.desired >= decision.desired
        replicas = decision.desired


@_QUICK
@given(
    behavior=_BEHAVIORS,
    looks=_LOOKS,
    time_scale=st.sampled_from([1 / 64, 1 / 8, 0.5, 4.0]),
    least=st.integers(0, 2),
)
def test_scaled_time_changes_no_decision(
    behavior: Any, looks: Any, time_scale: float, least: int
) -> None:
    """Everything k times as fast comes to the same; powers of two, as the rest would round."""
    spec = _spec(behavior, minReplicaCount=least)

    assert _play(spec, looks, time_scale) == _play(spec, looks)


def test_intervals_are_scaled() -> None:
    """What the loops sleep is the file's, times the scale."""
    one = Autoscaler(scaled_object(pollingInterval=10), time_scale=0.1)

    assert one.poll_interval_s == pytest.approx(1.0)
    assert one.sync_period_s == pytest.approx(1.5)


def test_the_cool_down_is_scaled() -> None:
    """300 s of the file are 30 s here."""
    one = Autoscaler(scaled_object(minReplicaCount=0), time_scale=0.1)
    one.poll(100.0, ready(1), {0: 1.0})

    assert one.poll(129.0, ready(1), {0: 0.0}).desired == 1
    assert one.poll(131.0, ready(1), {0: 0.0}).desired == 0
