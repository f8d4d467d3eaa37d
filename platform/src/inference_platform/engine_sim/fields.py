"""The types of a body's fields, checked as leniently as pydantic checks them.

A field that may have one of several types gets an error for every type that it does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inference_platform.engine_sim.errors import Problem, bad_request

Body = dict[str, Any]
Check = Callable[[object, str], list[Problem]]

# The members of the union that a chat message is, in vLLM's order, with the role each wants.
_MESSAGES = {
    "ChatCompletionDeveloperMessageParam": "developer",
    "ChatCompletionSystemMessageParam": "system",
    "ChatCompletionUserMessageParam": "user",
    "ChatCompletionAssistantMessageParam": "assistant",
    "ChatCompletionToolMessageParam": "tool",
    "ChatCompletionFunctionMessageParam": "function",
    "CustomChatCompletionMessageParam": "",
}
_TRUE = (True, "true", "True", "TRUE", "t", "T", "1", "yes", "y", "on")
_FALSE = (False, "false", "False", "FALSE", "f", "F", "0", "no", "n", "off")


def truth(value: object) -> bool:
    """Read a boolean."""
    return value in _TRUE


def whole(value: object, where: str) -> list[Problem]:
    """Check an integer."""
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


def number(value: object, where: str) -> list[Problem]:
    """Check a number."""
    if isinstance(value, bool | int | float | str):
        if _converts(float, value):
            return []
        text = "Input should be a valid number, unable to parse string as a number"
        return [Problem("float_parsing", where, text, value)]
    return [Problem("float_type", where, "Input should be a valid number", value)]


def boolean(value: object, where: str) -> list[Problem]:
    """Check a boolean."""
    if value in _TRUE or value in _FALSE:
        return []
    if isinstance(value, str | int | float):
        text = "Input should be a valid boolean, unable to interpret input"
        return [Problem("bool_parsing", where, text, value)]
    return [Problem("bool_type", where, "Input should be a valid boolean", value)]


def text(value: object, where: str) -> list[Problem]:
    """Check a text."""
    if isinstance(value, str):
        return []
    return [Problem("string_type", where, "Input should be a valid string", value)]


def table(value: object, where: str) -> list[Problem]:
    """Check an object."""
    if isinstance(value, dict):
        return []
    return [Problem("dict_type", where, "Input should be a valid dictionary", value)]


def list_of(check: Check) -> Check:
    """Return the check of a list whose items pass a check."""

    def check_list(value: object, where: str) -> list[Problem]:
        if isinstance(value, list):
            return [p for i, item in enumerate(value) for p in check(item, f"{where}.{i}")]
        return [Problem("list_type", where, "Input should be a valid list", value)]

    return check_list


def texts(value: object, where: str) -> list[Problem]:
    """Check a text or a list of texts."""
    if isinstance(value, str):
        return []
    if isinstance(value, list):
        return list_of(text)(value, where)
    return [*text(value, where), *list_of(text)(value, where)]


def biases(value: object, where: str) -> list[Problem]:
    """Check an object of numbers."""
    if not isinstance(value, dict):
        return table(value, where)
    return [p for key, item in value.items() for p in number(item, f"{where}.{key}")]


def stream_options(value: object, where: str) -> list[Problem]:
    """Check what a stream should bring along."""
    if not isinstance(value, dict):
        return table(value, where)
    names = ("include_usage", "continuous_usage_stats")
    return [p for n in names if value.get(n) is not None for p in boolean(value[n], f"{where}.{n}")]


def prompts(value: object, where: str) -> list[Problem]:
    """Check a completion's prompt: token ids, lists of token ids, a text or texts, or nothing."""
    if value is None or isinstance(value, str):
        return []
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        if kinds <= {str} or (kinds <= {int} and min(value) >= 0):
            return []
    found = []
    for check in (list_of(_token), list_of(list_of(_token)), text, list_of(text)):
        problems = check(value, where)
        if not problems:
            return []
        found += problems
    return found


def _token(value: object, where: str) -> list[Problem]:
    if problems := whole(value, where):
        return problems
    if int(value) >= 0:  # type: ignore[call-overload]  # `whole` found nothing wrong
        return []
    message = "Input should be greater than or equal to 0"
    return [Problem("greater_than_equal", where, message, value, "{'ge': 0}")]


def messages(body: Body) -> list[Problem]:
    """Check a chat's messages: a list of objects with a role and text or text parts."""
    where = "body.messages"
    if "messages" not in body:
        return [Problem("missing", where, "Field required", body)]
    found = body["messages"]
    if isinstance(found, bool | int | float):
        # A check that runs before the types' own trips over what it cannot iterate.
        raise bad_request(f"'{type(found).__name__}' object is not iterable")
    if not isinstance(found, list):
        return [Problem("list_type", where, "Input should be a valid list", found)]
    return [p for i, message in enumerate(found) for p in _message(message, f"{where}.{i}")]


def _message(message: object, where: str) -> list[Problem]:
    if not isinstance(message, dict):
        return [p for member in _MESSAGES for p in table(message, f"{where}.{member}")]
    has_role = isinstance(message.get("role"), str)
    if has_role and _is_content(message):
        return []
    if has_role and isinstance(message["content"], list | dict):  # only its parts can be wrong
        return text(message["content"], f"{where}.content")
    problems = [
        p
        for member, role in _MESSAGES.items()
        for p in _as_member(message, f"{where}.{member}", role)
    ]
    harmony = f"{where}.Message"
    problems.append(Problem("missing", f"{harmony}.author", "Field required", message))
    content = "Input should be a valid list"
    problems.append(Problem("list_type", f"{harmony}.content", content, message.get("content")))
    return problems


def _as_member(message: Body, where: str, role: str) -> list[Problem]:
    """Return what keeps a message from being one member of the union; "" takes every role."""
    content = _contents(message, where, role)
    roles = _role(message, where, role)
    if role == "tool" and "tool_call_id" not in message:
        roles.append(Problem("missing", f"{where}.tool_call_id", "Field required", message))
    if role == "function" and "name" not in message:
        roles.insert(0, Problem("missing", f"{where}.name", "Field required", message))
    return [*roles, *content] if role in ("assistant", "") else [*content, *roles]


def _role(message: Body, where: str, role: str) -> list[Problem]:
    where = f"{where}.role"
    if "role" not in message:
        return [Problem("missing", where, "Field required", message)]
    found = message["role"]
    if not role:
        return text(found, where)
    if found == role:
        return []
    context = str({"expected": f"'{role}'"})
    return [Problem("literal_error", where, f"Input should be '{role}'", found, context)]


def _contents(message: Body, where: str, role: str) -> list[Problem]:
    where = f"{where}.content"
    if "content" not in message:
        required = role not in ("assistant", "")
        return [Problem("missing", where, "Field required", message)] if required else []
    found = message["content"]
    if isinstance(found, str | list) or (found is None and role in ("assistant", "function")):
        return []
    if role == "function":
        return text(found, where)
    other = Problem("iterable_type", where, "Input should be iterable", found)
    return [*text(found, where), other]


def _is_content(message: Body) -> bool:
    """Whether this can be a message's content: text, text parts, or nothing from the assistant."""
    content = message.get("content", "")
    if isinstance(content, list):
        return all(isinstance(p, dict) and isinstance(p.get("text", ""), str) for p in content)
    return isinstance(content, str) or (content is None and message["role"] == "assistant")


def _converts(kind: Callable[[Any], object], value: object) -> bool:
    try:
        kind(value)
    except (ValueError, OverflowError):
        return False
    return True
