"""The `http_*` families that vLLM gets from its FastAPI instrumentation."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, Summary

# Requests to these are not measured, as in vLLM.
EXCLUDED = frozenset({"/metrics", "/health", "/load", "/ping", "/version", "/server_info"})
_HIGH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5)
HIGH_RESOLUTION_BUCKETS_S = (*_HIGH, 7.5, 10, 30, 60)
LOW_RESOLUTION_BUCKETS_S = (0.1, 0.5, 1)


class HttpMetrics:
    """Counts requests when they end; a stream that its client cut keeps its first status."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Create the families, without label sets."""
        self._requests = Counter(
            "http_requests",
            "Requests by method, status class and route.",
            ["method", "status", "handler"],
            registry=registry,
        )
        self._request_size = Summary(
            "http_request_size_bytes",
            "Content-Length of requests by route; 0 without the header.",
            ["handler"],
            registry=registry,
        )
        self._response_size = Summary(
            "http_response_size_bytes",
            "Content-Length of answers by route; 0 for streams.",
            ["handler"],
            registry=registry,
        )
        self._high_resolution = Histogram(
            "http_request_duration_highr_seconds",
            "Duration of requests, fine buckets, no labels.",
            registry=registry,
            buckets=HIGH_RESOLUTION_BUCKETS_S,
        )
        self._duration = Histogram(
            "http_request_duration_seconds",
            "Duration of requests by route, coarse buckets.",
            ["method", "handler"],
            registry=registry,
            buckets=LOW_RESOLUTION_BUCKETS_S,
        )

    def record(  # noqa: PLR0913  # one argument for each thing that is measured
        self,
        *,
        method: str,
        handler: str,
        status: int,
        duration_s: float,
        request_bytes: int,
        response_bytes: int,
    ) -> None:
        """Count one request; `handler` is the route's path, "none" when nothing matched."""
        self._requests.labels(method, f"{status // 100}xx", handler).inc()
        self._request_size.labels(handler).observe(request_bytes)
        self._response_size.labels(handler).observe(response_bytes)
        self._high_resolution.observe(duration_s)
        self._duration.labels(method, handler).observe(duration_s)
