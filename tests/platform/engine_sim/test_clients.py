"""The official `openai` client against the simulator: answers, streams, errors, headers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from inference_platform.engine_sim.tokens import WORD

FAST = ("--sim-step-base-s", "0.0005", "--sim-step-per-seq-s", "0")
MESSAGES: list[Any] = [{"role": "user", "content": "hello world"}]
ALL = {"ignore_eos": True}


@pytest.fixture(scope="module")
def engine(serve: Callable[..., Any]) -> Iterator[Any]:
    """One fast engine for the module, which wants a key."""
    flags = ("--served-model-name", "tiny", "--max-model-len", "2048", "--api-key", "k1")
    with serve(*flags, *FAST, "--enable-request-id-headers") as running:
        yield running


@pytest.fixture
def client(engine: Any) -> Iterator[openai.OpenAI]:
    """A client that does not try again."""
    base = engine.url + "/v1"
    with openai.OpenAI(base_url=base, api_key="k1", max_retries=0, timeout=10) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
def test_it_reads_chats_and_completions(client: openai.OpenAI, *, stream: bool) -> None:
    """`openai` parses every shape we send, and gets every token once and in order."""
    if stream:
        usage: Any = {"include_usage": True}
        chunks = list(
            client.chat.completions.create(
                model="tiny",
                messages=MESSAGES,
                max_tokens=30,
                stream=True,
                stream_options=usage,
                extra_body=ALL,
            )
        )
        assert chunks[0].choices[0].delta.role == "assistant"
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == "length"
        tokens = chunks[-1].usage
    else:
        chat = client.chat.completions.create(
            model="tiny", messages=MESSAGES, max_tokens=30, extra_body=ALL
        )
        text, tokens = chat.choices[0].message.content or "", chat.usage
    completion = client.completions.create(model="tiny", prompt="hello", max_tokens=3)
    models = client.models.list()
    assert [int(index) for index, _ in re.findall(WORD, text)] == list(range(30))
    assert tokens is not None
    assert (tokens.prompt_tokens, tokens.completion_tokens) == (7, 30)
    assert completion.choices[0].text.startswith("tok0000-")
    assert [model.id for model in models.data] == ["tiny"]


def test_it_reads_a_stream_of_a_completion(client: openai.OpenAI) -> None:
    """Every chunk parses, and the last one says why it ends."""
    chunks = list(
        client.completions.create(
            model="tiny", prompt="hello", max_tokens=5, stream=True, extra_body=ALL
        )
    )
    assert len(re.findall(WORD, "".join(chunk.choices[0].text for chunk in chunks))) == 5
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 4 + ["length"]


def test_it_reads_log_probabilities(client: openai.OpenAI) -> None:
    """One entry a token, with the alternatives that were asked for."""
    chat = client.chat.completions.create(
        model="tiny",
        messages=MESSAGES,
        max_tokens=3,
        logprobs=True,
        top_logprobs=2,
        extra_body=ALL,
    )
    logprobs = chat.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(t.token for t in logprobs.content) == chat.choices[0].message.content
    assert [len(token.top_logprobs) for token in logprobs.content] == [2, 2, 2]


def test_it_reads_a_response(client: openai.OpenAI) -> None:
    """The Responses API as a whole: the text, why it is incomplete, the usage."""
    response = client.responses.create(
        model="tiny", instructions="be brief", input="hello", max_output_tokens=4, extra_body=ALL
    )
    assert len(re.findall(WORD, response.output_text)) == 4
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage is not None
    assert response.usage.output_tokens == 4
    assert response.instructions == "be brief"


@pytest.mark.parametrize("asked", [{"stream": True}, {"previous_response_id": "resp_1"}])
def test_what_responses_do_not_offer_is_refused(
    client: openai.OpenAI, asked: dict[str, Any]
) -> None:
    """Not answered as if it had not been asked for."""
    with pytest.raises(openai.BadRequestError, match="does not model"):
        client.responses.create(model="tiny", input="hello", **asked)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"model": "nope"}, openai.NotFoundError),
        ({"temperature": 3}, openai.BadRequestError),
        ({"max_tokens": 3000}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "hello " * 3000}]}, openai.BadRequestError),
    ],
)
def test_errors_are_the_clients_exceptions(
    client: openai.OpenAI, asked: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    """By status, with our message in them."""
    with pytest.raises(error) as caught:
        client.chat.completions.create(**({"model": "tiny", "messages": MESSAGES} | asked))
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["message"] in str(caught.value)


def test_a_wrong_key_is_an_authentication_error(client: openai.OpenAI) -> None:
    """401 has its own class."""
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nope").models.list()


def test_a_dead_engine_is_an_internal_server_error(serve: Callable[..., Any]) -> None:
    """As a whole answer by status; in a stream as an error event, which the client raises too."""
    with serve("--served-model-name", "tiny") as engine:
        base = engine.url + "/v1"
        with openai.OpenAI(base_url=base, api_key="-", max_retries=0, timeout=10) as client:
            stream = client.chat.completions.create(
                model="tiny", messages=MESSAGES, stream=True, max_tokens=4000, extra_body=ALL
            )
            next(iter(stream))
            engine.engine.die("made up")
            with pytest.raises(openai.APIError, match="The server had an error"):
                list(stream)
            with pytest.raises(openai.InternalServerError):
                client.chat.completions.create(model="tiny", messages=MESSAGES)


def test_a_full_engine_is_an_internal_server_error_with_status_503(
    serve: Callable[..., Any], until: Callable[..., None]
) -> None:
    """The class is by 5xx; the status tells them apart."""
    with serve("--served-model-name", "tiny", "--max-num-queued-reqs", "1") as engine:
        base = engine.url + "/v1"
        with openai.OpenAI(base_url=base, api_key="-", max_retries=0, timeout=10) as client:
            stream = client.chat.completions.create(
                model="tiny", messages=MESSAGES, stream=True, max_tokens=4000, extra_body=ALL
            )
            until(lambda: engine.engine.unfinished == 1, "the first to be in")
            with pytest.raises(openai.InternalServerError) as caught:
                client.chat.completions.create(model="tiny", messages=MESSAGES)
            assert caught.value.status_code == 503
            stream.close()


def test_raw_responses_bring_our_headers(client: openai.OpenAI) -> None:
    """The request id is where the client looks for it."""
    raw = client.chat.completions.with_raw_response.create(
        model="tiny", messages=MESSAGES, max_tokens=1, extra_headers={"X-Request-Id": "mine"}
    )
    assert raw.headers["x-request-id"] == "mine"
    assert raw.headers["content-type"] == "application/json"
    assert raw.parse().id == "chatcmpl-mine"


def test_a_message_reads_as_anthropics_events(engine: Any) -> None:
    """Each event is named as its data says; the texts make up the words asked for."""
    body = {"model": "tiny", "max_tokens": 4, "messages": MESSAGES, "stream": True, **ALL}
    headers = {"authorization": "Bearer k1"}
    answer = engine.session.post(engine.url + "/v1/messages", json=body, headers=headers, timeout=9)
    events = [event.split("\n") for event in answer.text.strip().split("\n\n")]
    data = [json.loads(line.removeprefix("data: ")) for _, line in events]
    assert [name.removeprefix("event: ") for name, _ in events] == [d["type"] for d in data]
    text = "".join(d["delta"]["text"] for d in data if d["type"] == "content_block_delta")
    assert len(re.findall(WORD, text)) == 4
    assert data[-2]["delta"]["stop_reason"] == "max_tokens"
    body = {"model": "tiny", "messages": MESSAGES}
    missing = engine.session.post(
        engine.url + "/v1/messages", json=body, headers=headers, timeout=9
    )
    assert missing.status_code == 400
    assert "body.max_tokens" in missing.text
