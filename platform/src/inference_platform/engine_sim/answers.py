"""Writes what the engine produces to the client: as a stream of events, or as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import orjson

from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.engine import Asked, Stream
from inference_platform.engine_sim.errors import EngineDeadError
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.generation import Generation
from inference_platform.engine_sim.logprobs import (
    chat_logprobs,
    completion_logprobs,
    prompt_logprobs,
)
from inference_platform.engine_sim.shapes import DONE, Shape
from inference_platform.engine_sim.tokens import token_id

KEEP_ALIVE = b": keep-alive\n\n"


async def write_stream(
    call: Call, asked: Asked, shape: Shape, request: Generation, flags: Flags
) -> None:
    """Send one event a token; tokens that became ready together leave in one write."""
    await call.start_stream()
    streams = asked.streams
    shown = [0] * len(streams)
    news = news_of(call, asked, flags)
    if request.is_plain and not flags.sse_keep_alive_interval:  # which asks for somebody who waits
        counts = request.continuous_usage
        asked.sink = partial(_write_ready, call, shape, streams[0], shown, counts=counts)
    while not asked.is_over(shown):
        if not await news(shown):
            if asked.failed:
                await call.send_events(shape.failure(EngineDeadError().body()), more=False)
            return
        events = [] if any(shown) else _opening(shape, request, len(streams))
        ready = [stream.ready for stream in streams]
        is_over = asked.is_over(ready)
        chunks = sorted(  # as in vLLM the choices take turns
            (index, choice)
            for choice, end in enumerate(ready)
            for index in range(shown[choice], end)
        )
        for index, choice in chunks:
            is_end = is_over and (index, choice) == chunks[-1]
            events.append(_chunk(shape, request, streams[choice], choice, index, is_end=is_end))
        shown[:] = ready
        if is_over:
            if request.include_usage:
                add_details(shape, asked, flags)
                events.append(shape.usage_chunk(asked.tokens, _metrics(asked, flags)))
            events.append(DONE)
        await call.send_events(b"".join(events), more=not is_over)


def _write_ready(
    call: Call, shape: Shape, stream: Stream, shown: list[int], *, counts: bool
) -> bool:
    """Send the tokens between a plain stream's first and its last without waking its task.

    Waking it costs as much as all else that a token does. False, and nothing sent, when the task
    has to go on. `shown` is the task's: both count it up.
    """
    first, end = shown[0], stream.ready
    if not first or end >= stream.answer.tokens:
        return False
    text, chunk = stream.answer.text, shape.token_chunk
    events = [chunk(text(index), index + 1 if counts else None) for index in range(first, end)]
    if not call.write_now(b"".join(events)):
        return False
    shown[0] = end
    return True


def news_of(call: Call, asked: Asked, flags: Flags) -> Callable[[Sequence[int]], Awaitable[bool]]:
    """Return `asked.news`, with a comment for every interval of silence where that is asked for."""
    interval_s = flags.sse_keep_alive_interval
    if not interval_s:
        return asked.news

    async def news(shown: Sequence[int]) -> bool:
        while True:
            try:
                async with asyncio.timeout(interval_s):
                    return await asked.news(shown)
            except TimeoutError:
                await call.send_events(KEEP_ALIVE)

    return news


def _opening(shape: Shape, request: Generation, choices: int) -> list[bytes]:
    """Return the events that come before a chat's first token."""
    if not shape.is_chat:
        return []
    usage = 0 if request.continuous_usage else None
    prompt = request.prompts[0]
    ids = list(map(token_id, prompt.tokens)) if request.token_ids else None
    events = [shape.role_chunk(usage, choice, ids) for choice in range(choices)]
    if prompt.echo:
        events += [shape.echo_chunk(prompt.echo, choice) for choice in range(choices)]
    return events


def _chunk(  # noqa: PLR0913  # each says which chunk it is
    shape: Shape, request: Generation, stream: Stream, choice: int, index: int, *, is_end: bool
) -> bytes:
    """Return the event of one token of one choice."""
    answer = stream.answer
    usage = min(index + 1, answer.used_tokens) if request.continuous_usage else None
    text = answer.delta(index)
    prompt = request.prompts[choice // request.n]
    shows_prompt = index == 0 and request.echo and not shape.is_chat
    if shows_prompt:
        text = orjson.dumps(prompt.echo).decode()[1:-1] + text
    logprobs = _logprobs(shape, request, stream, choice, range(index, index + 1))
    if index < answer.tokens - 1:
        chunk = shape.token_chunk(text, usage, choice, logprobs)
    else:
        with_print = is_end and not request.include_usage
        chunk = shape.last_chunk(answer, text, usage, choice, logprobs, with_print=with_print)
    if shows_prompt or (index == 0 and request.token_ids and not shape.is_chat):
        chunk = _with_ids(chunk, b"prompt_token_ids", list(map(token_id, prompt.tokens)))
    if request.token_ids:
        shown = [answer.id(index)] if index < answer.used_tokens else []
        chunk = _with_ids(chunk, b"token_ids", shown)
    return chunk


def _with_ids(chunk: bytes, name: bytes, ids: list[int]) -> bytes:
    """Put token ids where a chunk says that there are none."""
    return chunk.replace(b'"%b":null' % name, b'"%b":%b' % (name, orjson.dumps(ids)), 1)


def _logprobs(
    shape: Shape, request: Generation, stream: Stream, choice: int, indices: range
) -> dict[str, Any] | None:
    """Return the `logprobs` of some tokens of a choice, with an echoed prompt's before them."""
    top = request.logprobs
    if top is None:
        return None
    if shape.is_chat:
        return chat_logprobs(stream.answer, indices, top)
    echoed = request.prompts[choice // request.n].tokens if request.echo else []
    if indices.start == 0:
        return completion_logprobs(stream.answer, indices, top, echoed)
    return completion_logprobs(stream.answer, indices, top, behind=len(" ".join(echoed)))


def add_details(shape: Shape, asked: Asked, flags: Flags) -> None:
    """Let the usage tell how much of the prompt came from the cache and how much went there."""
    if not flags.enable_prompt_tokens_details:
        return
    cached = sum(s.times.cached_tokens for s in asked.streams[:: asked.n])
    created = None
    if shape.is_chat:
        stored = shape.prompt_tokens // flags.block_size * flags.block_size
        created = stored - cached if flags.enable_prefix_caching else 0
    shape.details = {"cached_tokens": cached, "created_cache_tokens": created}


def _metrics(asked: Asked, flags: Flags) -> dict[str, float] | None:
    """Return how long the first answer took, in milliseconds; None where nobody asked."""
    times = asked.streams[0].times
    if not flags.enable_per_request_metrics or times.first_token_s is None:
        return None
    first_s = times.first_token_s - times.arrived_s
    decode_s = (times.last_token_s or times.first_token_s) - times.first_token_s
    queued_s = (times.scheduled_s or times.first_token_s) - times.arrived_s
    return {
        "time_to_first_token_ms": first_s * 1000,
        "generation_time_ms": decode_s * 1000,
        "queue_time_ms": queued_s * 1000,
        "mean_itl_ms": decode_s * 1000 / (times.tokens - 1) if times.tokens > 1 else 0.0,
        "tokens_per_second": times.tokens / max(first_s + decode_s, 1e-9),
    }


async def wait_for_all(asked: Asked) -> bool:
    """Wait for every token; False when the request was aborted meanwhile."""
    seen = [0] * len(asked.streams)
    while not asked.is_over(seen):
        if not await asked.news(seen):
            if asked.failed:
                raise EngineDeadError
            return False
        seen = [stream.ready for stream in asked.streams]
    return True


async def write_whole(
    call: Call, asked: Asked, shape: Shape, request: Generation, flags: Flags
) -> None:
    """Send a complete answer."""
    choices, about_prompt = [], {}
    for index, stream in enumerate(asked.streams):
        answer = stream.answer
        prompt = request.prompts[index // request.n]
        top = request.prompt_logprobs
        about_prompt = {
            "prompt_logprobs": None if top is None else prompt_logprobs(prompt.tokens, top),
            "prompt_token_ids": list(map(token_id, prompt.tokens)) if request.token_ids else None,
        }
        logprobs = _logprobs(shape, request, stream, index, range(answer.used_tokens))
        ids = answer.ids() if request.token_ids else None
        text = prompt.echo + answer.full_text()
        choices.append(shape.choice(index, answer, text, logprobs, ids, about_prompt))
    add_details(shape, asked, flags)
    whole = shape.whole(choices, asked.tokens, about_prompt, _metrics(asked, flags))
    await call.answer_json(200, whole)
