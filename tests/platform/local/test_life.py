"""The life of replicas and machines on a running platform: what an experiment does and sees.

One platform for the whole file, fifty times as fast as a cluster. Each test leaves it as it found
it: two fast replicas and one reasoning replica, all ready, on two open nodes.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.local

SETTINGS = (
    "time_scale=0.02",
    "tiers.fast.replicas=2",
    "tiers.fast.pre_stop_s=10",
    "tiers.reasoning.replicas=1",
    "spot.notice_s=200",
    "node_life.empty_for_s=10",
    "cold_start_s=10",
    "readiness.period_s=0.1",
    "pools.spot-l4.nodes_max=1",
    "pools.on-demand-l4.nodes_max=0",
)


@pytest.fixture(scope="module")
def alive(local_of: Any) -> Iterator[Any]:
    """One platform for the file."""
    yield from local_of(*SETTINGS)


@pytest.fixture
def world(alive: Any) -> Iterator[Any]:
    """The platform in the state that every test begins with."""
    settle(alive)
    yield alive
    settle(alive)


def is_whole(platform: Any) -> Any:
    """Whether everything is as at the start; the state when it is."""
    state = platform.state()
    nodes = {n["name"]: (n["state"], n["cordoned"]) for n in state["nodes"]}
    tiers = {t["name"]: (t["ready"], t["complete"]) for t in state["tiers"]}
    whole = (
        nodes == {"node-a": ("ready", False), "node-b": ("ready", False)}
        and tiers == {"fast": (2, True), "reasoning": (1, True)}
        and len(state["replicas"]) == 3
        and not state["shortages"]
        and {r["node"] for r in state["replicas"] if r["tier"] == "fast"} == {"node-a", "node-b"}
    )
    return state if whole else None


def settle(platform: Any) -> None:
    """Wait until the platform is whole; replicas that crowd one node are spread by hand."""

    def look() -> Any:
        state = platform.state()
        fast = [r for r in state["replicas"] if r["tier"] == "fast" and r["ready"]]
        on_spare = [r for r in state["replicas"] if r["node"] not in ("node-a", "node-b")]
        crowded = fast[1:] if len({r["node"] for r in fast}) == 1 and len(fast) == 2 else []
        for one in [*crowded, *on_spare]:
            if len(state["nodes"]) >= 2 and one["phase"] == "ready":
                path = f"/v1/replicas/{one['name']}/evict"
                platform.ask("POST", path, {"uid": one["uid"]})
        return is_whole(platform)

    platform.wait_for(look)


def order(platform: Any, path: str, body: dict[str, Any] | None = None, status: int = 200) -> Any:
    """Give an order that must be answered with a status."""
    found, answer = platform.ask("POST", path, body)
    assert found == status, answer
    return answer


def events_since(platform: Any, sequence: int) -> list[tuple[str, str]]:
    """Reason and object of everything that happened since."""
    return [
        (e["reason"], e["object"]) for e in platform.ask("GET", f"/v1/events?since={sequence}")[1]
    ]


def last_event(platform: Any) -> int:
    """The number of the newest event."""
    return platform.ask("GET", "/v1/events?since=0")[1][-1]["seq"]


def replicas_on(platform: Any, node: str) -> list[dict[str, Any]]:
    """Replicas of a node that are not on their way out."""
    state = platform.state()
    return [r for r in state["replicas"] if r["node"] == node and r["phase"] != "stopping"]


def test_a_deleted_replica_is_unrouted_stopped_in_order_and_replaced(world: Any) -> None:
    """The preStop pause gives the router time; SIGTERM follows; a new replica has a new name."""
    victim = next(r for r in world.state()["replicas"] if r["tier"] == "fast")
    began = last_event(world)

    order(world, f"/v1/replicas/{victim['name']}/delete", {"uid": victim["uid"]})
    stopping = world.replica(victim["name"])
    assert (stopping["phase"], stopping["ready"]) == ("stopping", False)
    assert stopping["pid"] == victim["pid"]
    assert world.ask_metrics("kube_pod_deletion_timestamp", pod=victim["name"])
    world.wait_for(lambda: ("Deleted", f"replica/{victim['name']}") in events_since(world, began))

    state = world.wait_for(lambda: is_whole(world))
    assert victim["name"] not in {r["name"] for r in state["replicas"]}


def test_a_second_delete_can_shorten_the_grace_and_a_stopped_process_uses_all_of_it(
    world: Any,
) -> None:
    """A frozen container hears no SIGTERM; `--force` is for that."""
    victim = next(r for r in world.state()["replicas"] if r["tier"] == "fast")
    about = {"uid": victim["uid"]}
    path = f"/v1/replicas/{victim['name']}"
    order(world, f"{path}/signal", {**about, "signal": "STOP"})
    order(world, f"{path}/delete", {**about, "grace_s": 3600})
    order(world, f"{path}/signal", {**about, "signal": "TERM", "process": "server"})
    assert world.replica(victim["name"])["phase"] == "stopping"
    assert not world.is_gone(victim["pid"])

    order(world, f"{path}/delete", {**about, "grace_s": 0})
    world.wait_for(lambda: world.is_gone(victim["pid"]))


def test_an_eviction_beyond_the_budget_is_refused(world: Any) -> None:
    """429, as the Eviction API answers; what is ready stays ready."""
    first, second = (r for r in world.state()["replicas"] if r["tier"] == "fast")
    order(world, f"/v1/replicas/{first['name']}/evict", {"uid": first["uid"]})

    refusal = order(world, f"/v1/replicas/{second['name']}/evict", {"uid": second["uid"]}, 429)

    assert "disruption budget" in refusal["error"]
    assert world.replica(second["name"])["ready"]


def test_a_cordoned_node_keeps_what_it_has_and_takes_nothing(world: Any) -> None:
    """Drain is cordon and evict: the replica comes back elsewhere."""
    order(world, "/v1/nodes/node-b/cordon")
    victim = replicas_on(world, "node-b")[0]
    order(world, f"/v1/replicas/{victim['name']}/evict", {"uid": victim["uid"]})

    world.wait_for(lambda: world.state()["tiers"][0]["ready"] == 2)
    assert replicas_on(world, "node-b") == []
    order(world, "/v1/nodes/node-b/uncordon")


def test_a_lost_node_takes_its_replicas_and_comes_back(world: Any) -> None:
    """Processes end at once; Kubernetes notices by the heartbeat; then all is made anew."""
    before = next(n for n in world.state()["nodes"] if n["name"] == "node-a")
    pids = [r["pid"] for r in replicas_on(world, "node-a")]
    began = last_event(world)

    order(world, "/v1/nodes/node-a/terminate")

    assert world.wait_for(lambda: all(world.is_gone(pid) for pid in pids))
    order(world, "/v1/nodes/node-a/terminate", status=409)
    world.wait_for(lambda: ("RemovingNode", "node/node-a") in events_since(world, began))
    world.wait_for(lambda: ("NodeReady", "node/node-a") in events_since(world, began))
    after = next(n for n in world.state()["nodes"] if n["name"] == "node-a")
    assert after["instance_id"] != before["instance_id"]


def test_a_spot_notice_is_announced_drained_and_kept(world: Any) -> None:
    """The metadata tells, replicas move in time, and the machine goes when it is empty."""
    began = last_event(world)
    tag = {"x-aws-ec2-metadata-token-ttl-seconds": "60"}
    base = world.document["imds_url"] + "/node-b/latest"
    with requests.Session() as session:
        session.trust_env = False
        action = f"{base}/meta-data/spot/instance-action"
        assert session.get(action, timeout=5).status_code == 401
        token = session.put(f"{base}/api/token", headers=tag, timeout=5).text
        session.headers["x-aws-ec2-metadata-token"] = token
        assert session.get(action, timeout=5).status_code == 404

        notice = order(world, "/v1/nodes/node-b/interrupt")["notice_unix"]

        answer = session.get(action, timeout=5)
        assert (answer.status_code, answer.json()["action"]) == (200, "terminate")
    node = next(n for n in world.state()["nodes"] if n["name"] == "node-b")
    assert (node["notice_unix"], node["cordoned"]) == (notice, True)
    world.wait_for(lambda: ("InstanceTerminated", "node/node-b") in events_since(world, began))
    reasons = events_since(world, began)
    assert reasons[0] == ("SpotInterrupted", "node/node-b")
    assert reasons.index(("InstanceTerminated", "node/node-b")) > next(
        n for n, (reason, _) in enumerate(reasons) if reason == "Deleted"
    )


def test_without_capacity_a_lost_machine_stays_away(world: Any) -> None:
    """Replicas that fit nowhere wait, and say so, until EC2 has machines again."""
    nothing = {"available": False}
    order(world, "/v1/capacity", nothing)
    order(world, "/v1/nodes/node-b/terminate")
    world.wait_for(lambda: len(world.state()["nodes"]) == 1)
    order(world, "/v1/tiers/fast/scale", {"replicas": 4})

    waiting = world.wait_for(
        lambda: [r for r in world.state()["replicas"] if r["waits_for"] == "Unschedulable"]
    )
    assert waiting[0]["phase"] == "pending"
    order(world, "/v1/tiers/fast/scale", {"replicas": 2})
    order(world, "/v1/capacity", {"available": True})


def test_replicas_that_fit_nowhere_get_a_machine(world: Any) -> None:
    """A pool launches one; it goes when it is empty again."""
    order(world, "/v1/tiers/fast/scale", {"replicas": 8})
    world.wait_for(lambda: world.state()["tiers"][0]["ready"] == 8)
    launched = [n for n in world.state()["nodes"] if n["pool"] == "spot-l4"]
    assert launched[0]["capacity_type"] == "spot"

    order(world, "/v1/tiers/fast/scale", {"replicas": 2})


def test_a_zone_fails_and_is_restored(world: Any) -> None:
    """All of its machines at once; what is left serves."""
    order(world, "/v1/zones/local-b/fail")
    world.wait_for(lambda: not replicas_on(world, "node-b"))
    world.wait_for(lambda: world.chat("chat-fast")[0] == 200)
    order(world, "/v1/zones/local-b/restore")


def test_a_release_replaces_every_replica_and_never_has_fewer(world: Any) -> None:
    """With maxSurge 1 and maxUnavailable 0 the new one is ready before an old one goes."""
    began = last_event(world)
    assert order(world, "/v1/tiers/fast/release", {"engine": {"max_num_seqs": 48}}) == {
        "revision": "r2"
    }
    least = []

    def is_done() -> Any:
        tier = world.state()["tiers"][0]
        least.append(tier["ready"])
        return tier["complete"] and tier["updated"] == 2

    world.wait_for(is_done)
    assert min(least) >= 2
    fast = [r for r in world.state()["replicas"] if r["tier"] == "fast"]
    assert {r["revision"] for r in fast if r["phase"] != "stopping"} == {"r2"}
    reasons = [reason for reason, _ in events_since(world, began)]
    assert reasons.index("Ready") < reasons.index("Killing")
    order(world, "/v1/tiers/fast/rollback", {"to": "r1"})


@pytest.mark.parametrize(
    ("bad", "waits_for"),
    [
        ({"pullable": False}, "ImagePullBackOff"),
        ({"engine": {"extra_args": ["--no-such-flag"]}}, "CrashLoopBackOff"),
    ],
)
def test_a_bad_release_stalls_and_a_rollback_ends_it(
    world: Any, bad: dict[str, Any], waits_for: str
) -> None:
    """The old replicas serve on; the new one waits and says why; going back needs no start."""
    old = {r["name"] for r in world.state()["replicas"] if r["tier"] == "fast"}

    order(world, "/v1/tiers/fast/release", bad)
    try:
        world.wait_for(
            lambda: [r for r in world.state()["replicas"] if r["waits_for"] == waits_for]
        )

        series = f'kube_pod_container_status_waiting_reason{{reason="{waits_for}"}}'
        waiting = {one["metric"]["pod"] for one in world.wait_for(lambda: world.query(series))}
        replicas = {r["name"]: r for r in world.state()["replicas"]}
        assert waiting <= set(replicas) - old  # one or both of the new ones, as it comes
        assert not any(replicas[name]["ready"] for name in waiting)
        assert {name for name, r in replicas.items() if r["ready"]} >= old
    finally:  # the tests after this one need a platform that is whole
        order(world, "/v1/tiers/fast/rollback", {})
    world.wait_for(lambda: is_whole(world))
    assert {r["name"] for r in world.state()["replicas"] if r["tier"] == "fast"} == old


def test_a_dead_engine_core_ends_its_replica_as_vllm_ends(world: Any) -> None:
    """The API server outlives its core, ends with code 0, and is started again after a back-off."""
    victim = next(r for r in world.state()["replicas"] if r["tier"] == "reasoning")
    path = f"/v1/replicas/{victim['name']}/signal"
    began = last_event(world)

    killed = order(world, path, {"uid": victim["uid"], "signal": "KILL", "process": "engine-core"})

    assert killed["pid"] != victim["pid"]
    world.wait_for(lambda: world.is_gone(killed["pid"]))
    world.wait_for(lambda: not world.replica(victim["name"])["ready"])
    world.wait_for(lambda: world.replica(victim["name"])["restarts"] == victim["restarts"] + 1)
    events = world.ask("GET", f"/v1/events?since={began}")[1]
    ends = [e["message"] for e in events if e["reason"] == "Exited"]
    assert ends[0].endswith("ended with code 0")


def test_a_broken_gpu_is_no_longer_offered(world: Any) -> None:
    """Xid 79: the replica dies and cannot start there; a new one gets a GPU that works."""
    victim = next(r for r in world.state()["replicas"] if r["tier"] == "reasoning")
    node = victim["node"]
    order(
        world,
        f"/v1/replicas/{victim['name']}/engine/xid",
        {
            "uid": victim["uid"],
            "body": {"xid": 79},
        },
    )
    stuck = world.wait_for(
        lambda: (r := world.replica(victim["name"]))["waits_for"] == "CrashLoopBackOff" and r
    )
    broken = next(n for n in world.state()["nodes"] if n["name"] == node)["broken_gpus"]
    assert broken == victim["gpus"]

    order(world, f"/v1/replicas/{victim['name']}/delete", {"uid": stuck["uid"], "grace_s": 0})
    fresh = world.wait_for(
        lambda: [r for r in world.state()["replicas"] if r["tier"] == "reasoning" and r["ready"]]
    )[0]
    assert (fresh["node"], fresh["gpus"]) != (node, victim["gpus"])
    order(world, f"/v1/nodes/{node}/reset-gpus")
    assert not next(n for n in world.state()["nodes"] if n["name"] == node)["broken_gpus"]


def first_byte_s(platform: Any) -> float:
    """How long one short request through the router takes to its first byte."""
    body = {"model": "chat-reasoning", "prompt": "hello", "max_tokens": 2}
    with requests.Session() as session:
        session.trust_env = False
        answer = session.post(
            platform.document["router_url"] + "/v1/completions", json=body, stream=True, timeout=30
        )
        assert answer.status_code == 200
        return answer.elapsed.total_seconds()


def test_a_slow_link_is_felt_by_users_and_not_by_probes(world: Any) -> None:
    """Latency stands between router and engine; the replica itself stays ready."""
    victim = next(r for r in world.state()["replicas"] if r["tier"] == "reasoning")
    path = f"/v1/links/{victim['name']}"

    order(world, path, {"latency_s": 0.4})
    assert first_byte_s(world) >= 0.8  # there and back
    assert world.replica(victim["name"])["ready"]
    order(world, path, {})

    links = {link["name"]: link for link in world.state()["links"]}
    assert {"redis", "model-store", victim["name"]} <= links.keys()
    assert links[victim["name"]]["latency_s"] == 0


def test_an_order_that_was_refused_is_not_done_later(world: Any) -> None:
    """Whoever got a 409 will not undo anything."""
    name = world.state()["replicas"][0]["name"]
    order(world, "/v1/components/links/signal", {"signal": "STOP"})

    order(world, f"/v1/links/{name}", {"partitioned": True}, 409)
    world.wait_for(lambda: not world.component("links")["ready"])
    order(world, "/v1/components/links/signal", {"signal": "CONT"})

    world.wait_for(lambda: world.component("links")["ready"])
    links = {link["name"]: link["partitioned"] for link in world.state()["links"]}
    assert links[name] is False


def test_a_partitioned_replica_is_left_by_the_router_and_not_by_kubernetes(world: Any) -> None:
    """The kubelet stands beside the replica: only users of the network see the cut."""
    victim = next(r for r in world.state()["replicas"] if r["tier"] == "fast")
    path = f"/v1/links/{victim['name']}"
    healthy = f'inference_router_replica_healthy{{replica="{victim["name"]}"}}'

    order(world, path, {"partitioned": True})
    world.wait_for(lambda: world.query(f"{healthy} == 0"))
    assert world.replica(victim["name"])["ready"]
    assert world.chat("chat-fast")[0] == 200

    order(world, path, {})
    world.wait_for(lambda: world.query(f"{healthy} == 1"))


@pytest.mark.parametrize("harm", ["empty", "corrupt"])
def test_a_replica_without_good_weights_waits_until_the_store_is_mended(
    world: Any, harm: str
) -> None:
    """The new replica says why it waits, what serves is not touched, and the back-off retries."""
    order(world, "/v1/models/chat-fast", {"change": harm})
    shutil.rmtree(world.state_dir / "weights", ignore_errors=True)
    order(world, "/v1/tiers/fast/scale", {"replicas": 3})

    stuck = world.wait_for(
        lambda: [r for r in world.state()["replicas"] if r["waits_for"].startswith("Init:")]
    )
    assert stuck[0]["waits_for"] == "Init:CrashLoopBackOff"
    assert world.state()["tiers"][0]["ready"] == 2
    order(world, "/v1/models/chat-fast", {"change": "restore"})
    world.wait_for(lambda: world.state()["tiers"][0]["ready"] == 3)
    order(world, "/v1/tiers/fast/scale", {"replicas": 2})


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/v1/tiers/fsat/scale", {"replicas": 1}, 404, "no tier 'fsat'; there are fast, reasoning"),
        ("/v1/tiers/fast/scale", {"replicas": -1}, 400, "replicas"),
        ("/v1/tiers/fast/release", {"engine": {"max_num_seq": 1}}, 400, "engine.max_num_seq"),
        ("/v1/tiers/reasoning/rollback", {}, 409, "no revision before r1"),
        ("/v1/tiers/fast/rollback", {"to": "r99"}, 404, "no revision 'r99'"),
        ("/v1/nodes/node-a/explode", {}, 404, "no order 'explode'"),
        ("/v1/nodes/node-z/cordon", {}, 404, "no node 'node-z'"),
        ("/v1/nodes/node-a/interrupt", {}, 409, "on-demand, not spot"),
        ("/v1/zones/mars/fail", {}, 404, "no zone 'mars'"),
        ("/v1/capacity", {}, 400, "available"),
        ("/v1/capacity", {"available": False, "zone": "local-A"}, 404, "any machine in local-A"),
        ("/v1/tiers/fast/scale", {"replicas": True}, 400, "replicas"),
        ("/v1/tiers/fast/scale", {"replicas": "x" * 2_000_000}, 413, "at most"),
        ("/v1/links/etcd", {"partitioned": True}, 404, "no link 'etcd'; there are redis"),
        ("/v1/links/redis", {"latency": 1}, 400, "latency"),
        ("/v1/links/redis", {"reset_ratio": 2}, 400, "reset_ratio"),
        ("/v1/models/llama", {"change": "empty"}, 404, "no model 'llama'; there are chat-fast"),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    world: Any, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    """One line says what was expected and found, and nothing changes."""
    answer = order(world, path, body, status)

    assert words in answer["error"]
    assert "\n" not in answer["error"]


def test_faults_reach_the_engine_through_its_own_port(world: Any) -> None:
    """Only the platform knows that port's token; the uid is a precondition here too."""
    victim = next(r for r in world.state()["replicas"] if r["tier"] == "reasoning")
    path = f"/v1/replicas/{victim['name']}/engine"

    slowed = order(world, f"{path}/slow", {"uid": victim["uid"], "body": {"factor": 3}})
    assert slowed["slow_factor"] == 3
    assert order(world, f"{path}/slow", {"uid": victim["uid"], "body": {"factor": 1}})
    order(world, f"{path}/slow", {"uid": "u-0", "body": {"factor": 3}}, 409)
    order(world, f"{path}/slow", {"uid": victim["uid"], "body": {"factor": -1}}, 400)
