"""The error objects of the API, and the list of what is wrong with a body as pydantic prints it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MAX_ERRORS_SHOWN = 10
MOST_CHARACTERS_SHOWN = 1000  # of one value; a body can be megabytes


class ApiError(Exception):
    """An answer in the shape of vLLM's error object."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        """Keep the parts; `kind` becomes the error's `type`."""
        # What a client sent may hold half a surrogate pair, which has no UTF-8.
        super().__init__(message.encode(errors="backslashreplace").decode())
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


def not_modelled(param: str, value: object = None) -> ApiError:
    """Return a 400 about something that vLLM would do and the simulator would only pretend to."""
    return bad_request("The engine simulator does not model this.", param, value)


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
    if isinstance(value, int) and value.bit_length() > MOST_CHARACTERS_SHOWN:
        return f"<integer of {value.bit_length()} bits>"  # Python refuses to print more
    return str(value)[:MOST_CHARACTERS_SHOWN]


def invalid(problems: list[Problem]) -> ApiError:
    """Return a 400 that lists what is wrong with the types of a body."""
    count = len(problems)
    lines = "".join(f"\n  {problem}" for problem in problems[:MAX_ERRORS_SHOWN])
    if count > MAX_ERRORS_SHOWN:
        lines += f"\n  ...and {count - MAX_ERRORS_SHOWN} more errors"
    head = f"{count} validation error{'s' if count > 1 else ''}:"
    return ApiError(400, "Bad Request", head + lines, problems[0].where)
