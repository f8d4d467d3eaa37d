"""The local platform's machines, zones and capacity: it plays the cloud beneath itself, too."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import requests

from faultload.errors import FaultError
from faultload.targets.base import (
    FAIL_ZONE,
    INTERRUPT_SPOT,
    LOSE_NODE,
    WITHHOLD_CAPACITY,
    Mark,
)
from faultload.targets.control import GONE, ControlApi
from faultload.targets.machine_acts import INTERRUPTION, REBALANCE, Capacity

MACHINE_CAPABILITIES = frozenset({LOSE_NODE, INTERRUPT_SPOT, FAIL_ZONE, WITHHOLD_CAPACITY})
_METADATA_S = 2.0
_TOKEN_TTL_S = 60
_NOTICES = {
    INTERRUPTION: ("spot/instance-action", "time"),
    REBALANCE: ("events/recommendations/rebalance", "noticeTime"),
}
"""Where EC2's metadata service has each, beneath `latest/meta-data`, and the time's key."""


class LocalMachines:
    """That part of a local target; the platform keeps no marks."""

    _control: ControlApi
    _about: dict[str, Any]

    def usd_per_h(self) -> float | None:
        """Return the sum of the machines' prices: every one here has GPUs.

        What ended and is listed still is not paid for. None: a machine has no price, or none runs.
        """
        rows = self._control.call("GET", "/v1/state")["nodes"]
        prices = [row.get("price_usd_per_hour") for row in rows if row["state"] != "lost"]
        return sum(prices) if prices and None not in prices else None

    def lose_node(self, node: str, uid: str) -> None:
        """Have its host fail."""
        self._order(node, uid, "terminate")

    def interrupt_spot(self, node: str, uid: str) -> None:
        """Give it EC2's notice."""
        self._order(node, uid, "interrupt")

    def advise_rebalance(self, node: str, uid: str) -> None:
        """Give it EC2's rebalance recommendation."""
        self._order(node, uid, "rebalance")

    def spot_notices(self, node: str) -> Mapping[str, float]:
        """Ask the instance metadata service as a program on the machine does: with a token."""
        base = f"{self._about['imds_url']}/{node}/latest"
        found: dict[str, float] = {}
        with requests.Session() as http:
            http.trust_env = False  # a proxy must not see loopback calls
            try:
                ttl = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)}
                given = http.put(f"{base}/api/token", headers=ttl, timeout=_METADATA_S)
                if not given.ok:
                    return {}
                http.headers["X-aws-ec2-metadata-token"] = given.text
                for kind, (path, key) in _NOTICES.items():
                    answer = http.get(f"{base}/meta-data/{path}", timeout=_METADATA_S)
                    if answer.ok:
                        found[kind] = datetime.fromisoformat(answer.json()[key]).timestamp()
            except requests.RequestException:
                return {}
        return found

    def ended_with(self, node: str, uid: str, replicas: Collection[str]) -> Collection[str] | None:
        """Read the platform's events: who was deleted before the instance ended."""
        there = set(replicas)
        for event in self._control.call("GET", "/v1/events", params={"since": "0"}):
            if event["reason"] == "Deleted":
                there.discard(event["object"].removeprefix("replica/"))
            ends = (event["reason"], event["object"]) == ("InstanceTerminated", f"node/{node}")
            if ends and event["message"].startswith(f"{uid}:"):
                return sorted(there)
        return None

    def fail_zone(self, zone: str, mark: Mark) -> None:  # noqa: ARG002
        """Take the zone away."""
        self._control.call("POST", f"/v1/zones/{zone}/fail")

    def restore_zone(self, zone: str, token: str) -> None:  # noqa: ARG002
        """Give it back; what its node groups lack is launched."""
        self._control.call("POST", f"/v1/zones/{zone}/restore")

    def withhold_capacity(self, kind: Capacity, mark: Mark) -> None:  # noqa: ARG002
        """Let EC2 have none of these."""
        self._set_capacity(kind, available=False)

    def offer_capacity(self, kind: Capacity, token: str) -> None:  # noqa: ARG002
        """Let it have them again."""
        self._set_capacity(kind, available=True)

    def withheld(self) -> Collection[Capacity]:
        """Return the platform's shortages."""
        return {Capacity(**one) for one in self._control.call("GET", "/v1/state")["shortages"]}

    def launches_refused(self) -> int | None:
        """Count the events; the platform has one for each node group or pool in a shortage."""
        events = self._control.call("GET", "/v1/events", params={"since": "0"})
        return [event["reason"] for event in events].count("LaunchFailed")

    def _set_capacity(self, kind: Capacity, *, available: bool) -> None:
        """Have it or not; a kind that the platform does not know cannot be withheld either."""
        body = {
            "available": available,
            "zone": kind.zone,
            "capacity_type": kind.capacity_type,
            "instance_type": kind.instance_type,
        }
        answer = self._control.ask("POST", "/v1/capacity", body=body)
        if not (available and answer.status_code in GONE):
            self._control.result(answer)

    def _order(self, node: str, uid: str, order: str) -> None:
        rows = self._control.call("GET", "/v1/state")["nodes"]
        if all((row["name"], row["instance_id"]) != (node, uid) for row in rows):
            raise FaultError(f"node {node} is gone, or is another by now")
        self._control.call("POST", f"/v1/nodes/{node}/{order}")
