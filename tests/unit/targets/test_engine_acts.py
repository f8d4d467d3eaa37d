"""A target that reaches no engine refuses to harm one, and has nothing to undo."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faultload.errors import FaultError
from faultload.faults import FAULTS
from faultload.targets.engine_acts import NoEngineActs
from faultload.targets.kubernetes import KubernetesTarget
from faultload.targets.kubernetes.rights import RIGHTS

NOWHERE = NoEngineActs()


@pytest.mark.parametrize(
    "act",
    [
        lambda: NOWHERE.pulse("a", "u"),
        lambda: NOWHERE.stop_engine("a", "u"),
        lambda: NOWHERE.kill_engine("a", "u"),
        lambda: NOWHERE.count_said("a", "text"),
        lambda: NOWHERE.hold_gpu_memory("a", "u"),
        lambda: NOWHERE.raise_xid("a", "u", 79),
        lambda: NOWHERE.slow_engine("a", "u", 3.0),
        lambda: NOWHERE.token_time_s("a", "u"),
    ],
)
def test_harm_and_looks_are_refused(act: Callable[[], object]) -> None:
    """Nothing happens silently, and nothing that was not seen is evidence."""
    with pytest.raises(FaultError, match="a: this target reaches neither"):
        act()


def test_nothing_is_to_be_undone() -> None:
    """What was never done needs no undoing: a revert does not fail on it."""
    NOWHERE.continue_engine("a", "u")
    NOWHERE.release_gpu_memory("a", "u", "node-a")
    NOWHERE.reset_gpu("a", "u", "node-a")
    NOWHERE.quicken_engine("a", "u")


def test_a_cluster_offers_none_of_them() -> None:
    """Its API reaches no process inside a pod; experiments that need one are skipped there."""
    assert issubclass(KubernetesTarget, NoEngineActs)
    engine_faults = {"hang_engine", "kill_engine", "exhaust_gpu_memory", "gpu_xid", "slow_gpu"}
    assert not {FAULTS[name].capability for name in engine_faults} & set(RIGHTS)
