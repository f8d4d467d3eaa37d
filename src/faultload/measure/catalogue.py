"""Every series that a run collects: its PromQL, its unit, and what it means when it is not there.

Raw entries are selectors: their samples are stored as Prometheus scraped them, under the metric's
own name, so that counters can be read at the edges of a phase and alert rules replayed. Derived
entries are expressions, evaluated at even steps, to be shown and never judged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from faultload.spec.target import KubernetesTargetSpec, TargetSpec


class Component(StrEnum):
    """Who exports a series."""

    ENGINE = "engine"
    ROUTER = "router"
    KUBE_STATE_METRICS = "kube-state-metrics"
    DCGM = "dcgm"
    PROMETHEUS = "prometheus"


class Absence(StrEnum):
    """What it means that no sample came."""

    GAP = "gap"
    """The exporter always shows it: its absence is missing data, never zero."""
    NOTHING_YET = "nothing_yet"
    """It appears with the first event of its kind: its absence alone says nothing."""
    NOT_EXPORTED = "not_exported"
    """Not every platform exports it; older records may lack it. What came once is to go on."""


@dataclass(frozen=True)
class Entry:
    """One series.

    Attributes:
        name: in the record; of a raw entry, the metric's own.
        promql: selector or expression.
        unit: SI, `1` for ratios and flags; of a raw entry, what the exporter has.
        component: who exports it.
        absence: what no sample means.
        raw: its samples are collected as scraped.
        meaning: in words, for a plot's title.
    """

    name: str
    promql: str
    unit: str
    component: Component
    absence: Absence
    raw: bool
    meaning: str


# name, unit, meaning. vLLM 0.33 exports each of these from its start, at 0.
_ENGINE = (
    ("vllm:num_requests_running", "requests", "Requests in the batch"),
    ("vllm:num_requests_waiting", "requests", "Requests queued in the engine"),
    ("vllm:kv_cache_usage_perc", "1", "KV-cache blocks in use"),
    ("vllm:num_preemptions_total", "preemptions", "Requests put back for want of KV cache"),
    ("vllm:prompt_tokens_total", "tokens", "Prompt tokens processed"),
    ("vllm:generation_tokens_total", "tokens", "Tokens generated"),
    ("vllm:request_success_total", "requests", "Requests ended in the engine, by reason"),
)
# Those that records have held from the first; older ones lack the others.
_ALWAYS = ("ttft", "itl", "e2e")
# family, short name, edges whose fractions are shown: the thresholds of slos/chat.yaml and beyond.
_HISTOGRAMS = (
    ("vllm:time_to_first_token_seconds", "ttft", ("0.1", "0.5")),
    ("vllm:inter_token_latency_seconds", "itl", ("0.05", "0.1")),
    ("vllm:e2e_request_latency_seconds", "e2e", ("5.0", "10.0")),
    ("vllm:request_time_per_output_token_seconds", "tpot", ("0.05", "0.1")),
    ("vllm:request_queue_time_seconds", "queue_time", ("0.3", "1.0")),
)
# vLLM 0.33's edges (vllm/v1/metrics/loggers.py), s, without infinity.
_TTFT_S = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
_ITL_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
_E2E_S = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
_EDGES_S: Mapping[str, tuple[float, ...]] = {
    "vllm:time_to_first_token_seconds_bucket": (*_TTFT_S, 10, 20, 40, 80, 160, 640, 2560),
    "vllm:inter_token_latency_seconds_bucket": (*_ITL_S, 10, 20, 40, 80),
    "vllm:request_time_per_output_token_seconds_bucket": (*_ITL_S, 10, 20, 40, 80),
    "vllm:e2e_request_latency_seconds_bucket": (*_E2E_S, 120, 240, 480, 960, 1920, 7680),
    "inference_router_ttft_seconds_bucket": (*_TTFT_S, 10, 20, 40, 80, 160, 640, 2560),
    "inference_router_e2e_seconds_bucket": (*_E2E_S, 120, 240, 480, 960, 1920, 7680),
    "vllm:request_queue_time_seconds_bucket": (*_E2E_S, 120, 240, 480, 960, 1920, 7680),
}
# name, unit, absence, meaning.
_ROUTER = (
    (
        "inference_router_requests_total",
        "requests",
        Absence.NOTHING_YET,
        "Requests at the router, by outcome",
    ),
    ("inference_router_retries_total", "attempts", Absence.NOTHING_YET, "Retries by reason"),
    ("inference_router_streams_cut_total", "streams", Absence.NOTHING_YET, "Streams cut"),
    ("inference_router_inflight", "requests", Absence.GAP, "Requests in flight by replica"),
    ("inference_router_replica_healthy", "1", Absence.GAP, "Replica healthy in the router's eyes"),
    (
        "inference_router_ttft_seconds_bucket",
        "requests",
        Absence.NOTHING_YET,
        "Time to first token at the router, cumulative",
    ),
    (
        "inference_router_ttft_seconds_count",
        "requests",
        Absence.NOTHING_YET,
        "First tokens sent by the router",
    ),
    (
        "inference_router_e2e_seconds_bucket",
        "requests",
        Absence.NOTHING_YET,
        "Time to the last token at the router, cumulative",
    ),
    (
        "inference_router_e2e_seconds_count",
        "requests",
        Absence.NOTHING_YET,
        "Answers ended by the router",
    ),
)


# name, unit, what to select by, meaning. What a run's machines cost is worked out from these.
_PAID_FOR = (
    ("node_total_hourly_cost", "USD/h", "", "Price of a node that is paid for"),
    ("kube_node_info", "1", "", "Node exists"),
    ("kube_node_labels", "1", "", "Node's type, zone and capacity type"),
    ("kube_node_created", "s", "", "Creation of the node, Unix time"),
    ("kube_node_status_allocatable", "GPUs", 'resource="nvidia_com_gpu"', "GPUs of the node"),
    (
        "kube_pod_container_resource_requests",
        "GPUs",
        'resource="nvidia_com_gpu"',
        "GPUs that the pod holds",
    ),
)


# name, unit as the exporter has it, meaning.
_GPU = (
    ("DCGM_FI_DEV_GPU_UTIL", "percent", "GPU did anything at all"),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "1", "GPU ran a kernel"),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "1", "Memory bandwidth of the GPU in use"),
    ("DCGM_FI_DEV_FB_USED", "MiB", "Memory of the GPU in use"),
    ("DCGM_FI_DEV_FB_FREE", "MiB", "Free memory of the GPU"),
    ("DCGM_FI_DEV_SM_CLOCK", "MHz", "Clock of the GPU"),
    ("DCGM_FI_DEV_POWER_USAGE", "W", "Power of the GPU"),
    ("DCGM_FI_DEV_GPU_TEMP", "°C", "Temperature of the GPU"),
    ("DCGM_FI_DEV_XID_ERRORS", "1", "Last Xid of the GPU, 0 for none"),
)

REPLICAS = ("kube_deployment_spec_replicas", "kube_deployment_status_replicas_available")
"""How many replicas a Deployment (here: a tier) is to have, and how many serve."""
USABLE = "inference_router_replica_healthy"
"""1 for each replica that a router would send requests to."""


def catalogue(
    rate_window_s: int = 15, everywhere: Iterable[str] = (), pods: Iterable[str] = ()
) -> tuple[Entry, ...]:
    """Return the catalogue.

    Args:
        rate_window_s: over which rates are taken; at least four scrapes.
        everywhere: PromQL matchers that every series must meet.
        pods: matchers for what pods export and what is said of them; not for nodes and GPUs.
    """
    everywhere = tuple(everywhere)
    of_all, where = ",".join(everywhere), ",".join((*pods, *everywhere))
    entries: list[Entry] = []

    def raw(name: str, unit: str, component: Component, absence: Absence, meaning: str) -> None:
        by = of_all if component is Component.DCGM else where
        entries.append(
            Entry(name, f"{name}{{{by}}}", unit, component, absence, raw=True, meaning=meaning)
        )

    entries += _paid_for(of_all, where)

    def derived(name: str, promql: str, unit: str, meaning: str) -> None:
        entries.append(
            Entry(name, promql, unit, Component.ENGINE, Absence.NOTHING_YET, False, meaning)
        )

    raw("up", "1", Component.PROMETHEUS, Absence.GAP, "Scrape succeeded")
    for name, unit, meaning in _ENGINE:
        raw(name, unit, Component.ENGINE, Absence.GAP, meaning)
    for family, short, _ in _HISTOGRAMS:
        absence = Absence.GAP if short in _ALWAYS else Absence.NOT_EXPORTED
        for suffix in ("_bucket", "_count"):
            raw(f"{family}{suffix}", "events", Component.ENGINE, absence, f"{family}, counts")
    for name, unit, absence, meaning in _ROUTER:
        raw(name, unit, Component.ROUTER, absence, meaning)
    kube = Component.KUBE_STATE_METRICS
    raw("kube_pod_status_ready", "1", kube, Absence.GAP, "Pod is ready")
    restarts = "kube_pod_container_status_restarts_total"
    raw(restarts, "restarts", kube, Absence.GAP, "Container restarts")
    # A platform may keep its replicas in something else than Deployments.
    wanted, ready = REPLICAS
    raw(wanted, "pods", kube, Absence.NOTHING_YET, "Replicas wanted")
    raw(ready, "pods", kube, Absence.NOTHING_YET, "Replicas that serve")
    for name, unit, meaning in _GPU:
        raw(name, unit, Component.DCGM, Absence.NOT_EXPORTED, meaning)

    window = f"[{rate_window_s}s]"
    tokens = f"sum by (model_name) (rate(vllm:generation_tokens_total{{{where}}}{window}))"
    derived("engine:generation_tokens:rate", tokens, "tokens/s", "Tokens generated a second")
    for family, short, edges in _HISTOGRAMS:
        for edge in edges:
            labels = ",".join(filter(None, (f'le="{edge}"', where)))
            under = f"sum(rate({family}_bucket{{{labels}}}{window}))"
            total = f"sum(rate({family}_count{{{where}}}{window}))"
            label = edge.removesuffix(".0").replace(".", "_")
            derived(
                f"engine:{short}_under_{label}s:ratio",
                f"{under} / {total}",
                "1",
                f"Share of {short} at or under {float(edge):g} s",
            )
    return tuple(entries)


def catalogue_of(target: TargetSpec) -> tuple[Entry, ...]:
    """Return what a run on this target collects: its own, where others share its Prometheus."""
    window_s = max(15, math.ceil(4 * target.scrape_interval_s))
    if not isinstance(target, KubernetesTargetSpec):
        return catalogue(window_s)
    cluster = target.kubernetes
    own = sorted(cluster.prometheus_labels.items())
    everywhere = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in own]
    # Names of namespaces have no letter that means anything in a regular expression.
    pods = [f'{cluster.namespace_label}=~"{"|".join(cluster.namespaces)}"']
    return catalogue(window_s, everywhere, pods if cluster.namespace_label else ())


def _paid_for(of_nodes: str, of_pods: str) -> list[Entry]:
    """Return what the cost of machines is worked out from; a platform need not say it."""
    kube, absence = Component.KUBE_STATE_METRICS, Absence.NOTHING_YET
    return [
        Entry(
            name,
            f"{name}{{{','.join(filter(None, (by, of_pods if '_pod_' in name else of_nodes)))}}}",
            unit,
            kube,
            absence,
            raw=True,
            meaning=meaning,
        )
        for name, unit, by, meaning in _PAID_FOR
    ]


def bucket_edges(series: str) -> tuple[float, ...]:
    """Return the upper edges of a histogram's buckets, without infinity; (): none are known."""
    return _EDGES_S.get(series, ())


CATALOGUE = catalogue()
"""For a Prometheus that scrapes one platform and nothing else."""
