"""The routes that ask for tokens: what each makes of a body, how it shows answers and errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from inference_platform.engine_sim import answers, anthropic, responses
from inference_platform.engine_sim.body import Kind
from inference_platform.engine_sim.call import Call
from inference_platform.engine_sim.engine import Asked
from inference_platform.engine_sim.errors import ApiError
from inference_platform.engine_sim.fields import Body
from inference_platform.engine_sim.flags import Flags
from inference_platform.engine_sim.generation import Generation
from inference_platform.engine_sim.shapes import Shape

Writer = Callable[[Call, Asked, Shape, Generation, Flags], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a route asks for tokens and shows them.

    `translate` makes a chat or a completion of its body; `error_body` shows its errors.
    """

    kind: Kind
    id_prefix: str
    write_whole: Writer = answers.write_whole
    write_stream: Writer = answers.write_stream
    translate: Callable[[Body], Body] | None = None
    error_body: Callable[[ApiError], dict[str, Any]] = ApiError.body


CHAT = Dialect("chat", "chatcmpl-")
COMPLETION = Dialect("completion", "cmpl-")
DIALECTS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/v1/responses": Dialect("chat", "resp_", responses.write_whole, translate=responses.to_chat),
    "/v1/messages": Dialect(
        "chat",
        "chatcmpl-",
        anthropic.write_whole,
        anthropic.write_stream,
        anthropic.to_chat,
        anthropic.error_body,
    ),
}
