"""Request bodies: from bytes to checked types, refusing what vLLM refuses, in its words.

vLLM checks in this order: API key; JSON and types (here); model; admission; meaning (`generation`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

Kind = Literal["chat", "completion"]
Body = dict[str, Any]

MAX_ERRORS_SHOWN = 10


class ApiError(Exception):
    """An answer in the shape of vLLM's error object."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        """Keep the parts; `kind` becomes the error's `type`."""
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        error = {
            "message": str(self),
            "type": self.kind,
            "param": self.param,
            "code": self.status,
        }
        return {"error": error}


class EngineDeadError(ApiError):
    """What every request gets from an engine that has died."""

    def __init__(self) -> None:
        """Say what vLLM says to clients."""
        text = "The server had an error while processing your request."
        super().__init__(500, "InternalServerError", text)


def bad_request(message: str, param: str | None = None, value: object = None) -> ApiError:
    """Return a 400 about the meaning of a request; `value` is shown when a `param` is named."""
    if param is not None:
        shown = f", value={value}" if value is not None else ""
        message = f"{message} (parameter={param}{shown})"
    return ApiError(400, "BadRequestError", message, param)


@dataclass(frozen=True, slots=True)
class Problem:
    """One validation error, printed as pydantic's dictionary is."""

    kind: str
    where: str
    message: str
    found: object
    context: str = ""

    def __str__(self) -> str:
        """Return the dictionary's text."""
        context = f", 'ctx': {self.context}" if self.context else ""
        return (
            f"{{'type': {self.kind!r}, 'loc': {self.where!r}, 'msg': {self.message!r}, "
            f"'input': {_shown(self.found)!r}{context}}}"
        )


def _shown(value: object) -> str:
    """Return a value's text; containers are only counted, so that no prompt reaches a log."""
    if isinstance(value, dict | list):
        return f"<{type(value).__name__} of {len(value)} items>"
    return str(value)


def invalid(problems: list[Problem]) -> ApiError:
    """Return a 400 that lists what is wrong with the types of a body."""
    count = len(problems)
    lines = "".join(f"\n  {problem}" for problem in problems[:MAX_ERRORS_SHOWN])
    head = f"{count} validation error{'s' if count > 1 else ''}:"
    return ApiError(400, "Bad Request", head + lines, problems[0].where)


def _whole(value: object, where: str) -> list[Problem]:
    if isinstance(value, bool | int):
        return []
    if isinstance(value, float):
        text = "Input should be a valid integer, got a number with a fractional part"
        return [] if value.is_integer() else [Problem("int_from_float", where, text, value)]
    if isinstance(value, str):
        if _converts(int, value):
            return []
        text = "Input should be a valid integer, unable to parse string as an integer"
        return [Problem("int_parsing", where, text, value)]
    return [Problem("int_type", where, "Input should be a valid integer", value)]


def _number(value: object, where: str) -> list[Problem]:
    if isinstance(value, bool | int | float | str):
        if _converts(float, value):
            return []
        text = "Input should be a valid number, unable to parse string as a number"
        return [Problem("float_parsing", where, text, value)]
    return [Problem("float_type", where, "Input should be a valid number", value)]


def _boolean(value: object, where: str) -> list[Problem]:
    if value in (True, False, "true", "false", "True", "False", "1", "0", "yes", "no", "on", "off"):
        return []
    if isinstance(value, str | int | float):
        text = "Input should be a valid boolean, unable to interpret input"
        return [Problem("bool_parsing", where, text, value)]
    return [Problem("bool_type", where, "Input should be a valid boolean", value)]


def _text(value: object, where: str) -> list[Problem]:
    if isinstance(value, str):
        return []
    return [Problem("string_type", where, "Input should be a valid string", value)]


def _object(value: object, where: str) -> list[Problem]:
    if isinstance(value, dict):
        return []
    return [Problem("dict_type", where, "Input should be a valid dictionary", value)]


def _texts(value: object, where: str) -> list[Problem]:
    if isinstance(value, str):
        return []
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in _text(item, f"{where}.{i}")]
    list_problem = Problem("list_type", where, "Input should be a valid list", value)
    return [*_text(value, where), list_problem]


def _whole_numbers(value: object, where: str) -> list[Problem]:
    if isinstance(value, list):
        return [p for i, item in enumerate(value) for p in _whole(item, f"{where}.{i}")]
    return [Problem("list_type", where, "Input should be a valid list", value)]


def _converts(kind: Callable[[Any], object], value: object) -> bool:
    try:
        kind(value)
    except (ValueError, OverflowError):
        return False
    return True


_TYPES: dict[str, Callable[[object, str], list[Problem]]] = {
    "model": _text,
    "max_tokens": _whole,
    "max_completion_tokens": _whole,
    "min_tokens": _whole,
    "n": _whole,
    "seed": _whole,
    "top_k": _whole,
    "temperature": _number,
    "top_p": _number,
    "presence_penalty": _number,
    "frequency_penalty": _number,
    "repetition_penalty": _number,
    "stream": _boolean,
    "ignore_eos": _boolean,
    "include_stop_str_in_output": _boolean,
    "stream_options": _object,
    "stop": _texts,
    "request_id": _text,
    "stop_token_ids": _whole_numbers,
    "top_logprobs": _whole,
}
_SEED_MAX = 2**63 - 1


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
    problems = _message_problems(body) if kind == "chat" else _prompt_problems(body)
    if kind == "completion" and body.get("logprobs") is not None:
        problems += _whole(body["logprobs"], "body.logprobs")
    for name, check in _TYPES.items():
        if (value := body.get(name)) is not None:
            problems += check(value, f"body.{name}")
    seed = body.get("seed")
    if isinstance(seed, int | float) and seed > _SEED_MAX:  # beyond 64 bits orjson reads a float
        text = f"Input should be less than or equal to {_SEED_MAX}"
        limit = f"{{'le': {_SEED_MAX}}}"
        problems.append(Problem("less_than_equal", "body.seed", text, int(seed), limit))
    if problems:
        raise invalid(problems)
    return body


def _parse(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass  # json says where the error is, and accepts what orjson does not (NaN, large numbers)
    try:
        return json.loads(raw)
    except json.JSONDecodeError as error:
        where, why = error.pos, error.msg
    except (UnicodeDecodeError, RecursionError):
        where, why = 0, "Expecting value"
    found: Body = {}
    context = f"{{'error': {why!r}}}"
    raise invalid([Problem("json_invalid", f"body.{where}", "JSON decode error", found, context)])


def _message_problems(body: Body) -> list[Problem]:
    """Check a chat's messages: a list of objects with a role and text or text parts."""
    if "messages" not in body:
        return [Problem("missing", "body.messages", "Field required", body)]
    messages = body["messages"]
    if not isinstance(messages, list):
        return [Problem("list_type", "body.messages", "Input should be a valid list", messages)]
    problems = []
    for index, message in enumerate(messages):
        where = f"body.messages.{index}"
        if not isinstance(message, dict):
            problems += _object(message, where)
        elif "role" not in message:
            problems.append(Problem("missing", f"{where}.role", "Field required", message))
        else:
            problems += _text(message["role"], f"{where}.role")
            content = message.get("content")
            if not _is_content(content, message["role"]):
                problems += _text(content, f"{where}.content")
    return problems


def _is_content(content: object, role: object) -> bool:
    """Whether this can be a message's content: text, text parts, or nothing from the assistant."""
    if isinstance(content, list):
        return all(isinstance(p, dict) and isinstance(p.get("text", ""), str) for p in content)
    return isinstance(content, str) or (content is None and role == "assistant")


def _prompt_problems(body: Body) -> list[Problem]:
    prompt = body.get("prompt")
    if prompt is None or isinstance(prompt, str) or _is_token_ids(prompt) or _are_texts(prompt):
        return []
    where = "body.prompt"
    list_problem = Problem("list_type", where, "Input should be a valid list", prompt)
    return [list_problem, *_text(prompt, where)]


def _is_token_ids(prompt: object) -> bool:
    return isinstance(prompt, list) and all(type(i) is int and i >= 0 for i in prompt)


def _are_texts(prompt: object) -> bool:
    return isinstance(prompt, list) and all(isinstance(item, str) for item in prompt)
