"""The lock: a Lease in each of our namespaces, which keeps harnesses on other machines away.

In each, so that target files whose namespaces are the same in part, or in another order, meet.

Who comes next must not trust its own clock about the holder's, so every time in the Lease, and
every time it is compared with, is the API server's. The holder judges its own hold by its own
monotonic clock, counted from before the renewal that succeeded.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from faultload.errors import FaultloadError, RefusedError
from faultload.targets.kubernetes.api import ApiError, GoneError, Object, Patience
from faultload.targets.kubernetes.cluster import Cluster
from faultload.targets.kubernetes.resources import LEASES, Ref

NAME = "faultload"
DURATION_S = 60.0
_SKEW_S = 2.0
"""Between the clocks of several API servers, whose answers carry whole seconds."""


@contextmanager
def held(cluster: Cluster, holder: str, duration_s: float = DURATION_S) -> Iterator[Hold]:
    """Hold the lock until the context ends.

    Args:
        cluster: whose.
        holder: a run id; this machine's name is added.
        duration_s: how long a hold that is not renewed keeps others away.

    Raises:
        RefusedError: another one holds it; says which and until when.
    """
    whom = f"{holder}@{socket.gethostname()}"
    places = sorted(set(cluster.namespaces))
    leases = [Lease(cluster, namespace, whom, duration_s) for namespace in places]
    with ExitStack() as held:
        for lease in leases:
            held.enter_context(_kept(lease, duration_s))
        yield Hold(leases)


@contextmanager
def _kept(lease: Lease, duration_s: float) -> Iterator[None]:
    lease.take()
    thread = threading.Thread(target=lease.keep, name="faultload-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        lease.stop.set()
        thread.join(duration_s)
        lease.release()


@dataclass(frozen=True)
class Hold:
    """The leases of all our namespaces."""

    leases: Sequence[Lease]

    @property
    def problem(self) -> str:
        """Why one of them may be held by somebody else by now; "" while all are ours."""
        return next((lease.problem for lease in self.leases if lease.problem), "")


class Lease:
    """A hold on a namespace, renewed by a thread every third of its duration."""

    def __init__(self, cluster: Cluster, namespace: str, holder: str, duration_s: float) -> None:
        """Nothing is taken yet."""
        self._api, self._ref = cluster.api, Ref(LEASES, namespace, NAME)
        self._holder, self._duration_s = holder, duration_s
        # One attempt: the next renewal is the next attempt.
        third_s = duration_s / 3
        self._patience = Patience(connect_s=min(5.0, third_s), read_s=third_s, attempts=1)
        self._renewed_s = 0.0
        self._failure = ""
        self._lost = ""
        self.stop = threading.Event()

    @property
    def problem(self) -> str:
        """Why it may be held by somebody else by now; "" while it is certainly ours."""
        if self._lost:
            return self._lost
        silent_s = time.monotonic() - self._renewed_s
        if silent_s <= self._duration_s:
            return ""
        return f"the lock could not be renewed for {silent_s:.0f} s: {self._failure or 'no answer'}"

    def take(self) -> None:
        """Take the lock.

        Raises:
            RefusedError: another one holds it.
        """
        begin_s = time.monotonic()
        self._ref = Ref.of(LEASES, self._api.find(self._ref) or self._create())
        try:
            self._api.amend(self._ref, self._taken)
        except GoneError:
            raise RefusedError(f"lease {NAME} was removed while it was taken; try again") from None
        self._renewed_s = begin_s

    def _create(self) -> Object:
        try:
            return self._api.create(LEASES, self._ref.namespace, {"metadata": {"name": NAME}})
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
        return self._api.get(self._ref)

    def _taken(self, seen: Object) -> Object | None:
        spec, now_s = seen.get("spec") or {}, self._api.now_unix_s()
        other = spec.get("holderIdentity") or ""
        if other and other != self._holder:
            until_s = _unix_s(spec.get("renewTime")) + float(spec.get("leaseDurationSeconds") or 0)
            if now_s <= until_s + _SKEW_S:
                until = datetime.fromtimestamp(until_s, UTC).strftime("%H:%M:%S UTC")
                raise RefusedError(
                    f"the target is locked by {other}, until {until} if it does not renew;"
                    " wait for it to end"
                )
        time_now = _micro_time(now_s)
        return {
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": max(1, round(self._duration_s)),
                "acquireTime": time_now,
                "renewTime": time_now,
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1,
            }
        }

    def keep(self) -> None:
        """Renew until told to stop, or until the lock is another's."""
        while not self.stop.wait(self._duration_s / 3) and not self._lost:
            begin_s = time.monotonic()
            try:
                self._api.amend(self._ref, self._renewed, self._patience)
                self._renewed_s = begin_s
            except GoneError:
                self._lost = f"lease {NAME} was removed"
            except RefusedError as error:
                self._lost = str(error)
            except FaultloadError as error:
                self._failure = str(error)

    def _renewed(self, seen: Object) -> Object:
        self._check_ours(seen)
        return {"spec": {"renewTime": _micro_time(self._api.now_unix_s())}}

    def release(self) -> None:
        """Let others have it at once; where that fails it runs out by itself."""
        try:
            self._api.amend(self._ref, self._released, self._patience)
        except FaultloadError as error:
            self._failure = str(error)

    def _released(self, seen: Object) -> Object:
        self._check_ours(seen)
        return {"spec": {"holderIdentity": None, "renewTime": None, "acquireTime": None}}

    def _check_ours(self, seen: Object) -> None:
        other = (seen.get("spec") or {}).get("holderIdentity") or "nobody"
        if other != self._holder:
            raise RefusedError(f"the lock was taken by {other}")


def _micro_time(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _unix_s(text: str | None) -> float:
    return datetime.fromisoformat(text).timestamp() if text else 0.0
