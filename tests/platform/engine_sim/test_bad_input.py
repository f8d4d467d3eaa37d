"""Bad input at the API: it is answered as vLLM would, and nothing ever takes the server down."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

JSON = {"content-type": "application/json"}
CHAT = "/v1/chat/completions"
ROUTES = (CHAT, "/v1/completions", "/v1/responses", "/v1/messages", "/tokenize", "/detokenize")
MIB = 2**20


@pytest.fixture(scope="module")
def engine(serve: Callable[..., Any]) -> Iterator[Any]:
    """One fast engine for the module."""
    flags = ("--served-model-name", "tiny", "--max-model-len", "512")
    with serve(*flags, "--sim-step-base-s", "0.0001", "--sim-step-per-seq-s", "0") as running:
        yield running


def send(engine: Any, body: bytes, path: str = CHAT) -> requests.Response:
    """Post bytes as JSON."""
    answer: requests.Response = engine.session.post(
        engine.url + path, data=body, headers=JSON, timeout=30
    )
    return answer


def is_error(answer: requests.Response, status: int) -> bool:
    """Whether this is a whole error object with that status."""
    error = answer.json()["error"]
    return answer.status_code == error["code"] == status and bool(error["message"])


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"[" * 5000,
        b'{"messages":[{"role":"user","content":{"a":1}}]}',
        b'{"messages":[5]}',
        b'{"messages":[{"role":"user","content":["x"]}]}',
        b'{"messages":[{"role":7,"content":"x"}]}',
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":[1]}',
        b'{"messages":[{"role":"user","content":"x"}],"temperature":{}}',
        b'{"messages":[{"role":"user","content":"x"}],"stream":[]}',
        b'{"messages":[{"role":"user","content":"x"}],"stream_options":1}',
        b'{"messages":[{"role":"user","content":"x"}],"min_tokens":-1}',
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":NaN}',
        b'{"messages":[{"role":"user","content":"x"}],"temperature":NaN}',
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":1e400}',
        b'{"messages":[{"role":"user","content":"x"}],"temperature":1%s}' % (b"0" * 400),
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":"%s"}' % (b"9" * 5000),
        b'{"messages":[{"role":"user","content":"x"}],"n":2,"temperature":0}',
        b'{"messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":"21"}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"x"}],"model":"\\udfff"}',
        b'{"messages":[{"role":"user","content":"x"}],"\\ud800":1}',
        b'{"messages":[{"role":"user","content":"x"}],"seed":-1%s}' % (b"0" * 30),
        b'{"messages":[{"role":"user","content":"x"}],"seed":-Infinity}',
        b'{"messages":[{"role":"user","content":"x"}],"seed":1%s}' % (b"0" * 400),
        b'{"messages":[{"role":"user","content":"x"}],"n":1%s}' % (b"0" * 5000),
        b'{"messages":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"messages":' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}",
        b'{"messages":[{"role":"user","content":"x"}],"max_tokens":1,"max_tokens":-1}',
    ],
)
def test_a_bad_body_is_a_400_that_says_why(engine: Any, body: bytes) -> None:
    """No input makes a 500, and each refusal names what it is about."""
    assert is_error(send(engine, body), 400)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/xml", "multipart/form-data; boundary=x"]
)
def test_another_content_type_is_refused_unread(engine: Any, content_type: str) -> None:
    """Whatever the body is."""
    answer = engine.session.post(
        engine.url + CHAT, data=b"{", headers={"content-type": content_type}, timeout=10
    )
    assert is_error(answer, 400)
    assert "Unsupported Media Type" in answer.text


def test_of_doubled_keys_the_last_one_counts(engine: Any) -> None:
    """As in Python's json."""
    answer = send(engine, b'{"prompt":"a","max_tokens":9,"max_tokens":2}', "/v1/completions")
    assert answer.json()["usage"]["completion_tokens"] == 2


NAMES = """model messages prompt max_tokens max_completion_tokens min_tokens seed top_k temperature
    top_p stream ignore_eos stream_options stop request_id stop_token_ids logprobs top_logprobs
    prompt_logprobs truncate_prompt_tokens allowed_token_ids logit_bias return_token_ids echo tools
    tool_choice suffix continue_final_message add_generation_prompt input instructions system
    max_output_tokens stop_sequences tokens return_token_strs role content type text"""
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 1, 5, 2**63, -(2**63) - 1, 10**400, "tiny", "user", "assistant", ""])
    | st.floats()
    | st.text(st.characters(codec=None, categories=None), max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"])})
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "messages": st.lists(MESSAGE | VALUES, max_size=3),
        "prompt": st.text(max_size=9) | st.lists(st.text(max_size=3) | st.integers(), max_size=3),
        "input": st.text(max_size=9),
        "model": st.just("tiny"),
        **{name: VALUES for name in NAMES.split() if name not in {"model", "messages", "prompt"}},
    },
)


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(ROUTES), body=LIKELY | VALUES)
def test_any_json_gets_a_well_formed_answer(engine: Any, path: str, body: Any) -> None:
    """200, 400 or 404, never a 500: an error object, JSON, or a stream that ends as it should."""
    answer = send(engine, json.dumps(body).encode(), path)
    if answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.text.endswith(("data: [DONE]\n\n", '{"type":"message_stop"}\n\n'))
        return
    found = answer.json()
    assert answer.status_code in {200, 400, 404}
    assert (
        answer.status_code == 200
        or found.get("type") == "error"
        or is_error(answer, answer.status_code)
    )


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=60))
def test_any_bytes_get_a_well_formed_answer(engine: Any, body: bytes) -> None:
    """What is no JSON object is a 400."""
    assert send(engine, body).status_code == 400


HUGE = {
    "text": (CHAT, b'{"messages":[{"role":"user","content":"%s"}]}' % (b"word " * (64 * MIB // 5))),
    "numbers": ("/v1/completions", b'{"prompt":[%s1]}' % (b"1000000," * (16 * MIB // 8))),
    "nothing": (CHAT, b" " * (16 * MIB)),
    "tokenize": ("/tokenize", b'{"prompt":"%s"}' % (b"word " * (MIB // 5))),
}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_body_is_read_whole_and_nobody_waits_for_it(engine: Any, name: str) -> None:
    """VLLM has no limit either: what is too long is refused as any other, and probes go on."""
    path, body = HUGE[name]
    answers: list[requests.Response] = []
    url = engine.url + path
    thread = threading.Thread(
        target=lambda: answers.append(requests.post(url, data=body, headers=JSON, timeout=30))
    )
    thread.start()
    longest_s = 0.0
    while thread.is_alive():
        began = time.monotonic()
        assert engine.get("/health").status_code == 200
        longest_s = max(longest_s, time.monotonic() - began)
    assert answers[0].status_code == (200 if name == "tokenize" else 400)
    assert longest_s < 5
    assert engine.chat(max_tokens=1).status_code == 200
