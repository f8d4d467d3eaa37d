"""What an experiment sees of a running platform, and what it can do to it."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from inference_platform.local.__main__ import main

pytestmark = pytest.mark.local

METRICS_FILE = Path(__file__).parents[3] / "platform/observability/metrics.yaml"
ENGINE_EVENTS = ["Killing", "Exited", "BackOff", "Started", "Ready"]


def ready(platform: Any, name: str) -> dict[str, Any]:
    """Wait until a replica is ready; return it."""
    return platform.wait_for(lambda: (r := platform.replica(name))["ready"] and r)


def test_everything_is_ready_when_it_says_so(platform: Any) -> None:
    """platform.json appears when every replica, the router, Prometheus and Redis serve."""
    state = platform.state()

    assert state["platform_id"] == platform.document["platform_id"]
    assert [(r["name"], r["node"], r["phase"]) for r in state["replicas"]] == [
        ("fast-0", "node-a", "ready"),
        ("fast-1", "node-b", "ready"),
        ("reasoning-0", "node-a", "ready"),
        ("reasoning-1", "node-b", "ready"),
    ]
    assert {c["name"]: c["ready"] for c in state["components"]} == {
        "redis": True,
        "prometheus": True,
        "router": True,
        "model-store": True,
        "links": True,
    }
    assert [node["replicas"] for node in state["nodes"]] == [
        ["fast-0", "reasoning-0"],
        ["fast-1", "reasoning-1"],
    ]
    assert platform.chat("chat-fast")[0] == platform.chat("chat-reasoning")[0] == 200


def test_the_token_is_private_and_needed(platform: Any) -> None:
    """Others on the machine can neither read it nor do without it."""
    token_file = Path(platform.document["token_file"])

    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert "token_file" in platform.document
    assert token_file.read_text() not in json.dumps(platform.document)
    assert platform.ask("GET", "/v1/state", token="guess")[0] == 401
    assert platform.ask("GET", "/metrics", token="")[0] == 401


def test_a_killed_replica_returns_under_a_new_uid(platform: Any) -> None:
    """Back-off, start and readiness are told as events, and the router is told the new uid."""
    before = ready(platform, "fast-0")
    _, earlier = platform.ask("GET", "/v1/events")

    order = {"signal": "KILL", "uid": before["uid"]}
    status, answer = platform.ask("POST", "/v1/replicas/fast-0/signal", order)

    assert (status, answer) == (200, {"pid": before["pid"], "uid": before["uid"]})
    after = platform.wait_for(
        lambda: (r := platform.replica("fast-0"))["ready"] and r["uid"] != before["uid"] and r
    )
    assert after["restarts"] == before["restarts"] + 1
    assert after["pid"] != before["pid"]
    _, events = platform.ask("GET", f"/v1/events?since={earlier[-1]['seq']}")
    reasons = [e["reason"] for e in events if e["object"] == "replica/fast-0"]
    assert reasons[: len(ENGINE_EVENTS)] == ENGINE_EVENTS
    document = json.loads((platform.state_dir / "endpoints.json").read_text())
    uids = {e["name"]: (e["uid"], e["ready"]) for e in document["endpoints"]}
    assert uids["fast-0"] == (after["uid"], True)


def test_a_stale_uid_harms_nobody(platform: Any) -> None:
    """The uid is a precondition: a victim that was replaced meanwhile is not killed again."""
    before = ready(platform, "fast-1")

    order = {"signal": "KILL", "uid": "u-000000000000"}
    status, answer = platform.ask("POST", "/v1/replicas/fast-1/signal", order)

    assert status == 409
    assert before["uid"] in answer["error"]
    assert platform.replica("fast-1")["pid"] == before["pid"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/replicas/fast-9/signal", {"signal": "KILL", "uid": "u"}, 404),
        ("/v1/components/etcd/signal", {"signal": "KILL"}, 404),
        ("/v1/replicas/fast-1/signal", {"signal": "HUP", "uid": "u"}, 400),
        ("/v1/replicas/fast-1/signal", {"signal": "KILL"}, 400),
        ("/v1/components/redis/signal", {"signal": "KILL", "hodl": True}, 400),
    ],
)
def test_orders_that_make_no_sense_are_refused(
    platform: Any, path: str, body: dict[str, Any], status: int
) -> None:
    """One line says what was expected."""
    found, answer = platform.ask("POST", path, body)

    assert found == status
    assert "\n" not in answer["error"]


def test_a_stopped_replica_is_unready_until_it_continues(platform: Any) -> None:
    """SIGSTOP is a hang: the process stays, its readiness goes, and SIGCONT is the way back."""
    before = ready(platform, "reasoning-0")
    path = "/v1/replicas/reasoning-0/signal"

    assert platform.ask("POST", path, {"signal": "STOP", "uid": before["uid"]})[0] == 200
    hung = platform.wait_for(lambda: not (r := platform.replica("reasoning-0"))["ready"] and r)
    assert (hung["phase"], hung["pid"]) == ("starting", before["pid"])
    assert platform.ask("POST", path, {"signal": "CONT", "uid": before["uid"]})[0] == 200
    assert ready(platform, "reasoning-0")["uid"] == before["uid"]


def test_a_held_component_stays_down_until_it_is_started(platform: Any) -> None:
    """A fault must be able to last; a restart after the back-off would end it."""
    order = {"signal": "KILL", "hold": True}
    assert platform.ask("POST", "/v1/components/redis/signal", order)[0] == 200
    held = platform.wait_for(lambda: (c := platform.component("redis"))["phase"] == "stopped" and c)
    assert (held["pid"], held["held"]) == (None, True)
    assert platform.ask("POST", "/v1/components/redis/signal", {"signal": "KILL"})[0] == 409

    assert platform.ask("POST", "/v1/components/redis/start")[0] == 200

    assert (
        platform.wait_for(lambda: (c := platform.component("redis"))["ready"] and c)["restarts"]
        == 1
    )


def test_an_order_about_another_process_of_a_component_is_refused(platform: Any) -> None:
    """Whoever names a uid never hits the process that took the place of that one."""
    before = platform.component("redis")
    order = {"signal": "KILL", "uid": "u-000000000000"}

    status, answer = platform.ask("POST", "/v1/components/redis/signal", order)

    assert (status, before["uid"] in answer["error"]) == (409, True)
    order["uid"] = before["uid"]
    assert platform.ask("POST", "/v1/components/redis/signal", order)[0] == 200
    after = platform.wait_for(
        lambda: (c := platform.component("redis"))["ready"] and c["pid"] != before["pid"] and c
    )
    assert after["uid"] != before["uid"]


def test_a_killed_router_returns_by_itself(platform: Any) -> None:
    """Its socket is ours, so no address changes while it is away."""
    before = platform.component("router")

    assert platform.ask("POST", "/v1/components/router/signal", {"signal": "KILL"})[0] == 200

    after = platform.wait_for(
        lambda: (c := platform.component("router"))["ready"] and c["pid"] != before["pid"] and c
    )
    assert after["url"] == before["url"]
    platform.wait_for(lambda: platform.chat("chat-fast")[0] == 200)


def metrics_file() -> dict[str, Any]:
    """The one home of names, as data."""
    return yaml.safe_load(METRICS_FILE.read_text())


@pytest.mark.parametrize(
    "series",
    [one for one in metrics_file()["series"] if "only_while" not in one],
    ids=lambda s: s["name"],
)
def test_a_series_is_there_as_its_home_says(platform: Any, series: dict[str, Any]) -> None:
    """A dashboard or alert that uses a name from metrics.yaml finds data, with these labels."""
    home = metrics_file()
    suffix = "_bucket" if series["type"] == "histogram" else ""
    job = "" if series["job"] == "*" else f',job="{series["job"]}"'
    selector = f'{{__name__="{series["name"]}{suffix}"{job}}}'

    found = platform.wait_for(lambda: platform.query(selector))

    expected = {*series["labels"], *home["jobs"].get(series["job"], {}).get("labels", ())}
    for row in found:
        labels = row["metric"]
        assert expected <= labels.keys()
        for name in set(series["labels"]) & labels.keys():
            known = series.get("values", {}).get(name) or home["labels"][name].get("values")
            assert known is None or labels[name] in known


def test_a_state_directory_belongs_to_one_platform(
    platform: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second platform there would take away the first one's token and logs."""
    assert main(["up", "--state-dir", str(platform.state_dir)]) == 75
    assert "a platform runs there already" in capsys.readouterr().err
    assert platform.state()
