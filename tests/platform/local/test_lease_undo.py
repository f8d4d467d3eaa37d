"""What a lease on a real platform puts back: every kind of harm, with nobody there to undo it."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

pytestmark = pytest.mark.local

LONG_S, SHORT_S = 60.0, 0.5
Order = tuple[str, dict[str, Any]]


class Holder:
    """Somebody with a lease, who will not come back."""

    def __init__(self, platform: Any) -> None:
        self.platform = platform
        self.lease = uuid4().hex
        about = platform.document
        self._url = about["control_url"]
        self._token = Path(about["token_file"]).read_text()
        self.before = snapshot(platform)

    def order(self, path: str, body: Mapping[str, Any], *, lease: bool = True) -> requests.Response:
        """Give an order, under the lease or under none."""
        headers = {"authorization": f"Bearer {self._token}"}
        headers |= {"lease": self.lease} if lease else {}
        with requests.Session() as http:
            http.trust_env = False
            return http.post(self._url + path, json=dict(body), headers=headers, timeout=30)

    def hold(self, ttl_s: float) -> requests.Response:
        """Take the lease, or renew it."""
        return self.order(f"/v1/leases/{self.lease}", {"ttl_s": ttl_s}, lease=False)

    def changes(self) -> list[str]:
        """What would be put back now."""
        leases = self.platform.state()["leases"]
        return [text for one in leases if one["name"] == self.lease for text in one["changes"]]

    def is_over(self) -> bool:
        """Whether the platform has ended the lease."""
        return self.lease not in [one["name"] for one in self.platform.state()["leases"]]

    def has_come_back(self) -> bool:
        """Whether all is as it was before the first order."""
        return snapshot(self.platform) == self.before


def snapshot(platform: Any) -> dict[str, Any]:
    """Return what harm would change, without names and ids that replacements have anew."""
    state = platform.state()
    conditions = {
        link["name"]: {k: v for k, v in link.items() if k not in ("name", "listen", "to") and v}
        for link in state["links"]
    }
    return {
        "tiers": {
            t["name"]: (
                t["wanted"],
                t["ready"],
                t["revision"],
                t["scale_annotation"],
                t["complete"],
            )
            for t in state["tiers"]
        },
        "engines": sorted(str(engine(platform, replica)) for replica in state["replicas"]),
        "components": {c["name"]: (c["ready"], c["held"], stands(c)) for c in state["components"]},
        "nodes": {n["name"]: (n["cordoned"], n["broken_gpus"]) for n in state["nodes"]},
        "links": {name: how for name, how in conditions.items() if how},
        "shortages": state["shortages"],
    }


def engine(platform: Any, replica: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an engine says of itself; nothing when it is silent."""
    path = f"/v1/replicas/{replica['name']}/engine/state"
    if stands(replica):
        return {"tier": replica["tier"], "stands": True}
    status, said = platform.ask("POST", path, {"uid": replica["uid"]})
    if status != 200:
        return {"tier": replica["tier"]}
    return {
        "tier": replica["tier"],
        "ready": replica["ready"],
        "core stands": stands({"pid": said["core_pid"]}),
        **{key: said[key] for key in ("state", "slow_factor", "xid", "foreign_gib")},
    }


def stands(part: Mapping[str, Any]) -> bool:
    """Whether a process is stopped."""
    try:
        stat = Path(f"/proc/{part['pid']}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] == "T"


def is_whole(platform: Any) -> bool:
    """Whether every tier has what it wants and nothing that is still leaving, all of it ready."""
    state = platform.state()
    wanted = sum(t["wanted"] for t in state["tiers"])
    return (
        all(t["complete"] for t in state["tiers"])
        and all(c["ready"] for c in state["components"])
        and len(state["replicas"]) == wanted
    )


@pytest.fixture
def holder(platform: Any) -> Iterator[Holder]:
    """Return a holder with a long lease on a whole platform; nothing of it is left afterwards."""
    platform.wait_for(lambda: is_whole(platform))
    holder = Holder(platform)
    assert holder.hold(LONG_S).status_code == 200
    yield holder
    platform.ask("DELETE", f"/v1/leases/{holder.lease}")


def on(name: str, rest: str = "", /, **body: Any) -> Callable[[Any], Order]:
    """Return what makes an order about the first ready replica of a tier."""

    def order(platform: Any) -> Order:
        replicas = platform.state()["replicas"]
        victim = next(r for r in replicas if r["tier"] == name and r["ready"])
        return f"/v1/replicas/{victim['name']}/{rest}", {"uid": victim["uid"], **body}

    return order


def at(path: str, /, **body: Any) -> Callable[[Any], Order]:
    """Return what makes an order about something with a fixed name."""
    return lambda _: (f"/v1/{path}", body)


def link_of(tier: str, /, **body: Any) -> Callable[[Any], Order]:
    """Return what makes an order about the link before a replica."""

    def order(platform: Any) -> Order:
        victim = next(r for r in platform.state()["replicas"] if r["tier"] == tier)
        return f"/v1/links/{victim['name']}", body

    return order


HARM: dict[str, Callable[[Any], Order]] = {
    "stopped": on("fast", "signal", signal="STOP"),
    "server stopped": on("fast", "signal", signal="STOP", process="server"),
    "core stopped": on("fast", "signal", signal="STOP", process="engine-core"),
    "component stopped": at("components/prometheus/signal", signal="STOP"),
    "component held down": at("components/redis/signal", signal="KILL", hold=True),
    "hung": on("fast", "engine/hang", body={"seconds": 600}),
    "slow": on("fast", "engine/slow", body={"factor": 3}),
    "memory held": on("fast", "engine/memory", body={"gib": 1}),
    "fallen off the bus": on("fast", "engine/xid", body={"xid": 79}),
    "hung on NVLink": on("reasoning", "engine/xid", body={"xid": 74}),
    "scaled": at("tiers/fast/scale", replicas=1, annotation="whose"),
    "bad release": at("tiers/fast/release", pullable=False, annotation="whose"),
    "cordoned": at("nodes/node-a/cordon"),
    "network": at("links/redis", latency_s=0.05, reset_ratio=0.1),
    "partitioned": link_of("fast", partitioned=True),
    "capacity": at("capacity", available=False, capacity_type="spot"),
}


@pytest.mark.parametrize("kind", HARM)
def test_harm_under_a_lease_ends_with_it(platform: Any, holder: Holder, kind: str) -> None:
    """Nobody undoes it: half a second after the last renewal the platform does."""
    path, body = HARM[kind](platform)
    assert holder.order(path, body).status_code == 200
    platform.wait_for(lambda: not holder.has_come_back())
    assert holder.changes()

    assert holder.hold(SHORT_S).status_code == 200

    platform.wait_for(holder.is_over)
    platform.wait_for(holder.has_come_back)
    assert reasons(platform, holder)[-2:] == ["LeaseExpired", "Undone"]
    assert holder.order(path, body).headers["lease"] == "over"
    assert holder.has_come_back()


def reasons(platform: Any, holder: Holder) -> list[str]:
    """Return why the events of a lease, and of what was put back after it, happened."""
    events = platform.ask("GET", "/v1/events")[1]
    kinds = ("LeaseExpired", "LeaseEnded", "Undone", "UndoFailed")
    mine = [e for e in events if e["reason"] in kinds]
    return [
        e["reason"] for e in mine if holder.lease in e["object"] or holder.lease in e["message"]
    ]


def test_spoilt_weights_are_whole_again(platform: Any, holder: Holder) -> None:
    """The store is asked: by a process of its own, as by order."""
    order = holder.order("/v1/models/chat-fast", {"change": "corrupt"})
    assert (order.status_code, holder.changes()) == (200, ["model/chat-fast weights"])

    holder.hold(SHORT_S)

    platform.wait_for(lambda: "Undone" in reasons(platform, holder))
    said = [e for e in platform.ask("GET", "/v1/events")[1] if e["reason"] == "ModelChanged"]
    assert len(said) == 2
    assert platform.ask("POST", "/v1/models/chat-fast", {"change": "restore"})[0] == 200


def test_much_at_once_is_put_back_and_its_end_says_what(platform: Any, holder: Holder) -> None:
    """An end in good order undoes what is left, last change first; the second has nothing to do."""
    for kind in ("cordoned", "network", "slow", "capacity"):
        assert holder.order(*HARM[kind](platform)).status_code == 200

    status, answer = platform.ask("DELETE", f"/v1/leases/{holder.lease}")

    assert (status, [line.split(":")[0].split("/")[0] for line in answer["undone"]]) == (
        200,
        ["ec2", "replica", "link", "node"],
    )
    assert holder.has_come_back()
    assert platform.ask("DELETE", f"/v1/leases/{holder.lease}") == (200, {"undone": []})


def test_what_was_reverted_by_order_is_remembered_no_longer(platform: Any, holder: Holder) -> None:
    """By whom does not matter; `recover` has no lease, and what it mended is not mended twice."""
    path, body = HARM["stopped"](platform)
    undo = {
        "stopped": (path, body | {"signal": "CONT"}),
        "component held down": ("/v1/components/redis/start", {}),
        "scaled": ("/v1/tiers/fast/scale", {"replicas": 2}),
        "cordoned": ("/v1/nodes/node-a/uncordon", {}),
        "network": ("/v1/links/redis", {}),
        "capacity": ("/v1/capacity", {"available": True, "capacity_type": "spot"}),
    }
    for kind, (where, order) in undo.items():
        harm = (path, body) if kind == "stopped" else HARM[kind](platform)
        assert holder.order(*harm).status_code == 200
        assert len(holder.changes()) == 1, kind
        assert holder.order(where, order, lease=False).status_code == 200
        assert holder.changes() == [], kind


def test_a_release_that_changes_nothing_is_not_rolled_back(platform: Any, holder: Holder) -> None:
    """What is new is as the old was: another rollout would be harm, and no help."""
    assert holder.order("/v1/tiers/reasoning/release", {"annotation": "mine"}).status_code == 200

    assert holder.changes() == []


def test_orders_under_no_living_lease_are_refused(platform: Any, holder: Holder) -> None:
    """Whoever slept through his lease does no late harm."""
    holder.lease = "never-was"
    refused = holder.order("/v1/nodes/node-a/cordon", {})

    assert (refused.status_code, refused.headers["lease"]) == (409, "over")
    assert "never-was" in refused.json()["error"]
    assert holder.has_come_back()


def test_a_zone_that_failed_may_have_machines_again(platform: Any, holder: Holder) -> None:
    """The machines that ended stay lost; the last test, as replacements take their time."""
    assert holder.order("/v1/zones/local-b/fail", {}).status_code == 200
    assert platform.state()["shortages"]
    began = time.monotonic()

    holder.hold(SHORT_S)

    platform.wait_for(lambda: platform.state()["shortages"] == [])
    assert time.monotonic() - began >= SHORT_S
