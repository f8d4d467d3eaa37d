"""One request at a time: its connection, its deadlines, its stream, its row.

Every request has a greenlet of its own. Deadlines are one number that the stream moves along; a
watchdog (`Client.tick`) compares it with the clock a few times a second and ends what is late. A
byte that arrives after its deadline but before the watchdog looked is late all the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import gevent
import orjson

from faultload.load.plan import Endpoint, WorkerPlan
from faultload.load.worker.answer import Answer, Ended, describe_error, shorten
from faultload.load.worker.connection import Connection, Pool, is_ours, status_of, words_of
from faultload.load.worker.response import ProtocolError, ResponseParser
from faultload.load.worker.sse import EventScanner
from faultload.record import RequestStatus
from faultload.secrecy import keep_secret, redacted

# Whose child a greenlet is costs a look at the stack for each, and nobody here asks.
gevent.config.track_greenlet_tree = False

_WHOLE_BODY_BYTES_MAX = 65_536  # of an answer that is no stream: enough for any error text

# A kept connection that the peer had closed dies within a round trip. One that dies later took the
# request with it, and sending it again would hide that from the record.
_STALE_WITHIN_S = 0.2

# After `[DONE]` the last chunk follows at once; a peer that keeps it back costs the connection.
_DRAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Due:
    """One request of the trace; fields as in `TRACE_SCHEMA`."""

    index: int
    due_s: float
    tier: str
    model: str
    tenant: str
    session: str
    prompt: str
    prompt_tokens: int
    output_tokens: int


class _StaleError(Exception):
    """A kept connection was already dead; nothing of an answer was seen."""


_SAID = ("error", "finish_reason", "served_by")
"""Columns in the server's words: it may say again what it was told."""
_shown = lru_cache(1024)(redacted)


class Client:
    """Sends requests and reports each one's row exactly once.

    Args:
        plan: where to send, when to give up, how to ask.
        clock: seconds since the run's start.
        on_row: takes a finished request's row (the columns of `REQUEST_SCHEMA`; None for NaN).
        api_key: sent as bearer token, and kept out of the rows; None: none is sent.
    """

    def __init__(
        self,
        plan: WorkerPlan,
        clock: Callable[[], float],
        on_row: Callable[[dict[str, Any]], None],
        api_key: str | None = None,
    ) -> None:
        """Open no connection yet."""
        endpoint = Endpoint.of(plan.base_url)
        self.timeouts, self.clock, self.worker = plan.timeouts, clock, plan.worker
        self.pool = Pool(endpoint, clock, plan.ca)
        self._on_row = on_row
        self._ignore_eos = plan.ignore_eos
        self._in_flight: set[Exchange] = set()
        head = [
            f"POST {endpoint.prefix}/v1/chat/completions HTTP/1.1",
            f"Host: {endpoint.authority}",
            "User-Agent: faultload",
            "Accept: text/event-stream",
            "Content-Type: application/json",
        ]
        if api_key is not None:
            keep_secret(api_key)
            head.append(f"Authorization: Bearer {api_key}")
        self._head = "\r\n".join(head).encode("latin-1")

    @property
    def in_flight(self) -> int:
        """Requests released and not yet over."""
        return len(self._in_flight)

    def release(self, due: Due) -> None:
        """Send a request in a greenlet of its own and return at once."""
        exchange = Exchange(self, due)
        self._in_flight.add(exchange)
        exchange.greenlet = gevent.spawn(exchange.run)

    def tick(self, now_s: float) -> None:
        """End what is past its deadline; call it every few hundredths of a second."""
        for exchange in list(self._in_flight):
            if exchange.is_late(now_s):
                exchange.expire()

    def stop(self) -> None:
        """Record every open request as unfinished, end it, and close the kept connections."""
        for exchange in list(self._in_flight):
            sent = exchange.sent_s is not None
            status = RequestStatus.UNFINISHED if sent else RequestStatus.UNSENT
            self.record(exchange, status, "the load was stopped")
            if exchange.greenlet is not None:
                exchange.greenlet.kill(block=False)
        self.pool.close()

    def unsent(self, due: Due) -> dict[str, Any]:
        """Return the row of a request that was due and never released."""
        return Exchange(self, due).row(RequestStatus.UNSENT, "the load was stopped")

    def message(self, due: Due) -> bytes:
        """Return the request as it goes over the wire."""
        body: dict[str, Any] = {
            "model": due.model,
            "messages": [{"role": "user", "content": due.prompt}],
            "max_tokens": due.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._ignore_eos:
            body["ignore_eos"] = True
        payload = orjson.dumps(body)
        fields = [self._head, b"X-Tenant-Id: %b" % due.tenant.encode()]
        if due.session:
            fields.append(b"X-Session-Id: %b" % due.session.encode())
        fields.append(b"Content-Length: %d\r\n\r\n" % len(payload))
        return b"\r\n".join(fields) + payload

    def record(self, exchange: Exchange, status: RequestStatus, error: str) -> None:
        """Report an exchange's row, unless that was done before."""
        if exchange not in self._in_flight:
            return
        self._in_flight.discard(exchange)
        row = exchange.row(status, error)
        for column in _SAID:
            row[column] = _shown(row[column])
        self._on_row(row)


class Exchange:
    """One request, from its release to its row."""

    def __init__(self, client: Client, due: Due) -> None:
        """Wait to be run."""
        self.client, self.due = client, due
        self.greenlet: gevent.Greenlet[[], None] | None = None
        self.sent_s: float | None = None
        """When the client set out to send it, before any connection was made: the client's own
        delay and nothing else."""
        self.deadline_s = math.inf
        self._late = (RequestStatus.TIMEOUT_CONNECT, 0.0)
        self._answer = Answer()
        self._parser = ResponseParser()
        self._connection: Connection | None = None
        self._reused = False
        self._now_s = 0.0  # when the latest bytes came
        self._broken = ""  # how the connection broke, if it did not close in good order
        self._resent = False
        self._scanner = EventScanner()
        self._ending: tuple[RequestStatus, str] | None = None
        self._written_s = 0.0
        self._body = b""  # of an answer that is no stream, as far as it came with the head

    def run(self) -> None:
        """Send, listen, record; then keep the connection if it can be used again."""
        self.sent_s = self.client.clock()
        try:
            try:
                status, error = self._converse()
            except Ended as ended:
                status, error = ended.status, ended.error
            except ProtocolError as problem:
                status, error = RequestStatus.GARBLED, str(problem)
            self.client.record(self, status, error)
            self.deadline_s = math.inf
            self._keep_connection()
        except Ended:
            pass  # the watchdog's word came as the request ended by itself
        finally:
            if self._connection is not None:
                self._connection.close()

    def is_late(self, now_s: float) -> bool:
        """The deadline has passed, and nothing that came before it waits to be worked on."""
        deadline_s, connection = self.deadline_s, self._connection
        if now_s <= deadline_s:
            return False
        return connection is None or not connection.has_news(deadline_s)

    def expire(self) -> None:
        """End the request: the deadline it was working under has passed."""
        self.deadline_s = math.inf
        if self.greenlet is not None:
            self.greenlet.kill(self._timeout(), block=False)

    def _timeout(self) -> Ended:
        status, limit_s = self._late
        return Ended(status, f"{status.value.replace('_', ' ')} ({limit_s:g} s)")

    def _expect(self, from_s: float, limit_s: float, late: RequestStatus) -> None:
        """Work under a new deadline, or under the request's total one if that comes first."""
        total_s = self.client.timeouts.total_s
        self.deadline_s, self._late = from_s + limit_s, (late, limit_s)
        if self.due.due_s + total_s < self.deadline_s:
            self.deadline_s = self.due.due_s + total_s
            self._late = (RequestStatus.TIMEOUT_TOTAL, total_s)

    def _converse(self) -> tuple[RequestStatus, str]:
        """Send on a kept connection if there is one, and once more on a new one if it was dead."""
        self._connection = self.client.pool.take()
        if self._connection is not None:
            self._reused = True
            try:
                return self._attempt(self._connection)
            except _StaleError:
                self._connection.close()
                self._connection, self._broken, self._resent = None, "", True
        timeouts, now_s = self.client.timeouts, self.client.clock()
        self._expect(now_s, timeouts.connect_s, RequestStatus.TIMEOUT_CONNECT)
        try:
            self._connection = self.client.pool.open()
        except (OSError, UnicodeError) as error:
            if is_ours(error):
                self.sent_s = None
            raise Ended(status_of(error), words_of(error)) from None
        return self._attempt(self._connection)

    def _attempt(self, connection: Connection) -> tuple[RequestStatus, str]:
        self._expect(
            self.due.due_s, self.client.timeouts.first_token_s, RequestStatus.TIMEOUT_FIRST_TOKEN
        )
        self._written_s = self.client.clock()
        try:
            connection.send(self.client.message(self.due))
        except OSError as error:  # there may be an answer all the same: an early refusal
            self._broken = words_of(error)
        connection.listen(self._take)
        return self._ending or self._read_whole(connection)

    def _receive(self, connection: Connection) -> bytes:
        """Return what arrived, b"" at the end; raises Ended past the deadline."""
        try:
            data = connection.receive()
        except OSError as error:
            self._broken = self._broken or words_of(error)
            data = b""
        self._now_s = self.client.clock()
        if self._now_s > self.deadline_s:
            raise self._timeout()
        return data

    def _take(self, arrived: bytes | OSError, now_s: float) -> bool:
        """Take what the connection brought; tell whether the answer is over, or is no stream."""
        self._now_s = now_s
        if now_s > self.deadline_s:
            raise self._timeout()
        if arrived and isinstance(arrived, bytes):
            parser = self._parser
            if parser.status:
                return self._took(parser.feed(arrived))
            body = parser.feed(arrived)
            if not parser.status:
                return False
            if parser.status < 300 and parser.is_event_stream:
                return self._took(body)
            self._body = body
            return True
        if isinstance(arrived, OSError):
            self._broken = self._broken or words_of(arrived)
        self._ending = self._closed()
        return True

    def _closed(self) -> tuple[RequestStatus, str]:
        """Judge what has come now that nothing more will."""
        parser, how = self._parser, self._broken or "connection closed"
        if parser.status:
            # Where only the close ends a body, one after the finish reason is as good as any end.
            orderly = parser.ends_by_close and bool(self._answer.finish_reason)
            return self._answer.outcome(how, orderly=orderly and not self._broken)
        if parser.started:
            return RequestStatus.CUT, f"{how} inside the head of the answer"
        if self._reused and not self._resent:
            waited_s = self._now_s - self._written_s
            if waited_s <= _STALE_WITHIN_S:
                raise _StaleError
            how += f" {waited_s:.1f} s after the request"
        return RequestStatus.CONNECT_RESET, f"{how} before the answer began"

    def _took(self, body: bytes) -> bool:
        """Take a piece of the stream; tell whether the answer is over."""
        parser, answer, now_s = self._parser, self._answer, self._now_s
        while body:
            if self._scanner.is_between_events:
                body = answer.foreseen(body, now_s)
            # What an event teaches is for the ones behind it: one at a time.
            cut = body.find(b"\n\n") + 2 if answer.may_foresee else 0
            piece, body = (body[:cut], body[cut:]) if cut >= 2 else (body, b"")
            for event in self._scanner.feed(piece):
                answer.event(event, now_s)
                if answer.done:
                    self._ending = answer.outcome("[DONE]", orderly=True)
                    return True
        if parser.defect:
            parser.check()
        if parser.complete:
            self._ending = answer.outcome("response ended", orderly=True)
            return True
        if answer.last_token_s == now_s:
            self._expect(now_s, self.client.timeouts.gap_s, RequestStatus.TIMEOUT_GAP)
        return False

    def _read_whole(self, connection: Connection) -> tuple[RequestStatus, str]:
        """Judge an answer that is no stream: a refusal, or a surprise."""
        parser, status = self._parser, self._parser.status
        parts = [self._body]
        try:
            while not parser.complete and sum(map(len, parts)) < _WHOLE_BODY_BYTES_MAX:
                data = self._receive(connection)
                if not data:
                    break
                parts.append(parser.feed(data))
        except (Ended, ProtocolError):
            if status < 300:
                raise  # a refusal is one already, whatever becomes of its text
        body = b"".join(parts)
        said: Any = None
        with contextlib.suppress(orjson.JSONDecodeError):
            said = orjson.loads(body)
        failed = isinstance(said, dict) and bool(said.get("error"))
        text = describe_error(said) if failed else shorten(body)
        if status >= 300:
            return RequestStatus.HTTP_ERROR, f"{status} {text}".strip()
        if failed:
            return RequestStatus.ERROR_CHUNK, text
        if not body and parser.complete:
            return RequestStatus.NO_TOKEN, f"{status} without a body"
        kind = parser.headers.get("content-type")
        return RequestStatus.WRONG_CONTENT_TYPE, f"expected an event stream, found {kind}"

    def _keep_connection(self) -> None:
        """Give the connection back if another request can use it; else `run` closes it."""
        connection = self._connection
        if connection is not None and self._reads_to_the_end(connection):
            self._connection = None
            self.client.pool.give(connection)

    def _reads_to_the_end(self, connection: Connection) -> bool:
        """Read what follows `[DONE]`; tell whether the connection is free for another request."""
        parser = self._parser
        if self._answer.done and not parser.complete:
            quiet = contextlib.suppress(OSError, ProtocolError)
            with quiet, gevent.Timeout(_DRAIN_S, TimeoutError()):
                data = connection.receive()
                while data:
                    parser.feed(data)
                    parser.check()
                    if parser.complete:
                        break
                    data = connection.receive()
        return parser.complete and parser.keep_alive

    def row(self, status: RequestStatus, error: str) -> dict[str, Any]:
        """Return the row of `REQUEST_SCHEMA`; None stands for NaN."""
        due, answer, headers = self.due, self._answer, self._parser.headers
        ledger, gaps_s = answer.ledger, answer.gaps_s()
        return {
            "index": due.index,
            "due_s": due.due_s,
            "sent_s": self.sent_s,
            "first_token_s": answer.first_token_s,
            "last_token_s": answer.last_token_s,
            "end_s": self._now_s if self._ending else self.client.clock(),
            "status": status.value,
            "http_status": self._parser.status,
            "finish_reason": answer.finish_reason,
            "tier": due.tier,
            "model": due.model,
            "tenant": due.tenant,
            "session": due.session,
            "prompt_tokens": due.prompt_tokens,
            "output_tokens_asked": due.output_tokens,
            "output_tokens": answer.tokens,
            "tokens_duplicated": ledger.duplicated if ledger else 0,
            "tokens_missing": ledger.missing if ledger else 0,
            "gap_s_max": max(gaps_s, default=None),
            "served_by": headers.get("x-served-by", ""),
            "retries": self._parser.count("x-router-retries"),
            "migrations": self._parser.count("x-router-migrations"),
            "connection_reused": self._reused,
            "worker": self.client.worker,
            "error": error,
            "resent": self._resent,
            "done": answer.done,
            "usage_tokens": answer.usage_tokens,
            "tokens_reordered": ledger.reordered if ledger else None,
            "tokens_foreign": ledger.foreign if ledger else None,
            "gaps_s": gaps_s,
        }
