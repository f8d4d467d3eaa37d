"""The simulator against recordings of the real vLLM 0.33.0 server.

`data/golden_api.jsonl` holds requests and answers, `data/golden_metrics.prom` the metrics page
before any request, `data/golden_http.prom` two routes of the HTTP families after some. Words, ids
and times differ by nature and are masked; everything else must be the same text, but for the
exchanges in `DIFFERENCES`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

DATA = Path(__file__).parent / "data"
RECORDS = [json.loads(line) for line in (DATA / "golden_api.jsonl").read_text().splitlines()]
FLAGS = ("model", "--served-model-name", "tiny-llama", "--max-model-len", "2048")

# Exchanges that differ on purpose, and why.
_WORDS = "the words differ, and with them where the answer stops"
_STUB = "asks the recorded stub for an early end with a field that vLLM does not have"
_UNMODELLED = "refused with a 400 that says so: not modelled"
_UNIONS = "vLLM lists an error for every member of a union of types, we list one"
_ROUTE = "this API is not offered"
DIFFERENCES = {
    "cors_preflight": "there is no CORS middleware",
    "detokenize": "the ids of words differ",
    **dict.fromkeys(
        (
            "chat_eos",
            "chat_stream_eos",
            "chat_first_token_eos",
            "chat_stream_first_token_eos",
            "chat_no_max_tokens",
            "completion_eos",
            "completion_eos_stream",
        ),
        _STUB,
    ),
    **dict.fromkeys(
        (
            "chat_stop",
            "chat_stop_included",
            "chat_stream_stop",
            "chat_stop_token_ids",
            "chat_stream_stop_token_ids",
            "completion_stop",
            "completion_stop_stream",
        ),
        _WORDS,
    ),
    **dict.fromkeys(
        (
            "chat_return_token_ids",
            "chat_return_token_ids_stream",
            "completion_echo_logprobs",
            "completion_echo_logprobs_stream",
            "completion_prompt_logprobs",
            "chat_prompt_logprobs",
            'err_logit_bias={"999999": 1}',
            'err_logit_bias={"a": 1}',
            "err_truncate_prompt_tokens=2",
            "err_allowed_token_ids=[999999]",
        ),
        _UNMODELLED,
    ),
    "chat_continue_final_message_echo": "a chat's echo is accepted without effect",
    "chat_continue_final_message_echo_stream": "a chat's echo is accepted without effect",
    **dict.fromkeys(
        (
            "err_no_role",
            "err_content_null",
            "err_content_number",
            "err_completion_negative_token",
            "err_completion_prompt_number",
        ),
        _UNIONS,
    ),
    **dict.fromkeys(("responses", "anthropic_messages", "anthropic_messages_stream"), _ROUTE),
    "err_completion_oov_token": "every token id is a word",
    "err_many": "vLLM trips over one of the errors, we list them all",
}

# cache_config_info label values that differ on purpose, and why.
CACHE_CONFIG_DIFFERENCES: dict[str, str] = {}


@pytest.fixture(scope="module")
def engine(serve: Callable[..., Any]) -> Iterator[Any]:
    """One fast engine with the flags that the recorded server had."""
    with serve(*FLAGS, "--sim-step-base-s", "0.0001", "--sim-step-per-seq-s", "0") as running:
        yield running


@pytest.fixture(scope="module")
def fresh_page(serve: Callable[..., Any]) -> str:
    """The metrics page of an engine that has served nothing."""
    with serve(*FLAGS) as running:
        page: str = running.get("/metrics").text
    return page


def masked(text: str) -> str:
    """Blank what differs by nature: ids, times, the fingerprint, words and what comes of them."""
    text = re.sub(r'"id":"(chatcmpl|cmpl)-[0-9a-f]{16}"', r'"id":"\1-ID"', text)
    text = re.sub(r'"created":\d+', '"created":0', text)
    text = re.sub(r"modelperm-[0-9a-f]{16}", "modelperm-ID", text)
    text = re.sub(r"vllm-0\.33\.0-[0-9a-f]{8}", "FINGERPRINT", text)
    text = re.sub(r'("(?:bytes|tokens|prompt_token_ids|text_offset)"):\[[^]]*\]', r"\1:LIST", text)
    text = re.sub(r'("token_strs"|"token_logprobs"):\[[^]]*\]', r"\1:LIST", text)
    text = re.sub(r'{"[^"]+":-[\d.]+,"[^"]+":-[\d.]+}', "TOP", text)
    text = re.sub(r'"logprob":-?[\d.]+', '"logprob":N', text)
    return re.sub(r'"(content|text|token)":"[^"]+"', r'"\1":"WORDS"', text)


def is_same(answer: requests.Response, record: dict[str, Any]) -> bool:
    """Whether status and masked text are what was recorded."""
    golden = record["answer"]
    if isinstance(golden, list):
        golden = "".join(f"{event}\n\n" for event in golden)
    return (answer.status_code, masked(answer.text)) == (record["status"], masked(golden))


def turns(events: list[str]) -> list[str]:
    """Order the events of several prompts by choice; vLLM's tasks take no fixed turns."""
    return sorted(events, key=lambda event: re.findall(r'"choices":.(?:."index":(\d))?', event))


@pytest.mark.parametrize("record", RECORDS, ids=[record["name"] for record in RECORDS])
def test_answers_are_vllms_to_the_letter(engine: Any, record: dict[str, Any]) -> None:
    """Status, every field, their order, and every event of a stream."""
    body = None if record["body"] is None else record["body"].encode()
    answer = engine.session.request(
        record["method"],
        engine.url + record["path"],
        headers=record["headers"],
        data=body,
        timeout=10,
    )
    assert answer.headers["vary"] == "Origin"
    if record["name"] in DIFFERENCES:
        assert answer.status_code < 500
        assert not is_same(answer, record), "it is the same now: take it off the list"
        return
    assert answer.status_code == record["status"]
    if isinstance(record["answer"], list):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.text.endswith("\n\n")
        events = answer.text[:-2].split("\n\n")
        golden = record["answer"]
        if "two_prompts" in record["name"]:
            events, golden = turns(events), turns(golden)
        assert [masked(e) for e in events] == [masked(e) for e in golden]
    else:
        assert masked(answer.text) == masked(record["answer"])


def test_every_difference_is_about_a_recorded_exchange() -> None:
    """A name that is no longer recorded, or misspelt, would excuse nothing."""
    assert set(DIFFERENCES) <= {record["name"] for record in RECORDS}


def families(page: str, prefixes: tuple[str, ...]) -> dict[str, Metric]:
    """Parse a page; `_created` gauges are left out, the client library makes them itself."""
    return {
        family.name: family
        for family in text_string_to_metric_families(page)
        if family.name.startswith(prefixes) and not family.name.endswith("_created")
    }


def series(family: Metric) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Return every sample's name and labels, bucket edges included."""
    return {
        (sample.name, frozenset(sample.labels.items()))
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_every_family_has_vllms_name_type_labels_and_buckets(fresh_page: str) -> None:
    """Dashboards and alerts written for vLLM find the same series, there from the start."""
    golden = families((DATA / "golden_metrics.prom").read_text(), ("vllm:", "http_"))
    ours = families(fresh_page, ("vllm:", "http_"))
    assert sorted(ours) == sorted(golden)
    for name, family in golden.items():
        assert ours[name].type == family.type, name
        if name != "vllm:cache_config_info":
            assert series(ours[name]) == series(family), name
            values = {(s.name, *s.labels.items()): s.value for s in ours[name].samples}
            for sample in family.samples:
                assert values[sample.name, *sample.labels.items()] == sample.value, name


def test_cache_config_differs_only_where_we_say_so(fresh_page: str) -> None:
    """The info metric has vLLM's labels and values but for the differences listed by name."""
    name = "vllm:cache_config_info"
    golden = families((DATA / "golden_metrics.prom").read_text(), ("vllm:",))[name].samples[0]
    ours = families(fresh_page, ("vllm:",))[name].samples[0]
    assert sorted(ours.labels) == sorted(golden.labels)
    differing = {key for key, value in golden.labels.items() if ours.labels[key] != value}
    assert differing == set(CACHE_CONFIG_DIFFERENCES)
    assert ours.value == golden.value == 1


def test_http_families_have_the_instrumentations_labels(engine: Any) -> None:
    """Known routes by path, everything else as "none", and the same buckets."""
    engine.get("/v1/models")
    engine.session.delete(engine.url + "/v1/completions", timeout=10)
    golden = families((DATA / "golden_http.prom").read_text(), ("http_",))
    ours = families(engine.get("/metrics").text, ("http_",))
    assert sorted(ours) == sorted(golden)
    for name, family in golden.items():
        assert series(family) <= series(ours[name]), name


def test_the_process_collectors_are_there(fresh_page: str) -> None:
    """One API server exposes its own process, as vLLM's does."""
    names = set(families(fresh_page, ("process_", "python_")))
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "python_info"} <= names
