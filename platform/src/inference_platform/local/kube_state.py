"""What kube-state-metrics would export of the series that rules, dashboards and costs use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from inference_platform.local.autoscaling.decision import HpaStatus
from inference_platform.local.cluster import Cluster
from inference_platform.local.pod import Pod

ENGINE_CONTAINER = "vllm"
INIT_CONTAINER = "weights"
PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")


class KubeState:
    """A collector for prometheus_client; names and labels as kube-state-metrics 2 has them.

    What nodes cost is named as OpenCost names it.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Read this cluster at every scrape."""
        self._cluster = cluster

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        yield from self._pods()
        yield from self._tiers()
        yield from self._nodes()
        if self._cluster.scaler is not None:
            yield from self._autoscalers(self._cluster.scaler.status())

    def _pods(self) -> Iterator[Metric]:
        base = ["namespace", "pod", "uid"]
        ready = _gauge("pod_status_ready", "Whether the pod is ready to serve.", base, "condition")
        phase = _gauge("pod_status_phase", "The pod's current phase.", base, "phase")
        deletion = _gauge("pod_deletion_timestamp", "Unix deletion timestamp.", base)
        created = _gauge("pod_created", "Unix creation timestamp.", base)
        waiting = _gauge(
            "pod_container_status_waiting_reason",
            "The reason the container is waiting.",
            base,
            "container",
            "reason",
        )
        init_waiting = _gauge(
            "pod_init_container_status_waiting_reason",
            "The reason the init container is waiting.",
            base,
            "container",
            "reason",
        )
        requests = _gauge(
            "pod_container_resource_requests",
            "Resources that the container asks for.",
            base,
            *("container", "node", "resource", "unit"),
        )
        info = _gauge(
            "pod_info",
            "Information about the pod.",
            base,
            *("host_ip", "pod_ip", "node", "created_by_kind", "created_by_name"),
        )
        restarts = CounterMetricFamily(
            "kube_pod_container_status_restarts",
            "Restarts of the container.",
            labels=[*base, "container"],
        )
        for pod in self._cluster.pods.values():
            name = [self._cluster.config.namespace, pod.name, pod.uid]
            for condition, holds in (("true", pod.ready), ("false", not pod.ready)):
                ready.add_metric([*name, condition], float(holds))
            ready.add_metric([*name, "unknown"], 0.0)
            for one in PHASES:
                phase.add_metric([*name, one], float(one == _phase(pod)))
            created.add_metric(name, pod.created_unix)
            if pod.gone_by_unix is not None:
                deletion.add_metric(name, pod.gone_by_unix)
            reason = waiting_reason(pod)
            if reason.startswith("Init:"):
                init_waiting.add_metric([*name, INIT_CONTAINER, reason.removeprefix("Init:")], 1.0)
                reason = "PodInitializing"
            if reason:
                waiting.add_metric([*name, ENGINE_CONTAINER, reason], 1.0)
            gpus = float(self._cluster.config.tiers[pod.tier].gpus)
            gpu = ["nvidia_com_gpu", "integer"]
            requests.add_metric([*name, ENGINE_CONTAINER, pod.node, *gpu], gpus)
            host_ip = "127.0.0.1" if pod.node else ""
            owner = ["ReplicaSet", f"{pod.tier}-{pod.revision.name}"]
            info.add_metric([*name, host_ip, pod.addresses.engine[0], pod.node, *owner], 1.0)
            count = 0 if pod.unit is None else pod.unit.restarts
            restarts.add_metric([*name, ENGINE_CONTAINER], count)
        yield from (ready, phase, created, deletion, waiting, init_waiting)
        yield from (requests, info, restarts)

    def _tiers(self) -> Iterator[Metric]:
        base = ["namespace", "deployment"]
        wanted = _gauge("deployment_spec_replicas", "Number of desired pods.", base)
        replicas = _gauge("deployment_status_replicas", "Number of pods.", base)
        ready = _gauge("deployment_status_replicas_ready", "Number of ready pods.", base)
        available = _gauge(
            "deployment_status_replicas_available", "Number of available pods.", base
        )
        updated = _gauge(
            "deployment_status_replicas_updated", "Number of pods of the current revision.", base
        )
        budget = ["namespace", "poddisruptionbudget"]
        allowed = _gauge(
            "poddisruptionbudget_status_pod_disruptions_allowed",
            "Number of pod disruptions that are allowed now.",
            budget,
        )
        healthy = _gauge(
            "poddisruptionbudget_status_current_healthy", "Number of healthy pods.", budget
        )
        for tier in self._cluster.tiers.values():
            name = [self._cluster.config.namespace, tier.name]
            pods = self._cluster.of_tier(tier.name)
            serving = sum(pod.ready for pod in pods)
            current = sum(pod.revision.name == tier.revision.name for pod in pods)
            wanted.add_metric(name, tier.wanted)
            replicas.add_metric(name, len(pods))
            ready.add_metric(name, serving)
            available.add_metric(name, serving)
            updated.add_metric(name, current)
            if tier.spec.max_disrupted is not None:
                allowed.add_metric(name, self._cluster.disruptions_allowed(tier.name))
                healthy.add_metric(name, serving)
        yield from (wanted, replicas, ready, available, updated, allowed, healthy)

    def _nodes(self) -> Iterator[Metric]:
        info = _gauge(
            "node_info", "Information about a node.", ["node"], "internal_ip", "provider_id"
        )
        labels = _gauge(
            "node_labels",
            "Kubernetes labels as Prometheus labels.",
            ["node"],
            "label_topology_kubernetes_io_zone",
            "label_node_kubernetes_io_instance_type",
            "label_karpenter_sh_capacity_type",
        )
        created = _gauge("node_created", "Unix creation timestamp.", ["node"])
        ready = _gauge(
            "node_status_condition", "A condition of the node.", ["node"], "condition", "status"
        )
        cordoned = _gauge("node_spec_unschedulable", "Whether it takes no new pods.", ["node"])
        gpus = _gauge("node_status_allocatable", "What pods may use.", ["node"], "resource", "unit")
        paid = GaugeMetricFamily(
            "node_total_hourly_cost",
            "Total node cost per hour.",
            labels=["node", "instance_type", "provider_id", "typical"],
        )
        for name, machine in self._cluster.machines.by_name.items():
            spec = machine.spec
            provider_id = f"aws:///{spec.zone}/{machine.instance_id}"
            if machine.state != "lost":  # what has ended is listed still, and no longer paid for
                about = [name, spec.instance_type, provider_id]
                about.append("true" if spec.price_typical else "false")
                paid.add_metric(about, spec.price_usd_per_hour)
            if machine.state == "launching":
                continue  # its node is not registered yet
            info.add_metric([name, "127.0.0.1", provider_id], 1.0)
            labels.add_metric([name, spec.zone, spec.instance_type, spec.capacity_type], 1.0)
            created.add_metric([name], machine.since_unix)
            # Of a machine that has ended nothing is heard until its node goes with it.
            for one in ("true", "false", "unknown"):
                ready.add_metric([name, "Ready", one], float(one == "true"))
            cordoned.add_metric([name], float(machine.cordoned))
            works = sum(self._cluster.gpus.works(machine, n) for n in range(spec.gpus))
            gpus.add_metric([name, "nvidia_com_gpu", "integer"], float(works))
        yield from (info, labels, created, ready, cordoned, gpus, paid)

    def _autoscalers(self, found: Sequence[HpaStatus]) -> Iterator[Metric]:
        base = ["namespace", "horizontalpodautoscaler"]
        prefix = "horizontalpodautoscaler"
        least = _gauge(f"{prefix}_spec_min_replicas", "Lower bound.", base)
        most = _gauge(f"{prefix}_spec_max_replicas", "Upper bound.", base)
        current = _gauge(f"{prefix}_status_current_replicas", "Replicas that there are.", base)
        desired = _gauge(f"{prefix}_status_desired_replicas", "Replicas that it wants.", base)
        condition = _gauge(
            f"{prefix}_status_condition", "A condition of it.", base, "condition", "status"
        )
        target = _gauge(
            f"{prefix}_spec_target_metric",
            "What a metric is compared with.",
            base,
            *("metric_name", "metric_target_type"),
        )
        for one in found:
            name = [self._cluster.config.namespace, one.name]
            least.add_metric(name, one.min_replicas)
            most.add_metric(name, one.max_replicas)
            if one.current_replicas is not None and one.desired_replicas is not None:
                current.add_metric(name, one.current_replicas)
                desired.add_metric(name, one.desired_replicas)
            for state in one.conditions:
                for status in ("true", "false", "unknown"):
                    held = float(status == state.status)
                    condition.add_metric([*name, state.type, status], held)
            for metric in one.targets:
                target.add_metric([*name, metric.name, metric.target_type], metric.value)
        yield from (least, most, current, desired, condition, target)


def waiting_reason(pod: Pod) -> str:
    """Return why no container of a replica runs, in kubectl's words; "" when one does."""
    if pod.unit is not None and pod.unit.phase == "backoff":
        return "CrashLoopBackOff"
    return pod.waits_for if pod.node else ""


def _phase(pod: Pod) -> str:
    return "Running" if pod.process_uid else "Pending"


def _gauge(name: str, text: str, base: list[str], *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"kube_{name}", text, labels=[*base, *labels])
