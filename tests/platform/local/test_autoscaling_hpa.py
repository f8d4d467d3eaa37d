"""The HPA's arithmetic against worked examples of Kubernetes' documents and of its own tests.

"Docs" is kubernetes.io, Horizontal Pod Autoscaling; the other names are tests of
pkg/controller/podautoscaler in kubernetes/kubernetes, whose numbers are used here.
"""

from __future__ import annotations

from typing import Any

import pytest

from inference_platform.local.autoscaling.decision import Decision, ReadingError, Scale, Seen
from inference_platform.local.autoscaling.hpa import Hpa, Metric, milli, proposal
from inference_platform.local.autoscaling.spec import ScaledObject

LOST = ReadingError("lost")


def hpa(bounds: tuple[int, int] = (1, 1000), **behavior: Any) -> Hpa:
    """Return an HPA that remembers nothing yet."""
    spec = {
        "name": "fast",
        "scaleTargetRef": {"name": "fast"},
        "minReplicaCount": bounds[0],
        "maxReplicaCount": bounds[1],
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
        "triggers": [{"type": "prometheus", "metadata": {"query": "q", "threshold": "1"}}],
    }
    return Hpa(ScaledObject.model_validate(spec), "inference")


def metric(
    value: int | ReadingError, target: int = 1000, *, average: bool = True, name: str = "s0"
) -> Metric:
    """Return a metric; value and target in thousandths."""
    return Metric(average, target, Seen(name, 0.0, active=True), value)


def ready(replicas: int) -> Scale:
    """Return a tier of which all replicas are ready."""
    return Scale(replicas, replicas, replicas)


def rules(pods: int, pods_s: int, percent: int, percent_s: int, window: int) -> dict[str, Any]:
    """Return one direction's rules; 0 leaves a policy out."""
    policies = [("Pods", pods, pods_s), ("Percent", percent, percent_s)]
    return {
        "stabilizationWindowSeconds": window,
        "policies": [{"type": t, "value": v, "periodSeconds": s} for t, v, s in policies if v],
    }


@pytest.mark.parametrize(
    ("scale", "value", "target", "average", "wanted"),
    [
        # Docs, algorithm details: 200m against 100m doubles, 50m halves.
        (ready(4), 200, 100, False, 8),
        (ready(4), 50, 100, False, 2),
        # TestReplicaCalcExternalPerPodMetric: up, down, within tolerance.
        (ready(3), 8600, 2150, True, 4),
        (ready(5), 8600, 2867, True, 3),
        (ready(3), 8600, 2900, True, 3),
        # TestReplicaCalcObjectPerPodMetric, the same sum: no replica yet.
        (Scale(1, 0, 0), 20000, 5000, True, 4),
        (Scale(1, 0, 0), 0, 5000, True, 0),
        # TestReplicaCalcExternalMetric: unready replicas do not count, so what is above the target
        # shrinks the tier; down; within tolerance.
        (Scale(3, 3, 1), 8600, 4400, False, 2),
        (ready(5), 8600, 14334, False, 3),
        (ready(3), 8600, 8888, False, 3),
        # Tolerances.isWithin has both edges inside.
        (ready(10), 11000, 1000, True, 10),
        (ready(10), 9000, 1000, True, 10),
        (ready(10), 8999, 1000, True, 9),
        (ready(10), 11001, 1000, True, 12),
        # An unready replica counts with AverageValue: it divides by all there are.
        (Scale(4, 4, 2), 16000, 4000, True, 4),
        (Scale(10, 10, 0), 10500, 1000, True, 10),
    ],
)
def test_a_metric_asks_for_replicas(
    scale: Scale, value: int, target: int, average: bool, wanted: int
) -> None:
    """Value multiplies the ready ones, AverageValue divides the sum; near the target nothing."""
    assert proposal(metric(value, target, average=average), scale) == wanted


def test_a_ratio_needs_a_replica() -> None:
    """Value without any pod is an error, unless it is near its target (getReadyPodsCount)."""
    none = Scale(2, 0, 0)

    assert isinstance(proposal(metric(2000, average=False), none), ReadingError)
    assert proposal(metric(1000, average=False), none) == 2


@pytest.mark.parametrize(
    ("value", "thousandths"),
    [(0.0004, 0), (0.0006, 1), (2.5, 2500), (-3.0, 0), (1e300, 2**63 - 1)],
)
def test_metrics_travel_in_thousandths(value: float, thousandths: int) -> None:
    """quantityFromFloat64 of KEDA: three decimals, nothing below 0."""
    assert milli(value) == thousandths


@pytest.mark.parametrize(
    ("history", "current", "wanted", "up_s", "down_s", "stable"),
    [
        # TestNormalizeDesiredReplicasWithBehavior; history is (minutes ago, recommendation).
        ([], 100, 5, 0, 0, 5),
        ([(2, 4), (1, 5)], 100, 3, 0, 180, 5),
        ([(2, 4), (1, 5)], 1, 7, 300, 0, 4),
        ([(2, 1), (1, 2)], 100, 3, 300, 0, 3),
        ([(2, 4), (1, 5)], 1, 3, 0, 300, 3),
        ([(10, 10), (9, 9)], 100, 3, 0, 0, 3),
        ([(10, 10), (1, 4), (2, 5), (9, 9)], 100, 3, 0, 180, 5),
        ([(100, 10), (1, 6), (2, 5), (3, 9)], 1, 100, 300, 0, 5),
        ([(100, 2), (3, 3)], 2, 1, 300, 300, 2),
        ([(100, 2), (3, 1)], 2, 3, 300, 300, 2),
    ],
)
def test_windows_calm(
    history: list[tuple[int, int]], current: int, wanted: int, up_s: int, down_s: int, stable: int
) -> None:
    """Growing goes to the lowest of its window, shrinking to the highest of its own."""
    one = hpa(
        scaleUp={"stabilizationWindowSeconds": up_s},
        scaleDown={"stabilizationWindowSeconds": down_s},
    )
    one._recommendations = [(-60.0 * ago, n) for ago, n in history]

    assert one._stabilize(0.0, current, wanted) == stable


DEFAULT: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("current", "wanted", "bounds", "behavior", "ups", "downs", "expected"),
    [
        # TestScalingWithRules. Changes are (seconds ago, replicas).
        (5, 7, (3, 8), DEFAULT, [], [], (7, "DesiredWithinRange")),
        (3, 1, (2, 8), DEFAULT, [], [], (2, "TooFewReplicas")),
        (100, 1000, (100, 150), DEFAULT, [], [], (150, "TooManyReplicas")),
        (3, 1000, (1, 999), {"scaleUp": rules(0, 0, 1, 60, 0)}, [], [], (4, "ScaleUpLimit")),
        (10, 50, (1, 1000), DEFAULT, [], [], (20, "ScaleUpLimit")),
        (10, 500, (1, 999), {"scaleUp": rules(100, 60, 100, 60, 0)}, [], [], (110, "ScaleUpLimit")),
        (10, 500, (1, 999), {"scaleUp": rules(2, 60, 100, 60, 0)}, [], [], (20, "ScaleUpLimit")),
        (
            100,
            2,
            (1, 999),
            {"scaleDown": rules(20, 60, 1, 60, 300)},
            [],
            [],
            (80, "ScaleDownLimit"),
        ),
        (100, 2, (1, 999), {"scaleDown": rules(2, 60, 1, 60, 300)}, [], [], (98, "ScaleDownLimit")),
        (10, 2, (5, 999), {"scaleDown": rules(0, 0, 100, 60, 300)}, [], [], (5, "TooFewReplicas")),
        (
            *(100, 500, (1, 999), {"scaleUp": rules(150, 120, 0, 0, 0)}),
            *([(100, 1), (60, 5), (20, 9)], [], (235, "ScaleUpLimit")),
        ),
        (
            *(100, 500, (1, 999), {"scaleUp": rules(0, 0, 200, 120, 0)}),
            *([(100, 1), (60, 5), (20, 9)], [], (255, "ScaleUpLimit")),
        ),
        (
            *(100, 500, (1, 999), {"scaleUp": rules(5, 120, 0, 0, 0)}),
            *([(100, 1), (60, 5), (20, 9)], [], (100, "ScaleUpLimit")),
        ),
        (
            *(6, 24, (1, 999), {"scaleUp": rules(0, 0, 300, 300, 0)}),
            *([(60, 4)], [(60, 2)], (16, "ScaleUpLimit")),
        ),
        (
            *(100, 0, (1, 999), {"scaleDown": rules(0, 0, 50, 120, 300)}),
            *([], [(100, 2), (60, 4), (20, 6)], (56, "ScaleDownLimit")),
        ),
        (
            *(10, 1, (1, 999), {"scaleDown": rules(0, 0, 50, 180, 0)}),
            *([(60, 2)], [(60, 4)], (6, "ScaleDownLimit")),
        ),
        (
            *(100, 0, (1, 999), {"scaleDown": rules(0, 0, 10, 120, 300)}),
            *([], [(100, 10), (60, 10), (20, 10)], (100, "ScaleDownLimit")),
        ),
        (
            *(10, 5, (1, 999), {"scaleDown": rules(0, 0, 1000, 120, 300)}),
            *([], [(100, 10), (60, 10), (20, 10)], (5, "DesiredWithinRange")),
        ),
        # TestCalculateScaleUpLimitWithScalingRules, TestCalculateScaleDownLimitWithBehaviors.
        (
            *(1, 9, (1, 99), {"scaleUp": rules(2, 60, 50, 60, 300) | {"selectPolicy": "Min"}}),
            *([], [], (2, "ScaleUpLimit")),
        ),
        (
            *(5, 1, (1, 99), {"scaleDown": rules(2, 60, 50, 60, 300) | {"selectPolicy": "Min"}}),
            *([], [], (3, "ScaleDownLimit")),
        ),
        # getReplicasChangePerPeriod: a change as old as the period no longer counts.
        (5, 9, (1, 99), {"scaleUp": rules(2, 60, 0, 0, 0)}, [(60, 2)], [], (7, "ScaleUpLimit")),
        (5, 9, (1, 99), {"scaleUp": rules(2, 60, 0, 0, 0)}, [(59, 2)], [], (5, "ScaleUpLimit")),
        # Docs, disable scale down.
        (5, 1, (1, 9), {"scaleDown": {"selectPolicy": "Disabled"}}, [], [], (5, "ScaleDownLimit")),
        (5, 9, (1, 9), {"scaleUp": {"selectPolicy": "Disabled"}}, [], [], (5, "ScaleUpLimit")),
    ],
)
def test_policies_and_bounds_limit(
    current: int,
    wanted: int,
    bounds: tuple[int, int],
    behavior: dict[str, Any],
    ups: list[tuple[int, int]],
    downs: list[tuple[int, int]],
    expected: tuple[int, str],
) -> None:
    """The rate counts changes of the period, both ways, from what was there when it began."""
    one = hpa(bounds, **behavior)
    one._ups = [(-float(ago), n) for ago, n in ups]
    one._downs = [(-float(ago), n) for ago, n in downs]

    assert one._limit(0.0, current, wanted) == expected


def test_an_old_change_is_overwritten() -> None:
    """TestStoreScaleEvents: the last of the outdated ones makes room, younger ones stay."""
    one = hpa(scaleUp=rules(10, 60, 100, 30, 0))
    one._ups = [(-29.0, 8), (-59.0, 6), (-61.0, 7), (-61.0, 9)]

    one._remember(0.0, 10, 15)

    assert one._ups == [(-29.0, 8), (-59.0, 6), (-61.0, 7), (0.0, 5)]


def test_the_example_of_the_documents_shrinks_step_by_step() -> None:
    """Docs, scaling policies: 4 replicas or 10 % a minute, from 80 to 10."""
    one = hpa((10, 100), scaleDown=rules(4, 60, 10, 60, 0))
    steps = [80]
    for minute in range(15):
        decision = one.sync(61.0 * minute, ready(steps[-1]), [metric(0)])
        steps.append(decision.desired)

    assert steps[:4] == [80, 72, 64, 57]
    assert steps[steps.index(40) :] == [40, 36, 32, 28, 24, 20, 16, 12, 10, 10]


def test_within_a_period_the_rate_is_used_up() -> None:
    """A sync every 15 s does not take the minute's 10 % four times."""
    one = hpa((10, 100), scaleDown=rules(0, 0, 10, 60, 0))
    replicas = [80]
    for i in range(6):
        replicas.append(one.sync(15.0 * i, ready(replicas[-1]), [metric(0)]).desired)

    assert replicas == [80, 72, 72, 72, 72, 64, 64]


def test_shrinking_waits_for_the_window_by_default() -> None:
    """Docs, default behavior: five minutes, which begin with the first sync."""
    one = hpa()
    calm = [one.sync(15.0 * i, ready(4), [metric(1000)]) for i in range(21)]

    assert {decision.desired for decision in calm[:20]} == {4}
    assert calm[0].reason == calm[19].reason == "ScaleDownStabilized"
    assert calm[20].desired == 1
    assert calm[20].message == "New size: 1; reason: All metrics below target"


def test_the_metric_that_wants_most_decides() -> None:
    """Docs, scaling on multiple metrics."""
    both = [metric(3000), metric(5000, name="s1-prometheus")]
    decision = hpa().sync(0.0, ready(3), both)

    assert decision.desired == 5
    assert decision.message == (
        "New size: 5; reason: external metric s1-prometheus(&LabelSelector{MatchLabels:map[string]"
        "string{scaledobject.keda.sh/name: fast,},MatchExpressions:[]LabelSelectorRequirement{},})"
        " above target"
    )
    assert [seen.proposal for seen in decision.triggers] == [3, 5]


@pytest.mark.parametrize(
    ("metrics", "desired", "active"),
    [
        # TestScaleUpOneMetricInvalid, TestScaleDownOneMetricInvalid: up goes, down does not.
        ([metric(5000), metric(LOST)], 5, "true"),
        ([metric(1000), metric(LOST)], 3, "false"),
        ([metric(LOST), metric(LOST)], 3, "false"),
        # Not less than there is: there is nothing that could be wrong about keeping it.
        ([metric(3000), metric(LOST)], 3, "true"),
    ],
)
def test_a_metric_that_cannot_be_read_stops_shrinking(
    metrics: list[Metric], desired: int, active: str
) -> None:
    """Docs, algorithm details: on the word of some metrics a tier grows, but never shrinks."""
    one = hpa(scaleDown={"stabilizationWindowSeconds": 0})
    first = one.sync(0.0, ready(3), metrics)
    second = one.sync(15.0, ready(first.desired), metrics)

    assert (first.desired, second.desired) == (desired, desired)
    assert {c.type: c.status for c in one.conditions}["ScalingActive"] == active
    assert "FailedGetExternalMetric" in {event.reason for event in first.events}
    assert not second.events, "a warning that goes on is told once"


@pytest.mark.parametrize(
    ("spec", "desired", "why"),
    [
        (6, 5, "Current number of replicas above Spec.MaxReplicas"),
        (1, 2, "Current number of replicas below Spec.MinReplicas"),
    ],
)
def test_what_is_out_of_bounds_is_put_right_at_once(spec: int, desired: int, why: str) -> None:
    """TestScaleRCImmediately: without windows, policies or metrics."""
    one = hpa((2, 5), scaleDown={"selectPolicy": "Disabled"})
    decision = one.sync(0.0, ready(spec), [metric(LOST)])

    assert decision.desired == desired
    assert decision.message == f"New size: {desired}; reason: {why}"
    assert [event.reason for event in decision.events] == ["SuccessfulRescale"]


def test_zero_replicas_switch_it_off() -> None:
    """Docs, implicit maintenance-mode deactivation: whatever the metrics say."""
    one = hpa()
    decision = one.sync(0.0, ready(0), [])

    assert (decision.desired, decision.reason) == (0, "ScalingDisabled")
    assert {c.type: c.status for c in one.conditions} == {
        "AbleToScale": "true",
        "ScalingActive": "false",
    }


def _conditions(one: Hpa) -> dict[str, tuple[str, str]]:
    return {c.type: (c.status, c.reason) for c in one.conditions}


def test_conditions_say_what_holds_it_back() -> None:
    """AbleToScale, ScalingActive and ScalingLimited with the controller's reasons."""
    one = hpa((1, 7), scaleUp=rules(2, 60, 0, 0, 0))

    decisions: list[Decision] = [one.sync(0.0, ready(2), [metric(20000)])]
    assert _conditions(one) == {
        "AbleToScale": ("true", "SucceededRescale"),
        "ScalingActive": ("true", "ValidMetricFound"),
        "ScalingLimited": ("true", "ScaleUpLimit"),
    }
    decisions.append(one.sync(61.0, ready(4), [metric(20000)]))
    assert _conditions(one)["ScalingLimited"] == ("true", "ScaleUpLimit")
    decisions.append(one.sync(122.0, ready(6), [metric(20000)]))
    assert _conditions(one)["ScalingLimited"] == ("true", "TooManyReplicas")
    decisions.append(one.sync(183.0, ready(7), [metric(7000)]))
    assert _conditions(one) == {
        "AbleToScale": ("true", "ReadyForNewScale"),
        "ScalingActive": ("true", "ValidMetricFound"),
        "ScalingLimited": ("false", "DesiredWithinRange"),
    }

    limits = [decision.limited_by for decision in decisions]
    assert limits == ["ScaleUpLimit", "ScaleUpLimit", "TooManyReplicas", None]
