"""The simulator against recordings of the real vLLM 0.33.0 server.

`data/golden_api.jsonl` holds requests and answers, `data/golden_metrics.prom` the metrics page
before any request, `data/golden_http.prom` two routes of the HTTP families after some. Words, ids
and times differ by nature and are masked; everything else must be the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

DATA = Path(__file__).parent / "data"
RECORDS = [json.loads(line) for line in (DATA / "golden_api.jsonl").read_text().splitlines()]
FLAGS = ("model", "--served-model-name", "tiny-llama", "--max-model-len", "2048")

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
    """Blank what differs by nature: ids, times, the fingerprint and the words."""
    text = re.sub(r'"id":"(chatcmpl|cmpl)-[0-9a-f]{16}"', r'"id":"\1-ID"', text)
    text = re.sub(r'"created":\d+', '"created":0', text)
    text = re.sub(r"modelperm-[0-9a-f]{16}", "modelperm-ID", text)
    text = re.sub(r"vllm-0\.33\.0-[0-9a-f]{8}", "FINGERPRINT", text)
    return re.sub(r'"(content|text)":"[^"]+"', r'"\1":"WORDS"', text)


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
    assert answer.status_code == record["status"]
    assert answer.headers["vary"] == "Origin"
    if isinstance(record["answer"], list):
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.text.endswith("\n\n")
        events = answer.text[:-2].split("\n\n")
        assert [masked(e) for e in events] == [masked(e) for e in record["answer"]]
    else:
        assert masked(answer.text) == masked(record["answer"])


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
