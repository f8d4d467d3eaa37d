"""A sender: traffic beside a run's own, from a process that anybody can end.

    python -m faultload.load.sender FOLDER

`FOLDER/orders.json` says what to send (`Orders`). It is sent until `FOLDER/go` is gone or the
orders have expired, and then the process ends. While it lives it holds `FOLDER/lock`, which the
kernel drops with it however it dies; so whoever wants to end it needs the folder and no process id:
take `go` away and wait for the lock. What it started dies with it, and it ends with whoever
started it: on Linux the kernel sees to that, elsewhere it looks.

Beside that it writes `progress.json` while it sends (`Progress`), and `result.json` at its end
(`Result`).
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from faultload.errors import ExitCode, FaultloadError, InvalidRunError
from faultload.load.generator import LoadGenerator
from faultload.load.trace import make_trace, write_trace
from faultload.record import Tail
from faultload.record.directory import write_json
from faultload.secrecy import guard_process
from faultload.spec.scenario import ClosedArrivals, Scenario
from faultload.targets import TargetLock

_POLL_S = 0.1
_READY_TIMEOUT_S = 30.0
_STOP_GRACE_S = 3.0
_QUESTIONS = 200
"""Of a closed loop, which begins again when they are asked; fewer than four a user are too few."""
_REFUSALS = (502, 503)


class Orders(BaseModel):
    """What to send, where and until when. Holds no secret: the API key stays in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    """OpenAI-compatible, without `/v1`."""
    scenario: Scenario
    seed: int
    lasts_s: float = Field(gt=0)
    """What is sent lasts this long at most."""
    expires_unix_s: float
    """From then on nothing is sent, by this machine's clock."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None: send none."""
    ca: Path | None = None
    """PEM file of the authorities to trust for https; None: the system's, or SSL_CERT_FILE's."""


@dataclass(frozen=True)
class Progress:
    """What is being sent, about once a second.

    Attributes:
        unix_s: when this was written.
        due, sent: requests of the last second. Of a closed loop: its users, and how many questions
            they have asked, counted up to one each.
        begun, refused: answers that ended since the start, with a token or without one.
        open: requests that are not answered yet.
    """

    unix_s: float
    due: int
    sent: int
    begun: int
    refused: int
    open: int


@dataclass(frozen=True)
class Result:
    """What was sent, all in all.

    Attributes:
        why: it ended.
        sent: requests that were sent.
        ok: of those, answered to their finish reason.
        open: of those, not answered yet when it ended.
        refused_requests: of those, answered 502 or 503.
        ttft_s_p50, ttft_s_p95: of those that got a first token; None: none did.
    """

    why: str
    sent: int
    ok: int
    open: int
    refused_requests: int
    ttft_s_p50: float | None
    ttft_s_p95: float | None


class _Books:
    """What became of the requests so far."""

    def __init__(self, scenario: Scenario, due_s: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        closed = isinstance(scenario.arrivals, ClosedArrivals)
        self._users = scenario.arrivals.steps[0].users if closed else None  # type: ignore[union-attr]
        self._due_s = due_s
        self._rows: list[Mapping[str, Any]] = []
        self._watched: list[Mapping[str, Any]] = [{"t_s": 0.0, "released": 0}]

    def add(self, rows: list[dict[str, Any]], watched: list[dict[str, Any]]) -> bool:
        """Take in what is new; say whether another second has passed."""
        self._rows += rows
        self._watched += watched
        return bool(watched)

    def progress(self) -> Progress:
        """Return what was sent lately."""
        *_, since, last = self._watched
        due, asked = (np.searchsorted(self._due_s, one["t_s"]) for one in (since, last))
        due, sent = int(asked - due), int(last["released"] - since["released"])
        if self._users is not None:
            due, sent = self._users, min(self._users, int(last["released"]))
        begun = sum(row["first_token_s"] is not None for row in self._rows)
        refused = sum(row["http_status"] >= 400 for row in self._rows)
        return Progress(time.time(), due, sent, begun, refused, int(last["in_flight"]))

    def result(self, why: str) -> Result:
        """Return what it all came to."""
        sent = [row for row in self._rows if row["sent_s"] is not None]
        ttft_s = [r["first_token_s"] - r["due_s"] for r in sent if r["first_token_s"] is not None]
        cuts = statistics.quantiles(ttft_s, n=20) if len(ttft_s) > 1 else None
        return Result(
            why=why,
            sent=len(sent),
            ok=sum(row["status"] == "ok" for row in sent),
            open=sum(row["status"] == "unfinished" for row in sent),
            refused_requests=sum(row["http_status"] in _REFUSALS for row in sent),
            ttft_s_p50=cuts[9] if cuts else None,
            ttft_s_p95=cuts[18] if cuts else None,
        )


def send(folder: Path) -> Result:
    """Send what the folder's orders say until told to end; return what it came to.

    Raises:
        FaultloadError: it cannot be sent.
    """
    orders, starter = (
        Orders.model_validate_json((folder / "orders.json").read_bytes()),
        os.getppid(),
    )
    scenario, work = orders.scenario, folder / "load"
    work.mkdir(exist_ok=True)
    trace = make_trace(scenario, _trace_s(orders), orders.seed)
    write_trace(trace, work / "trace.parquet")
    ends_s = time.monotonic() + orders.expires_unix_s - time.time()  # whatever the wall clock does
    books = _Books(scenario, trace["due_s"].to_numpy(dtype=np.float64))
    load = LoadGenerator(
        work / "trace.parquet",
        scenario,
        orders.url,
        work,
        work,
        api_key_env=orders.api_key_env,
        ca=orders.ca,
    )
    watched = Tail(work / "watch-0.jsonl")
    why = _why_end(folder, ends_s, starter)
    if not why:
        load.start()
    try:
        if not why:
            load.wait_ready(_READY_TIMEOUT_S)
            load.go(time.time())
        while not (why := why or _why_end(folder, ends_s, starter)):
            time.sleep(_POLL_S)
            if not load.alive():
                raise InvalidRunError("the load worker ended early; see load/locust-0.log")
            if books.add(load.poll(), watched.read()):
                write_json(folder / "progress.json", asdict(books.progress()))
    finally:
        load.stop(_STOP_GRACE_S)
    books.add(load.poll(), watched.read())
    return books.result(why)


def _why_end(folder: Path, ends_s: float, starter: int) -> str:
    """Return why there is nothing to send any more; "" while there is."""
    if os.getppid() != starter:
        return "whoever started it is gone"
    if not (folder / "go").exists():
        return "told to"
    return "expired" if time.monotonic() >= ends_s else ""


def _trace_s(orders: Orders) -> float:
    """Return for how long to make requests; a closed loop asks its questions again."""
    arrivals = orders.scenario.arrivals
    if not isinstance(arrivals, ClosedArrivals):
        return orders.lasts_s
    users = max(1, arrivals.steps[0].users)
    # As `closed.asking_times` counts: a question a user every `think_s` and a fifth of a second.
    return min(orders.lasts_s, max(_QUESTIONS, 4 * users) * (arrivals.think_s + 0.2) / users)


def main() -> int:
    """Send; what goes wrong is the log's last line."""
    folder = Path(sys.argv[1])
    try:
        with TargetLock(folder, "sender"):
            result = send(folder)
            with contextlib.suppress(FileNotFoundError):  # whoever ended us has seen enough
                write_json(folder / "result.json", asdict(result))
    except (FaultloadError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code) if isinstance(error, FaultloadError) else ExitCode.INVALID
    return 0


if __name__ == "__main__":
    guard_process()
    sys.exit(main())
