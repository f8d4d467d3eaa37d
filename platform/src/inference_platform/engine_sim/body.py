"""Request bodies: from bytes to checked types, refusing what vLLM refuses, in its words.

vLLM checks in this order: API key; JSON and types (here); model; admission; meaning (`generation`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Literal

import orjson

from inference_platform.engine_sim import fields
from inference_platform.engine_sim.errors import ApiError, Problem, invalid
from inference_platform.engine_sim.fields import Body, Check

Kind = Literal["chat", "completion"]

_TYPES: dict[str, Check] = {
    "model": fields.text,
    "max_tokens": fields.whole,
    "max_completion_tokens": fields.whole,
    "min_tokens": fields.whole,
    "n": fields.whole,
    "seed": fields.whole,
    "top_k": fields.whole,
    "temperature": fields.number,
    "top_p": fields.number,
    "presence_penalty": fields.number,
    "frequency_penalty": fields.number,
    "repetition_penalty": fields.number,
    "stream": fields.boolean,
    "ignore_eos": fields.boolean,
    "include_stop_str_in_output": fields.boolean,
    "stream_options": fields.stream_options,
    "stop": fields.texts,
    "request_id": fields.text,
    "stop_token_ids": fields.list_of(fields.whole),
    "top_logprobs": fields.whole,
    "prompt_logprobs": fields.whole,
    "truncate_prompt_tokens": fields.whole,
    "allowed_token_ids": fields.list_of(fields.whole),
    "logit_bias": fields.biases,
    "return_token_ids": fields.boolean,
    "echo": fields.boolean,
}
_CHAT_TYPES: dict[str, Check] = {
    "logprobs": fields.boolean,
    "add_generation_prompt": fields.boolean,
    "continue_final_message": fields.boolean,
}
_COMPLETION_TYPES: dict[str, Check] = {"logprobs": fields.whole}
_SEED_MIN, _SEED_MAX = -(2**63), 2**63 - 1


def read_object(raw: bytes, content_type: str) -> Body:
    """Parse a body that must be a JSON object."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        text = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise ApiError(400, "Bad Request", text)
    if not raw:
        raise invalid([Problem("missing", "body", "Field required", None)])
    body = _parse(raw)
    if not isinstance(body, dict):
        text = "Input should be a valid dictionary or object to extract fields from"
        raise invalid([Problem("model_attributes_type", "body", text, body)])
    return body


def check_types(kind: Kind, body: Body) -> Body:
    """Check the types of a body; fields that we do not know pass, as in vLLM."""
    if kind == "chat":
        problems = fields.messages(body)
        types = _TYPES | _CHAT_TYPES
    else:
        problems = fields.prompts(body.get("prompt"), "body.prompt")
        types = _TYPES | _COMPLETION_TYPES
    for name, check in types.items():
        if (value := body.get(name)) is not None:
            problems += check(value, f"body.{name}")
    problems += _seed_problems(body.get("seed"))
    if problems:
        raise invalid(problems)
    return body


def _seed_problems(seed: object) -> list[Problem]:
    """Return what keeps a seed out of 64 bits; beyond them orjson reads a float."""
    if not isinstance(seed, int | float) or _SEED_MIN <= seed <= _SEED_MAX:
        return []
    if isinstance(seed, float) and math.isfinite(seed):
        seed = int(seed)
    if isinstance(seed, float) and math.isnan(seed):
        return []
    kind, word, limit = "less_than_equal", "less", ("le", _SEED_MAX)
    if seed < 0:
        kind, word, limit = "greater_than_equal", "greater", ("ge", _SEED_MIN)
    text = f"Input should be {word} than or equal to {limit[1]}"
    return [Problem(kind, "body.seed", text, seed, f"{{{limit[0]!r}: {limit[1]}}}")]


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass  # json says where the error is, and accepts what orjson does not (NaN, large numbers)
    try:
        body = json.loads(raw)
    except json.JSONDecodeError as error:
        where, why = error.pos, error.msg
    except (UnicodeDecodeError, RecursionError, ValueError):  # ValueError: a number of 4300 digits
        where, why = 0, "Expecting value"
    else:
        if problems := _half_surrogates(body):
            raise invalid(problems)
        return body
    found: Body = {}
    context = f"{{'error': {why!r}}}"
    raise invalid([Problem("json_invalid", f"body.{where}", "JSON decode error", found, context)])


def _half_surrogates(body: object) -> list[Problem]:
    """Return the texts that no UTF-8 can hold, keys among them: pydantic takes none of these."""
    problems = []
    stack = [("body", body)]
    while stack:
        where, value = stack.pop()
        pairs: Iterable[tuple[Any, Any]] = enumerate(value) if isinstance(value, list) else ()
        if isinstance(value, dict):
            problems += [_half(f"{where}.{_escaped(key)}", key) for key in value if _is_half(key)]
            pairs = ((_escaped(key), item) for key, item in value.items())
        for name, item in pairs:
            if isinstance(item, dict | list):
                stack.append((f"{where}.{name}", item))
            elif _is_half(item):
                problems.append(_half(f"{where}.{name}", item))
    return problems


def _half(where: str, value: str) -> Problem:
    text = "Input should be a valid string, unable to parse raw data as a unicode string"
    return Problem("string_unicode", where, text, _escaped(value))


def _is_half(value: object) -> bool:
    return isinstance(value, str) and not value.isascii() and _escaped(value) != value


def _escaped(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
