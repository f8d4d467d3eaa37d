"""Leases on a clock of the test's own: what is put back when one is over, and what is left."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any

import pytest

from inference_platform.local.errors import LeaseError, OrderError
from inference_platform.local.leases import (
    ATTEMPTS,
    STANDSTILL_S,
    TICK_S,
    Effect,
    Leases,
    Subject,
)

TTL_S = 10.0
COMES_BACK = Effect(why="it comes back by itself")


class World:
    """Things with a state, leases on them, and a clock that the test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 100.0
        self.things: dict[str, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.deaf: dict[str, int] = {}
        self.events: list[tuple[str, str, str]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.pauses = 0
        self.leases = Leases(self.note, self.spawn, lambda: self.now_s)
        monkeypatch.setattr("inference_platform.local.leases.PAUSE_S", 0.0)

    def note(self, reason: str, about: str, text: str) -> None:
        self.events.append((reason, about, text))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if work.__name__ == "_run":  # the test ticks
            work.close()
        else:
            self.tasks.append(asyncio.ensure_future(work))

    def subject(self, name: str) -> Subject:
        """Return a thing; one that is not there was replaced."""

        async def read() -> dict[str, Any] | None:
            return dict(self.things[name]) if name in self.things else None

        async def write(state: Mapping[str, Any]) -> None:
            if self.deaf.get(name, 0):
                self.deaf[name] -= 1
                raise OrderError(409, f"{name} does not answer")
            self.writes.append(name)
            self.things[name] = dict(state)

        return Subject(f"thing/{name}", "state", read, write)

    def change(self, name: str, **state: Any) -> Callable[[], Awaitable[str]]:
        """Return an act."""

        async def act() -> str:
            self.things[name] |= state
            return "done"

        return act

    async def order(
        self, lease: str | None, name: str, *, heals: bool = False, **state: Any
    ) -> str:
        """Change a thing by order."""
        effect = Effect([self.subject(name)], heals=heals)
        return await self.leases.during(lease, effect, self.change(name, **state))

    async def go(self, seconds: float) -> None:
        """Let time pass as a platform that runs sees it, and everything begun in it end."""
        for _ in range(round(seconds / TICK_S)):
            self.now_s += TICK_S
            self.leases.tick()
        await asyncio.gather(*self.tasks)

    def reasons(self) -> list[str]:
        """Why events happened, in order."""
        return [reason for reason, _, _ in self.events]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world with one lease on two things."""
    world = World(monkeypatch)
    world.things = {"a": {"n": 1, "m": 1}, "b": {"n": 1, "m": 1}}
    world.leases.hold("mine", TTL_S)
    yield world
    assert all(task.done() for task in world.tasks)


async def test_what_nobody_renews_is_put_back_last_change_first(world: World) -> None:
    """Each is as it was before the lease's first change of it, and events say so."""
    await world.order("mine", "a", n=2)
    await world.order("mine", "b", n=2)
    await world.order("mine", "a", n=3, m=3)

    await world.go(TTL_S + 1)

    assert world.things == {"a": {"n": 1, "m": 1}, "b": {"n": 1, "m": 1}}
    assert world.writes == ["b", "a"]
    assert world.reasons() == ["LeaseHeld", "LeaseExpired", "Undone", "Undone"]
    assert world.events[-1][1:] == ("thing/a", "state: n 3 → 1, m 3 → 1 (lease mine)")


async def test_a_renewed_lease_keeps_what_was_done(world: World) -> None:
    """However long it is renewed, nothing is put back before its time."""
    await world.order("mine", "a", n=2)
    for _ in range(5):
        await world.go(TTL_S - 1)
        world.leases.hold("mine", TTL_S)

    assert world.things["a"]["n"] == 2
    assert world.leases.state()[0]["left_s"] == pytest.approx(TTL_S)
    await world.go(TTL_S + 1)
    assert world.things["a"]["n"] == 1


async def test_a_lease_that_is_over_is_not_taken_up_again(world: World) -> None:
    """Who slept through it must hear that what he did is undone, and can do no late harm."""
    await world.go(TTL_S + 1)

    with pytest.raises(LeaseError, match="over"):
        world.leases.hold("mine", TTL_S)
    for name in ("mine", "never-was"):
        with pytest.raises(LeaseError, match=name):
            await world.order(name, "a", n=2)
    assert world.things["a"]["n"] == 1


async def test_without_a_lease_nothing_is_remembered(world: World) -> None:
    """A person at the control API gets what he orders, for as long as he wants it."""
    await world.order(None, "a", n=2)

    await world.go(TTL_S + 1)

    assert world.things["a"]["n"] == 2


@pytest.mark.parametrize("by", ["mine", None], ids=["its holder", "anybody"])
async def test_what_an_order_has_put_back_is_not_put_back_again(
    world: World, by: str | None
) -> None:
    """A revert, from whatever process: what somebody does afterwards is his."""
    await world.order("mine", "a", n=2)
    await world.order(by, "a", heals=True, n=1)
    assert world.leases.state()[0]["changes"] == []
    await world.order(None, "a", n=2)

    await world.go(TTL_S + 1)

    assert world.things["a"]["n"] == 2
    assert world.writes == []


async def test_an_order_that_only_heals_is_not_itself_put_back(world: World) -> None:
    """A lease's end never does harm: what was wrong before it, and mended under it, stays so."""
    world.things["a"]["n"] = 9
    await world.order("mine", "a", heals=True, n=1)

    await world.go(TTL_S + 1)

    assert world.things["a"]["n"] == 1


async def test_what_somebody_else_changed_since_is_left_alone(world: World) -> None:
    """Part by part: what still is as the lease's orders left it is put back, the rest is not."""
    await world.order("mine", "a", n=2, m=2)
    await world.order(None, "a", m=7)
    world.things["b"]["m"] = 5
    await world.order("mine", "b", n=2)
    world.things["b"]["n"] = 6

    await world.go(TTL_S + 1)

    assert world.things == {"a": {"n": 1, "m": 7}, "b": {"n": 6, "m": 5}}


async def test_what_is_gone_took_its_change_along(world: World) -> None:
    """A process that was replaced needs nothing, and is no failure."""
    await world.order("mine", "a", n=2)
    del world.things["a"]

    await world.go(TTL_S + 1)

    assert world.reasons() == ["LeaseHeld", "LeaseExpired"]


async def test_one_failure_keeps_nothing_from_the_rest(world: World) -> None:
    """What fails is tried again, a few times, and each is told."""
    await world.order("mine", "a", n=2)
    await world.order("mine", "b", n=2)
    world.deaf = {"b": 2}

    await world.go(TTL_S + 1)

    assert world.writes == ["a", "b"]
    assert world.things["b"]["n"] == 1
    failed = [text for reason, _, text in world.events if reason == "UndoFailed"]
    assert [text.partition(",")[2] for text in failed] == [
        f" attempt {n} of {ATTEMPTS}: b does not answer" for n in (1, 2)
    ]


async def test_what_never_answers_is_given_up_in_the_end(world: World) -> None:
    """Every wait has a bound."""
    await world.order("mine", "a", n=2)
    world.deaf = {"a": 100}

    await world.go(TTL_S + 1)

    assert world.reasons().count("UndoFailed") == ATTEMPTS


async def test_an_order_that_outlasts_its_lease_is_put_back(world: World) -> None:
    """Between its beginning and its end the lease may be over: late harm is no harm left."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        began.set()
        await go_on.wait()
        world.things["a"]["n"] = 2
        return "done"

    effect = Effect([world.subject("a")])
    order = asyncio.ensure_future(world.leases.during("mine", effect, slow))
    await began.wait()
    await world.go(TTL_S + 1)
    go_on.set()

    with pytest.raises(LeaseError, match="before the order was done"):
        await order
    assert world.things["a"]["n"] == 1


async def test_an_order_under_way_is_not_forgotten_for_one_that_heals(world: World) -> None:
    """What takes harm back may be done before the harm: what comes after it is put back too."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        began.set()
        await go_on.wait()
        world.things["a"]["n"] = 2

    async def heal() -> None:
        world.things["a"]["n"] = 1

    effect = Effect([world.subject("a")])
    harm = asyncio.ensure_future(world.leases.during("mine", effect, slow))
    await began.wait()
    await world.leases.during(None, Effect([world.subject("a")], heals=True), heal)
    go_on.set()
    await harm
    assert world.things["a"]["n"] == 2

    await world.go(TTL_S + 1)
    assert world.things["a"]["n"] == 1


async def test_an_order_that_was_refused_and_done_all_the_same_is_put_back(world: World) -> None:
    """An answer that came too late for us may stand for something that happened."""

    async def late() -> str:
        world.things["a"]["n"] = 2
        raise OrderError(409, "no answer")

    with pytest.raises(OrderError, match="no answer"):
        await world.leases.during("mine", Effect([world.subject("a")]), late)
    await world.go(TTL_S + 1)

    assert world.things["a"]["n"] == 1


async def test_its_end_puts_back_what_is_left_and_says_it(world: World) -> None:
    """Nothing outlives its lease, however that ends; the second time there is nothing to do."""
    await world.order("mine", "a", n=2)

    undone = await world.leases.end("mine")

    assert undone == ["thing/a: state: n 2 → 1"]
    assert await world.leases.end("mine") == []
    assert world.leases.state() == []
    with pytest.raises(LeaseError):
        world.leases.hold("mine", TTL_S)


async def test_a_standstill_of_the_platform_ends_no_lease(world: World) -> None:
    """While it stood still it heard no renewal either: they wait in its socket."""
    await world.order("mine", "a", n=2)
    world.now_s += 10 * TTL_S
    world.leases.tick()

    world.leases.hold("mine", TTL_S)
    await world.go(TTL_S - 1)

    assert world.things["a"]["n"] == 2
    assert STANDSTILL_S < TTL_S


async def test_no_lease_is_shorter_than_was_asked_for(world: World) -> None:
    """Between two ticks, too: it counts from the renewal, not from the tick before it."""
    await world.order("mine", "a", n=2)
    world.now_s += STANDSTILL_S * 0.9
    world.leases.hold("mine", TTL_S)
    await world.go(TTL_S - TICK_S)

    assert world.things["a"]["n"] == 2
    await world.go(2 * TICK_S)
    assert world.things["a"]["n"] == 1


async def test_leases_do_not_share_their_changes(world: World) -> None:
    """The end of one puts back its own alone."""
    world.leases.hold("other", TTL_S)
    await world.order("mine", "a", n=2)
    await world.order("other", "b", n=2)

    await world.leases.end("other")

    assert world.things == {"a": {"n": 2, "m": 1}, "b": {"n": 1, "m": 1}}
    await world.leases.end("mine")


async def test_orders_without_an_effect_say_why(world: World) -> None:
    """So none can do harm that nobody thought of."""
    assert await world.leases.during("mine", COMES_BACK, world.change("a", n=2)) == "done"
    with pytest.raises(ValueError, match="why"):
        Effect()


async def test_time_passes_by_itself_while_there_is_a_lease() -> None:
    """The tick is its own: nobody has to call it."""
    events: list[str] = []
    leases = Leases(lambda reason, _about, _text: events.append(reason), asyncio.ensure_future)

    leases.hold("short", 0.05)
    for _ in range(100):
        if "LeaseExpired" in events:
            break
        await asyncio.sleep(0.05)

    assert events == ["LeaseHeld", "LeaseExpired"]
