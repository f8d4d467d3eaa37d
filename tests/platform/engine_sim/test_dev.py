"""What needs a flag or vLLM's developer mode: load, request ids, sleep, pause."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from inference_platform.engine_sim.tokens import WORD

BASE = '{engine="0",model_name="tiny"}'
TINY = ("--served-model-name", "tiny")
THREE = {"max_tokens": 3, "ignore_eos": True}


@pytest.fixture
def dev(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An engine in developer mode."""
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    with serve(*TINY) as engine:
        yield engine


def begin_stream(engine: Any) -> Iterator[bytes]:
    """Ask for many tokens; return the lines after the first."""
    messages = [{"role": "user", "content": "hello"}]
    body = {"messages": messages, "stream": True, "max_tokens": 4000, "ignore_eos": True}
    answer = engine.session.post(
        engine.url + "/v1/chat/completions", json=body, stream=True, timeout=10
    )
    lines: Iterator[bytes] = answer.iter_lines(chunk_size=1)
    next(lines)
    return lines


def test_a_sleeping_engine_takes_requests_and_answers_after_it_wakes(
    dev: Any, until: Callable[..., None]
) -> None:
    """Health stays 200, the sleep gauge tells; sleeping aborts what ran."""
    lines = begin_stream(dev)
    assert dev.post("/sleep?level=1").json() == {"status": "sleeping", "level": 1}
    events = [line for line in lines if line]
    assert json.loads(events[-2][6:])["choices"][0]["finish_reason"] == "abort"
    assert events[-1] == b"data: [DONE]"
    assert dev.get("/is_sleeping").json() == {"is_sleeping": True}
    assert dev.get("/health").status_code == 200
    state = 'engine="0",model_name="tiny",sleep_state'
    assert dev.metric(f'vllm:engine_sleep_state{{{state}="weights_offloaded"}}') == 1
    assert dev.metric(f'vllm:engine_sleep_state{{{state}="awake"}}') == 0
    waiting = dev.session.post(
        dev.url + "/v1/completions",
        json={"prompt": "hello", "max_tokens": 1, "stream": True},
        stream=True,
        timeout=10,
    )
    until(lambda: dev.engine.unfinished == 1, "the request to be taken in")
    assert dev.post("/wake_up").json() == {"status": "awake", "tags": None}
    assert waiting.text.endswith("data: [DONE]\n\n")
    assert dev.metric(f'vllm:engine_sleep_state{{{state}="awake"}}') == 1


def test_sleeping_and_waking_are_timed_as_recorded(dev: Any) -> None:
    """The families are there from their first use on, by operation and without an engine."""
    assert "sleep_mode" not in dev.get("/metrics").text
    duration = "vllm:sleep_mode_operation_duration_seconds"
    dev.post("/sleep?level=1")
    assert dev.metric(f'{duration}_bucket{{le="600.0",operation="sleep"}}') == 1
    assert dev.metric('vllm:sleep_mode_operations_in_flight{operation="sleep"}') == 0
    dev.post("/wake_up")
    assert dev.metric(f'{duration}_count{{operation="wake"}}') == 1


def test_the_prefix_cache_can_be_emptied_while_nobody_uses_it(dev: Any) -> None:
    """Afterwards a prompt that was seen before is computed again."""
    text = " ".join(f"w{i}" for i in range(80))
    dev.chat(text, max_tokens=1)
    lines = begin_stream(dev)
    assert dev.post("/reset_prefix_cache").json() == {"success": False}
    dev.post("/pause")
    assert list(lines)
    dev.post("/resume")
    assert dev.post("/reset_prefix_cache").json() == {"success": True}
    hits = dev.metric(f"vllm:prefix_cache_hits_total{BASE}")
    dev.chat(text, max_tokens=1)
    assert dev.metric(f"vllm:prefix_cache_hits_total{BASE}") == hits


def answer_while_paused(dev: Any, until: Callable[..., None], body: dict[str, Any]) -> str:
    """Ask, pause as soon as a few tokens have come, and return what was answered."""
    answers: list[str] = []
    tokens = f"vllm:generation_tokens_total{BASE}"
    before = dev.metric(tokens)

    def ask() -> None:
        answers.append(requests.post(f"{dev.url}/v1/completions", json=body, timeout=10).text)

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: dev.metric(tokens) > before + 2, "tokens to come")
    assert dev.post("/pause").json() == {"status": "paused"}
    assert dev.engine.unfinished == 0
    thread.join(10)
    return answers[0]


@pytest.mark.parametrize("stream", [True, False])
def test_an_aborted_answer_ends_with_the_token_of_the_step_in_flight(
    dev: Any, until: Callable[..., None], *, stream: bool
) -> None:
    """stream_when_paused: the chunk that says "abort" shows a token, which was used as the rest."""
    body = {"prompt": "a", "max_tokens": 4000, "ignore_eos": True, "stream": stream}
    if stream:
        body["stream_options"] = {"include_usage": True}
    text = answer_while_paused(dev, until, body)
    found = re.findall(WORD, text)
    assert re.findall(r'"completion_tokens":(\d+)', text) == [str(len(found))]
    if stream:
        *_, last, _usage, done, _ = text.split("\n\n")
        assert done == "data: [DONE]"
        text = last
    choice = json.loads(text.removeprefix("data: "))["choices"][0]
    assert choice["finish_reason"] == "abort"
    assert re.findall(WORD, choice["text"])[-1] == found[-1]


def test_aborted_requests_are_counted_as_recorded(dev: Any, until: Callable[..., None]) -> None:
    """devmode.end: after two answers of two tokens and an aborted one, all counts are 3.

    And the tokens of requests add up to those of steps: 19 there. (vLLM's inter-token latencies
    are 17, one more than the tokens allow: not ours.)
    """
    body = {"prompt": "a b", "max_tokens": 2, "ignore_eos": True}
    dev.post("/v1/completions", **body)
    text = answer_while_paused(dev, until, {**body, "max_tokens": 4000, "stream": True})
    dev.post("/resume")
    dev.post("/v1/completions", **body)
    tokens = 4 + len(re.findall(WORD, text))
    for family in (
        *("e2e_request_latency_seconds", "request_queue_time_seconds", "request_prompt_tokens"),
        *("request_inference_time_seconds", "request_prefill_time_seconds", "request_params_n"),
        *("request_decode_time_seconds", "request_time_per_output_token_seconds"),
        *("request_generation_tokens", "request_max_num_generation_tokens"),
        *("request_params_max_tokens", "request_prefill_kv_computed_tokens"),
        *("request_num_preemptions", "time_to_first_token_seconds"),
    ):
        assert dev.metric(f"vllm:{family}_count{BASE}") == 3, family
    assert dev.metric(f"vllm:request_generation_tokens_sum{BASE}") == tokens
    assert dev.metric(f"vllm:request_max_num_generation_tokens_sum{BASE}") == tokens
    assert dev.metric(f"vllm:generation_tokens_total{BASE}") == tokens
    assert dev.metric(f"vllm:inter_token_latency_seconds_count{BASE}") == tokens - 3
    assert dev.metric(f"vllm:request_params_max_tokens_sum{BASE}") == 4004


def test_who_got_no_token_yet_is_aborted_with_an_empty_chunk(
    serve: Callable[..., Any], until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has used nothing, and the times of tokens that never came are not counted."""
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1")
    with serve(*TINY, "--max-num-seqs", "1") as engine:
        lines = begin_stream(engine)
        answers: list[requests.Response] = []
        body = {"prompt": "waits", "max_tokens": 5}
        url = f"{engine.url}/v1/completions"
        thread = threading.Thread(
            target=lambda: answers.append(requests.post(url, json=body, timeout=10))
        )
        thread.start()
        until(lambda: engine.engine.unfinished == 2, "both to be taken in")
        engine.post("/pause")
        thread.join(10)
        assert [line for line in lines if line][-1] == b"data: [DONE]"
        choice = answers[0].json()["choices"][0]
        assert (choice["text"], choice["finish_reason"]) == ("", "abort")
        assert answers[0].json()["usage"]["completion_tokens"] == 0
        assert engine.metric(f"vllm:request_generation_tokens_count{BASE}") == 2
        assert engine.metric(f"vllm:e2e_request_latency_seconds_count{BASE}") == 1


def test_a_paused_engine_refuses_with_503(dev: Any) -> None:
    """Pausing aborts and counts what ran, and only resuming lets requests in again."""
    lines = begin_stream(dev)
    assert dev.post("/pause?mode=abort").json() == {"status": "paused"}
    assert [line for line in lines if line][-1] == b"data: [DONE]"
    aborted = 'engine="0",finished_reason="abort",model_name="tiny"'
    assert dev.metric(f"vllm:request_success_total{{{aborted}}}") == 1
    refused = dev.chat(max_tokens=1)
    assert refused.status_code == 503
    assert refused.json()["error"]["message"].startswith("Generation is paused.")
    assert dev.post("/resume").json() == {"status": "resumed"}
    assert dev.chat(max_tokens=1).status_code == 200


def test_without_developer_mode_these_routes_are_not_there(serve: Callable[..., Any]) -> None:
    """Nobody puts a production engine to sleep."""
    with serve(*TINY) as engine:
        assert engine.post("/sleep").status_code == 404
        assert engine.get("/is_paused").status_code == 404


def test_load_counts_what_is_being_generated_where_asked_to(
    serve: Callable[..., Any], until: Callable[..., None]
) -> None:
    """--enable-server-load-tracking; without it /load is always 0."""
    for flags, expected in ((("--enable-server-load-tracking",), 1), ((), 0)):
        with serve(*TINY, *flags) as engine:
            lines = begin_stream(engine)
            assert engine.get("/load").json() == {"server_load": expected}
            del lines
            engine.session.close()
            until(lambda: engine.get("/load").json() == {"server_load": 0}, "the load to go")


def test_request_ids_come_back_where_asked_to(serve: Callable[..., Any]) -> None:
    """--enable-request-id-headers: the client's own id, or a new one, on every answer."""
    with serve(*TINY, "--enable-request-id-headers") as engine:
        assert engine.get("/health", **{"X-Request-Id": "mine"}).headers["x-request-id"] == "mine"
        assert len(engine.get("/nowhere").headers["x-request-id"]) == 32
        assert len(engine.chat(max_tokens=1, stream=True).headers["x-request-id"]) == 32


def test_n_answers_differ_and_count_as_one_prompt(serve: Callable[..., Any]) -> None:
    """As in vLLM: n requests for the engine, one for the parameter histograms."""
    with serve(*TINY) as engine:
        answer = engine.post("/v1/completions", prompt=["a b", "c"], n=2, **THREE).json()
        texts = [choice["text"] for choice in answer["choices"]]
        assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
        assert len(set(texts)) == 4
        assert answer["usage"]["prompt_tokens"] == 3
        assert answer["usage"]["completion_tokens"] == 12
        assert engine.metric(f"vllm:request_params_n_sum{BASE}") == 4
        assert engine.metric(f"vllm:request_params_n_count{BASE}") == 2
        assert engine.metric(f"vllm:request_max_num_generation_tokens_count{BASE}") == 2
        assert engine.metric(f"vllm:request_generation_tokens_count{BASE}") == 4


def test_a_stop_token_ends_an_answer_and_is_not_shown(serve: Callable[..., Any]) -> None:
    """Its id comes from /tokenize and is the stop_reason; the token counts."""
    with serve(*TINY) as engine:
        full = engine.post("/v1/completions", prompt="a", max_tokens=8, ignore_eos=True).json()
        words = full["choices"][0]["text"].split()
        number = engine.post("/tokenize", prompt=words[3]).json()["tokens"][0]
        assert engine.post("/detokenize", tokens=[number]).json() == {"prompt": words[3]}
        cut = engine.post("/v1/completions", prompt="a", max_tokens=8, stop_token_ids=[number])
        choice = cut.json()["choices"][0]
        assert choice["text"].split() == words[:3]
        assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", number)
        assert cut.json()["usage"]["completion_tokens"] == 4


def test_logprobs_depend_on_the_token_only(serve: Callable[..., Any]) -> None:
    """The same token has the same value wherever it is asked for, and the likeliest comes first."""
    with serve(*TINY) as engine:
        asked = {"max_tokens": 4, "ignore_eos": True}
        logprobs = engine.chat(logprobs=True, top_logprobs=3, **asked).json()["choices"][0]
        tokens = logprobs["logprobs"]["content"]
        assert "".join(token["token"] for token in tokens) == logprobs["message"]["content"]
        for token in tokens:
            values = [top["logprob"] for top in token["top_logprobs"]]
            assert values == sorted(values, reverse=True)
            assert values[0] == token["logprob"] <= 0
        again = engine.chat(logprobs=True, **asked).json()["choices"][0]["logprobs"]["content"]
        assert [t["logprob"] for t in again] == [t["logprob"] for t in tokens]
