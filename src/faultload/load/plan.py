"""What a worker is told, and the names of the files it and the generator speak through."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from faultload.errors import UsageError
from faultload.spec.scenario import Timeouts

PLAN_VARIABLE = "FAULTLOAD_LOAD_PLAN"
"""Environment variable with the path of a `WorkerPlan`; unset when a person runs Locust."""


class WorkerPlan(BaseModel):
    """One worker's orders. Holds no secret: the API key stays in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    worker: int
    """It takes the trace rows with `index % workers == worker`."""
    workers: int
    trace: Path
    base_url: str
    timeouts: Timeouts
    ignore_eos: bool
    out: Path
    parent_pid: int
    """The worker ends when this process is no longer its parent. 0: a person started it."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None: send none."""
    ca: Path | None = None
    """PEM file of the authorities to trust for https; None: the system's, or SSL_CERT_FILE's."""

    @property
    def ready_path(self) -> Path:
        """Written by the worker when it waits for the start."""
        return self.out / f"ready-{self.worker}.json"

    @property
    def rows_path(self) -> Path:
        """One finished request a line; appended to."""
        return self.out / f"rows-{self.worker}.jsonl"

    @property
    def watch_path(self) -> Path:
        """What the worker says of itself, a line a second."""
        return self.out / f"watch-{self.worker}.jsonl"

    @property
    def go_path(self) -> Path:
        """Written by the generator: `{"t0_unix_s": …}`, the moment all times count from."""
        return self.out / "go.json"


class Endpoint(BaseModel):
    """Where requests go: a base URL taken apart."""

    model_config = ConfigDict(frozen=True)

    host: str
    port: int
    prefix: str = ""
    """Path before `/v1/…`, without a slash at its end."""
    tls: bool = False

    @classmethod
    def of(cls, base_url: str) -> Endpoint:
        """Return the endpoint of `http://HOST[:PORT][/PATH]`, or `https://…`.

        Raises:
            UsageError: it is something else.
        """
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        odd = parts.query or parts.fragment or parts.username is not None
        if parts.scheme not in ("http", "https") or not parts.hostname or odd:
            shown = base_url if parts.username is None else "one with a user name in it"
            raise UsageError(
                f"base URL: expected http://HOST[:PORT][/PATH] or https://…, found {shown!r}"
            )
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        tls = parts.scheme == "https"
        return cls(host=parts.hostname, port=port or (443 if tls else 80), prefix=prefix, tls=tls)

    @property
    def authority(self) -> str:
        """The Host header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
