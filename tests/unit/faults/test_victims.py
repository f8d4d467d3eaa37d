"""Who is hit: intents resolved on what is ready, within the blast radius."""

from __future__ import annotations

import pytest
from memory import Platform, replica

from faultload.errors import FaultError, RefusedError
from faultload.faults.limits import Limits
from faultload.faults.victims import Choice
from faultload.targets import Mark


def test_busiest_replica_is_chosen() -> None:
    """`busiest` hits the replica with most requests in flight, so that a kill cuts streams."""
    platform = Platform(replica("a", inflight=1), replica("b", inflight=7), replica("c"))

    victims = Choice().resolve(platform, Limits())

    assert [v.name for v in victims] == ["b"]


def test_random_choice_is_seeded() -> None:
    """The same seed gives the same victims; other seeds give others."""
    platform = Platform(*(replica(f"r{i}") for i in range(8)))

    def chosen(seed: int) -> str:
        return Choice(select="random").resolve(platform, Limits(seed=seed))[0].name

    assert chosen(3) == chosen(3)
    assert len({chosen(seed) for seed in range(30)}) > 3


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(tier="no-such-tier"), "of tier 'no-such-tier'"),
        (Choice(component="no-such-component"), "found 0"),
        (Choice(replicas=5), "expected at least 5"),
    ],
)
def test_nothing_to_hit_is_an_error(choice: Choice, said: str) -> None:
    """A fault aimed at nothing is never a success: the error says what was looked for."""
    platform = Platform(replica("a"), replica("b"))

    with pytest.raises(FaultError, match=said):
        choice.resolve(platform, Limits())


def test_replicas_that_are_not_ready_are_no_victims() -> None:
    """Hitting what is down already would prove nothing."""
    platform = Platform(replica("a", ready=False), replica("b"))

    assert [v.name for v in Choice().resolve(platform, Limits())] == ["b"]


def test_blast_radius_counts_ready_replicas() -> None:
    """The share is of ready replicas: one of two ready is half, whatever else is listed."""
    platform = Platform(replica("a"), replica("b"), replica("c", ready=False))

    with pytest.raises(RefusedError, match="50% of them, over the blast radius of 40%"):
        Choice().resolve(platform, Limits(share_max=0.4))


def test_those_on_cordoned_nodes_come_first() -> None:
    """What people delete by hand after they closed a machine is what runs there."""
    platform = Platform(
        replica("a", inflight=7), replica("b", node="node-b"), replica("c", node="node-c")
    )

    def chosen() -> list[str]:
        return [v.name for v in Choice(cordoned_first=True).resolve(platform, Limits())]

    before = chosen()
    platform.cordon_node("node-b", "i-node-b", Mark("t", 0.0))

    assert (before, chosen()) == (["a"], ["b"])
