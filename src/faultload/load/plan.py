"""What a worker is told, and the names of the files it and the generator speak through."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from faultload.errors import UsageError
from faultload.spec.scenario import ClosedArrivals, Scenario, Timeouts

PLAN_VARIABLE = "FAULTLOAD_LOAD_PLAN"
"""Environment variable with the path of a `WorkerPlan`, for a worker that stands alone."""
MASTER_VARIABLE = "FAULTLOAD_LOAD_MASTER"
"""Environment variable with the path of a `MasterPlan`, for Locust's master."""
PARENT_VARIABLE = "FAULTLOAD_LOAD_PARENT"
"""Environment variable with the id of the process that a master's worker must not outlive."""
SHARE_VARIABLE = "FAULTLOAD_LOAD_SHARE"
"""Environment variable with the number of the share a master's worker asks for; unset: any."""


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
    closed: ClosedArrivals | None = None
    """The users of a closed loop; this worker plays those with `number % workers == worker`.
    None: open loop, the trace says when."""
    seed: int = 0
    """Of the pauses of a closed loop's users."""

    @classmethod
    def of(  # noqa: PLR0913 (what a load is made of)
        cls,
        scenario: Scenario,
        trace: Path,
        base_url: str,
        out: Path,
        *,
        worker: int = 0,
        workers: int = 1,
        parent_pid: int = 0,
        api_key_env: str | None = None,
        ca: Path | None = None,
    ) -> WorkerPlan:
        """Return the orders of one of `workers`."""
        closed = scenario.arrivals if isinstance(scenario.arrivals, ClosedArrivals) else None
        return cls(
            worker=worker,
            workers=workers,
            trace=trace,
            base_url=base_url,
            timeouts=scenario.timeouts,
            ignore_eos=scenario.ignore_eos,
            out=out,
            parent_pid=parent_pid,
            api_key_env=api_key_env,
            ca=ca,
            closed=closed,
            seed=scenario.seed,
        )

    @property
    def path(self) -> Path:
        """Where the orders themselves are written."""
        return self.out / f"plan-{self.worker}.json"

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
    def end_path(self) -> Path:
        """Written last, by a worker that ended in good order: `EndNote`."""
        return self.out / f"end-{self.worker}.json"

    @property
    def lost_path(self) -> Path:
        """Written by Locust's master when it lost the worker: `{"why": …}`."""
        return self.out / f"lost-{self.worker}.json"

    @property
    def go_path(self) -> Path:
        """Written by the generator: `{"t0_unix_s": …}`, the moment all times count from."""
        return self.out / "go.json"


class MasterPlan(BaseModel):
    """The orders of Locust's master: which load to hand out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int
    """How many share the trace; the load begins when all are there."""
    out: Path
    """Holds `plan-<worker>.json` for each, and takes what they send."""
    parent_pid: int = 0
    """The master ends when this process is no longer its parent. 0: a person started it."""

    def share(self, worker: int) -> WorkerPlan:
        """Return one worker's orders."""
        path = self.out / f"plan-{worker}.json"
        return WorkerPlan.model_validate_json(path.read_bytes())


class EndNote(BaseModel):
    """What a worker says when it is done: how much there must be of what it wrote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    sha256: str
    """Of its row file."""

    @classmethod
    def of(cls, rows_path: Path) -> EndNote:
        """Return the note for a row file that is complete."""
        data = rows_path.read_bytes() if rows_path.exists() else b""
        return cls(rows=data.count(b"\n"), sha256=hashlib.sha256(data).hexdigest())


def address_of(text: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` (`[HOST]:PORT` for IPv6).

    Raises:
        UsageError: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not host.strip("[]") or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"expected HOST:PORT, found {text!r}")
    return host.strip("[]"), int(port)


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
