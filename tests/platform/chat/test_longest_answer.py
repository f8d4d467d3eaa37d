"""The longest answer: whoever it waits for, router or browser, it is over when the chat says so."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from expiring import ALLOWED_S, Expire, expiring
from scripted_http import CHUNKED, HEAD, chunk, event, eventually

from inference_platform.router import replies

Start = Callable[..., Awaitable[Any]]
HI = {"model": "chat-fast", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def expire(monkeypatch: pytest.MonkeyPatch) -> Expire:
    """Makes the time of every answer under way pass at once."""
    return expiring(monkeypatch)


async def _never_ends(exchange: Any) -> None:
    await exchange.send(HEAD + CHUNKED)
    while not exchange.gone.is_set():
        await exchange.send(chunk(event("a")))
        await asyncio.sleep(0.001)


async def test_an_answer_that_goes_on_for_ever_is_ended(chat: Start, expire: Expire) -> None:
    """Each token resets the silence, so only a bound on the whole ends it, with its reason."""
    door, router = await chat(_never_ends, answer_timeout_s=ALLOWED_S)
    async with asyncio.timeout(10):
        client = await door.open(HI)
        await client.head()
        await client.part()
        assert expire() == 1
        got = await client.finish()
    assert got.whole
    *_, error, done = got.events
    assert (json.loads(error)["error"]["type"], done) == ("answer_timeout", "[DONE]")
    await eventually(router.exchanges[0].gone.is_set, "the end of the router's request")
    assert door.metric("requests_total", code="200", outcome="cut") == 1
    assert door.metric("inflight") == 0


@pytest.mark.parametrize(
    ("taken", "code", "outcome"),
    [(0, "504", "upstream_error"), (1, "200", "cut"), (2, "200", "cut")],
    ids=["nothing", "head", "first-token"],
)
async def test_a_browser_that_does_not_read_holds_no_place(
    chat: Start,
    expire: Expire,
    monkeypatch: pytest.MonkeyPatch,
    taken: int,
    code: str,
    outcome: str,
) -> None:
    """It keeps its connection and takes no more, so `send` never returns; not for last words."""
    monkeypatch.setattr(replies, "LAST_WORDS_S", 0.01)
    door, router = await chat(_never_ends, answer_timeout_s=ALLOWED_S)
    sent: list[Mapping[str, Any]] = []
    stuck = asyncio.Event()
    question = [{"type": "http.request", "body": json.dumps(HI).encode(), "more_body": False}]

    async def receive() -> Mapping[str, Any]:
        return question.pop() if question else await asyncio.Future()

    async def send(message: Mapping[str, Any]) -> None:
        if len(sent) == taken:
            stuck.set()
            await asyncio.Future()
        sent.append(message)

    scope = {"headers": [(b"content-type", b"application/json")]}
    async with asyncio.timeout(10):
        turn = asyncio.create_task(door.app.relay(scope, receive, send, "session"))
        await stuck.wait()
        assert door.metric("inflight") == 1
        assert expire() == 1
        await turn
    assert door.metric("inflight") == 0
    assert door.metric("requests_total", code=code, outcome=outcome) == 1
    await eventually(router.exchanges[0].gone.is_set, "the end of the router's request")
