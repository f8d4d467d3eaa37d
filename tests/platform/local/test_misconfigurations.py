"""The badly configured platforms: each is one that starts, and is as bad as it says."""

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inference_platform.local import config
from inference_platform.local.addresses import Addresses, ReplicaAddresses
from inference_platform.local.layout import Layout
from inference_platform.local.machines import Machine
from inference_platform.local.pod import Pod, Revision
from inference_platform.local.pod_unit import PodUnits
from inference_platform.local.settings import PlatformConfig

ROOT = Path(__file__).parents[3]
TIERS = ("fast", "reasoning")


def variants() -> dict[str, list[str]]:
    """Return the assignments of each, as the catalogue makes them."""
    spec = importlib.util.spec_from_file_location("catalogue", ROOT / "scripts" / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    catalogue = importlib.util.module_from_spec(spec)
    sys.modules["catalogue"] = catalogue  # dataclasses look their module up
    spec.loader.exec_module(catalogue)
    return catalogue.misconfigurations()


def router_flags(platform: PlatformConfig, name: str) -> list[str]:
    """Return the values that a flag of the router is given."""
    words = platform.router.extra_args
    return [words[index + 1] for index, word in enumerate(words) if word == name]


IS_BAD = {
    "no-prestop": lambda p: all(
        (p.tiers[t].pre_stop_s, p.tiers[t].engine.shutdown_timeout_s, p.tiers[t].grace_s)
        == (0, 0, 30)
        for t in TIERS
    ),
    "one-replica": lambda p: [p.tiers[t].replicas for t in TIERS] == [1, 1],
    "no-disruption-budget": lambda p: [p.tiers[t].max_disrupted for t in TIERS] == [None, None],
    "no-probes": lambda p: (
        not p.readiness.probe_replicas and router_flags(p, "--health-failures") == ["1000000000"]
    ),
    "retries-off": lambda p: router_flags(p, "--retries") == ["0"],
}


@pytest.mark.parametrize("name", IS_BAD)
def test_each_changes_what_it_says_and_all_change_everything(name: str) -> None:
    """The shipped platform is not that way; with the entry, and with all of them, it is."""
    holds: Callable[[PlatformConfig], bool] = IS_BAD[name]
    found = variants()

    assert not holds(config.load(config.DEFAULT_PATH))
    assert holds(config.load(config.DEFAULT_PATH, found[name]))
    assert holds(config.load(config.DEFAULT_PATH, found["all"]))


def test_every_entry_is_tested() -> None:
    """A misconfiguration nobody looked at may be none."""
    assert variants().keys() == {*IS_BAD, "all"}


@pytest.mark.parametrize(("name", "ready"), [("one-replica", False), ("no-probes", True)])
def test_without_probes_a_replica_that_does_not_answer_is_ready(name: str, ready: bool) -> None:
    """As a container without a readinessProbe: it runs, and that is all anybody asks."""
    platform = config.load(config.DEFAULT_PATH, variants()[name])
    nobody = ("127.0.0.1", 9)  # nothing may listen on the discard port without root
    tier = platform.tiers["fast"]
    where = ReplicaAddresses(nobody, nobody, nobody, nobody)
    pod = Pod("fast-0", "fast", Revision("r1", tier.engine), 0, where, first=True, made=0)
    units = PodUnits(platform, Addresses({}), Layout(Path(), {}, 0), lambda *_: None)

    recipe = units.recipe(pod, Machine("node-a", platform.nodes["node-a"]))

    assert asyncio.run(recipe.probe()) is ready
