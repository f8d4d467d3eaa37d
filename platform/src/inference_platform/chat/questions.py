"""What a browser may ask for, and which session it belongs to."""

import re
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inference_platform.chat.settings import Settings
from inference_platform.router.replies import Refused

COOKIE = "chat-session"
# As secrets.token_urlsafe writes them: nothing that could end a header.
_SESSION = re.compile(rf"(?:^|;\s*){COOKIE}=([A-Za-z0-9_-]{{22}})(?:;|$)")
# What browsers say of a request that another site made; older ones say nothing.
_OUR_OWN = (None, b"same-origin", b"none")


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["user", "assistant"]
    content: Annotated[str, Field(min_length=1)]


class _Question(BaseModel):
    """The whole of it: any other field of OpenAI's API is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[_Message], Field(min_length=1)]
    max_tokens: Annotated[int | None, Field(ge=1)] = None


def to_router(scope: Mapping[str, Any], raw: bytes, settings: Settings) -> bytes:
    """The body to ask the router with, for what a browser sent; raises Refused."""
    headers = dict(scope["headers"])
    if headers.get(b"sec-fetch-site") not in _OUR_OWN:
        raise Refused(403, "Forbidden", "Another site may not ask here.")
    # A form of another site cannot send this one without asking first.
    if not headers.get(b"content-type", b"").startswith(b"application/json"):
        raise Refused(415, "UnsupportedMediaType", "Expected content-type application/json.")
    try:
        question = _Question.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise Refused(400, "BadRequestError", f"{where}: {first['msg']}", where) from None
    for name, found, most in (
        ("messages", len(question.messages), settings.messages_max),
        ("max_tokens", question.max_tokens or 0, settings.tokens_max),
    ):
        if found > most:
            text = f"{name}: expected at most {most}, found {found}"
            raise Refused(400, "BadRequestError", text, name)
    asked = question.model_dump() | {
        "max_tokens": question.max_tokens or settings.tokens_max,
        "stream": True,
    }
    return orjson.dumps(asked)


def session_of(scope: Mapping[str, Any]) -> str | None:
    """The session that the request's cookie names; None if it has none that we gave."""
    cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    found = _SESSION.search(cookies.decode("latin-1"))
    return found[1] if found else None


def new_session() -> str:
    """A session that nobody can guess."""
    return secrets.token_urlsafe(16)


def cookie(session: str, *, secure: bool) -> bytes:
    """The header's value; it ends with the browser's session, and no script reads it."""
    return f"{COOKIE}={session}; Path=/; HttpOnly; SameSite=Strict{'; Secure' * secure}".encode()
