"""The API from outside: clients, metrics that move, refusals, disconnects."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from inference_platform.engine_sim.tokens import WORD

BASE = '{engine="0",model_name="tiny"}'


@pytest.fixture(scope="module")
def engine(serve: Callable[..., Any]) -> Iterator[Any]:
    """One fast engine for the module."""
    flags = ("--served-model-name", "tiny", "--max-model-len", "2048")
    with serve(*flags, "--sim-step-base-s", "0.0005", "--sim-step-per-seq-s", "0") as running:
        yield running


def moved(engine: Any, samples: Mapping[str, float], action: Callable[[], object]) -> None:
    """Check that an action moves these samples by so much."""
    before = {sample: engine.metric(sample) for sample in samples}
    action()
    after = {sample: engine.metric(sample) for sample in samples}
    assert {sample: after[sample] - before[sample] for sample in samples} == samples


def test_each_token_is_an_event_of_its_own(engine: Any) -> None:
    """Clients that measure inter-token latency count events."""
    answer = engine.chat(max_tokens=40, ignore_eos=True, stream=True)
    events = [json.loads(e[6:]) for e in answer.text.split("\n\n") if e and "[DONE]" not in e]
    words = [e["choices"][0]["delta"]["content"] for e in events]
    assert words[0] == ""
    assert all(re.fullmatch(WORD, word) for word in words[1:])
    assert len(words) == 41


def test_a_natural_end_is_a_silent_last_chunk(engine: Any) -> None:
    """As in vLLM the end-of-sequence token counts and shows no text."""
    options = {"include_usage": True}
    answer = engine.chat(stream=True, stream_options=options, max_tokens=2000)
    *_, last, usage, done, _ = answer.text.split("\n\n")
    assert done == "data: [DONE]"
    choice = json.loads(last[6:])["choices"][0]
    assert (choice["delta"], choice["finish_reason"]) == ({"content": ""}, "stop")
    events = answer.text.count('"content":"tok')
    assert json.loads(usage[6:])["usage"]["completion_tokens"] == events + 1


def test_a_finished_request_moves_every_counter_by_what_it_used(engine: Any) -> None:
    """Tokens, requests and histogram counts add up to what the client saw."""
    success = 'vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"}'
    route = 'handler="/v1/chat/completions"'
    samples = {
        f"vllm:prompt_tokens_total{BASE}": 7,
        f"vllm:generation_tokens_total{BASE}": 5,
        f"vllm:iteration_tokens_total_sum{BASE}": 12,
        f"vllm:iteration_tokens_total_count{BASE}": 5,
        f"vllm:time_to_first_token_seconds_count{BASE}": 1,
        f"vllm:inter_token_latency_seconds_count{BASE}": 4,
        f"vllm:request_time_per_output_token_seconds_count{BASE}": 1,
        f"vllm:e2e_request_latency_seconds_count{BASE}": 1,
        f"vllm:request_queue_time_seconds_count{BASE}": 1,
        f"vllm:request_params_max_tokens_sum{BASE}": 5,
        f"vllm:request_generation_tokens_sum{BASE}": 5,
        success: 1,
        f'http_requests_total{{{route},method="POST",status="2xx"}}': 1,
    }
    engine.chat(max_tokens=5, ignore_eos=True)  # so that the HTTP series exist
    moved(engine, samples, lambda: engine.chat(max_tokens=5, ignore_eos=True))


def test_a_prompt_seen_before_counts_as_cached_wherever_vllm_counts_it(engine: Any) -> None:
    """85 prompt tokens seen before are 5 blocks of 16 from the cache and 5 computed tokens."""
    text = " ".join(f"cached{i}" for i in range(80))
    engine.chat(text, max_tokens=1)
    source = 'engine="0",model_name="tiny",source='
    samples = {
        f"vllm:prefix_cache_queries_total{BASE}": 85,
        f"vllm:prefix_cache_hits_total{BASE}": 80,
        f"vllm:prompt_tokens_total{BASE}": 85,
        f"vllm:prompt_tokens_cached_total{BASE}": 80,
        f'vllm:prompt_tokens_by_source_total{{{source}"local_compute"}}': 5,
        f'vllm:prompt_tokens_by_source_total{{{source}"local_cache_hit"}}': 80,
        f'vllm:prompt_tokens_cached_by_source_total{{{source}"device"}}': 80,
        f"vllm:request_prompt_tokens_sum{BASE}": 85,
        f"vllm:request_prefill_kv_computed_tokens_sum{BASE}": 5,
        f"vllm:iteration_tokens_total_sum{BASE}": 6,
        f"vllm:request_num_preemptions_sum{BASE}": 0,
    }
    moved(engine, samples, lambda: engine.chat(text, max_tokens=1))


def test_an_error_counts_as_an_http_error_and_nothing_else(engine: Any) -> None:
    """Refused requests never reach the engine's own metrics."""
    engine.chat(model="nope")
    route = 'handler="/v1/chat/completions"'
    samples = {
        f'http_requests_total{{{route},method="POST",status="4xx"}}': 1,
        f"vllm:prompt_tokens_total{BASE}": 0,
        f"vllm:e2e_request_latency_seconds_count{BASE}": 0,
    }
    moved(engine, samples, lambda: engine.chat(model="nope"))


def test_a_prompt_over_the_context_is_refused_and_one_that_ends_there_is_capped(
    engine: Any,
) -> None:
    """Too long is 400 with vLLM's text; prompt plus max_tokens beyond the context is cut short."""
    refused = engine.chat("word " * 2048, max_tokens=5)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["type"], error["param"]) == ("BadRequestError", "input_tokens")
    assert "at least 2049 input tokens" in error["message"]
    full = engine.post("/v1/completions", prompt="word " * 2048, max_tokens=5)
    assert "max_tokens must be at least 1, got 0." in full.json()["error"]["message"]
    capped = engine.post("/v1/completions", prompt="w " * 2040, max_tokens=100, ignore_eos=True)
    assert capped.json()["usage"]["completion_tokens"] == 8


def open_stream(engine: Any, **body: object) -> socket.socket:
    """Send a streaming chat by hand and return the connection after the first bytes."""
    host, port = engine.url.removeprefix("http://").split(":")
    body |= {"messages": [{"role": "user", "content": "hello"}], "ignore_eos": True}
    raw = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json"
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(f"{head}\r\ncontent-length: {len(raw)}\r\n\r\n".encode() + raw)
    return connection


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_request_at_once(
    serve: Callable[..., Any], until: Callable[..., None], *, stream: bool
) -> None:
    """The place and the blocks come back; as in vLLM no request metric ever hears of it."""
    with serve("--served-model-name", "tiny", "--sim-step-base-s", "0.005") as engine:
        connection = open_stream(engine, stream=stream, max_tokens=8000)
        until(lambda: engine.engine.stats.running == 1, "the request to run")
        assert engine.metric(f"vllm:num_requests_running{BASE}") == 1
        connection.close()
        until(lambda: engine.engine.unfinished == 0, "the request to be freed")
        assert engine.metric(f"vllm:kv_cache_usage_perc{BASE}") == 0
        for reason in ("stop", "length", "abort"):
            labels = f'engine="0",finished_reason="{reason}",model_name="tiny"'
            assert engine.metric(f"vllm:request_success_total{{{labels}}}") == 0
        assert engine.metric(f"vllm:e2e_request_latency_seconds_count{BASE}") == 0


def test_a_full_engine_refuses_with_503_and_counts_it(
    serve: Callable[..., Any], until: Callable[..., None]
) -> None:
    """--max-num-queued-reqs caps running plus waiting, after the model and before the meaning."""
    flags = ("--served-model-name", "tiny", "--max-num-queued-reqs", "2", "--max-num-seqs", "1")
    with serve(*flags) as engine:
        connections = [open_stream(engine, stream=True, max_tokens=8000) for _ in range(2)]
        until(lambda: engine.engine.unfinished == 2, "two requests to be in")
        busy = engine.chat(temperature=-1)
        assert busy.status_code == 503
        assert busy.json()["error"]["type"] == "Service Unavailable"
        assert "currently busy" in busy.json()["error"]["message"]
        assert engine.chat(model="nope").status_code == 404
        rejected = 'vllm:admission_rejections_total{model_name="tiny",reason="max_num_queued_reqs"}'
        assert engine.metric(rejected) == 1
        for connection in connections:
            connection.close()


def test_a_prefill_backlog_refuses_with_503_and_counts_it(
    serve: Callable[..., Any], until: Callable[..., None]
) -> None:
    """--max-num-queued-tokens caps the prompts still in prefill before the new one is added."""
    flags = ("--served-model-name", "tiny", "--max-num-queued-tokens", "6", "--max-num-seqs", "1")
    with serve(*flags) as engine:
        connections = [open_stream(engine, stream=True, max_tokens=8000)]
        until(lambda: engine.metric(f"vllm:prompt_tokens_total{BASE}") == 6, "the first to decode")
        connections.append(open_stream(engine, stream=True, max_tokens=8000))
        until(lambda: engine.engine.prefill_backlog == 6, "the second to wait for its prefill")
        refused = engine.chat()
        assert refused.status_code == 503
        text = "The engine has reached its prefill token backlog limit. "
        assert refused.json()["error"]["message"].startswith(text)
        reason = 'model_name="tiny",reason="max_num_queued_tokens"'
        assert engine.metric(f"vllm:admission_rejections_total{{{reason}}}") == 1
        for connection in connections:
            connection.close()


def test_keys_guard_v1_only_and_before_everything_else(serve: Callable[..., Any]) -> None:
    """401 with vLLM's body under /v1, known route or not; probes and metrics stay open."""
    with serve("--api-key", "k1", "k2") as engine:
        refused = [
            engine.get("/v1/models"),
            engine.get("/v1/nothing"),
            engine.get("/v1/models", Authorization="Bearer nope"),
            engine.get("/v1/models", Authorization="Basic k1"),
            engine.chat(model="nope"),
        ]
        assert [answer.status_code for answer in refused] == [401] * 5
        assert {answer.text for answer in refused} == {'{"error":"Unauthorized"}'}
        for key in ("Bearer k1", "bearer k2"):
            assert engine.get("/v1/models", Authorization=key).status_code == 200
        assert engine.get("/health").status_code == 200
        assert engine.get("/metrics").status_code == 200


def test_a_silent_stream_is_kept_alive_with_comments(serve: Callable[..., Any]) -> None:
    """--sse-keep-alive-interval: a comment for every interval without a token."""
    flags = ("--sse-keep-alive-interval", "0.04", "--sim-step-base-s", "0.1")
    with serve("--served-model-name", "tiny", *flags) as engine:
        events = engine.chat(max_tokens=3, ignore_eos=True, stream=True).text.split("\n\n")
    kinds = ["comment" if event == ": keep-alive" else "data" for event in events if event]
    assert kinds.count("comment") >= 3
    assert kinds.count("data") == 5
    assert kinds[0] == "comment"
    assert kinds[-1] == "data"


def test_a_stream_brings_its_usage_where_it_is_forced_to(serve: Callable[..., Any]) -> None:
    """--enable-force-include-usage: the usage chunk comes unasked."""
    with serve("--served-model-name", "tiny", "--enable-force-include-usage") as engine:
        events = engine.chat(max_tokens=3, ignore_eos=True, stream=True).text.split("\n\n")
    assert json.loads(events[-3][6:])["usage"]["completion_tokens"] == 3


def test_the_load_is_in_a_header_for_who_asks(
    serve: Callable[..., Any], until: Callable[..., None]
) -> None:
    """ORCA: how many wait and how full the cache is, as text or JSON, not for streams."""
    with serve("--served-model-name", "tiny", "--max-num-seqs", "2") as engine:
        connections = [open_stream(engine, stream=True, max_tokens=8000)]
        until(lambda: engine.engine.load[1] > 0, "the cache to be in use")
        url, body = engine.url + "/v1/completions", {"prompt": "a", "max_tokens": 1}
        shown = {}
        for wanted in ("JSON", "TEXT", "XML"):
            asked = {"endpoint-load-metrics-format": wanted}
            answer = engine.session.post(url, json=body, headers=asked, timeout=10)
            shown[wanted] = answer.headers.get("endpoint-load-metrics")
        load = json.loads(shown["JSON"].removeprefix("JSON "))["named_metrics"]
        assert load["num_requests_waiting"] == 0
        assert 0 < load["kv_cache_usage_perc"] < 0.1
        assert shown["TEXT"].startswith("TEXT named_metrics.num_requests_waiting=0.0, named_")
        assert shown["XML"] is None
        for connection in connections:
            connection.close()


def test_waiting_requests_show_as_waiting(
    serve: Callable[..., Any], until: Callable[..., None]
) -> None:
    """One place and three requests: one runs, two wait for capacity."""
    with serve("--served-model-name", "tiny", "--max-num-seqs", "1") as engine:
        connections = [open_stream(engine, stream=True, max_tokens=8000) for _ in range(3)]
        until(lambda: engine.engine.stats.running == 1, "a request to run")
        until(lambda: engine.engine.stats.waiting == 2, "two requests to wait")
        labels = 'engine="0",model_name="tiny",reason="capacity"'
        assert engine.metric(f"vllm:num_requests_waiting{BASE}") == 2
        assert engine.metric(f"vllm:num_requests_waiting_by_reason{{{labels}}}") == 2
        for connection in connections:
            connection.close()


def test_known_timing_shows_in_the_metrics_exactly(serve: Callable[..., Any]) -> None:
    """Under load each request's TTFT, ITL and end-to-end time are the ones asked for."""
    flags = ("--sim-fixed-ttft-s", "0.25", "--sim-fixed-tpot-s", "0.0625")
    with serve("--served-model-name", "tiny", *flags) as engine:
        threads = [
            threading.Thread(target=engine.chat, kwargs={"max_tokens": 5, "ignore_eos": True})
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sums = {
            name: engine.metric(f"vllm:{name}_seconds_sum{BASE}")
            for name in ("time_to_first_token", "inter_token_latency", "e2e_request_latency")
        }
    assert sums["time_to_first_token"] == pytest.approx(4 * 0.25)
    assert sums["inter_token_latency"] == pytest.approx(4 * 4 * 0.0625)
    assert sums["e2e_request_latency"] == pytest.approx(4 * (0.25 + 4 * 0.0625))
