"""Writes what the engine produces to the client: as a stream of events, or as a whole."""

from __future__ import annotations

import orjson

from inference_platform.engine_sim.body import EngineDeadError
from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.engine import Asked, Stream
from inference_platform.engine_sim.generation import Generation
from inference_platform.engine_sim.shapes import DONE, Shape
from inference_platform.engine_sim.tokens import token_id


async def write_stream(call: Call, asked: Asked, shape: Shape, request: Generation) -> None:
    """Send one event a token; tokens that became ready together leave in one write."""
    await call.start_stream()
    streams = asked.streams
    shown = [0] * len(streams)
    begun = False
    counts = request.continuous_usage
    is_plain = len(streams) == 1 and request.logprobs is None and not request.echo
    while not asked.is_over(shown):
        if not await asked.news(shown):
            if asked.failed:
                await call.send_events(shape.failure(EngineDeadError().body()), more=False)
            return
        events = []
        if not begun:
            begun = True
            usage = 0 if counts else None
            events = [shape.role_chunk(usage, choice) for choice in range(len(streams))]
        ready = [stream.ready for stream in streams]
        is_over = asked.is_over(ready)
        if is_plain:
            first, most = shown[0], min(ready[0], streams[0].answer.tokens - 1)
            events += _plain(shape, streams[0], range(first, most), counts=counts)
            shown = [most]
        chunks = [
            (index, choice)
            for choice, end in enumerate(ready)
            for index in range(shown[choice], end)
        ]
        if len(streams) > 1:
            chunks.sort()  # as in vLLM the choices take turns
        for index, choice in chunks:
            is_end = is_over and (index, choice) == chunks[-1]
            events.append(_chunk(shape, request, streams[choice], choice, index, is_end=is_end))
        shown = ready
        if is_over:
            if request.include_usage:
                events.append(shape.usage_chunk(asked.tokens))
            events.append(DONE)
        await call.send_events(b"".join(events), more=not is_over)


def _plain(shape: Shape, stream: Stream, indices: range, *, counts: bool) -> list[bytes]:
    """Return the events of tokens before the last one, where there is nothing else to show."""
    text = stream.answer.text
    return [shape.token_chunk(text(index), index + 1 if counts else None) for index in indices]


def _chunk(  # noqa: PLR0913  # each says which chunk it is
    shape: Shape, request: Generation, stream: Stream, choice: int, index: int, *, is_end: bool
) -> bytes:
    """Return the event of one token of one choice."""
    answer = stream.answer
    usage = index + 1 if request.continuous_usage else None
    text = answer.text(index)
    logprobs = None
    if request.logprobs is not None:
        logprobs = shape.logprobs(answer, range(index, index + 1), request.logprobs)
    echoed = request.echo and index == 0
    if echoed:
        prompt = request.prompts[choice // request.n]
        text = orjson.dumps(prompt.text).decode()[1:-1] + text
    if index < answer.tokens - 1:
        chunk = shape.token_chunk(text, usage, choice, logprobs)
    else:
        with_print = is_end and not request.include_usage
        chunk = shape.last_chunk(answer, text, usage, choice, logprobs, with_print=with_print)
    if echoed:
        ids = orjson.dumps([token_id(word) for word in prompt.tokens])
        chunk = chunk.replace(b'"prompt_token_ids":null', b'"prompt_token_ids":' + ids, 1)
    return chunk


async def write_whole(call: Call, asked: Asked, shape: Shape, request: Generation) -> None:
    """Wait for every token, then send the answer."""
    seen = [0] * len(asked.streams)
    while not asked.is_over(seen):
        if not await asked.news(seen):
            if asked.failed:
                raise EngineDeadError
            return  # aborted
        seen = [stream.ready for stream in asked.streams]
    choices = []
    for choice, stream in enumerate(asked.streams):
        text = stream.answer.full_text()
        if request.echo:
            text = request.prompts[choice // request.n].text + text
        choices.append((stream.answer, text))
    await call.answer_json(200, shape.whole(choices, request.logprobs))
