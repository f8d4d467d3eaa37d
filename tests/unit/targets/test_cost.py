"""What a target costs an hour: the sum of prices that are known, or nothing at all."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import pytest

from faultload.spec.prices import InstancePrice, PriceBook, Prices, load_price_book, load_prices
from faultload.targets.kubernetes.cost import usd_per_h
from faultload.targets.local_machines import LocalMachines

LABELS = {
    "node.kubernetes.io/instance-type": "g6.12xlarge",
    "topology.kubernetes.io/region": "us-east-1",
    "karpenter.sh/capacity-type": "on-demand",
}


def node(gpus: str = "4", **labels: str | None) -> dict[str, Any]:
    """Return a node as the API gives one; a label that is None is not there."""
    kept = {key: value for key, value in {**LABELS, **labels}.items() if value is not None}
    return {
        "metadata": {"name": "n", "labels": kept},
        "status": {"capacity": {"nvidia.com/gpu": gpus}},
    }


def cpu_node() -> dict[str, Any]:
    """Return a node without GPUs, whose type is in no list of ours."""
    return {"metadata": {"name": "c"}, "status": {"capacity": {"cpu": "4"}}}


def test_gpu_nodes_are_added_up_and_others_are_not() -> None:
    """Managed node groups write it in capitals; a machine without GPUs is no GPU-dollar."""
    eks = node(
        **{"karpenter.sh/capacity-type": None, "eks.amazonaws.com/capacityType": "ON_DEMAND"}
    )

    assert usd_per_h([node(), eks, cpu_node()], load_price_book()) == pytest.approx(2 * 4.6016)


@pytest.mark.parametrize(
    "unknown",
    [
        {"node.kubernetes.io/instance-type": "p9.large"},
        {"node.kubernetes.io/instance-type": None},
        {"topology.kubernetes.io/region": "eu-west-1"},
        {"topology.kubernetes.io/region": None},
        {"karpenter.sh/capacity-type": "spot"},
        {"karpenter.sh/capacity-type": None},
    ],
)
def test_one_unknown_price_makes_the_sum_unknown(unknown: dict[str, str | None]) -> None:
    """A price of another region, or of on-demand for a spot node, is not that node's price."""
    assert usd_per_h([node(), node(**unknown)], load_price_book()) is None


@pytest.mark.parametrize(("typical", "expected"), [(False, 4.6016 + 2.0), (True, None)])
def test_spot_is_known_where_somebody_asked_what_it_cost(
    typical: bool, expected: float | None
) -> None:
    """A list of what was paid counts; a typical value is no ground to end a run on."""
    row = InstancePrice(instance_type="g6.12xlarge", usd_per_hour=2.0)
    spot = Prices(
        region="us-east-1",
        as_of=date(2026, 11, 1),
        source="price history",
        capacity_type="spot",
        typical=typical,
        instances=[row],
    )
    book = PriceBook((spot, load_prices()))

    found = usd_per_h([node(), node(**{"karpenter.sh/capacity-type": "spot"})], book)
    assert found == (None if expected is None else pytest.approx(expected))


def test_a_node_whose_gpus_are_not_offered_is_paid_for_all_the_same() -> None:
    """A listed type counts while its device plugin is down, and so does what discovery labelled."""
    assert usd_per_h([node(gpus="0")], load_price_book()) == pytest.approx(4.6016)
    labelled = {"node.kubernetes.io/instance-type": "p9.large", "nvidia.com/gpu.present": "true"}
    assert usd_per_h([node(), node(gpus="0", **labelled)], load_price_book()) is None


def test_no_gpu_node_is_no_price() -> None:
    """Nothing found is not nothing to pay."""
    assert usd_per_h([cpu_node()], load_price_book()) is None


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("ready", 4.5), ("launching", 2.0), ("lost", 9.0)], 6.5),
        ([("ready", 4.5), ("ready", None)], None),
        ([("ready", 0.0)], 0.0),
        ([("lost", 9.0)], None),
    ],
)
def test_local_machines_have_the_prices_of_the_configuration(
    rows: list[tuple[str, float | None]], expected: float | None
) -> None:
    """A lost machine is no longer paid for; a free one is free because the file says so."""
    nodes = [{"state": state, "price_usd_per_hour": price} for state, price in rows]
    machines = LocalMachines()
    control: Any = SimpleNamespace(call=lambda *_: {"nodes": nodes})
    machines._control = control

    assert machines.usd_per_h() == expected
