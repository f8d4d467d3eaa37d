"""Session affinity: which replica a session was on, shared by all routers through Redis.

A lost answer costs a cold prefix cache and never a request: every look-up is bounded, and while
Redis fails it is left alone for a second at a time.
"""

import asyncio
import hashlib
import logging
import time
from typing import Protocol

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

# After a failure Redis is not asked for this long, so that an outage costs one request a second
# the look-up's timeout instead of every request.
REST_S = 1.0
# One late answer may be our own busy event loop; this many in a row are an outage.
TIMEOUTS_MAX = 5
# A burst of sessions shares these instead of opening a connection each.
CONNECTIONS_MAX = 16
# What a look-up that fails may raise. RuntimeError is uvloop's, for a write to a connection that
# was closed just now: the client passes it on as it is.
FAILURES = (RedisError, OSError, TimeoutError, RuntimeError)
# Writes under way; more than this and new ones are dropped.
WRITES_MAX = 256


class AffinityUnavailable(Exception):  # noqa: N818 (a state of the store, not a mistake)
    """The store could not be asked in time."""


class Affinity(Protocol):
    """Remembers which replica (by uid) a session of a tier was served by."""

    async def lookup(self, tier: str, session: str) -> str | None:
        """The uid, or None if unknown; raises AffinityUnavailable, soon."""
        ...

    def remember(self, tier: str, session: str, uid: str) -> None:
        """Store it some time; never waits and never fails."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class RedisAffinity:
    """Affinity in Redis: one key a session and tier, which expires."""

    def __init__(self, url: str, *, ttl_s: int, timeout_s: float) -> None:
        """Nothing is connected until the first look-up, which may take `timeout_s` at most."""
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s
        self._redis: Redis = Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                max_connections=CONNECTIONS_MAX,
                timeout=1,
                decode_responses=True,
                socket_connect_timeout=1.0,
                socket_timeout=1.0,
                retry=Retry(NoBackoff(), 0),
            )
        )
        self._writes: set[asyncio.Task[None]] = set()
        self._rest_until_s = 0.0
        self._down = False
        self._timeouts = 0

    async def lookup(self, tier: str, session: str) -> str | None:
        """See Affinity; a hit also renews the key's time to live."""
        if time.monotonic() < self._rest_until_s:
            raise AffinityUnavailable
        try:
            async with asyncio.timeout(self._timeout_s):
                uid = await self._redis.getex(_key(tier, session), ex=self._ttl_s)
        except FAILURES as error:
            self._failed(error)
            raise AffinityUnavailable from error
        self._worked()
        return uid if isinstance(uid, str) else None

    def remember(self, tier: str, session: str, uid: str) -> None:
        """See Affinity."""
        if time.monotonic() < self._rest_until_s or len(self._writes) >= WRITES_MAX:
            return
        task = asyncio.get_running_loop().create_task(self._write(_key(tier, session), uid))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _write(self, key: str, uid: str) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._redis.set(key, uid, ex=self._ttl_s)
        except FAILURES as error:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        self._timeouts += 1
        if isinstance(error, TimeoutError) and self._timeouts < TIMEOUTS_MAX:
            return
        self._rest_until_s = time.monotonic() + REST_S
        if not self._down:
            self._down = True
            what = type(error).__name__
            log.warning("session affinity is off: Redis does not answer (%s)", what)

    def _worked(self) -> None:
        self._timeouts = 0
        if self._down:
            self._down = False
            log.info("session affinity is on again")

    async def close(self) -> None:
        """See Affinity."""
        for task in self._writes:
            task.cancel()
        await self._redis.aclose()


def _key(tier: str, session: str) -> str:
    # Hashed: clients choose the session id, and may choose a long or a telling one.
    digest = hashlib.blake2b(session.encode(), digest_size=16).hexdigest()
    return f"inference-router:affinity:{tier}:{digest}"
