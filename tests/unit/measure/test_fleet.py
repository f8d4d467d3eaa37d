"""Machines of a run: paid for while they were there, busy, cold or idle as their replicas were."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from fleets import NodeSeen, PodSeen, fleet_series

from faultload.measure.fleet import NOT_RECORDED, read_fleet
from faultload.record import SERIES_SCHEMA, Phase, PhaseName
from faultload.record.fleet import Fleet

T0, END = 1_700_000_000.0, 60.0
PHASES = (
    Phase(name=PhaseName.BASELINE, start_s=0.0, end_s=20.5),
    Phase(name=PhaseName.FAULT, start_s=20.5, end_s=40.0),
    Phase(name=PhaseName.RECOVERY, start_s=40.0, end_s=END),
)


def seen(*nodes: NodeSeen, at_s: np.ndarray | None = None) -> Fleet:
    """Return what is read of these nodes."""
    series = fleet_series(*nodes, end_s=END, t0_unix_s=T0, at_s=at_s)
    return read_fleet(series, PHASES, T0, 1.0)


def after(start_s: float) -> Callable[[float], bool]:
    """Return a flag that is set from a moment on."""
    return lambda at_s: at_s >= start_s


def before(end_s: float) -> Callable[[float], bool]:
    """Return a flag that is set up to a moment."""
    return lambda at_s: at_s < end_s


def test_a_node_that_was_there_all_along_is_paid_for_all_along() -> None:
    """Neither the distance of the first sample nor that of the last shortens the bill."""
    fleet = seen(NodeSeen("a", pods=[PodSeen("p", busy=before(30))]))

    (machine,) = fleet.machines
    assert (machine.start_s, machine.end_s, machine.error_s) == (0.0, END, 0.0)
    assert (machine.began, machine.ended) == (False, False)
    assert (machine.instance_type, machine.capacity_type) == ("g6.12xlarge", "on-demand")
    assert (machine.gpus, machine.usd_per_h) == (4, 3.6)
    assert machine.busy_gpu_s.sum() == pytest.approx(30, abs=1.1)
    assert machine.cold_gpu_s.sum() == 0
    assert not fleet.problem
    assert not fleet.parts_problem


def test_cells_never_cross_the_end_of_a_phase() -> None:
    """What a phase cost is a sum over whole cells."""
    edges = seen(NodeSeen("a")).edges_s

    assert {0.0, 20.5, 40.0, END} <= set(edges.tolist())
    assert (np.diff(edges) > 0).all()


def test_a_launched_machine_is_cold_until_its_first_replica_is_ready() -> None:
    """Boot, image and weights are paid for: all four GPUs, from the launch that EC2 bills."""
    pod = PodSeen("p", there=after(12), ready=after(25), busy=after(30))
    late = NodeSeen("b", "aws:///us-east-1a/i-2", there=after(5.7), created_s=5.7, pods=[pod])
    fleet = seen(NodeSeen("a"), late)

    machine = fleet.machines[1]
    assert machine.start_s == pytest.approx(5.7)
    assert (machine.began, machine.error_s) == (True, 0.0)
    assert machine.cold_gpu_s.sum() == pytest.approx(4 * (25 - 5.7), abs=4.1)
    assert machine.busy_gpu_s.sum() == pytest.approx(END - 30, abs=1.1)


def test_a_replica_that_starts_again_is_cold_and_its_neighbours_are_not() -> None:
    """What a lost replica costs is the GPU that it holds and does not use."""
    away = PodSeen("p", ready=lambda at_s: not 20 <= at_s < 50, busy=before(20))
    fleet = seen(NodeSeen("a", pods=[away, PodSeen("q", busy=lambda _: True)]))

    (machine,) = fleet.machines
    assert machine.cold_gpu_s.sum() == pytest.approx(30, abs=1.1)
    assert machine.busy_gpu_s.sum() == pytest.approx(20 + END, abs=1.1)


def test_a_replica_that_drains_is_busy_though_it_is_not_ready() -> None:
    """It finishes what it took: that is work."""
    draining = PodSeen("p", there=before(40), ready=before(20), busy=before(40))
    (machine,) = seen(NodeSeen("a", pods=[draining])).machines

    assert machine.busy_gpu_s.sum() == pytest.approx(40, abs=1.1)
    assert machine.cold_gpu_s.sum() == pytest.approx(0, abs=1.1)


def test_an_instance_that_ended_is_not_paid_for_while_its_node_is_still_listed() -> None:
    """Kubernetes forgets a node late; the price series ends with the instance."""
    lost = NodeSeen("a", there=before(30), listed=before(45))
    machine, _ = seen(lost, NodeSeen("b", "aws:///us-east-1a/i-2")).machines

    assert machine.ended
    assert machine.end_s == pytest.approx(30, abs=1.1)
    assert machine.error_s == pytest.approx(1.0)


def test_a_node_that_comes_back_is_another_instance() -> None:
    """Each is billed for itself, and the pause between them is not billed."""
    first = NodeSeen("a", "aws:///us-east-1a/i-1", there=before(20))
    again = NodeSeen("a", "aws:///us-east-1a/i-2", there=after(30), created_s=29.5)
    fleet = seen(first, again, NodeSeen("z", "aws:///us-east-1a/i-9"))

    paid_s = [one.end_s - one.start_s for one in fleet.machines]
    assert paid_s == pytest.approx([20.05, 30.5, END], abs=0.6)


def test_a_prometheus_that_was_away_for_a_while_ends_no_machine() -> None:
    """What was there before and after was there in between; that much unseen is not split."""
    looks = np.concatenate([np.arange(0.05, 20), np.arange(40.05, END)])
    fleet = seen(NodeSeen("a", pods=[PodSeen("p")]), at_s=looks)

    (machine,) = fleet.machines
    assert (machine.start_s, machine.end_s) == (0.0, END)
    assert "of the run was seen by Prometheus" in fleet.parts_problem


@pytest.mark.parametrize("looks", [np.arange(10.05, END), np.arange(0.05, 45)])
def test_a_run_whose_ends_were_not_seen_has_no_bill(looks: np.ndarray) -> None:
    """Who was there then is not known, and nobody is not the answer."""
    fleet = seen(NodeSeen("a"), at_s=looks)

    assert not fleet.machines
    assert "both ends of the run" in fleet.problem


def test_a_record_without_nodes_says_so() -> None:
    """Records from before are read on: their cost is not known."""
    nothing = pd.DataFrame(columns=SERIES_SCHEMA.names)

    assert read_fleet(nothing, PHASES, T0, 1.0).problem == NOT_RECORDED
    assert read_fleet(nothing, (), T0, 1.0).problem == NOT_RECORDED


def test_two_exporters_are_one_machine() -> None:
    """A kube-state-metrics that is replaced, or has a twin, bills nobody twice."""
    series = fleet_series(NodeSeen("a", usd_per_h=None), end_s=END, t0_unix_s=T0)
    twin = series.assign(labels=series["labels"].str.replace("10.0.0.9", "10.0.0.10"))
    fleet = read_fleet(pd.concat([series, twin], ignore_index=True), PHASES, T0, 1.0)

    assert [(one.start_s, one.end_s) for one in fleet.machines] == [(0.0, END)]
    assert fleet.machines[0].usd_per_h is None


def test_pods_that_no_engine_series_names_leave_the_bill_unsplit() -> None:
    """No data is not idle."""
    series = fleet_series(NodeSeen("a", pods=[PodSeen("p")]), end_s=END, t0_unix_s=T0)
    silent = series[series["series"] != "vllm:num_requests_running"]
    fleet = read_fleet(silent, PHASES, T0, 1.0)

    assert len(fleet.machines) == 1
    assert "num_requests_running" in fleet.parts_problem


def test_a_node_without_gpus_is_none_of_this_bill() -> None:
    """Nodes for routers and Prometheus are counted elsewhere."""
    fleet = seen(NodeSeen("cpu", gpus=0, instance_type="m7i.large"), NodeSeen("a"))

    assert [one.node for one in fleet.machines] == ["a"]


def test_a_machine_that_ended_before_it_offered_its_gpus_is_billed_by_its_type() -> None:
    """A launch that failed was paid for."""
    series = fleet_series(
        NodeSeen("a"), NodeSeen("b", "i-2", gpus=0, there=before(9)), end_s=END, t0_unix_s=T0
    )
    fleet = read_fleet(series, PHASES, T0, 1.0, lambda _: 4)

    assert [one.gpus for one in fleet.machines] == [4, 4]


def test_machines_that_others_use_are_not_billed_where_nodes_are_shared() -> None:
    """Ours are those that held a pod of ours; alone on a cluster, all are."""
    nodes = NodeSeen("a", pods=[PodSeen("p")]), NodeSeen("b", "aws:///us-east-1a/i-2")
    series = fleet_series(*nodes, end_s=END, t0_unix_s=T0)

    shared = read_fleet(series, PHASES, T0, 1.0, shared=True)

    assert [machine.node for machine in shared.machines] == ["a"]
    assert [machine.node for machine in seen(*nodes).machines] == ["a", "b"]


def test_a_price_of_zero_is_no_price() -> None:
    """Exporters that know no price say 0; a machine is never free."""
    free = NodeSeen("b", "aws:///us-east-1a/i-2", usd_per_h=0.0)
    series = fleet_series(NodeSeen("a"), free, end_s=END, t0_unix_s=T0)
    half = (series["series"] == "node_total_hourly_cost") & (series["t_s"] < END / 2)
    series.loc[half, "value"] = 0.0

    machines = read_fleet(series, PHASES, T0, 1.0).machines

    assert [machine.usd_per_h for machine in machines] == [3.6, None]
