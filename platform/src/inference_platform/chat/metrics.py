"""The chat's Prometheus series."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from inference_platform.router.metrics import TTFT_BUCKETS_S

# Each outcome with the code it usually has, to be there at 0 before the first question.
USUAL_CODES = {
    "ok": "200",
    "client_error": "400",
    "upstream_error": "502",
    "busy": "503",
    "cut": "200",
    "client_gone": "499",
}


class Metrics:
    """All series of one chat, in a registry of their own."""

    def __init__(self) -> None:
        """Everything stands at 0."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "inference_chat_requests_total",
            "Questions by what became of their answers.",
            ("code", "outcome"),
            registry=self.registry,
        )
        self.ttft = Histogram(
            "inference_chat_ttft_seconds",
            "From the question's arrival to the first event sent on.",
            buckets=TTFT_BUCKETS_S,
            registry=self.registry,
        )
        self.inflight = Gauge(
            "inference_chat_inflight", "Answers under way.", registry=self.registry
        )
        for outcome, code in USUAL_CODES.items():
            self.requests.labels(code, outcome)
