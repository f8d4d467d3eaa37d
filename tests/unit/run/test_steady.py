"""Between experiments: wait until the target is as it was, or say what is different."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from clock import Clock
from memory import EVERYTHING, Platform, replica

from faultload.errors import MissingError, RefusedError
from faultload.run.plan import RunPlan, prepare
from faultload.run.steady import SteadyState
from faultload.spec import Catalogue
from faultload.targets import SCALE, Capacity

ROOT = Path(__file__).parents[3]


@pytest.fixture
def plan(tmp_path: Path) -> RunPlan:
    """Return the plan of replica-loss on the local target."""
    return prepare(Catalogue(ROOT), "engine/replica-loss", "local", reports=tmp_path)


@pytest.fixture
def platform() -> Platform:
    """Return two tiers of two, on two machines."""
    return Platform(
        replica("a"),
        replica("b", node="node-b"),
        replica("c", tier="reasoning"),
        replica("d", tier="reasoning", node="node-b"),
    )


def make_unready(platform: Platform) -> None:
    """Have one replica lose its readiness."""
    platform.engines["a"] = replace(platform.engines["a"], ready=False)


def make_ready(platform: Platform) -> None:
    """Have it ready again."""
    platform.engines["a"] = replace(platform.engines["a"], ready=True)


def take_away(platform: Platform) -> None:
    """Have one replica vanish, as one that finds no machine does."""
    del platform.engines["a"]


def bring_back(platform: Platform) -> None:
    """Put another in its place."""
    platform.engines["e"] = replica("e")


def set_node(*, ready: bool, schedulable: bool) -> Callable[[Platform], None]:
    """Return what changes a machine."""

    def change(platform: Platform) -> None:
        node = platform.machines["node-b"]
        platform.machines["node-b"] = replace(node, ready=ready, schedulable=schedulable)

    return change


def withhold(*kinds: Capacity) -> Callable[[Platform], None]:
    """Return what has the cloud refuse these kinds of machine, and no others."""

    def change(platform: Platform) -> None:
        platform.withheld = lambda: kinds  # type: ignore[method-assign]

    return change


def leave(*lines: str) -> Callable[[Platform], None]:
    """Return what leaves these changes behind, and no others."""

    def change(platform: Platform) -> None:
        platform.left = list(lines)

    return change


def add_one(platform: Platform) -> None:
    """Have one replica more than there was."""
    platform.engines["e"] = replica("e")


DISTURBED = [
    (make_unready, make_ready, "engine fast has 1 ready, expected 2, not ready: a"),
    (take_away, bring_back, "engine fast has 1 ready, expected 2"),
    (add_one, lambda platform: platform.engines.pop("e"), "engine fast has 3 ready, expected 2"),
    (
        set_node(ready=True, schedulable=False),
        set_node(ready=True, schedulable=True),
        "closed or down: node-b",
    ),
    (
        set_node(ready=False, schedulable=True),
        set_node(ready=True, schedulable=True),
        "closed or down: node-b",
    ),
    (
        withhold(Capacity("zone-a", "spot")),
        withhold(),
        "withheld: spot in zone-a",
    ),
    (leave("pod b is cut off"), leave(), "left behind: pod b is cut off"),
]


@pytest.mark.parametrize(("disturb", "mend", "said"), DISTURBED)
def test_wait_lasts_until_the_target_is_as_it_was(
    plan: RunPlan,
    platform: Platform,
    clock: Clock,
    disturb: Callable[[Platform], None],
    mend: Callable[[Platform], object],
    said: str,
) -> None:
    """Whatever the last experiment changed; as long as it takes and no longer."""
    steady = SteadyState(platform)
    assert steady.wait(plan) == 0
    disturb(platform)
    clock.at(20, lambda: mend(platform))

    assert 20 <= steady.wait(plan) < 21


@pytest.mark.parametrize(("disturb", "mend", "said"), DISTURBED)
def test_wait_is_bounded_and_says_what_it_last_saw(
    plan: RunPlan,
    platform: Platform,
    clock: Clock,
    disturb: Callable[[Platform], None],
    mend: Callable[[Platform], object],
    said: str,
) -> None:
    """A target that does not get there is refused, within the bound, with the difference."""
    steady = SteadyState(platform, timeout_s=30)
    steady.wait(plan)
    disturb(platform)

    with pytest.raises(RefusedError) as caught:
        steady.wait(plan)

    assert 30 <= clock.now_s < 31
    assert "'local' to be steady before engine/replica-loss within 30 s" in str(caught.value)
    assert said in str(caught.value)
    assert platform.acts == [], "waiting asks and does nothing"


def test_first_experiment_waits_for_a_whole_target(
    plan: RunPlan, platform: Platform, clock: Clock
) -> None:
    """What each tier is to have counts, also where a replica is not even listed."""
    take_away(platform)
    clock.at(5, lambda: bring_back(platform))

    assert 5 <= SteadyState(platform).wait(plan) < 6


def test_machines_that_were_closed_before_are_no_difference(
    plan: RunPlan, platform: Platform, clock: Clock
) -> None:
    """An operator's cordon is part of what the target was like."""
    set_node(ready=True, schedulable=False)(platform)
    withhold(Capacity("zone-a"))(platform)
    steady = SteadyState(platform)

    assert steady.wait(plan) == 0
    assert steady.wait(plan) == 0


def test_what_an_autoscaler_owns_may_have_another_number(
    plan: RunPlan, platform: Platform, clock: Clock
) -> None:
    """As many as it is to have now: it may have grown or shrunk since."""
    fast = platform.tiers["fast"]
    platform.tiers["fast"] = replace(fast, scaled_by="hpa/fast")
    steady = SteadyState(platform, timeout_s=10)
    steady.wait(plan)
    platform.tiers["fast"] = replace(fast, scaled_by="hpa/fast", wanted=3)

    with pytest.raises(RefusedError, match="engine fast has 2 ready, expected 3"):
        steady.wait(plan)
    add_one(platform)
    steady.wait(plan)


def test_target_whose_workloads_we_may_not_see_is_counted_by_its_replicas(
    plan: RunPlan, platform: Platform, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those who may scale see workloads: without them, more than before is no difference."""
    platform.capabilities = EVERYTHING - {SCALE}
    monkeypatch.setattr(platform, "workloads", lambda *_: pytest.fail("not to be asked"))
    steady = SteadyState(platform, timeout_s=10)
    steady.wait(plan)
    add_one(platform)
    steady.wait(plan)
    take_away(platform)
    steady.wait(plan)
    del platform.engines["e"]

    with pytest.raises(RefusedError, match="engine fast has 1 ready, expected 2"):
        steady.wait(plan)


def test_pause_is_the_shortest_wait(plan: RunPlan, platform: Platform, clock: Clock) -> None:
    """A game day's cool-down passes even on a target that is steady at once."""
    assert SteadyState(platform).wait(plan, pause_s=7.0) == pytest.approx(7.0)
    assert clock.now_s == pytest.approx(7.0)


def test_component_met_later_has_to_be_whole_too(
    plan: RunPlan, platform: Platform, clock: Clock
) -> None:
    """Each is remembered as it was when it was met first, and watched from then on."""
    router = replace(replica("r1", tier=""), component="router")
    platform.others = [router]
    radius = [plan.experiment.block.blast_radius[0].model_copy(update={"component": "router"})]
    block = plan.experiment.block.model_copy(update={"blast_radius": radius})
    second = replace(plan, experiment=replace(plan.experiment, block=block))
    steady = SteadyState(platform, timeout_s=10)
    steady.wait(plan)
    steady.wait(second)
    platform.others = [replace(router, ready=False)]

    with pytest.raises(RefusedError, match="router has 0 ready, expected 1, not ready: r1"):
        steady.wait(plan)


def test_fault_in_force_is_refused_at_once(
    plan: RunPlan, platform: Platform, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but `faultload recover` undoes what a journal holds: waiting would not help."""
    harmed = SimpleNamespace(folder=Path("run-1"), may_be_harmed=lambda: True)
    monkeypatch.setattr("faultload.run.state.left_behind", lambda _: [harmed])

    with pytest.raises(RefusedError, match="run-1.*faultload recover"):
        SteadyState(platform).wait(plan)
    assert clock.now_s == 0


def test_target_that_is_gone_is_missing(
    plan: RunPlan, platform: Platform, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A platform that answers no more is not one that is slow to heal."""

    def answer(component: str) -> list[object]:
        raise MissingError("the platform is gone")

    monkeypatch.setattr(platform, "replicas", answer)
    with pytest.raises(MissingError, match="is gone"):
        SteadyState(platform).wait(plan)
