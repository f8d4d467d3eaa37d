"""One question and its answer: what goes to the router, what comes back, and how it may end."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from scripted_http import CHUNKED, DONE, HEAD, chunk, event, eventually, reply

from inference_platform.router.replies import last_words

Start = Callable[..., Awaitable[Any]]
KEY = "sk-nobody-may-read-this"
HI = {"model": "chat-fast", "messages": [{"role": "user", "content": "hi"}]}


async def test_an_answer_is_streamed_and_the_key_stays_here(chat: Start) -> None:
    """The router is asked with key and session; the browser gets the events and neither header."""
    door, router = await chat()
    got = await door.ask(HI, {"authorization": "Bearer of-the-browser", "x-session-id": "mine"})
    assert (got.status, got.whole) == (200, True)
    assert got.body == event("a") + event("b") + DONE
    assert got.headers["content-type"].startswith("text/event-stream")
    (asked,) = router.exchanges
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == HI | {"max_tokens": 1024, "stream": True}
    assert KEY not in str(got)
    session = got.headers["set-cookie"].partition(";")[0].partition("=")[2]
    assert asked.headers["x-session-id"] == session
    assert door.metric("requests_total", code="200", outcome="ok") == 1
    assert door.metric("ttft_seconds_count") == 1
    assert door.metric("inflight") == 0


async def test_without_a_key_none_is_sent(chat: Start) -> None:
    """A platform that checks none, as on a laptop, gets no empty one."""
    door, router = await chat(api_key=None)
    assert (await door.ask(HI)).status == 200
    assert "authorization" not in router.exchanges[0].headers


async def test_a_browser_keeps_its_session(chat: Start) -> None:
    """Its cookie is passed on; one that we did not make is replaced and goes nowhere."""
    door, router = await chat()
    given = (await door.get("/")).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(given.split("; "))
    assert "Secure" not in given
    mine = given.partition(";")[0]
    again = await door.ask(HI, {"cookie": f"theme=dark; {mine}"})
    assert "set-cookie" not in again.headers
    assert router.exchanges[0].headers["x-session-id"] == mine.partition("=")[2]
    forged = await door.ask(HI, {"cookie": "chat-session=short"})
    assert "set-cookie" in forged.headers
    assert router.exchanges[1].headers["x-session-id"] != "short"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "system", "content": "obey"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content"),
        ({"messages": HI["messages"] * 4}, "messages: expected at most 3, found 4"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 65}, "max_tokens: expected at most 64, found 65"),
        ({"n": 8}, "n: Extra"),
        ({"stream": False}, "stream: Extra"),
        ({"priority": -1}, "priority: Extra"),
    ],
)
async def test_only_what_is_allowed_is_asked(
    chat: Start, change: dict[str, Any], said: str
) -> None:
    """Who has no key of his own gets nothing done with ours but a chat of bounded length."""
    door, router = await chat(messages_max=3, tokens_max=64)
    got = await door.ask(HI | change)
    assert got.status == 400
    assert said in got.json["error"]["message"]
    assert router.exchanges == []
    assert door.metric("requests_total", code="400", outcome="client_error") == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain"}, 415),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_other_sites_cannot_ask(chat: Start, headers: dict[str, str], status: int) -> None:
    """A page elsewhere must not spend our tokens with a visitor's browser."""
    door, _ = await chat()
    assert (await door.ask(HI, headers)).status == status


async def test_a_large_question_is_refused(chat: Start) -> None:
    """Before it is read to its end."""
    door, router = await chat(body_bytes_max=100)
    got = await door.ask(HI | {"model": "m" * 200})
    assert got.status == 413
    assert router.exchanges == []


async def test_a_question_that_does_not_come_is_refused(chat: Start) -> None:
    """A client that sends a head and then nothing holds no place for long."""
    door, _ = await chat(body_timeout_s=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"POST /api/chat HTTP/1.1\r\nhost: c\r\ncontent-length: 9\r\n\r\n{")
    async with asyncio.timeout(5):
        assert b" 408 " in await reader.readline()
    writer.transport.abort()


async def test_full_is_said_at_once(chat: Start) -> None:
    """More answers than allowed are refused with Retry-After; the ones before go on."""

    async def script(exchange: Any) -> None:
        await exchange.send(HEAD + CHUNKED, chunk(event("a")))
        await exchange.gone.wait()

    door, _ = await chat(script, streams_max=1)
    first = await door.open(HI)
    async with asyncio.timeout(5):
        await first.head()
    got = await door.ask(HI)
    assert (got.status, got.headers["retry-after"]) == (503, "1")
    assert door.metric("requests_total", code="503", outcome="busy") == 1
    first.leave()
    await eventually(lambda: door.metric("inflight") == 0, "the first one's end")


@pytest.mark.parametrize(
    ("status", "extra", "shown", "after"),
    [
        (429, "retry-after: 7\r\n", 429, "7"),
        (503, "retry-after: 2\r\n", 503, "2"),
        (503, "retry-after: Wed, 21 Oct 2026\r\n", 503, None),
        (404, "", 404, None),
        (401, "", 502, None),
        (403, "", 502, None),
    ],
)
async def test_what_the_platform_refuses_is_passed_on(
    chat: Start, status: int, extra: str, shown: int, after: str | None
) -> None:
    """With its reason and its Retry-After; that our key is wrong is no fault of the user's."""

    async def script(exchange: Any) -> None:
        error = {"message": f"no, not with {KEY}", "code": status}
        await exchange.send(reply(status, {"error": error}, extra))

    door, _ = await chat(script)
    got = await door.ask(HI)
    assert got.status == shown
    assert got.headers.get("retry-after") == after
    wanted = "no, not with ***" if shown == status else "The platform refused the chat's own key."
    assert got.json["error"]["message"] == wanted
    assert KEY not in str(got)


async def test_a_reply_that_is_no_stream_is_refused(chat: Start) -> None:
    """Whatever answers there, it is not a router."""

    async def script(exchange: Any) -> None:
        await exchange.send(reply(200, {"hello": "world"}))

    door, _ = await chat(script)
    assert (await door.ask(HI)).status == 502


async def test_a_router_that_is_gone_is_said_in_words(chat: Start) -> None:
    """503 with Retry-After: it may be back in a second."""
    door, router = await chat()
    await router.stop()
    got = await door.ask(HI)
    assert (got.status, got.headers["retry-after"]) == (503, "1")
    assert got.json["error"]["message"] == "The platform cannot be reached."


async def test_a_connection_that_was_just_closed_costs_nothing(chat: Start) -> None:
    """A kept-alive connection may end as it is written to; the question is asked once more."""

    async def script(exchange: Any) -> None:
        if len(router.exchanges) == 2:
            exchange.die()
            return
        await exchange.send(HEAD + CHUNKED, chunk(event("a")), chunk(DONE) + b"0\r\n\r\n")

    door, router = await chat(script)
    assert [(await door.ask(HI)).status for _ in range(2)] == [200, 200]
    assert len(router.exchanges) == 3


async def test_silence_before_the_answer_is_a_504(chat: Start) -> None:
    """The wait has a bound, after which the router's request is ended, too."""

    async def script(exchange: Any) -> None:
        await exchange.gone.wait()

    door, router = await chat(script, first_byte_timeout_s=0.05)
    got = await door.ask(HI)
    assert got.status == 504
    await eventually(router.exchanges[0].gone.is_set, "the end of the router's request")


@pytest.mark.parametrize(
    ("end", "kind"),
    [("die", "upstream_lost"), ("end", "upstream_lost"), ("hang", "upstream_stalled")],
)
async def test_a_cut_answer_is_said_to_be_cut(chat: Start, end: str, kind: str) -> None:
    """What came stays, half an event is held back, and the last event is an error."""

    async def script(exchange: Any) -> None:
        await exchange.send(HEAD + CHUNKED, chunk(event("a") + b'data: {"cho'))
        if end == "die":
            exchange.die()
        elif end == "end":
            await exchange.send(b"0\r\n\r\n")

    door, _ = await chat(script, idle_timeout_s=0.05)
    got = await door.ask(HI)
    assert (got.status, got.whole) == (200, True)
    first, error, done = got.events
    assert f"data: {first}\n\n".encode() == event("a")
    assert json.loads(error)["error"]["type"] == kind
    assert done == "[DONE]"
    assert door.metric("requests_total", code="200", outcome="cut") == 1


async def test_an_error_inside_the_stream_is_passed_on(chat: Start) -> None:
    """The router says itself that it lost its replica; that is no good answer."""
    words = last_words("upstream replica lost mid-stream", "upstream_lost")

    async def script(exchange: Any) -> None:
        await exchange.send(HEAD + CHUNKED, chunk(event("a")), chunk(words) + b"0\r\n\r\n")

    door, _ = await chat(script)
    assert (await door.ask(HI)).body == event("a") + words
    assert door.metric("requests_total", code="200", outcome="cut") == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_who_leaves_ends_the_request(chat: Start, *, begun: bool) -> None:
    """The stop button closes the connection; no engine works on for nobody."""

    async def script(exchange: Any) -> None:
        if begun:
            await exchange.send(HEAD + CHUNKED, chunk(event("a")))
        await exchange.gone.wait()

    door, router = await chat(script)
    client = await door.open(HI)
    await eventually(lambda: router.exchanges, "the router's request")
    if begun:
        async with asyncio.timeout(5):
            await client.head()
    client.leave()
    await eventually(router.exchanges[0].gone.is_set, "the end of the router's request")
    code = "200" if begun else "499"
    await eventually(
        lambda: door.metric("requests_total", code=code, outcome="client_gone") == 1, "its count"
    )
