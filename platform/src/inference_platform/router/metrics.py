"""The router's Prometheus series. None begins with `vllm:`, so sums over engines stay right."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from inference_platform.router.fleet import Fleet, Replica

# The engine's own bucket edges (vLLM 0.33.0, time to first token and end-to-end latency), so that
# both sides of the router can be compared and an SLO threshold sits on an edge of both.
# fmt: off
TTFT_BUCKETS_S = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
    80, 160, 640, 2560,
)
E2E_BUCKETS_S = (
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
)
# fmt: on

OUTCOMES = ("ok", "client_error", "upstream_error", "no_replica", "cut", "client_gone")
RETRY_REASONS = (
    "connect",
    "lost",
    "unhealthy",
    "stale_connection",
    "status_500",
    "status_503",
)
AFFINITY_RESULTS = ("hit", "miss", "moved", "unavailable")
# The code each outcome usually has, to be there at 0 before the first request; 499 is what proxies
# write down for a client that left before its answer.
USUAL_CODES = {
    "ok": "200",
    "client_error": "400",
    "upstream_error": "502",
    "no_replica": "503",
    "cut": "200",
    "client_gone": "499",
}
# The tier label of requests that were refused before they had one.
NO_TIER = "none"


class Metrics:
    """All series of one router, in a registry of their own."""

    def __init__(self, fleet: Fleet, router_name: str) -> None:
        """Follows the fleet: the series of a new replica are created as it appears."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "inference_router_requests_total",
            "Requests by what became of them.",
            ("tier", "code", "outcome"),
            registry=self.registry,
        )
        self.ttft = Histogram(
            "inference_router_ttft_seconds",
            "Streamed replies: from the request's arrival to the first event sent on.",
            ("tier",),
            buckets=TTFT_BUCKETS_S,
            registry=self.registry,
        )
        self.e2e = Histogram(
            "inference_router_e2e_seconds",
            "Requests with outcome ok: from arrival to the last byte.",
            ("tier",),
            buckets=E2E_BUCKETS_S,
            registry=self.registry,
        )
        self.retries = Counter(
            "inference_router_retries_total",
            "Further attempts, by why the one before failed.",
            ("tier", "reason"),
            registry=self.registry,
        )
        self.streams_cut = Counter(
            "inference_router_streams_cut_total",
            "Streams that ended with an error after their first event.",
            ("tier", "replica"),
            registry=self.registry,
        )
        self.overdue = Counter(
            "inference_router_overdue_total",
            "Answers that the router ended because they took longer than it allows.",
            ("tier",),
            registry=self.registry,
        )
        self.affinity = Counter(
            "inference_router_affinity_total",
            "Requests with a session, by what affinity did for them.",
            ("result",),
            registry=self.registry,
        )
        info = Gauge(
            "inference_router_info", "Always 1.", labelnames=("name",), registry=self.registry
        )
        info.labels(router_name).set(1)
        for result in AFFINITY_RESULTS:
            self.affinity.labels(result)
        self.requests.labels(NO_TIER, "404", "client_error")
        self._fleet = fleet
        self._tiers: set[str] = set()
        fleet.on_new = self.expect_replica
        for tier in fleet.tiers:
            self.expect_tier(tier)
        self.registry.register(_FleetCollector(fleet))

    def expect_tier(self, tier: str) -> None:
        """Create a tier's series at 0, so that the first failure is a rise and not a birth."""
        if tier in self._tiers:
            return
        self._tiers.add(tier)
        for outcome in OUTCOMES:
            self.requests.labels(tier, USUAL_CODES[outcome], outcome)
        for reason in RETRY_REASONS:
            self.retries.labels(tier, reason)
        self.overdue.labels(tier)
        self.ttft.labels(tier)
        self.e2e.labels(tier)

    def expect_replica(self, replica: Replica) -> None:
        """Create a replica's series at 0."""
        self.expect_tier(replica.tier)
        self.streams_cut.labels(replica.tier, replica.name)


class _FleetCollector(Collector):
    """Gauges read off the fleet at each scrape; a replica that is gone leaves no series behind."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def collect(self) -> Iterable[Metric]:
        """Called by the registry."""
        inflight = GaugeMetricFamily(
            "inference_router_inflight",
            "Requests this router has open at a replica.",
            labels=("tier", "replica"),
        )
        healthy = GaugeMetricFamily(
            "inference_router_replica_healthy",
            "1 if requests may go to the replica: ready, healthy and not ejected.",
            labels=("tier", "replica"),
        )
        for replica in self._fleet:
            labels = (replica.tier, replica.name)
            inflight.add_metric(labels, replica.inflight)
            healthy.add_metric(labels, 1.0 if replica.usable else 0.0)
        yield inflight
        yield healthy
