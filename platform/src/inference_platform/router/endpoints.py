"""The file that says which replicas exist: reading it, and noticing that it changed."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

log = logging.getLogger(__name__)

# How the platform names a tier's model when an endpoint does not say.
MODEL_PREFIX = "chat-"


def http_address(url: str) -> tuple[str, int]:
    """Host and port of a URL that has nothing else; raises ValueError."""
    parts = urlsplit(url)
    bare = parts.path in {"", "/"} and not (parts.query or parts.fragment or parts.username)
    if parts.scheme != "http" or not parts.hostname or not bare:
        raise ValueError(f"expected http://HOST[:PORT], found {url!r}")
    # The port raises ValueError itself when it is no number.
    return parts.hostname, parts.port or 80


def _http_url(url: str) -> str:
    http_address(url)
    return url


class Endpoint(BaseModel):
    """One engine replica as the platform announces it; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    uid: str = Field(min_length=1)
    """Changes when the replica is replaced, even under the same name and address."""
    tier: str = Field(min_length=1)
    url: Annotated[str, AfterValidator(_http_url)]
    ready: bool
    model: str = ""
    """The model name the engine serves; empty means the tier's public name, `chat-<tier>`."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to connect to."""
        return http_address(self.url)

    @property
    def served_model(self) -> str:
        """What the engine itself calls its model."""
        return self.model or public_model(self.tier)


def public_model(tier: str) -> str:
    """The model name by which clients ask for a tier."""
    return MODEL_PREFIX + tier


class _Document(BaseModel):
    endpoints: list[Endpoint]

    @model_validator(mode="after")
    def _names_differ(self) -> "_Document":
        names = [endpoint.name for endpoint in self.endpoints]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"expected different names, found {', '.join(twice)} more than once")
        return self


class EndpointsFile:
    """Follows one endpoints file; a version that cannot be used keeps the one before it."""

    def __init__(self, path: Path, apply: Callable[[list[Endpoint]], None]) -> None:
        """`apply` gets every usable version of the file, the first one at the first `poll`."""
        self._path = path
        self._apply = apply
        self._seen: tuple[int, int, int] | str | None = None

    def poll(self) -> None:
        """Apply the file if it changed since the last call; a bad version costs one log line."""
        version: tuple[int, int, int] | str
        try:
            stat = self._path.stat()
            version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if version == self._seen:
                return
            endpoints = _Document.model_validate_json(self._path.read_bytes()).endpoints
        except OSError as error:
            version = error.strerror or str(error)
            if version != self._seen:
                log.warning("endpoints file %s: %s; keeping the replicas", self._path, version)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            log.warning(
                "endpoints file %s: %s at %s; keeping the replicas known before",
                *(self._path, first["msg"], where),
            )
        else:
            self._apply(endpoints)
        self._seen = version

    async def follow(self, period_s: float) -> None:
        """Poll forever; polling, as a rename on a network volume sends no inotify event."""
        while True:
            await asyncio.sleep(period_s)
            self.poll()
