"""Everything about a chat that can be set, with its unit and its default."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One chat's configuration; the command line mirrors it field by field."""

    page_path: Path
    """Folder with the built page: index.html, and what it names."""

    router_url: str
    """http://HOST[:PORT] of the router."""

    api_key: str | None = field(default=None, repr=False)
    """What the engines ask for. No browser and no log ever sees it; None sends none."""

    name: str = "chat-0"
    """Who this chat is in its log."""

    connect_timeout_s: float = 1.0
    first_byte_timeout_s: float = 65.0
    """From the question to its answer's first event. Longer than the router's own wait, so that
    users read its reason and not ours; `idle_timeout_s` and `answer_timeout_s` likewise."""

    idle_timeout_s: float = 35.0
    """Longest silence inside an answer."""

    answer_timeout_s: float = 605.0
    """Longest time of an answer, from the question read to the last byte, also where the browser
    does not take it: nobody holds a place among `streams_max` for longer."""

    models_timeout_s: float = 5.0
    """Longest wait for the list of models."""

    body_timeout_s: float = 10.0
    """Longest wait for the rest of a question whose head has come."""

    body_bytes_max: int = 256 * 1024
    messages_max: int = 200
    """Longest conversation; each turn sends all that came before it."""

    tokens_max: int = 1024
    """Longest answer. It is what is asked for where the browser names no length."""

    streams_max: int = 256
    """Answers at a time; more are refused with 503."""

    secure_cookie: bool = False
    """Whether browsers come by HTTPS, and are to keep the session's cookie to that."""

    drain_s: float = 30.0
    """How long a stopping chat finishes answers."""
