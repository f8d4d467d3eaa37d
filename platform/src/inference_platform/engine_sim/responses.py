"""OpenAI's `/v1/responses` over a chat: one answer as a whole.

Streams, tools, and everything that needs an earlier response to be remembered are refused.
"""

from __future__ import annotations

import uuid
from typing import Any

from inference_platform.engine_sim import fields
from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.engine import Asked
from inference_platform.engine_sim.errors import Problem, invalid, not_modelled
from inference_platform.engine_sim.fields import Body, truth
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.generation import Generation
from inference_platform.engine_sim.shapes import Shape

_SAME = ("model", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "stop")
_REFUSED = ("stream", "background", "previous_response_id", "tools", "prompt", "reasoning")
_REPEATED = (
    "instructions",
    "temperature",
    "top_p",
    "max_output_tokens",
    "presence_penalty",
    "frequency_penalty",
)


def to_chat(body: Body) -> Body:
    """Return the chat that a response asks for."""
    wanted = body.get("input")
    if "input" not in body:
        raise invalid([Problem("missing", "body.input", "Field required", body)])
    if not isinstance(wanted, list) and (wrong := fields.text(wanted, "body.input")):
        raise invalid(wrong)
    problems = fields.whole(body.get("max_output_tokens") or 0, "body.max_output_tokens")
    if body.get("instructions") is not None:
        problems += fields.text(body["instructions"], "body.instructions")
    if problems:
        raise invalid(problems)
    for name in _REFUSED:
        value = body.get(name)
        if truth(value) if name in ("stream", "background") else value:
            raise not_modelled(name)
    messages = wanted if isinstance(wanted, list) else [{"role": "user", "content": wanted}]
    if body.get("instructions"):
        messages = [{"role": "system", "content": body["instructions"]}, *messages]
    chat = {name: body[name] for name in (*_SAME, "ignore_eos") if name in body}
    return chat | {"messages": messages, "max_tokens": body.get("max_output_tokens")}


async def write_whole(
    call: Call, asked: Asked, shape: Shape, request: Generation, _flags: Flags
) -> None:
    """Send a complete response."""
    answer = asked.streams[0].answer
    limits = request.prompts[0].limits
    is_cut = answer.finish_reason == "length"
    status = "incomplete" if is_cut else "completed"
    response = {
        "id": shape.id,
        "created_at": shape.created,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "instructions": None,
        "metadata": None,
        "model": shape.model,
        "object": "response",
        "output": [_message(answer.full_text(), status)],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "none",
        "tools": [],
        "top_p": 1.0,
        "background": False,
        "max_output_tokens": limits.max_tokens,
        "max_tool_calls": None,
        "previous_response_id": None,
        "prompt": None,
        "prompt_cache_options": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "reasoning": None,
        "safety_identifier": None,
        "service_tier": "auto",
        "status": status,
        "text": None,
        "top_logprobs": None,
        "truncation": "disabled",
        "usage": _usage(shape, asked),
        "user": None,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "input_messages": None,
        "output_messages": None,
    }
    repeated = {name: request.said[name] for name in _REPEATED if name in request.said}
    await call.answer_json(200, response | repeated)


def _message(text: str, status: str) -> dict[str, Any]:
    """Return the one thing that a response consists of."""
    content: dict[str, Any] = {
        "annotations": [],
        "text": text,
        "type": "output_text",
        "logprobs": None,
    }
    return {
        "id": f"msg_{uuid.uuid4().hex[:16]}",
        "content": [content],
        "role": "assistant",
        "status": status,
        "type": "message",
        "phase": None,
    }


def _usage(shape: Shape, asked: Asked) -> dict[str, Any]:
    per_turn: dict[str, Any] = {"input_tokens_per_turn": [], "cached_tokens_per_turn": []}
    return {
        "input_tokens": shape.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0} | per_turn,
        "output_tokens": asked.tokens,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": shape.prompt_tokens + asked.tokens,
    }
