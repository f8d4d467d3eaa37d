"""One direction of a link, as arithmetic: what is under way, and when it arrives.

No clock and no sockets: who calls says what time it is, in seconds of any steady clock.
"""

from __future__ import annotations

import enum
import heapq
import random
from collections import deque
from collections.abc import Callable

from inference_platform.local.links.document import Link

PACKET_BYTES = 1500
BURST_S = 0.01
"""What a bucket holds, as time at its rate; timers are a millisecond or two late."""


class End(enum.Enum):
    """What can follow the last byte."""

    FIN = enum.auto()
    RST = enum.auto()


Segment = bytes | End


class TokenBucket:
    """Lets `rate` bytes a second pass, and at most a burst at once."""

    def __init__(self, rate: float, now: float) -> None:
        """It starts full."""
        self._rate = rate
        self._depth = max(PACKET_BYTES, rate * BURST_S)
        self._tokens = self._depth
        self._filled_at = now

    def take(self, wanted: int, now: float) -> int:
        """Return how many of the wanted bytes may pass: at least a packet of them, or none."""
        self._tokens = min(self._depth, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens + 1e-6 < min(wanted, PACKET_BYTES):  # sums of floats
            return 0
        granted = min(wanted, max(1, int(self._tokens)))
        self._tokens -= granted
        return granted

    def ready_at(self, wanted: int) -> float:
        """Return when `take` will grant something."""
        missing = min(wanted, PACKET_BYTES) - self._tokens
        return self._filled_at + max(0.0, missing) / self._rate


class Line:
    """One connection's bytes in one direction.

    Attributes:
        under_way: bytes that were put in and have not arrived.
        dead: what is under way has nowhere to go.
    """

    __slots__ = ("arrive", "dead", "last_due", "under_way")

    def __init__(self, arrive: Callable[[Segment], None]) -> None:
        """`arrive` gets the segments when they are through."""
        self.arrive = arrive
        self.under_way = 0
        self.last_due = 0.0
        self.dead = False


class Path:
    """All connections' bytes in one direction: first the narrow place, then the long way.

    The narrow place is one queue, first come, first served, however many connections there are.
    The long way keeps the order within a connection.
    """

    def __init__(self, link: Link, seed: str, now: float) -> None:
        """The same seed gives the same jitter to the same segments."""
        self._link = link
        self._random = random.Random(seed)  # noqa: S311  # reproducible is what it must be
        self._waiting: deque[tuple[Line, Segment]] = deque()
        self._flying: list[tuple[float, int, Line, Segment]] = []
        self._count = 0
        self._bucket: TokenBucket | None = None
        self.change(link, now)

    @property
    def plain(self) -> bool:
        """Whether a segment that finds nothing of its line under way arrives at once."""
        link = self._link
        return not (link.latency_s or link.jitter_s or self._bucket or link.partitioned)

    @property
    def partitioned(self) -> bool:
        """Whether nothing passes."""
        return self._link.partitioned

    def change(self, link: Link, now: float) -> None:
        """Take new conditions: what waits meets them, what is past the narrow place does not."""
        rate = link.bandwidth_bytes_per_s
        if rate is None:
            self._bucket = None
        elif self._bucket is None or rate != self._link.bandwidth_bytes_per_s:
            self._bucket = TokenBucket(rate, now)
        self._link = link
        self._let_through(now)

    def delay_s(self) -> float:
        """Return the latency of the next segment; the negative side of the jitter ends at 0."""
        link = self._link
        if not link.jitter_s:
            return link.latency_s
        return max(0.0, link.latency_s + self._random.uniform(-link.jitter_s, link.jitter_s))

    def put(self, line: Line, segment: Segment, now: float) -> None:
        """Send a segment on its way."""
        if isinstance(segment, bytes):
            line.under_way += len(segment)
        self._waiting.append((line, segment))
        self._let_through(now)

    def take(self, now: float) -> list[tuple[Line, Segment]]:
        """Return what has arrived, each line's in order; nothing while the link is partitioned."""
        if self._link.partitioned:
            return []
        self._let_through(now)
        arrived = []
        while self._flying and self._flying[0][0] <= now:
            _, _, line, segment = heapq.heappop(self._flying)
            if line.dead:
                continue
            if isinstance(segment, bytes):
                line.under_way -= len(segment)
            arrived.append((line, segment))
        return arrived

    def wake_at(self) -> float | None:
        """Return when `take` is worth calling, None when only a change can make it so."""
        if self._link.partitioned:
            return None
        times = [self._flying[0][0]] if self._flying else []
        if self._waiting:
            segment = self._waiting[0][1]
            assert self._bucket is not None and isinstance(segment, bytes)  # noqa: S101, PT018
            times.append(self._bucket.ready_at(len(segment)))
        return min(times, default=None)

    def _let_through(self, now: float) -> None:
        """Move what the bucket grants from the narrow place to the long way."""
        if self._link.partitioned:
            return
        while self._waiting:
            line, segment = self._waiting.popleft()
            if line.dead:
                continue
            if self._bucket is not None and isinstance(segment, bytes):
                length = self._bucket.take(len(segment), now)
                if length < len(segment):
                    self._waiting.appendleft((line, segment[length:]))
                if not length:
                    return
                segment = segment[:length]
            line.last_due = max(line.last_due, now + self.delay_s())
            self._count += 1  # the heap keeps the order of equal times by it
            heapq.heappush(self._flying, (line.last_due, self._count, line, segment))
