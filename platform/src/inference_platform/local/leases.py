"""Leases: what was done under one is put back when nobody renews it any more.

Whoever does harm may die before he takes it back, his machine with him. So the deadline is kept
here, beside what was harmed: before each order under a lease the platform looks how that is which
the order is about to change, and when the lease is over it makes it so again, last change first.

What somebody else has changed since is left alone. So is what has been put back by an order: the
lease remembers it no longer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from inference_platform.local.errors import LeaseError, one_line
from inference_platform.local.unit import Note

Answer = TypeVar("Answer")
State = Mapping[str, Any]
Spawn = Callable[[Coroutine[Any, Any, None]], object]

TICK_S = 0.1
STANDSTILL_S = 0.5
"""The most that one tick counts. A platform that stood still for longer than that could not hear
renewals either, and they wait in its socket."""
ATTEMPTS = 5
PAUSE_S = 1.0
PUT_BACK_S_MAX = 60.0
OVER_MAX = 1000
"""Names of leases that are over, kept to tell them from new ones."""


@dataclass(frozen=True)
class Subject:
    """Something that orders change.

    Attributes:
        about: what it is part of, as events name objects: `node/node-a`.
        aspect: which part of its state; with `about` it names the subject.
        read: returns that state; None: it is gone, and every change of it too.
        write: makes it so.
    """

    about: str
    aspect: str
    read: Callable[[], Awaitable[State | None]]
    write: Callable[[State], Awaitable[None]]

    @property
    def name(self) -> tuple[str, str]:
        """Names it."""
        return self.about, self.aspect


@dataclass(frozen=True)
class Effect:
    """What an order changes.

    Attributes:
        subjects: that it changes; none: there is nothing to put back.
        heals: it only ever puts something back, so it is not itself to be put back.
        why: there is nothing to put back; "" where there is.

    Raises:
        ValueError: it names nothing to put back, and does not say why.
    """

    subjects: Sequence[Subject] = ()
    heals: bool = False
    why: str = ""

    def __post_init__(self) -> None:
        """Check that nothing was forgotten."""
        if bool(self.subjects) == bool(self.why):
            raise ValueError("expected either subjects, or why there is nothing to put back")


@dataclass(eq=False)
class Change:
    """What orders under one lease made of a subject.

    Attributes:
        before: how it was before the first of them.
        after: how it was after the last of them; None: unknown, so all that is there may be ours.
        under_way: orders that are about to change it and have not ended.
    """

    subject: Subject
    before: State
    after: State | None = None
    under_way: int = 0

    async def put_back(self) -> str:
        """Make it as it was, where it still is as it was left; return what was done, "" if nothing.

        Whatever this raises, it may be tried again.
        """
        now = await self.subject.read()
        if now is None:
            return ""
        left, before = self.after, self.before
        back = {k: before[k] if left is None or now[k] == left[k] else now[k] for k in now}
        if back == now:
            return ""
        await self.subject.write(back)
        changed = [
            f"{key} {_said(now[key])} → {_said(back[key])}" for key in now if now[key] != back[key]
        ]
        return f"{self.subject.aspect}: {', '.join(changed)}"


@dataclass(eq=False)
class Lease:
    """One holder's time, and what was changed in it."""

    name: str
    ttl_s: float
    until_s: float
    over: bool = False
    changes: dict[tuple[str, str], Change] = field(default_factory=dict)

    def remember(self, subject: Subject, before: State) -> Change:
        """Keep how a subject was, unless an earlier change of it is known."""
        change = self.changes.setdefault(subject.name, Change(subject, before))
        change.after = None
        return change


class Leases:
    """All leases of one platform.

    Its time is that in which the platform ran: monotonic, and without standstills. It passes in
    `tick`, which is called ten times a second while there is a lease.
    """

    def __init__(
        self, note: Note, spawn: Spawn, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin without leases.

        Args:
            note: records events.
            spawn: runs something in the background.
            clock: the monotonic one, s.
        """
        self._note, self._spawn, self._clock = note, spawn, clock
        self._leases: dict[str, Lease] = {}
        self._over: deque[str] = deque(maxlen=OVER_MAX)
        self._now_s = 0.0
        self._looked_s = clock()
        self._ticks = False

    def hold(self, name: str, ttl_s: float) -> Lease:
        """Make a lease, or renew it.

        Raises:
            LeaseError: it is over. It is not taken up again: what was done under it is undone.
        """
        lease = self._leases.get(name)
        if lease is None:
            if name in self._over:
                raise LeaseError(f"lease {name} is over")
            lease = Lease(name, ttl_s, 0.0)
            if not self._ticks:
                self._ticks, self._looked_s = True, self._clock()
                self._spawn(self._run())
            self._leases[name] = lease
            self._note("LeaseHeld", f"lease/{name}", f"for {ttl_s:g} s at a time")
        lease.ttl_s, lease.until_s = ttl_s, self._ran_s() + ttl_s
        return lease

    async def end(self, name: str) -> list[str]:
        """End a lease, and put back what is left of its changes; return what that was.

        Idempotent: one that is over already, or never was, leaves nothing to do.
        """
        lease = self._leases.pop(name, None)
        if lease is None:
            return []
        self._close(lease)
        self._note("LeaseEnded", f"lease/{name}", f"{len(lease.changes)} changes to put back")
        return await self._put_back(lease, list(lease.changes.values()))

    async def during(
        self, name: str | None, effect: Effect, act: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Carry out an order and keep the books about what it changes.

        Args:
            name: of the lease it is given under; None: of none, so nothing is remembered.
            effect: what it changes.
            act: carries it out.

        Raises:
            LeaseError: there is no such lease, or it was over before the order was done, which is
                then put back.
            OrderError: it cannot be done; where it may have been all the same, it is put back with
                the rest.
        """
        lease = None if name is None else self._live(name)
        mine: list[Change] = []
        if lease is not None and not effect.heals:
            for subject in effect.subjects:
                before = await subject.read()
                if before is not None:
                    mine.append(lease.remember(subject, before))
            self._live(lease.name)  # looking took its time, and nothing is done yet
        for change in mine:
            change.under_way += 1
        try:
            answer = await act()
        finally:
            for change in mine:
                change.under_way -= 1
            await self._look_again(effect, mine)
            if lease is not None and lease.over:
                await self._put_back(lease, mine)
        if lease is not None and lease.over:
            raise LeaseError(f"lease {lease.name} was over before the order was done")
        return answer

    def state(self) -> list[dict[str, Any]]:
        """Return each lease, how long it has still, and what would be put back."""
        return [
            {
                "name": lease.name,
                "ttl_s": lease.ttl_s,
                "left_s": max(0.0, lease.until_s - self._ran_s()),
                "changes": [" ".join(name) for name in lease.changes],
            }
            for lease in self._leases.values()
        ]

    def tick(self) -> None:
        """Let time pass, and begin to put back what was changed under leases that are over."""
        self._now_s, self._looked_s = self._ran_s(), self._clock()
        for lease in [one for one in self._leases.values() if one.until_s <= self._now_s]:
            del self._leases[lease.name]
            self._close(lease)
            text = f"not renewed for {lease.ttl_s:g} s: {len(lease.changes)} changes to put back"
            self._note("LeaseExpired", f"lease/{lease.name}", text)
            self._spawn(self._expire(lease))

    def _ran_s(self) -> float:
        """Return the time now, without standstills."""
        return self._now_s + min(self._clock() - self._looked_s, STANDSTILL_S)

    async def _run(self) -> None:
        while self._leases:
            await asyncio.sleep(TICK_S)
            self.tick()
        self._ticks = False

    def _close(self, lease: Lease) -> None:
        lease.over = True
        self._over.append(lease.name)

    def _live(self, name: str) -> Lease:
        if name not in self._leases:
            raise LeaseError(f"there is no lease {name[:200]}, or it is over")
        return self._leases[name]

    async def _look_again(self, effect: Effect, mine: Sequence[Change]) -> None:
        """See what an order has made of its subjects; what is as before is to be put back no more.

        Nobody's order is the wrong one to look after: whoever puts something back, it is done.
        """
        for subject in effect.subjects:
            for lease, change in list(self._changes_of(subject)):
                if change.under_way:  # it looks as before only until that order is done
                    continue
                try:
                    now = await change.subject.read()
                except Exception:  # noqa: BLE001, S112  # it cannot be told, so it stays to be undone
                    continue
                if now is None or now == change.before:
                    lease.changes.pop(subject.name, None)
                elif change in mine:
                    change.after = now

    def _changes_of(self, subject: Subject) -> Iterator[tuple[Lease, Change]]:
        for lease in self._leases.values():
            if subject.name in lease.changes:
                yield lease, lease.changes[subject.name]

    async def _expire(self, lease: Lease) -> None:
        await self._put_back(lease, list(lease.changes.values()))

    async def _put_back(self, lease: Lease, changes: Sequence[Change]) -> list[str]:
        """Put changes back, last one first; return what was done.

        What fails keeps nothing from the rest, and is tried again a few times.
        """
        done, left = list[str](), list(reversed(changes))
        for attempt in range(1, ATTEMPTS + 1):
            failed = []
            for change in left:
                about = change.subject.about
                try:
                    text = await asyncio.wait_for(change.put_back(), PUT_BACK_S_MAX)
                except Exception as error:  # noqa: BLE001  # whatever it was, the rest is to be put back
                    failed.append(change)
                    said = one_line(error) or type(error).__name__
                    tried = f"{change.subject.aspect}, attempt {attempt} of {ATTEMPTS}: {said}"
                    self._note("UndoFailed", about, tried)
                    continue
                if text:
                    done.append(f"{about}: {text}")
                    self._note("Undone", about, f"{text} (lease {lease.name})")
            left = failed
            if not left:
                break
            await asyncio.sleep(PAUSE_S)
        return done


def _said(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
