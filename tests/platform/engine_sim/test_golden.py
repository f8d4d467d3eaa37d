"""The simulator against recordings of the real vLLM 0.33.0 server.

`data/golden_api.jsonl` holds requests and answers, `data/golden_metrics.prom` the metrics page
before any request, `data/golden_http.prom` two routes of the HTTP families after some. Words, ids
and times differ by nature and are masked; everything else must be the same text.

`data/golden_parity.tsv` names every recording and how it is held to.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

DATA = Path(__file__).parent / "data"
RECORDS: list[dict[str, Any]] = [
    json.loads(line) for line in (DATA / "golden_api.jsonl").read_text().splitlines()
]
OF = {r["session"]: [x for x in RECORDS if x["session"] == r["session"]] for r in RECORDS}
FLAGS = ("model", "--served-model-name", "tiny-llama", "--max-model-len", "2048")

# How each recorded session was served; what is not said here is as in "base".
FAST = (*FLAGS, "--sim-step-base-s", "0.0001", "--sim-step-per-seq-s", "0")
QUEUED_REQS = ("--max-num-seqs", "2", "--max-num-queued-reqs", "4")
QUEUED_TOKENS = ("--max-num-seqs", "1", "--max-num-queued-tokens", "60")
OPTIONS = """--api-key k1 k2 --enable-server-load-tracking --enable-request-id-headers
    --enable-prompt-tokens-details --enable-per-request-metrics --sse-keep-alive-interval 1"""
SESSIONS: dict[str, tuple[str, ...]] = {
    "options": tuple(OPTIONS.split()),
    "apikey_repeated": ("--api-key", "k1", "--api-key", "k2"),
    "load_tracking": ("--enable-server-load-tracking",),
    "devmode": (),
    "queue_reqs": QUEUED_REQS,
    "queue_reqs_full": (*QUEUED_REQS, "--sim-step-base-s", "0.5"),
    "queue_tokens": QUEUED_TOKENS,
    "queue_tokens_full": (*QUEUED_TOKENS, "--sim-step-base-s", "0.5"),
    "dead": (),
}


class Account(NamedTuple):
    """How a recording is held to: one line of `golden_parity.tsv`.

    letter     the same request gets the same answer, once ids, times and words are masked
    shape      so does a request that means the same to our words: `instead` is merged into it,
               and stop reasons and the sizes of the vocabulary are masked too
    different  our answer is another one, on purpose; `reason` says why
    elsewhere  `reason` is the test, or the module, that holds us to it
    left out   `reason` says why
    """

    file: str
    name: str
    kind: str
    reason: str = ""
    instead: str = "{}"


def accounts() -> list[Account]:
    """Read the parity table."""
    lines = (DATA / "golden_parity.tsv").read_text().splitlines()
    return [Account(*line.split("\t")) for line in lines if not line.startswith("#")]


PARITY = {(account.file, account.name): account for account in accounts()}

# cache_config_info label values that differ on purpose, and why.
CACHE_CONFIG_DIFFERENCES: dict[str, str] = {}


@pytest.fixture(scope="module")
def engine(serve: Callable[..., Any]) -> Iterator[Any]:
    """One fast engine with the flags that the recorded server had."""
    with serve(*FAST) as running:
        running.post("/tokenize", prompt="hello world the")  # it knows the ids of words it has seen
        yield running


@pytest.fixture(scope="module")
def fresh_page(serve: Callable[..., Any]) -> str:
    """The metrics page of an engine that has served nothing."""
    with serve(*FLAGS) as running:
        page: str = running.get("/metrics").text
    return page


def masked_list(found: re.Match[str]) -> str:
    """Blank a list's numbers and words; how many they are stays."""
    name, items = found.groups()
    items = re.sub(r'"[^"]+"', "W", items)
    return f"{name}:[{re.sub(r'-?[0-9.]+', 'N', items)}]"


def masked(text: str, *, is_shape: bool = False) -> str:
    """Blank what differs by nature: ids, times, the fingerprint, words and what comes of them."""
    text = re.sub(r'"id":"(chatcmpl|cmpl|resp|msg)([-_])[0-9a-f]{16}"', r'"id":"\1\2ID"', text)
    text = re.sub(r'"(created|created_at)":\d+', r'"\1":0', text)
    text = re.sub(r"modelperm-[0-9a-f]{16}", "modelperm-ID", text)
    text = re.sub(r"vllm-0\.33\.0-[0-9a-f]{8}", "FINGERPRINT", text)
    text = re.sub(r'("(?:\w+_ms|tokens_per_second)"):[\d.e-]+', r"\1:S", text)
    text = re.sub(r'"bytes":\[[^]]*\]', '"bytes":LIST', text)
    lists = r'("(?:tokens|token_strs|token_ids|prompt_token_ids|text_offset|token_logprobs)")'
    text = re.sub(lists + r":\[([^]]*)\]", masked_list, text)
    text = re.sub(r'"\d+":{"logprob"', '"ID":{"logprob"', text)
    text = re.sub(r'"logprob":-?[\d.]+', '"logprob":N', text)
    text = re.sub(r'"[^"]+":-[\d.]+', '"W":N', text)
    text = re.sub(r'"(content|text|token|decoded_token)":"[^"]+"', r'"\1":"WORDS"', text)
    if is_shape:
        text = re.sub(r'"stop_reason":"[^"]+"', '"stop_reason":"STOP"', text)
        text = re.sub(r'"stop_reason":\d+', '"stop_reason":ID', text)
        text = re.sub(r"Vocabulary size: \d+", "Vocabulary size: N", text)
        text = re.sub(r"more than \d+ characters", "more than N characters", text)
    return text


def asked(record: dict[str, Any], account: Account) -> bytes | None:
    """Return the body to send; a long prompt is recorded as what it repeats, and how often."""
    body = record["body"]
    if isinstance(body, list):
        head, unit, times, tail = body
        body = head + unit * times + tail
    if account.kind == "shape":
        body = json.dumps(json.loads(body) | json.loads(account.instead))
    return None if body is None else body.encode()


def turns(events: list[str]) -> list[str]:
    """Order the events of several choices by choice; vLLM's tasks take no fixed turns."""
    return sorted(events, key=lambda event: re.findall(r'"choices":.(?:."index":(\d))?', event))


def parts(record: dict[str, Any], answer: Any) -> list[str]:
    """Return an answer as comparable texts: one, or the events of a stream.

    Of a very long stream the recording keeps the first 20 and the last 10.
    """
    if isinstance(answer, str):
        return [answer]
    total = record.get("events_total", len(answer))
    if len(answer) == total > len(record["answer"]):
        answer = answer[:20] + answer[-10:]
    several = any(word in record["name"] for word in ("two_prompts", "_n2_"))
    return turns(answer) if several else answer


def headers(found: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that are the application's, not the server's, with made-up ids masked."""
    servers = {"date", "server", "content-length", "transfer-encoding", "connection"}
    kept = {name.lower(): value for name, value in found.items() if name.lower() not in servers}
    return {name: re.sub(r"^[0-9a-f]{32}$", "ID", value) for name, value in kept.items()}


def compare(engine: Any, record: dict[str, Any]) -> None:
    """Send a recorded request and check the answer against its account."""
    account = PARITY[record["file"], record["name"]]
    answer = engine.session.request(
        record["method"],
        engine.url + record["path"],
        headers=record["headers"],
        data=asked(record, account),
        timeout=10,
    )
    text = answer.text
    if isinstance(record["answer"], list):
        assert text.endswith("\n\n")
        text = text[:-2].split("\n\n")
    is_shape = account.kind == "shape"
    ours = [masked(part, is_shape=is_shape) for part in parts(record, text)]
    golden = [masked(part, is_shape=is_shape) for part in parts(record, record["answer"])]
    if account.kind == "different":
        assert (answer.status_code, ours) != (record["status"], golden), "no longer different"
        assert answer.status_code < 500
        return
    assert (record["name"], answer.status_code) == (record["name"], record["status"])
    assert ours == golden, record["name"]
    assert headers(answer.headers) == headers(record["answer_headers"]), record["name"]


@pytest.mark.parametrize("record", OF["base"], ids=[record["name"] for record in OF["base"]])
def test_answers_are_vllms(engine: Any, record: dict[str, Any]) -> None:
    """Status, headers, every field, their order, and every event of a stream."""
    compare(engine, record)


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_goes_as_recorded(
    serve: Callable[..., Any],
    until: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    session: str,
) -> None:
    """Every answer of it in turn, from a server with the same flags in the same state."""
    monkeypatch.setenv("VLLM_SERVER_DEV_MODE", "1" if session == "devmode" else "0")
    with serve(*FAST, *SESSIONS[session]) as engine, ExitStack() as stack:
        if session.endswith("_full"):
            fill(engine, OF[session.removesuffix("_full")], until, stack)
        if session == "dead":
            engine.engine.die("made up")
        for record in OF[session]:
            compare(engine, record)


def fill(
    engine: Any, records: list[dict[str, Any]], until: Callable[..., None], stack: ExitStack
) -> None:
    """Let the requests of another session run or wait, more slowly than the test takes."""
    for count, record in enumerate(records[:4], start=1):
        body = json.loads(record["body"]) | {"stream": True, "ignore_eos": True}
        url = engine.url + record["path"]
        answer = stack.enter_context(requests.post(url, json=body, stream=True, timeout=10))
        if answer.status_code == 200:
            until(lambda count=count: engine.engine.unfinished == count, "it to be taken in")


def test_every_recording_is_accounted_for() -> None:
    """Compared here, held to by a test that exists, or left out for a reason."""
    compared = {"letter", "shape", "different"}
    records = {(record["file"], record["name"]) for record in RECORDS}
    assert records == {key for key, account in PARITY.items() if account.kind in compared}
    assert len(RECORDS) == len(records)
    assert sum(len(OF[session]) for session in ("base", *SESSIONS)) == len(RECORDS)
    for account in PARITY.values():
        assert account.kind in compared | {"elsewhere", "left out"}, account
        assert account.reason or account.kind == "letter", account
        if account.kind == "elsewhere":
            module, _, test = account.reason.partition("::")
            assert f"def {test}" in (DATA.parent / module).read_text(), account


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
