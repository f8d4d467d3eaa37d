"""What is wrong with a value, in the words of this project: expected, found, and what to do."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from faultload.errors import nearest

_FOUND_CHARS_MAX = 60
_KINDS: Mapping[type, str] = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    bool: "a yes or no",
    int: "a number",
    float: "a number",
}
# By pydantic's type of error; what is in braces is of the error's context.
_EXPECTED: Mapping[str, str] = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dataclass_type": "a mapping",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:.16g}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "a text like {pattern}",
    "literal_error": "{expected}",
    "union_tag_invalid": "one of {expected_tags}",
}
_MISSING = ("missing", "missing_argument", "union_tag_not_found")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument", "invalid_key")


def found(value: Any) -> str:
    """Return a value as a message shows it: short, on one line; None is nothing."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= _FOUND_CHARS_MAX else f"{text[: _FOUND_CHARS_MAX - 3]}..."


def kind_of(value: Any) -> str:
    """Return what sort of value it is, in words."""
    return _KINDS.get(type(value), f"a {type(value).__name__}")


def is_unknown_key(error: Mapping[str, Any]) -> bool:
    """Tell whether a key is not one that is known."""
    return error["type"] in _UNKNOWN


def unknown_key(name: object, known: Collection[str]) -> str:
    """Return what is wrong with a key that nobody reads, and which there are."""
    listed = ", ".join(sorted(known)) or "none"
    return f"unknown key {str(name)!r}{nearest(str(name), known)} (known: {listed})"


def explain(error: Mapping[str, Any], known: Collection[str] = ()) -> str:
    """Return one of pydantic's errors in our words.

    Args:
        error: as `ValidationError.errors()` has it.
        known: the keys that would have been right, for a key that is not.
    """
    kind, value, context = error["type"], error["input"], error.get("ctx") or {}
    if is_unknown_key(error):
        return unknown_key(error["loc"][-1], known)
    if kind in _MISSING:
        return "this key is required and missing"
    if kind in ("value_error", "assertion_error"):
        return str(error["msg"]).partition(", ")[2]
    if kind in _EXPECTED:
        expected = _EXPECTED[kind].format(**context).replace("True", "true")
    else:
        expected = str(error["msg"]).removeprefix("Input should be ")
    if kind == "union_tag_invalid":
        value = value[str(context["discriminator"]).strip("'")]
    if kind in ("too_short", "too_long"):
        return f"expected {expected}, found {context['actual_length']}"
    near = nearest(value, re.findall(r"'([^']*)'", expected)) if isinstance(value, str) else ""
    return f"expected {expected}, found {found(value)}{near or _percent(value, context)}"


def _percent(value: Any, context: Mapping[str, Any]) -> str:
    """Return the remedy for a share that was given in percent; "" where it was not."""
    is_share = 1 in (context.get("le"), context.get("lt"))
    if not is_share or isinstance(value, bool) or not 1 < value <= 100:
        return ""
    return f"; shares are of 1: {value / 100:g} for {value:g} %"


def key_of(error: Mapping[str, Any], data: Any) -> str:
    """Return the dotted path of what an error is about, as the file has it.

    pydantic's own path has the names of union members and the index of a value that stands for a
    list of one, neither of which is in the file.
    """
    path, entered = "", None
    steps = list(error["loc"])
    if error["type"].startswith("union_tag"):
        steps.append(str(error["ctx"]["discriminator"]).strip("'"))
    for index, step in enumerate(steps):
        if isinstance(data, list) and isinstance(step, int):
            path += f"[{step}]"
            data = data[step] if step < len(data) else None
        elif path and data is not entered and step in _tags(data):
            entered = data  # the union's member, and no key
        elif isinstance(data, dict) and step in data:
            path += f".{step}"
            data = data[step]
        elif index == len(steps) - 1 and error["type"] in (*_MISSING, *_UNKNOWN):
            path += f".{step}" if step != "[key]" else ""
    return path.removeprefix(".")


def _tags(data: Any) -> list[Any]:
    """Return what may name the member of a union that a mapping is."""
    return [data.get("kind"), data.get("type")] if isinstance(data, dict) else []
