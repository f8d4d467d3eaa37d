"""What a worker sees of itself: late releases, CPU, stalls of its event loop, steps of its clock.

A load client that is short of time measures itself. So its own health is part of the evidence, a
line a second, and `faultload.judge` holds it against limits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import gevent
import numpy as np

HEARTBEAT_S = 0.01
STALL_S = 0.05
"""A heartbeat later than this is a stall: more than one token's time on a fast engine."""
_LINE_S = 1.0


class SelfWatch:
    """One worker's view of itself.

    Args:
        now: seconds since the run's start, on the monotonic clock.
        in_flight: how many requests are open.
        say: takes a line, about once a second.
    """

    def __init__(
        self,
        now: Callable[[], float],
        in_flight: Callable[[], int],
        say: Callable[[dict[str, Any]], None],
    ) -> None:
        """Watch nothing yet."""
        self._now, self._in_flight, self._say = now, in_flight, say
        self._beating: gevent.Greenlet[[], None] | None = None
        self._released = 0

    def start(self) -> None:
        """Begin, once the run's clock is set."""
        self._restart(self._now())
        self._beating = gevent.spawn(self._beat)

    def stop(self) -> None:
        """End with a last line for the second begun."""
        if self._beating is not None:
            self._beating.kill(block=False)
            self._beating = None
            self._write(self._now())

    def released(self, lag_s: float) -> None:
        """Note how late a request was released."""
        self._released += 1
        self._lags.append(lag_s)

    def _restart(self, now_s: float) -> None:
        self._lags: list[float] = []
        self._since_s, self._cpu_s = now_s, time.process_time()
        self._skew_s = time.time() - time.monotonic()
        self._stall_s, self._stalls, self._stalled_s, self._streams = 0.0, 0, 0.0, 0

    def _beat(self) -> None:
        beaten_s = self._now()
        while True:
            gevent.sleep(HEARTBEAT_S)
            now_s = self._now()
            late_s, beaten_s = now_s - beaten_s - HEARTBEAT_S, now_s
            self._stall_s = max(self._stall_s, late_s)
            if late_s > STALL_S:
                self._stalls += 1
                self._stalled_s += late_s
            self._streams = max(self._streams, self._in_flight())
            if now_s - self._since_s >= _LINE_S:
                self._write(now_s)

    def _write(self, now_s: float) -> None:
        lags = np.quantile(self._lags, [0.5, 0.99, 1.0]).tolist() if self._lags else [None] * 3
        length_s = max(now_s - self._since_s, HEARTBEAT_S)
        self._say(
            {
                "t_s": now_s,
                "length_s": length_s,
                "lag_s_p50": lags[0],
                "lag_s_p99": lags[1],
                "lag_s_max": lags[2],
                "cpu_share": (time.process_time() - self._cpu_s) / length_s,
                "stall_s_max": self._stall_s,
                "stalls": self._stalls,
                "stalled_s": self._stalled_s,
                "clock_step_s": abs(time.time() - time.monotonic() - self._skew_s),
                "in_flight": self._in_flight(),
                "in_flight_max": max(self._streams, self._in_flight()),
                "released": self._released,
            }
        )
        self._restart(now_s)
