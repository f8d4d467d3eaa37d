"""One request's way: choose a replica, try, try again elsewhere, pass the reply on.

The rule that everything here serves: as long as nothing was sent to the client, any failure can be
repaired by another attempt; afterwards none can. The engine sends its 200 at once and its first
event only with the first token, so the response head waits for the first event.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

import orjson

from inference_platform.router.affinity import Affinity, AffinityUnavailable
from inference_platform.router.events import EventGate, first_events, is_event_stream, pass_on
from inference_platform.router.fleet import Fleet, Replica
from inference_platform.router.metrics import Metrics
from inference_platform.router.replies import (
    Headers,
    Refused,
    Send,
    end_stream,
    send_whole,
    too_long,
)
from inference_platform.router.settings import Settings
from inference_platform.router.upstream import (
    ConnectError,
    Connection,
    UpstreamError,
    UpstreamLostError,
    UpstreamSilentError,
)

RETRIED_STATUSES = frozenset({500, 503})
# A reply that is not streamed is held in memory whole, so that a loss inside it can be retried.
WHOLE_REPLY_BYTES_MAX = 64 * 2**20
# Not ours to pass on: they speak about one connection, or the server in front of us writes them.
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection transfer-encoding te trailer upgrade content-length "
    b"date server".split()
)


@dataclass(slots=True)
class Job:
    """One client's request, and what has become of it so far."""

    tier: str
    head: bytes
    """Request line and headers for the replica, without host, content-length and blank line."""
    body: dict[str, Any]
    raw: bytes
    """The body as the client sent it."""
    session: str | None
    send: Send
    arrived_s: float
    """By time.monotonic()."""
    retries: int = 0
    code: int = 0
    """HTTP status sent to the client; 0 as long as nothing was."""
    begun: bool = False
    """Whether a stream has begun, which can then only go on or be cut."""
    silent: bool = False
    """Whether its time ended while a replica had sent nothing of a whole reply."""
    outcome: str = "ok"
    replica: Replica | None = None
    tried: set[Replica] = field(default_factory=set)

    @property
    def stream(self) -> bool:
        """Whether the client asked for a streamed reply."""
        return self.body.get("stream") is True

    def message_for(self, replica: Replica) -> bytes:
        """The whole HTTP request; the body is rewritten only if the model's name must be."""
        model = replica.endpoint.served_model
        raw = self.raw
        if self.body.get("model") != model:
            raw = orjson.dumps({**self.body, "model": model})
        return b"%bhost: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            *(self.head, replica.host_header, len(raw), raw),
        )


class _BadStatusError(UpstreamError):
    """The replica answered 500 or 503 and nothing was sent on yet; keeps the reply to send last."""

    def __init__(self, code: int, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(f"the replica answered {code}")
        self.reason = f"status_{code}"
        self.status = status
        self.headers = headers
        self.body = body


@dataclass(slots=True)
class _Reply:
    """A reply of which nothing was sent on yet."""

    connection: Connection
    gate: EventGate | None
    """None: not a stream."""
    data: bytes
    """The first events of a stream, else the whole body."""


class Relay:
    """Serves jobs from a fleet."""

    def __init__(
        self, settings: Settings, fleet: Fleet, metrics: Metrics, affinity: Affinity | None
    ) -> None:
        """Without `affinity` the session of a job is ignored."""
        self._settings = settings
        self._fleet = fleet
        self._metrics = metrics
        self._affinity = affinity

    async def serve(self, job: Job) -> None:
        """Answer the job; raises Refused if no reply can be had, with nothing sent.

        Over within `answer_timeout_s`, however the time was spent: in attempts, waits, a stream
        that goes on or a client that does not read it. Cancelled when the client leaves; the
        connection to the replica is in both cases closed at once.
        """
        allowed_s = self._settings.answer_timeout_s
        try:
            async with asyncio.timeout(allowed_s):
                await self._serve(job)
        except TimeoutError:
            if job.silent:
                await self._give_up(job, UpstreamSilentError("no whole reply in time"))
            else:
                self._metrics.overdue.labels(job.tier).inc()
                await self.end_early(job, too_long(allowed_s))

    async def end_early(self, job: Job, why: Refused) -> None:
        """End an answer under way, saying why; raises `why` itself when nothing was sent."""
        if not job.code:
            raise why
        if job.begun:
            if job.outcome != "cut":
                self._count_cut(job)
            await end_stream(job.send, why)
        # Else a whole reply that its client does not take: the server closes the connection.
        job.outcome = "cut"

    async def _serve(self, job: Job) -> None:
        """Make attempts until one answers the job; raises Refused."""
        known_uid, asked = await self._session_replica(job)
        wait_left_s = self._settings.no_replica_wait_s
        while True:
            replica = self._fleet.pick(job.tier, avoid=job.tried, prefer_uid=known_uid)
            if replica is None:
                started_s = time.monotonic()
                if not await self._fleet.wait_usable(job.tier, max(0.0, wait_left_s)):
                    raise self._no_replica(job)
                wait_left_s -= time.monotonic() - started_s
                continue
            if asked and not job.retries:
                result = "hit" if replica.uid == known_uid else "moved" if known_uid else "miss"
                self._metrics.affinity.labels(result).inc()
            job.replica = replica
            replica.inflight += 1
            try:
                await self._attempt(job, replica, remember=asked and replica.uid != known_uid)
            except UpstreamError as error:
                if job.retries >= self._settings.retries or isinstance(error, UpstreamSilentError):
                    await self._give_up(job, error)
                    return
                self._metrics.retries.labels(job.tier, error.reason).inc()
            else:
                return
            finally:
                replica.inflight -= 1
            job.tried.add(replica)
            backoff_s = self._settings.retry_backoff_s * 2**job.retries
            job.retries += 1
            await asyncio.sleep(backoff_s * random.uniform(0.5, 1.5))  # noqa: S311 (jitter)

    async def _session_replica(self, job: Job) -> tuple[str | None, bool]:
        """The uid the session was on, and whether there was an answer at all."""
        if job.session is None or self._affinity is None:
            return None, False
        try:
            return await self._affinity.lookup(job.tier, job.session), True
        except AffinityUnavailable:
            self._metrics.affinity.labels("unavailable").inc()
            return None, False

    def _no_replica(self, job: Job) -> Refused:
        job.outcome = "no_replica"
        waited_s = self._settings.no_replica_wait_s
        message = f"No replica of tier `{job.tier}` is ready (waited {waited_s:g} s)."
        return Refused(503, "ServiceUnavailableError", message, retry=True)

    async def _give_up(self, job: Job, error: UpstreamError) -> None:
        """Send what the last attempt left us with."""
        job.outcome = "upstream_error"
        if isinstance(error, _BadStatusError):
            job.code = error.status
            headers = [*_passed_on(error.headers), *served_by(job)]
            await send_whole(job.send, error.status, headers, error.body)
        elif isinstance(error, UpstreamSilentError):
            raise Refused(504, "upstream_timeout", "upstream replica sent no reply in time")
        else:
            raise Refused(502, "upstream_lost", f"upstream replica lost ({error.reason})")

    def _count_cut(self, job: Job) -> None:
        job.outcome = "cut"
        replica = job.replica.name if job.replica is not None else ""
        self._metrics.streams_cut.labels(job.tier, replica).inc()

    async def _attempt(self, job: Job, replica: Replica, *, remember: bool) -> None:
        """One replica's try at the job; raises UpstreamError only while nothing was sent."""
        try:
            reply = await self._open(job, replica)
        except (ConnectError, UpstreamLostError) as error:
            self._fleet.eject(replica, error)
            raise
        except _BadStatusError:
            replica.refuse()
            raise
        try:
            replica.served()
            if remember and self._affinity is not None and job.session is not None:
                self._affinity.remember(job.tier, job.session, replica.uid)
            job.code = reply.connection.status
            headers = [*_passed_on(reply.connection.headers), *served_by(job)]
            if reply.gate is None:
                if job.code >= 400:
                    job.outcome = "client_error" if job.code < 500 else "upstream_error"
                await send_whole(job.send, job.code, headers, reply.data)
            else:
                start = {"type": "http.response.start", "status": job.code, "headers": headers}
                await job.send(start)
                job.begun = True
                await self._stream(job, reply.connection, reply.gate, reply.data)
        finally:
            replica.pool.release(reply.connection)

    async def _open(self, job: Job, replica: Replica) -> _Reply:
        """Get a reply worth sending: its first events, or all of it; raises UpstreamError."""
        connection, data = await self._first_bytes(job, replica)
        try:
            if is_event_stream(connection.headers):
                gate = EventGate()
                data = await self._first_events(job, connection, gate, data)
                return _Reply(connection, gate, data)
            return _Reply(connection, None, await self._whole_body(connection, data))
        except BaseException:
            replica.pool.release(connection)
            raise

    async def _first_bytes(self, job: Job, replica: Replica) -> tuple[Connection, bytes]:
        """Send the request and wait for the first body bytes; the caller owns the connection."""
        message = job.message_for(replica)
        settings = self._settings
        # vLLM sends nothing of a whole reply before all of it, so it may be silent to its end.
        timeout_s = settings.first_byte_timeout_s if job.stream else settings.answer_timeout_s

        def stale() -> None:
            # Off the retry budget: it says nothing about the replica.
            self._metrics.retries.labels(job.tier, "stale_connection").inc()

        try:
            return await replica.pool.exchange(message, timeout_s, stale)
        except asyncio.CancelledError:
            job.silent = not job.stream
            raise

    async def _first_events(
        self, job: Job, connection: Connection, gate: EventGate, data: bytes
    ) -> bytes:
        """Whole events to begin the stream with; raises when it failed before its first one."""
        events = await first_events(connection, gate, data, self._settings.first_byte_timeout_s)
        if gate.failed:
            # An engine that dies while the request waits: 200, then an error as the first event.
            code = _code_of_first_event(events)
            if code in RETRIED_STATUSES and job.retries < self._settings.retries:
                raise _BadStatusError(code, connection.status, connection.headers, events)
        return events

    async def _whole_body(self, connection: Connection, data: bytes) -> bytes:
        """The rest of a reply that is not a stream; a loss inside it is one before its start."""
        parts, size = [data], len(data)
        while data:
            data = await connection.read(self._settings.idle_timeout_s)
            parts.append(data)
            size += len(data)
            if size > WHOLE_REPLY_BYTES_MAX:
                text = f"upstream reply larger than {WHOLE_REPLY_BYTES_MAX} bytes"
                raise Refused(502, "upstream_error", text)
        body = b"".join(parts)
        if connection.status in RETRIED_STATUSES:
            raise _BadStatusError(connection.status, connection.status, connection.headers, body)
        return body

    async def _stream(
        self, job: Job, connection: Connection, gate: EventGate, events: bytes
    ) -> None:
        """Pass on a stream from its first events to its end, whatever that is."""
        self._metrics.ttft.labels(job.tier).observe(time.monotonic() - job.arrived_s)
        idle_s = self._settings.idle_timeout_s
        end = await pass_on(job.send, connection, gate, events, idle_s, "upstream replica")
        if gate.failed or not gate.done:
            self._count_cut(job)
        await job.send({"type": "http.response.body", "body": end, "more_body": False})


def served_by(job: Job) -> Headers:
    """The router's own headers."""
    headers = [(b"x-router-retries", str(job.retries).encode())]
    if job.replica is not None:
        headers.insert(0, (b"x-served-by", job.replica.name.encode()))
    return headers


def _passed_on(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name not in _HOP_BY_HOP]


def _code_of_first_event(events: bytes) -> int | None:
    """The error code in the first event; None if that is no error event."""
    first = events.lstrip().split(b"\n", 1)[0].removeprefix(b"data: ")
    try:
        code = orjson.loads(first)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        return None
    return code if isinstance(code, int) else None
