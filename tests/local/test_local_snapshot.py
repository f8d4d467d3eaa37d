"""What holds a platform against what it was sees every kind of harm, or its silence is no proof."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import local_snapshot
import pytest
from crash_stage import PLATFORM
from live import live
from projects import wait_for
from snapshots import Snapshot

from faultload.targets import Capacity, Disturbance, LocalTarget, Mark, Replica

pytestmark = [pytest.mark.local, pytest.mark.full]

MARK = Mark("by-hand", 0.0)
Act = Callable[[LocalTarget, Replica], object]
HARM: dict[str, tuple[Act, Act]] = {
    "hung core": (
        lambda on, one: on.stop_engine(one.name, one.uid),
        lambda on, one: on.continue_engine(one.name, one.uid),
    ),
    "slow": (
        lambda on, one: on.slow_engine(one.name, one.uid, 3.0),
        lambda on, one: on.quicken_engine(one.name, one.uid),
    ),
    "stopped": (
        lambda on, one: on.stop_replica(one.name, one.uid),
        lambda on, one: on.continue_replica(one.name, one.uid),
    ),
    "cordoned": (
        lambda on, one: on.cordon_node(one.node, _uid_of(on, one.node), MARK),
        lambda on, one: on.uncordon_node(one.node, _uid_of(on, one.node), MARK.token),
    ),
    "cut off": (
        lambda on, one: on.partition([(one.name, one.uid)], MARK),
        lambda on, one: on.join([(one.name, one.uid)], MARK.token),
    ),
    "later": (
        lambda on, one: on.disturb([(one.name, one.uid)], Disturbance(0.05), MARK),
        lambda on, one: on.mend([(one.name, one.uid)], Disturbance(0.05), MARK.token),
    ),
    "short": (
        lambda on, one: on.withhold_capacity(Capacity(zone=one.zone), MARK),
        lambda on, one: on.offer_capacity(Capacity(zone=one.zone), MARK.token),
    ),
    "spoilt": (
        lambda on, one: on.spoil_model(one.tier, "corrupt", MARK),
        lambda on, one: on.restore_model(one.tier, MARK.token),
    ),
    "larger": (
        lambda on, one: on.set_scale(one.tier, one.tier, 3, MARK),
        lambda on, one: on.restore_scale(one.tier, one.tier, MARK.token, 2),
    ),
    "no cache": (
        lambda on, one: on.set_scale("component/redis", "redis", 0, MARK),
        lambda on, one: on.restore_scale("component/redis", "redis", MARK.token, 1),
    ),
    "released": (
        lambda on, one: on.release(one.tier, one.tier, "unpullable", MARK),
        lambda on, one: on.roll_back(one.tier, one.tier, MARK.token, "r1"),
    ),
}
"""Kind of harm → how to do it by hand to a replica, and how to take it back."""


def _uid_of(target: LocalTarget, node: str) -> str:
    return next(one.uid for one in target.nodes() if one.name == node)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTarget]:
    """The platform on which harnesses are killed."""
    folder = tmp_path_factory.mktemp("snapshot")
    with pytest.MonkeyPatch.context() as patch, live(folder, PLATFORM, 2.0) as started:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        yield started.target


@pytest.mark.parametrize("kind", HARM)
def test_harm_is_seen_while_it_lasts_and_no_longer(target: LocalTarget, kind: str) -> None:
    """Each by a line of its own; once it is taken back there is none."""
    wait_for(lambda: local_snapshot.is_settled(target), 30, "a platform with all it should have")
    before = local_snapshot.look(target)
    harm, undo = HARM[kind]
    victim = next(one for one in target.replicas("engine") if one.ready)

    harm(target, victim)
    seen = changes_now(target, before)
    undo(target, victim)

    assert seen
    wait_for(lambda: not changes_now(target, before), 30, "everything as it was")


def changes_now(target: LocalTarget, before: Snapshot) -> list[str]:
    """Return what is not as it was."""
    return local_snapshot.changes(before, local_snapshot.look(target))
