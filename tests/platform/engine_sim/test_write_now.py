"""Tokens written to the connection without waking the request's task (`listen.Protocol`)."""

from __future__ import annotations

import asyncio
import json
import random
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference_platform.engine_sim import answers
from inference_platform.engine_sim import flags as command_line
from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.core import Order
from inference_platform.engine_sim.engine import Asked, Stream
from inference_platform.engine_sim.generation import Generation, read_generation
from inference_platform.engine_sim.shapes import Shape
from inference_platform.engine_sim.tokens import WORD, Answer

FAST = (
    "--served-model-name",
    "tiny",
    "--max-model-len",
    "16384",
    "--sim-step-base-s",
    "0.0005",
    "--sim-step-per-seq-s",
    "0",
)
TOKENS = 'vllm:generation_tokens_total{engine="0",model_name="tiny"}'
CHAT = {"messages": [{"role": "user", "content": "hello"}], "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def engine(serve: Callable[..., Any]) -> Iterator[Any]:
    """One fast engine for the module."""
    with serve(*FAST) as running:
        yield running


def words(text: str) -> list[int]:
    """Return the places of the words in a stream, in the order in which they came."""
    return [int(place) for place, _ in re.findall(WORD, text)]


@pytest.mark.parametrize(
    ("more", "is_direct"),
    [
        ({}, True),
        ({"stream_options": {"include_usage": True}}, True),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": True}}, True),
        ({"n": 2}, False),
        ({"logprobs": True}, False),
        ({"stop": ["never"]}, False),
        ({"return_token_ids": True}, False),
    ],
    ids=str,
)
def test_plain_streams_alone_are_written_without_their_task(
    engine: Any, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], *, is_direct: bool
) -> None:
    """The task sends a plain stream's first and last tokens; fails when uvicorn's inside changed.

    A stream that is starved of the processor may show several tokens at once, in one write.
    """
    sent: list[bytes] = []
    send = Call.send_events

    async def watched(call: Call, events: bytes, *, more: bool = True) -> None:
        sent.append(events)
        await send(call, events, more=more)

    monkeypatch.setattr(Call, "send_events", watched)
    text = engine.post("/v1/chat/completions", **CHAT, max_tokens=60, **more).text
    by_task = b"".join(sent).decode()
    if is_direct:
        assert words(text) == [*range(60)]
        assert text.endswith("data: [DONE]\n\n")
        assert len(sent) == 2
        assert (words(by_task)[0], words(by_task)[-1]) == (0, 59)
        assert len(words(by_task)) < 60
    else:
        assert by_task == text


def test_both_ways_write_the_same(serve: Callable[..., Any], engine: Any) -> None:
    """With comments for silence, however long, tokens take the long way."""
    texts = []
    with serve(*FAST, "--sse-keep-alive-interval", "60") as slow:
        for each in (engine, slow):
            answer = each.post("/v1/chat/completions", **CHAT, request_id="same", max_tokens=20)
            text = re.sub(r'"created":\d+', "", answer.text)
            texts.append(re.sub(r"vllm-0\.33\.0-\w+", "", text))
    assert texts[0] == texts[1]


def test_a_client_that_does_not_read_is_waited_for(engine: Any, until: Callable[..., None]) -> None:
    """No more than the transport's high-water mark is kept for it; nothing is lost or turned round.

    Meanwhile the engine goes on: its tokens are counted, not written.
    """
    tokens = 1200
    body = json.dumps({**CHAT, "max_tokens": tokens}).encode()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with sock:
        sock.settimeout(10)
        host, port = engine.url.removeprefix("http://").split(":")
        sock.connect((host, int(port)))
        mine = sock.getsockname()
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
        until(lambda: mine in [p.client for p in engine.server.server_state.connections], "us")
        [ours] = [p for p in engine.server.server_state.connections if p.client == mine]
        raw = ours.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        head = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        sock.sendall(head + body)
        until(lambda: ours.flow.write_paused, "the connection to be full")
        made = engine.metric(TOKENS)
        until(
            lambda: engine.metric(TOKENS) > made + 200,
            "the engine to go on",
        )
        _, high = ours.transport.get_write_buffer_limits()
        assert ours.transport.get_write_buffer_size() < high + 4096
        text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    assert words(text) == [*range(tokens)]
    assert text.endswith("\r\n0\r\n\r\n")


class FickleCall:
    """A client whose connection is full at times: what `write_stream` needs of a `Call`."""

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self.sent: list[bytes] = []

    async def start_stream(self) -> None:
        """Send no head."""

    def write_now(self, events: bytes) -> bool:
        """Refuse every third time."""
        if self._random.random() < 1 / 3:
            return False
        self.sent.append(events)
        return True

    async def send_events(self, events: bytes, *, more: bool = True) -> None:
        """Let others go first for a while, as a full connection does."""
        del more
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        self.sent.append(events)


def plain_request() -> Generation:
    """Return what a plain chat asks for."""
    return read_generation("chat", {**CHAT, "max_tokens": 40}, 2048)


@pytest.mark.parametrize("seed", range(50))
def test_whoever_writes_every_token_comes_once_and_in_order(seed: int) -> None:
    """However reports, a full connection and the task's turns fall together."""
    chance = random.Random(seed)
    asked, call = Asked(), FickleCall(chance)
    order = Order(1, ["hello"], "ab12", 40, 0.0)
    stream = Stream(asked, order, Answer("ab12", 40, "length"), 40)
    asked.streams.append(stream)
    shape = Shape("chat", "chatcmpl-1", 0, "model", "print", 1)

    async def run() -> None:
        writing = asyncio.ensure_future(
            answers.write_stream(
                call,  # type: ignore[arg-type]
                asked,
                shape,
                plain_request(),
                command_line.parse([]),
            )
        )
        while stream.ready < 40:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            stream.ready += min(chance.randrange(3), 40 - stream.ready)
            asked.wake()
        async with asyncio.timeout(10):
            await writing

    asyncio.run(run())
    text = b"".join(call.sent).decode()
    assert words(text) == [*range(40)]
    assert text.count("data: [DONE]") == 1
