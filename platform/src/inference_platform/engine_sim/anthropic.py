"""Anthropic's `/v1/messages` over a chat: the fields that its clients send, and its events.

Tools, images and thinking are not offered.
"""

from __future__ import annotations

from typing import Any

import orjson

from inference_platform.engine_sim import fields
from inference_platform.engine_sim.answers import news_of
from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.engine import Asked
from inference_platform.engine_sim.errors import ApiError, EngineDeadError, Problem, invalid
from inference_platform.engine_sim.fields import Body
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.generation import Generation
from inference_platform.engine_sim.shapes import Shape
from inference_platform.engine_sim.tokens import Answer

_SAME = ("model", "messages", "max_tokens", "stream", "temperature", "top_p", "top_k", "ignore_eos")
_STOP_REASONS = {"length": "max_tokens"}
# 503 is recorded from vLLM; the others are Anthropic's names for the same statuses.
_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error", 503: "overloaded_error"}


def to_chat(body: Body) -> Body:
    """Return the chat that a message asks for."""
    if body.get("max_tokens") is None:
        raise invalid([Problem("missing", "body.max_tokens", "Field required", body)])
    stops = body.get("stop_sequences")
    if stops is not None and (wrong := fields.list_of(fields.text)(stops, "body.stop_sequences")):
        raise invalid(wrong)
    chat = {name: body[name] for name in _SAME if name in body}
    system = body.get("system")
    if system is not None and isinstance(body.get("messages"), list):
        chat["messages"] = [{"role": "system", "content": system}, *body["messages"]]
    return chat | {"stop": stops}


def error_body(error: ApiError) -> dict[str, Any]:
    """Return an error in Anthropic's shape; what is wrong with a body's types keeps vLLM's."""
    if error.kind == "Bad Request":
        return error.body()
    kind = _ERROR_TYPES.get(error.status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(error)}}


def _stop_reason(answer: Answer) -> str:
    return _STOP_REASONS.get(answer.finish_reason, "end_turn")


def _message(shape: Shape, content: list[Any], stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": shape.id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "model": shape.model,
        "stop_reason": stop_reason,
    }


async def write_whole(
    call: Call, asked: Asked, shape: Shape, _request: Generation, _flags: Flags
) -> None:
    """Send a complete message."""
    answer = asked.streams[0].answer
    content = [{"type": "text", "text": answer.full_text()}]
    usage = {"input_tokens": shape.prompt_tokens, "output_tokens": asked.tokens}
    message = _message(shape, content, _stop_reason(answer)) | {"usage": usage}
    await call.answer_json(200, message)


def _event(name: str, **body: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps({"type": name} | body))


async def write_stream(
    call: Call, asked: Asked, shape: Shape, _request: Generation, flags: Flags
) -> None:
    """Send one event for every token that shows text, between those that open and close."""
    await call.start_stream()
    stream, shown = asked.streams[0], 0
    news = news_of(call, asked, flags)
    while not asked.is_over([shown]):
        if not await news([shown]):
            if asked.failed:
                error = error_body(EngineDeadError())
                await call.send_events(_event("error", **error), more=False)
            return
        events = [] if shown else _opening(shape)
        ready, answer = stream.ready, stream.answer
        for text in map(answer.delta, range(shown, ready)):
            if text:
                delta = {"type": "text_delta", "text": text}
                events.append(_event("content_block_delta", delta=delta, index=0))
        shown = ready
        if is_over := asked.is_over([shown]):
            usage = {"input_tokens": shape.prompt_tokens, "output_tokens": asked.tokens}
            end: dict[str, Any] = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
            events.append(_event("content_block_stop", index=0))
            events.append(_event("message_delta", delta=end, usage=usage))
            events.append(_event("message_stop"))
        await call.send_events(b"".join(events), more=not is_over)


def _opening(shape: Shape) -> list[bytes]:
    """Return the events before the first text."""
    usage = {"input_tokens": shape.prompt_tokens, "output_tokens": 0}
    message = _message(shape, [], None) | {"stop_sequence": None, "usage": usage}
    block = {"type": "text", "text": ""}
    return [
        _event("message_start", message=message),
        _event("content_block_start", content_block=block, index=0),
    ]
