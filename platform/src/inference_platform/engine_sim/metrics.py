"""What `/metrics` shows: vLLM 0.33's always-on families with their names, labels and buckets.

Everything exists at 0 from the start. Gauges show the core's latest report, so they freeze when it
does. What the simulator has not (other caches, speculative decoding, GPU work
estimates) stays at 0.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate, cycle
from typing import Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from inference_platform.engine_sim.core import Begun, Ended, Report
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.tokens import Answer

_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
TTFT_BUCKETS_S = (*_TTFT, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
ITL_BUCKETS_S = (*_ITL, 10.0, 20.0, 40.0, 80.0)
_LATENCY = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
LATENCY_BUCKETS_S = (*_LATENCY, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0)
ITERATION_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
N_BUCKETS = (1, 2, 5, 10, 20)
PREEMPTION_BUCKETS = (1, 2, 3, 4, 5, 10, 20)

# name → help. The client library adds `_total`.
COUNTERS = {
    "estimated_flops_per_gpu": "Floating point operations per GPU, estimated.",
    "estimated_read_bytes_per_gpu": "Bytes read from memory per GPU, estimated.",
    "estimated_write_bytes_per_gpu": "Bytes written to memory per GPU, estimated.",
    "prefix_cache_queries": "Tokens looked up in the prefix cache.",
    "prefix_cache_hits": "Tokens found in the prefix cache.",
    "external_prefix_cache_queries": "Tokens looked up in other instances' caches.",
    "external_prefix_cache_hits": "Tokens found in other instances' caches.",
    "mm_cache_queries": "Items looked up in the multi-modal cache.",
    "mm_cache_hits": "Items found in the multi-modal cache.",
    "num_preemptions": "Preemptions so far.",
    "prompt_tokens": "Prompt tokens processed.",
    "prompt_tokens_cached": "Prompt tokens that came from a cache.",
    "generation_tokens": "Output tokens produced.",
}
# name → help, label, its values
LABELLED_COUNTERS = {
    "prompt_tokens_by_source": (
        "Prompt tokens by where their KV came from.",
        "source",
        ("local_compute", "local_cache_hit", "external_kv_transfer"),
    ),
    "prompt_tokens_cached_by_source": (
        "Cached prompt tokens by cache tier.",
        "source",
        ("device", "host", "p2p", "disk", "external_unspecified"),
    ),
    "request_success": (
        "Requests that the engine ended, by reason; a client's disconnect is not counted.",
        "finished_reason",
        ("stop", "length", "abort", "error", "repetition"),
    ),
}
SLEEP_STATES = ("awake", "weights_offloaded", "discard_all")
REJECTIONS = ("max_num_queued_reqs", "max_num_queued_tokens")

# CacheConfig fields that no flag of the simulator changes, as vLLM 0.33 prints them.
_CACHE_CONFIG = {
    "_block_size_resolved": "True",
    "cache_dtype": "auto",
    "cache_hit_alignment_tokens": "None",
    "enable_mamba_shared_prefix_checkpoint": "False",
    "hash_block_size": "None",
    "is_attention_free": "False",
    "kv_cache_dtype_skip_layers": "[]",
    "kv_cache_layout": "None",
    "kv_cache_memory_bytes": "None",
    "kv_offloading_backend": "native",
    "kv_offloading_size": "None",
    "kv_sharing_fast_prefill": "False",
    "mamba_block_size": "None",
    "mamba_cache_dtype": "auto",
    "mamba_cache_mode": "none",
    "mamba_page_size_padded": "None",
    "mamba_ssm_cache_dtype": "auto",
    "num_cpu_blocks": "None",
    "num_gpu_blocks_override": "None",
    "prefix_cache_retention_interval": "0",
    "prefix_caching_hash_algo": "sha256",
    "prefix_match_unit": "None",
    "replayssm_buffer_len": "16",
    "simple_cpu_offload_num_blocks": "None",
    "skip_page_size_padded": "None",
    "sliding_window": "None",
    "swa_bounded_replay": "True",
    "use_kda_recoverssm": "False",
    "use_replayssm": "False",
    "user_specified_block_size": "False",
}


def token_buckets(max_model_len: int) -> list[int]:
    """Return 1, 2, 5, 10, 20, 50, … up to the context length."""
    edges: list[int] = []
    scale = 1
    for mantissa in cycle((1, 2, 5)):
        if mantissa * scale > max_model_len:
            return edges
        edges.append(mantissa * scale)
        scale *= 10 if mantissa == 5 else 1
    raise AssertionError  # cycle() does not end


class HasStats(Protocol):
    """Where the gauges look."""

    stats: Report


class Answering(Protocol):
    """What must be known of a request to count it; `engine.Stream` is one."""

    answer: Answer
    prompt_tokens: int
    arrived_s: float
    max_tokens: int


class ManyHistogram(Collector):
    """A histogram that takes many equal values at once: a step's tokens have few latencies.

    One at a time, the client library's costs as much as everything else that a token does here.

    Args:
        name: the family's.
        text: its help.
        labels: of its one child.
        edges: upper bounds without infinity.
    """

    def __init__(
        self, name: str, text: str, labels: dict[str, str], edges: tuple[float, ...]
    ) -> None:
        """Start at 0."""
        self._name, self._text, self._labels = name, text, labels
        self._edges = (*edges, math.inf)
        self._names = [*map(str, map(float, edges)), "+Inf"]
        self._counts = [0] * len(self._edges)
        self._sum = 0.0
        self._created = time.time()

    def observe(self, value: float, count: int) -> None:
        """Count a value so many times."""
        self._counts[bisect_left(self._edges, value)] += count
        self._sum += value * count

    def describe(self) -> Iterable[Metric]:
        """Name the family, so that nobody else does."""
        return [Metric(self._name, self._text, "histogram")]

    def collect(self) -> Iterable[Metric]:
        """Return the family as it is now."""
        metric = Metric(self._name, self._text, "histogram")
        for edge, count in zip(self._names, accumulate(self._counts), strict=True):
            labels = {**self._labels, "le": edge}
            metric.add_sample(f"{self._name}_bucket", labels, count)
        metric.add_sample(f"{self._name}_count", self._labels, sum(self._counts))
        metric.add_sample(f"{self._name}_sum", self._labels, self._sum)
        metric.add_sample(f"{self._name}_created", self._labels, self._created)
        yield metric


class EngineMetrics:
    """The `vllm:*` families of one engine, and the process's own."""

    def __init__(self, flags: Flags) -> None:
        """Create every family and label set at 0."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._base = {"model_name": flags.served_model_name, "engine": "0"}
        self._counters = {name: self._counter(name, text) for name, text in COUNTERS.items()}
        self._by_label = {
            name: self._labelled_counter(name, *spec) for name, spec in LABELLED_COUNTERS.items()
        }
        rejections = Counter(
            "vllm:admission_rejections",
            "Requests refused by a queue limit, by limit.",
            ["model_name", "reason"],
            registry=self.registry,
        )
        self._rejections = {
            reason: rejections.labels(flags.served_model_name, reason) for reason in REJECTIONS
        }
        self._create_histograms(token_buckets(flags.max_model_len))
        self._create_gauges()
        self._create_cache_config(flags)

    def _counter(self, name: str, text: str) -> Counter:
        family = Counter(f"vllm:{name}", text, list(self._base), registry=self.registry)
        return family.labels(**self._base)

    def _labelled_counter(
        self, name: str, text: str, label: str, values: tuple[str, ...]
    ) -> dict[str, Counter]:
        labels = [*self._base, label]
        family = Counter(f"vllm:{name}", text, labels, registry=self.registry)
        return {value: family.labels(**self._base, **{label: value}) for value in values}

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] | list[int]) -> Histogram:
        family = Histogram(
            f"vllm:{name}", text, list(self._base), registry=self.registry, buckets=buckets
        )
        return family.labels(**self._base)

    def _create_histograms(self, tokens: list[int]) -> None:
        make = self._histogram
        self._prompt = make("request_prompt_tokens", "Prompt tokens of a request.", tokens)
        self._generation = make("request_generation_tokens", "Output tokens of a request.", tokens)
        self._iteration = make("iteration_tokens_total", "Tokens of a step.", ITERATION_BUCKETS)
        self._max_generation = make(
            "request_max_num_generation_tokens", "Longest output among a request's n.", tokens
        )
        self._n = make("request_params_n", "The n that requests ask for.", N_BUCKETS)
        self._max_tokens = make("request_params_max_tokens", "The max_tokens asked for.", tokens)
        self._ttft = make(
            "time_to_first_token_seconds", "From arrival to the first token.", TTFT_BUCKETS_S
        )
        self._inter_token = ManyHistogram(
            "vllm:inter_token_latency_seconds",
            "From one token to the next.",
            self._base,
            ITL_BUCKETS_S,
        )
        self.registry.register(self._inter_token)
        self._tpot = make(
            "request_time_per_output_token_seconds",
            "Mean time per output token after the first, by request.",
            ITL_BUCKETS_S,
        )
        self._e2e = make(
            "e2e_request_latency_seconds", "From arrival to the last token.", LATENCY_BUCKETS_S
        )
        self._queue = make("request_queue_time_seconds", "Time waiting.", LATENCY_BUCKETS_S)
        self._inference = make("request_inference_time_seconds", "Time running.", LATENCY_BUCKETS_S)
        self._prefill = make("request_prefill_time_seconds", "Time in prefill.", LATENCY_BUCKETS_S)
        self._decode = make("request_decode_time_seconds", "Time decoding.", LATENCY_BUCKETS_S)
        self._preemptions = make(
            "request_num_preemptions", "Preemptions of a request.", PREEMPTION_BUCKETS
        )
        self._computed = make(
            "request_prefill_kv_computed_tokens", "Prompt tokens computed, not cached.", tokens
        )

    def _gauge(self, name: str, text: str, label: str = "") -> Gauge:
        labels = [*self._base, label] if label else list(self._base)
        return Gauge(f"vllm:{name}", text, labels, registry=self.registry)

    def _create_gauges(self) -> None:
        self._running = self._gauge("num_requests_running", "Requests in the batch.")
        self._waiting = self._gauge("num_requests_waiting", "Requests waiting.")
        self._waiting_by_reason = self._gauge(
            "num_requests_waiting_by_reason",
            "Requests waiting, for capacity or deferred by something else.",
            "reason",
        )
        self._kv_usage = self._gauge("kv_cache_usage_perc", "KV blocks in use; 1 is all of them.")
        sleep = self._gauge(
            "engine_sleep_state", "1 for the state the engine is in.", "sleep_state"
        )
        self._sleep = [sleep.labels(**self._base, sleep_state=state) for state in SLEEP_STATES]
        self.show_sleep(0)

    def _create_cache_config(self, flags: Flags) -> None:
        size = flags.sim_kv_blocks * flags.block_size
        config = _CACHE_CONFIG | {
            "block_size": str(flags.block_size),
            "enable_prefix_caching": str(flags.enable_prefix_caching),
            "effective_attention_block_size": str(flags.block_size),
            "gpu_memory_utilization": str(flags.gpu_memory_utilization),
            "kv_cache_max_concurrency": str(size / flags.max_model_len),
            "kv_cache_size_tokens": str(size),
            "num_gpu_blocks": str(flags.sim_kv_blocks),
            "engine": "0",
        }
        text = "The engine's cache settings."
        info = Gauge("vllm:cache_config_info", text, list(config), registry=self.registry)
        info.labels(**config).set(1)

    def watch(self, source: HasStats) -> None:
        """Let the gauges show this source's latest report when they are scraped."""
        self._running.labels(**self._base).set_function(lambda: source.stats.running)
        self._waiting.labels(**self._base).set_function(lambda: source.stats.waiting)
        reason = self._waiting_by_reason
        reason.labels(**self._base, reason="capacity").set_function(lambda: source.stats.waiting)
        reason.labels(**self._base, reason="deferred").set(0)
        self._kv_usage.labels(**self._base).set_function(lambda: source.stats.kv_usage)

    def record(
        self,
        report: Report,
        emitted: int,
        latencies: Mapping[float, int],
        begun: Iterable[tuple[Answering, Begun]],
    ) -> None:
        """Count what came out of a step.

        Args:
            report: the core's.
            emitted: tokens that somebody still waits for.
            latencies: their inter-token latencies in seconds → how many tokens.
            begun: those who got their first token.
        """
        if report.preempted:
            self._counters["num_preemptions"].inc(report.preempted)
        if report.cache_queries:
            self._counters["prefix_cache_queries"].inc(report.cache_queries)
            self._counters["prefix_cache_hits"].inc(report.cache_hits)
        if not emitted:
            return
        computed, cached = 0, 0
        for request, first in begun:
            self._ttft.observe(first.first_token_s - request.arrived_s)
            computed += request.prompt_tokens - first.cached_tokens
            cached += first.cached_tokens
        for latency_s, count in latencies.items():
            self._inter_token.observe(latency_s, count)
        self._counters["generation_tokens"].inc(emitted)
        self._iteration.observe(emitted + computed)
        if computed:
            self._record_prompts(computed, cached)

    def _record_prompts(self, computed: int, cached: int) -> None:
        """Count prompt tokens by where they came from; a preempted request's count once."""
        self._counters["prompt_tokens"].inc(computed + cached)
        self._counters["prompt_tokens_cached"].inc(cached)
        self._by_label["prompt_tokens_by_source"]["local_compute"].inc(computed)
        self._by_label["prompt_tokens_by_source"]["local_cache_hit"].inc(cached)
        self._by_label["prompt_tokens_cached_by_source"]["device"].inc(cached)

    def record_finish(self, request: Answering, ended: Ended) -> None:
        """Count a request that the engine ended; without a token it took no time that we know."""
        tokens = ended.tokens
        self._by_label["request_success"][request.answer.finish_reason].inc()
        self._prompt.observe(request.prompt_tokens)
        self._computed.observe(request.prompt_tokens - ended.cached_tokens)
        self._generation.observe(tokens)
        self._max_tokens.observe(request.max_tokens)
        self._preemptions.observe(ended.preemptions)
        scheduled_s, first_s, last_s = ended.scheduled_s, ended.first_token_s, ended.last_token_s
        if scheduled_s is None or first_s is None or last_s is None:
            return
        decode_s = last_s - first_s
        self._tpot.observe(decode_s / (tokens - 1) if tokens > 1 else 0.0)
        self._e2e.observe(last_s - request.arrived_s)
        self._queue.observe(scheduled_s - request.arrived_s)
        self._inference.observe(last_s - scheduled_s)
        self._prefill.observe(first_s - scheduled_s)
        self._decode.observe(decode_s)

    def record_prompt_finish(self, n: int, longest: int) -> None:
        """Count a prompt whose n answers are complete; the longest has so many tokens."""
        self._n.observe(n)
        self._max_generation.observe(longest)

    def show_sleep(self, level: int) -> None:
        """Show at which level the engine sleeps; 0 is awake, its weights where they were."""
        for place, gauge in enumerate(self._sleep):
            gauge.set(place == level)

    def record_rejection(self, limit: str) -> None:
        """Count a request that a queue limit refused; `limit` is one of `REJECTIONS`."""
        self._rejections[limit].inc()
