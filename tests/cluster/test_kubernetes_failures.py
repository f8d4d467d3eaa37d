"""An API that fails: bounded, repeated where that helps, and one clear line where it does not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_proxy import ApiProxy, Failure, proxied
from control_plane import ControlPlane
from kube_objects import kubeconfig_for
from kube_targets import QUICK, signed_in_target, snapshot, target_spec
from kubernetes import client
from snapshots import differences

from faultload.errors import FaultError, FaultloadError, MissingError
from faultload.targets import Mark
from faultload.targets.kubernetes import RIGHTS, KubernetesTarget, rules_for

MARK = Mark("test-1a2b3c4d", time.time() + 3600)
BOUND_S = 15.0  # of three attempts of a second each, on a machine with other work


@pytest.fixture
def kubeconfig(control_plane: ControlPlane, namespace: str) -> Path:
    """A kubeconfig with a token, for all that we do."""
    return kubeconfig_for(control_plane, namespace, *rules_for(RIGHTS, [namespace]))


@pytest.fixture
def proxy(control_plane: ControlPlane) -> Iterator[ApiProxy]:
    """A proxy before the API server."""
    with proxied(control_plane) as running:
        yield running


@pytest.fixture
def shaky(
    admin: client.ApiClient, namespace: str, kubeconfig: Path, proxy: ApiProxy
) -> Iterator[KubernetesTarget]:
    """A target that reaches its cluster through the proxy."""
    spec = target_spec(admin, proxy.kubeconfig(kubeconfig), namespace)
    with signed_in_target(spec, QUICK) as target:
        yield target


def _throttled(seconds: str) -> Failure:
    return Failure("GET", "/pods", 429, {"Retry-After": seconds}, "too many requests")


def test_what_passes_is_waited_out(shaky: KubernetesTarget, proxy: ApiProxy, engines: None) -> None:
    """Two failures of any kind, and the third attempt counts."""
    for failures in (
        [_throttled("0"), _throttled("0.01")],
        [Failure("GET", "/pods", 500), Failure("GET", "/pods", 503)],
        [Failure("GET", "/pods", 502), Failure("GET", "/pods", 504)],
        [Failure("GET", "/pods"), Failure("GET", "/pods", is_silent=True)],
    ):
        for failure in failures:
            failure.times = 1
        proxy.failures, proxy.calls = failures, []
        assert len(shaky.replicas("engine")) == 2
        assert sum("/pods" in url for _, url in proxy.calls) == 3


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (Failure("GET", "/pods", 500, body="etcd is gone"), "500: etcd is gone"),
        (Failure("GET", "/pods", 503), "503: nothing said"),
        (_throttled("3600"), "429: too many requests"),
        (Failure("GET", "/pods"), "does not answer: list pods in namespace .*: .*Remote"),
        (Failure("GET", "/pods", is_silent=True), "does not answer: list pods .*ReadTimeout"),
    ],
    ids=["500", "503", "429", "closed", "silent"],
)
def test_what_does_not_pass_ends_within_a_bound(
    shaky: KubernetesTarget, proxy: ApiProxy, failure: Failure, said: str
) -> None:
    """One line: which call, what came, how often it was tried; however long the API would wait."""
    proxy.failures = [failure]
    begin = time.monotonic()
    with pytest.raises(MissingError, match=rf"{said}.* \(3 attempts in [\d.]+ s\)$") as raised:
        shaky.replicas("engine")
    assert time.monotonic() - begin < BOUND_S
    assert "\n" not in str(raised.value)
    assert sum("/pods" in url for _, url in proxy.calls) == 3


def test_nothing_listens(
    admin: client.ApiClient, namespace: str, kubeconfig: Path, proxy: ApiProxy
) -> None:
    """A cluster that is not there is one line at sign-in."""
    path = proxy.kubeconfig(kubeconfig)
    document = json.loads(path.read_text(encoding="utf-8"))
    document["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:9"
    path.write_text(json.dumps(document), encoding="utf-8")
    with (
        pytest.raises(
            MissingError, match="127.0.0.1:9 does not answer: get namespaces kube-system"
        ),
        signed_in_target(target_spec(admin, path, namespace), QUICK),
    ):
        pass


def test_a_page_that_expired_starts_the_list_again(
    shaky: KubernetesTarget,
    proxy: ApiProxy,
    engines: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """410 half-way through a list costs a restart, and no item is doubled or lost."""
    monkeypatch.setattr("faultload.targets.kubernetes.api._PAGE_SIZES", (1, 1, 0))
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    proxy.failures = [Failure("GET", "continue=", 410, body=json.dumps(gone))]
    assert len({replica.uid for replica in shaky.replicas("engine")}) == 2
    assert len(shaky.replicas("engine")) == 2


def test_an_act_whose_answer_was_lost_was_done_once(
    shaky: KubernetesTarget,
    proxy: ApiProxy,
    admin: client.ApiClient,
    namespace: str,
    engines: None,
) -> None:
    """The call is repeated, and finds that it is done already."""
    one, two = shaky.replicas("engine")
    (node,) = [node for node in shaky.nodes() if node.name == "node"]

    def lose(method: str, part: str) -> None:
        proxy.failures = [Failure(method, part, forwards=True, times=1)]

    lose("PATCH", "/nodes/node")
    shaky.cordon_node("node", node.uid, MARK)
    lose("PATCH", "/nodes/node")
    shaky.uncordon_node("node", node.uid, MARK.token)
    lose("POST", "networkpolicies")
    shaky.partition([(one.name, one.uid)], MARK)
    assert set(shaky.partitioned(MARK.token)) == {one.uid}
    lose("DELETE", "networkpolicies")
    shaky.join([], MARK.token)
    lose("POST", "eviction")
    assert shaky.evict_replica(two.name, two.uid) is None
    lose("DELETE", "/pods/")
    shaky.kill_replica(one.name, one.uid)
    assert one.uid not in {replica.uid for replica in shaky.replicas("engine")}
    with pytest.raises(FaultError, match="is gone"):
        shaky.kill_replica(one.name, one.uid)
    assert client.CoreV1Api(admin).read_node("node").spec.unschedulable is None


def test_a_release_whose_answer_was_lost_was_made_once(
    shaky: KubernetesTarget,
    proxy: ApiProxy,
    admin: client.ApiClient,
    namespace: str,
    engines: None,
) -> None:
    """Released, rolled back and rolled out: three generations, and no fourth."""
    (engine,) = shaky.workloads("engine", None)
    apps = client.AppsV1Api(admin)
    before = apps.read_namespaced_deployment("engine", namespace).metadata.generation
    acts: list[Callable[[], None]] = [
        lambda: shaky.release(engine.name, engine.uid, "unpullable", MARK),
        lambda: shaky.roll_back(engine.name, engine.uid, MARK.token, ""),
        lambda: shaky.roll_out(engine.name, engine.uid, MARK),
    ]
    for act in acts:
        lost = Failure("PATCH", "/deployments/engine", forwards=True, times=1)
        proxy.failures = [lost]
        act()
        assert lost.times == 0
    after = apps.read_namespaced_deployment("engine", namespace)
    assert after.metadata.generation == before + 3
    assert after.spec.template.spec.containers[0].image == "example.com/engine:1"


def test_a_conflict_is_looked_at_again(
    shaky: KubernetesTarget, proxy: ApiProxy, admin: client.ApiClient, engines: None
) -> None:
    """Somebody else changed the node meanwhile: a few times is nothing, always is an error."""
    (node,) = [node for node in shaky.nodes() if node.name == "node"]
    conflict = Failure("PATCH", "/nodes/node", 409, times=3)
    proxy.failures = [conflict]
    shaky.cordon_node("node", node.uid, MARK)
    assert client.CoreV1Api(admin).read_node("node").spec.unschedulable
    conflict.times = 1000
    with pytest.raises(FaultError, match="others changed it 8 times meanwhile"):
        shaky.uncordon_node("node", node.uid, MARK.token)
    conflict.times = 0
    shaky.uncordon_node("node", node.uid, MARK.token)


@pytest.mark.parametrize("part", ["PATCH /pods", "POST networkpolicies"])
def test_an_injection_that_broke_off_is_undone(
    shaky: KubernetesTarget,
    proxy: ApiProxy,
    admin: client.ApiClient,
    namespace: str,
    engines: None,
    part: str,
) -> None:
    """Wherever it broke off, `join` leaves everything as it was."""
    before = snapshot(admin, namespace)
    victims = [(replica.name, replica.uid) for replica in shaky.replicas("engine")]
    method, _, path = part.partition(" ")
    # The first pod is labelled, the second is not.
    where = victims[1][0] if path == "/pods" else path
    proxy.failures = [Failure(method, where, 500)]
    with pytest.raises(MissingError, match="500"):
        shaky.partition(victims, MARK)
    assert differences(before, snapshot(admin, namespace))
    shaky.join(victims, MARK.token)
    assert differences(before, snapshot(admin, namespace)) == []


@pytest.mark.parametrize("status", [401, 403, 404, 409, 422, 500])
def test_no_error_holds_a_credential(
    shaky: KubernetesTarget,
    proxy: ApiProxy,
    kubeconfig: Path,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """Not even where a proxy echoes our header; nor do logs, nor what is handed over or kept."""
    token = json.loads(kubeconfig.read_text(encoding="utf-8"))["users"][0]["user"]["token"]
    caplog.set_level("DEBUG")
    proxy.failures = [
        Failure("", "/pods", status, body="you sent authorization: {authorization}, in vain")
    ]
    with pytest.raises(FaultloadError) as raised:
        shaky.replicas("engine")
    shown = [str(raised.value), caplog.text, str(shaky.attachment())]
    proxy.failures = []
    shown.append(json.dumps(shaky.describe()))
    assert all(token not in text for text in shown)
    if status not in (401, 403):
        assert f"{status}: you sent authorization: Bearer ***, in vain" in shown[0]


def test_an_answer_that_is_not_the_apis_is_said_so(
    shaky: KubernetesTarget, proxy: ApiProxy
) -> None:
    """A captive portal answers 200 to everything."""
    proxy.failures = [Failure("GET", "/pods", 200, body="<html>sign in</html>")]
    with pytest.raises(MissingError, match="list pods .*: the API did not answer in JSON"):
        shaky.replicas("engine")


def test_a_redirect_is_not_followed(shaky: KubernetesTarget, proxy: ApiProxy) -> None:
    """Nobody sends our token elsewhere."""
    location: Any = {"Location": f"{proxy.url}/elsewhere"}
    proxy.failures = [Failure("GET", "/pods", 302, location)]
    with pytest.raises(MissingError, match="302"):
        shaky.replicas("engine")
    assert not any("elsewhere" in url for _, url in proxy.calls)


def test_logs_are_saved_through_any_answer(
    shaky: KubernetesTarget, proxy: ApiProxy, engines: None, tmp_path: Path
) -> None:
    """What a kubelet gives is written as it is; what it does not give is named."""
    one, _ = shaky.replicas("engine")
    proxy.failures = [
        Failure("GET", f"{one.name}/log", 200, body="2026-11-21T10:00:00Z ready\n"),
        Failure("GET", "/log", 404, body="no such container"),
    ]
    shaky.save_logs(tmp_path)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == [f"{one.name}_engine.log", "unavailable.txt"]
    assert (tmp_path / files[0]).read_text(encoding="utf-8").endswith("ready\n")
    assert "no such container" in (tmp_path / files[1]).read_text(encoding="utf-8")
