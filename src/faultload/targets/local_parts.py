"""What a local platform has one of: router, Redis, Prometheus, model store; workloads of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faultload.errors import FaultError
from faultload.targets.base import Replica, Workload
from faultload.targets.control import GONE, ControlApi

PARTS = ("router", "redis", "prometheus", "model-store")
"""What experiments may name; the links between them are the platform's own machinery."""
_WORKLOAD = "component/"


class LocalParts:
    """Router, Redis, Prometheus and model store of a local target."""

    _control: ControlApi

    def part(self, name: str) -> list[Replica]:
        """Return the one replica of a part; its uid changes with every start. Empty: no such."""
        return [
            Replica(
                component=name,
                name=name,
                uid=row["uid"],
                tier="",
                node="",
                zone="",
                ready=bool(row["ready"]),
                restarts=int(row["restarts"]),
                inflight=None,
            )
            for row in self._rows(name)
        ]

    def part_workload(self, name: str) -> list[Workload]:
        """Return what keeps a part: it is to have one replica, or none while it is held down."""
        return [
            Workload(f"{_WORKLOAD}{name}", name, name, "", 0 if row["held"] else 1, "")
            for row in self._rows(name)
        ]

    def scale_part(self, workload: str, replicas: int) -> bool:
        """Take a part down for good (0) or start it (1); False: that is no part's workload.

        Raises:
            FaultError: it cannot have so many.
        """
        if not workload.startswith(_WORKLOAD):
            return False
        name = workload.removeprefix(_WORKLOAD)
        if replicas == 0:
            body = {"signal": "KILL", "hold": True}
            self._control.call("POST", f"/v1/components/{name}/signal", body)
        elif replicas == 1:
            self._control.call("POST", f"/v1/components/{name}/start")
        else:
            raise FaultError(f"the local platform has one {name} or none, and not {replicas}")
        return True

    def signal(self, replica: str, uid: str, name: str) -> None:
        """Signal all processes of a replica or of a part, if they are those of that uid."""
        self._control.call("POST", *_signal(replica, uid, name))

    def signal_if_there(self, replica: str, uid: str, name: str) -> None:
        """Signal it; nothing to do when that uid is gone."""
        answer = self._control.ask("POST", *_signal(replica, uid, name))
        if answer.status_code not in GONE:
            self._control.result(answer)

    def _rows(self, name: str) -> Sequence[dict[str, Any]]:
        """Return what the platform says of a part; it may have none: a store is optional."""
        rows = self._control.call("GET", "/v1/state")["components"]
        return [row for row in rows if row["name"] == name and name in PARTS]


def _signal(replica: str, uid: str, name: str) -> tuple[str, dict[str, str]]:
    kind = "components" if replica in PARTS else "replicas"
    return f"/v1/{kind}/{replica}/signal", {"signal": name, "uid": uid}
