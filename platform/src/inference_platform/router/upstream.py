"""Connections to engine replicas: HTTP/1.1 over raw asyncio protocols, pooled and kept alive.

One connection carries one exchange at a time. Body bytes come out as they were received, without
the chunked framing. Nothing here knows about models, tiers or retries.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

# vLLM's server closes a connection that was idle for 5 s; ours go before that, so that a request
# seldom meets a connection that is just being closed.
KEEPALIVE_S = 4.0
IDLE_CONNECTIONS_MAX = 512
# A client slower than its stream makes us stop reading the engine's socket at this many bytes.
BUFFER_BYTES_MAX = 256 * 1024


class UpstreamError(Exception):
    """An attempt at a replica failed; `reason` is its metric label."""

    reason = "error"


class ConnectError(UpstreamError):
    """No connection could be made."""

    reason = "connect"


class UpstreamLostError(UpstreamError):
    """The connection broke before the reply was complete."""

    reason = "lost"


class UpstreamSilentError(UpstreamError):
    """Nothing arrived within the time allowed."""

    reason = "timeout"


class UpstreamAbandonedError(UpstreamError):
    """The replica was found unhealthy before the reply began."""

    reason = "unhealthy"


class Connection(asyncio.Protocol):
    """One connection to a replica. Use: `request`, then `read` until b"", then `Pool.release`.

    `status` and `headers` are valid once `read` has returned. `reused`: the connection carried an
    earlier exchange; `heard`: some byte of this reply arrived; `reusable`: the exchange is over
    and the replica keeps the connection open.
    """

    def __init__(self, pool: "Pool") -> None:
        """Made by its pool, which connects it."""
        self._pool = pool
        self._loop = pool.loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._error: UpstreamError | None = None
        self.reused = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.heard = False
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._begun = False
        self._paused = False
        self._busy = False
        self._complete = False
        self._until_eof = True
        self.reusable = False

    # The exchange, as its owner sees it.

    def request(self, message: bytes) -> None:
        """Send a whole request; the reply comes through `read`."""
        self._reset()
        self._busy = True
        if self._transport is not None:
            self._transport.write(message)

    async def read(self, timeout_s: float) -> bytes:
        """The body bytes that arrived since the last call, waiting for some; b"" is the end.

        Raises UpstreamLostError when the connection broke, after all that came before was read,
        and UpstreamSilentError when nothing came for `timeout_s`.
        """
        while not self._chunks:
            if self._complete:
                return b""
            if self._error is not None:
                raise self._error
            self._arm(timeout_s)
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if len(self._chunks) == 1:
            data = self._chunks.pop()
        else:
            data = b"".join(self._chunks)
            self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    def park(self) -> None:
        """Make the connection wait for its next exchange."""
        self._busy = False
        self.reused = True
        self._disarm()

    def abandon(self) -> None:
        """Fail the exchange unless its body has begun."""
        if self._busy and not self._begun and not self._complete:
            self._fail(UpstreamAbandonedError("the replica is unhealthy"))

    def abort(self) -> None:
        """Close at once: to the engine this is a client that left, so it frees the request."""
        self._busy = False
        self._disarm()
        if self._transport is not None:
            self._transport.abort()

    # Waiting with a bound, without a timer for each chunk.

    def _arm(self, timeout_s: float) -> None:
        self._deadline = self._loop.time() + timeout_s
        if self._timer is not None and self._timer_at <= self._deadline:
            return  # it fires early, sees the later deadline and goes on to that
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None:
            return  # the next wait arms it again
        if self._loop.time() >= self._deadline:
            self._fail(UpstreamSilentError("nothing arrived within the time allowed"))
        else:
            self._timer_at = self._deadline
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        if not self._busy or self._complete:
            self._unusable("the replica sent bytes nobody asked for")
            return
        self.heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._unusable(f"the reply is not HTTP/1.1: {error}")
            return
        if self._chunks or self._complete:
            self._wake()
        if self._buffered > BUFFER_BYTES_MAX and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _unusable(self, why: str) -> None:
        self._fail(UpstreamLostError(why))
        if self._transport is not None:
            self._transport.abort()

    def eof_received(self) -> bool:
        """Called by the event loop; False lets it close the connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._transport = None
        self.reusable = False
        self._pool.forget(self)
        if self._busy and not self._complete and self.status and self._until_eof:
            self._complete = True  # a body without length or chunks ends with its connection
        self._fail(UpstreamLostError(f"the connection broke: {exc or 'closed by the replica'}"))

    # httptools callbacks.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser."""
        name = name.lower()
        if name in {b"content-length", b"transfer-encoding"}:
            self._until_eof = False
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Called by the parser."""
        self._begun = True
        self._chunks.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        if self.status < 200:  # an interim reply; the real one follows
            self.headers = []
            self._until_eof = True
            return
        self._complete = True
        self.reusable = self._parser.should_keep_alive()


class Pool:
    """The connections to one replica; idle ones are taken up again, newest first."""

    def __init__(self, host: str, port: int, connect_timeout_s: float) -> None:
        """Must be made on the event loop that uses it; connects only when asked."""
        self.loop = asyncio.get_running_loop()
        self._host = host
        self._port = port
        self._connect_timeout_s = connect_timeout_s
        self._idle: dict[Connection, float] = {}
        self._busy: set[Connection] = set()
        self._retired = False

    async def acquire(self) -> Connection:
        """An idle connection, or a new one; raises ConnectError."""
        oldest_s = self.loop.time() - KEEPALIVE_S
        while self._idle:
            connection, since_s = self._idle.popitem()
            if since_s >= oldest_s:
                self._busy.add(connection)
                return connection
            connection.abort()
        return await self.connect()

    async def connect(self) -> Connection:
        """A new connection; raises ConnectError."""
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self), self._host, self._port
                )
        except TimeoutError:
            waited = f"no connection within {self._connect_timeout_s:g} s"
            raise ConnectError(f"{self._host}:{self._port}: {waited}") from None
        except OSError as error:
            why = error.strerror or str(error)
            raise ConnectError(f"{self._host}:{self._port}: {why}") from None
        self._busy.add(connection)
        return connection

    async def exchange(
        self, message: bytes, timeout_s: float, on_stale: Callable[[], None] = lambda: None
    ) -> tuple[Connection, bytes]:
        """Send a whole request and wait for the reply's first body bytes; raises UpstreamError.

        The caller owns the connection and releases it. `on_stale` is called when the request is
        sent once more, as a kept-alive connection was closed just when it was written to.
        """
        connection = await self.acquire()
        while True:
            try:
                connection.request(message)
                return connection, await connection.read(timeout_s)
            except UpstreamLostError:
                connection.abort()
                if not connection.reused or connection.heard:
                    raise
                # It says nothing about the other side: ask again on a new connection.
                on_stale()
            except BaseException:
                connection.abort()
                raise
            connection = await self.connect()

    def release(self, connection: Connection) -> None:
        """Give back a connection: kept if its exchange is over, else closed at once."""
        if connection.reusable and not self._retired and len(self._idle) < IDLE_CONNECTIONS_MAX:
            connection.park()
            self._busy.discard(connection)
            self._idle[connection] = self.loop.time()
        else:
            connection.abort()

    def forget(self, connection: Connection) -> None:
        """Called by a connection that was closed."""
        self._idle.pop(connection, None)
        self._busy.discard(connection)

    def abandon_waiting(self) -> None:
        """Fail every exchange whose reply has not begun, so that it can be tried elsewhere."""
        for connection in self._busy:
            connection.abandon()

    def retire(self) -> None:
        """Close what is idle and keep nothing from now on; exchanges under way run to their end."""
        self._retired = True
        while self._idle:
            self._idle.popitem()[0].abort()
