"""A run's lease on a local platform: without it, what the run changed is put back by the platform.

So a fault ends by itself when everybody who would end it is gone: the platform, which the harm is
done to, owns the deadline. The lease's time is the platform's own.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from faultload.errors import FaultError, FaultloadError
from faultload.targets.control import ControlApi

TTL_S = 10.0
"""How long harm may outlast the harness. A machine that is busy with eight times its cores' work
delays a renewal by a second or two, and five of them must fail in a row."""
RENEW_S = 2.0
RENEW_TIMEOUT_S = 3.0
_RETRY_S = 0.5
_END_S = 5.0


@contextmanager
def held(control: ControlApi, ttl_s: float = TTL_S, renew_s: float = RENEW_S) -> Iterator[Lease]:
    """Hold a lease until the context ends; then the platform puts back what is left, if anything.

    Args:
        control: a connection for this alone; closed at the end.
        ttl_s: how long it is held without a renewal.
        renew_s: how often it is renewed.

    Raises:
        MissingError: the platform does not answer.
    """
    lease = Lease(control, ttl_s, renew_s)
    with contextlib.closing(control):
        lease.renew()
        thread = threading.Thread(target=lease.keep, name="faultload-lease", daemon=True)
        thread.start()
        try:
            yield lease
        finally:
            lease.stop.set()
            thread.join(RENEW_TIMEOUT_S + _END_S)
            with contextlib.suppress(FaultloadError):  # it runs out by itself
                control.call("DELETE", f"/v1/leases/{lease.name}")


def take(control: ControlApi, name: str, ttl_s: float) -> None:
    """Take a lease that nobody renews.

    Raises:
        FaultError: it is over already.
        MissingError: the platform does not answer.
    """
    control.call("POST", f"/v1/leases/{name}", {"ttl_s": ttl_s})


class Lease:
    """A lease that a thread renews.

    Attributes:
        name: what orders under it name.
        stop: ends the renewals.
    """

    def __init__(self, control: ControlApi, ttl_s: float, renew_s: float) -> None:
        """Nothing is taken yet."""
        self.name = uuid.uuid4().hex
        self.stop = threading.Event()
        self._control, self._ttl_s, self._renew_s = control, ttl_s, renew_s
        self._renewed_s = 0.0
        self._failure = ""
        self._lost = ""

    @property
    def problem(self) -> str:
        """Why what was changed may be put back by now; "" while it is certainly in force."""
        if self._lost:
            return self._lost
        silent_s = time.monotonic() - self._renewed_s
        if silent_s <= self._ttl_s:
            return ""
        return (
            f"the lease on the platform could not be renewed for {silent_s:.0f} s, so that the"
            f" platform may have undone the faults: {self._failure or 'no answer'}"
        )

    def renew(self) -> None:
        """Take it, or renew it; counted from before the call, as the platform's own is later.

        Raises:
            FaultError: it is over.
            MissingError: the platform does not answer.
        """
        begin_s = time.monotonic()
        take(self._control, self.name, self._ttl_s)
        self._renewed_s, self._failure = begin_s, ""

    def keep(self) -> None:
        """Renew until told to stop, or until it is over."""
        while not self.stop.wait(_RETRY_S if self._failure else self._renew_s):
            try:
                self.renew()
            except FaultError as error:
                self._lost = f"the platform has undone what was under this run's lease: {error}"
                return
            except FaultloadError as error:
                self._failure = str(error)
