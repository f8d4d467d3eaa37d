"""What EC2 does to machines: rebalance advice, spot notices, losses, zones that fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from inference_platform.local.errors import OrderError
from inference_platform.local.machines import Later, Machine, Machines, Note, Shortage
from inference_platform.local.settings import PlatformConfig


class Interruptions:
    """Plays EC2 towards the machines, and the handler that reacts to what it says.

    Args:
        config: how long a notice is, and what the handler reacts to.
        machines: whom it hits.
        note: records events.
        later: does something after a while.
        drain: empties a machine and takes it away when it is empty.
        lose: ends a machine at once with all that runs there; the second argument says how long
            its node stays listed, s.
    """

    def __init__(  # noqa: PLR0913  # what it acts on comes from outside
        self,
        config: PlatformConfig,
        machines: Machines,
        note: Note,
        later: Later,
        drain: Callable[[Machine], None],
        lose: Callable[[Machine, str, float], None],
    ) -> None:
        """Keep what it acts on."""
        self._config = config
        self._machines = machines
        self._note = note
        self._later = later
        self._drain = drain
        self._lose = lose

    def advise(self, name: str) -> None:
        """Recommend to leave a spot machine: no date, and maybe no notice will follow."""
        machine = self._spot(name)
        machine.rebalance_unix = machine.rebalance_unix or time.time()
        self._note("RebalanceRecommendation", f"node/{name}", machine.instance_id)
        if self._config.spot.drain_on_rebalance:
            self._drain(machine)

    def interrupt(self, name: str) -> float:
        """Give a spot machine its notice; return when it will be gone, Unix seconds.

        A machine that has its notice keeps it: EC2 does not take one back.
        """
        machine = self._spot(name)
        if machine.notice_unix is not None:
            return machine.notice_unix
        notice_s = self._config.scaled(self._config.spot.notice_s)
        machine.notice_unix = time.time() + notice_s
        machine.rebalance_unix = machine.rebalance_unix or time.time()
        self._note(
            "SpotInterrupted", f"node/{name}", f"{machine.instance_id} ends in {notice_s:g} s"
        )
        # Who was told knows at once that the node is gone; who was not waits for its heartbeat.
        handled = self._config.spot.drain_on_notice
        listed_s = 0.0 if handled else self._lost_after_s
        self._later(notice_s, lambda: self._lose(machine, "spot interruption", listed_s))
        if handled:
            self._drain(machine)
        return machine.notice_unix

    def terminate(self, name: str) -> None:
        """End a machine at once, as a failure of its host does; nobody is told."""
        machine = self._running(name)
        self._lose(machine, "its host failed", self._lost_after_s)

    def fail_zone(self, zone: str) -> None:
        """End every machine of a zone, and give none there until it is restored."""
        self._check_zone(zone)
        self._machines.run_short(Shortage(zone=zone))
        for machine in list(self._machines.by_name.values()):
            if machine.spec.zone == zone and machine.state != "lost":
                self._lose(machine, f"zone {zone} failed", self._lost_after_s)

    def restore_zone(self, zone: str) -> None:
        """Let a zone have machines again; those of node groups are launched anew."""
        self._check_zone(zone)
        self._machines.recover(Shortage(zone=zone))

    @property
    def _lost_after_s(self) -> float:
        return self._config.scaled(self._config.node_life.lost_after_s)

    def _running(self, name: str) -> Machine:
        machine = self._machines.named(name)
        if machine.state != "ready":
            raise OrderError(409, f"node {name} is {machine.state}")
        return machine

    def _spot(self, name: str) -> Machine:
        machine = self._running(name)
        if machine.spec.capacity_type != "spot":
            raise OrderError(409, f"node {name} is {machine.spec.capacity_type}, not spot")
        return machine

    def _check_zone(self, zone: str) -> None:
        zones = {node.zone for node in self._config.nodes.values()}
        zones |= {zone for pool in self._config.pools.values() for zone in pool.zones}
        if zone not in zones:
            raise OrderError(404, f"no zone {zone!r}; there are {', '.join(sorted(zones))}")


def metadata(machine: Machine, path: str) -> tuple[int, Any]:
    """Answer for the instance metadata service: status, and text or a JSON document.

    The paths and shapes are those that EC2 documents for spot instances.
    """
    notice = machine.notice_unix
    spec = machine.spec
    answers: dict[str, Any] = {
        "meta-data/instance-id": machine.instance_id,
        "meta-data/instance-type": spec.instance_type,
        "meta-data/instance-life-cycle": spec.capacity_type,
        "meta-data/placement/availability-zone": spec.zone,
        "meta-data/spot/instance-action": None
        if notice is None
        else {"action": "terminate", "time": _utc(notice)},
        "meta-data/spot/termination-time": None if notice is None else _utc(notice),
        "meta-data/events/recommendations/rebalance": None
        if machine.rebalance_unix is None
        else {"noticeTime": _utc(machine.rebalance_unix)},
    }
    answer = answers.get(path.strip("/"))
    return (404, "") if answer is None else (200, answer)


def _utc(unix: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
