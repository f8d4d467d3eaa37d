"""What the target makes of the API's objects, also of those that lack what they may lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faultload.errors import MissingError
from faultload.spec import labels as selectors
from faultload.spec.target import KubernetesCluster, KubernetesComponent
from faultload.targets.kubernetes import rights
from faultload.targets.kubernetes.api import ApiError
from faultload.targets.kubernetes.evidence import as_event
from faultload.targets.kubernetes.nodes import as_node, as_occupant
from faultload.targets.kubernetes.partition import lets_through, policy_name
from faultload.targets.kubernetes.replicas import as_replica
from faultload.targets.kubernetes.resources import DEPLOYMENTS, NODES, PODS, Ref
from faultload.targets.kubernetes.signin import _is_loopback, kubeconfig_of

ROOT = Path(__file__).parents[3]
ENGINE = KubernetesComponent(selector="app=engine", tier_label="tier")
OWNED = [{"kind": "ReplicaSet", "name": "engine", "uid": "1", "controller": True}]


def pod(**changes: Any) -> dict[str, Any]:
    """Return a pod as small as the API gives one."""
    metadata = {"name": "engine-0", "uid": "u", "namespace": "llm"} | changes.pop("metadata", {})
    return {"metadata": metadata, "spec": {"containers": []}, "status": {}} | changes


def test_the_smallest_pod_is_a_replica() -> None:
    """No labels, no node, no status: nowhere, of no tier, not ready, never restarted."""
    seen = pod(status=None)
    replica = as_replica("engine", ENGINE, seen, {})
    assert (replica.tier, replica.node, replica.zone) == ("", "", "")
    assert (replica.ready, replica.restarts, replica.inflight) == (False, 0, None)


@pytest.mark.parametrize(
    ("condition", "ending", "ready"),
    [
        ("True", False, True),
        ("True", True, False),
        ("False", False, False),
        ("Unknown", False, False),
    ],
)
def test_ready_is_the_condition_of_a_pod_that_stays(
    condition: str, ending: bool, ready: bool
) -> None:
    """A pod that is being deleted gets no new traffic, whatever its probes say."""
    metadata = {"deletionTimestamp": "2026-11-21T10:00:00Z"} if ending else {}
    status = {
        "conditions": [{"type": "Ready", "status": condition}],
        "containerStatuses": [{"restartCount": 2}, {"restartCount": 1}],
    }
    replica = as_replica("engine", ENGINE, pod(metadata=metadata, status=status), {})
    assert (replica.ready, replica.restarts) == (ready, 3)


def test_a_node_without_labels_or_status_is_a_node() -> None:
    """It is just being made: not ready, in no zone."""
    node = as_node({"metadata": {"name": "n", "uid": "u"}, "spec": {}})
    assert (node.zone, node.ready, node.schedulable) == ("", False, True)


@pytest.mark.parametrize(
    ("changes", "stays", "forbids"),
    [
        ({"metadata": {"ownerReferences": OWNED}}, "", ""),
        ({"metadata": {"ownerReferences": None}}, "", "has no controller"),
        ({"metadata": {"ownerReferences": [OWNED[0] | {"controller": False}]}}, "", "has no contr"),
        (
            {"metadata": {"namespace": "kube-system", "ownerReferences": OWNED}},
            "",
            "is in namespace",
        ),
        ({"status": {"phase": "Succeeded"}}, "has finished", ""),
        (
            {"metadata": {"namespace": "x", "annotations": {"kubernetes.io/config.mirror": "h"}}},
            "is the node's own",
            "",
        ),
        (
            {
                "metadata": {
                    "namespace": "x",
                    "ownerReferences": [OWNED[0] | {"kind": "DaemonSet"}],
                },
                "spec": {"volumes": [{"name": "v", "emptyDir": {}}]},
            },
            "belongs to every node",
            "",
        ),
        (
            {
                "metadata": {"ownerReferences": OWNED},
                "spec": {"volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}]},
            },
            "",
            "keeps data on the node (emptyDir cache)",
        ),
        (
            {
                "metadata": {"ownerReferences": OWNED},
                "spec": {
                    "volumes": [
                        {"name": "shm", "emptyDir": {"medium": "Memory"}},
                        {"name": "hugepages", "configMap": {}},
                    ]
                },
            },
            "",
            "",
        ),
        ({"metadata": {"ownerReferences": OWNED}, "spec": {"volumes": None}}, "", ""),
    ],
)
def test_what_a_drain_meets(changes: dict[str, Any], stays: str, forbids: str) -> None:
    """As kubectl drain sees it, and stricter: nobody else's pods, nothing that is lost."""
    occupant = as_occupant(pod(**changes), "engine", ["llm"])
    assert occupant.stays.startswith(stays)
    assert occupant.forbids.startswith(forbids)
    assert (bool(occupant.stays), bool(occupant.forbids)) == (bool(stays), bool(forbids))


def test_an_event_has_the_time_of_its_last_occurrence() -> None:
    """Old and new events say it in different places."""
    seen = {
        "metadata": {"creationTimestamp": "1970-01-01T00:00:01Z"},
        "reason": "BackOff",
        "message": None,
        "involvedObject": {"kind": "Pod", "name": "engine-0"},
    }
    times = {
        "eventTime": "1970-01-01T00:00:02.500000Z",
        "lastTimestamp": "1970-01-01T00:00:03Z",
        "series": {"lastObservedTime": "1970-01-01T00:00:04.000000Z"},
    }
    expected = [1.0, 2.5, 3.0, 4.0]
    for count, time_s in enumerate(expected):
        event = as_event(seen | dict(list(times.items())[:count]))
        assert (event.time_unix_s, event.subject) == (time_s, "pod/engine-0")


def test_a_policy_lets_through_what_its_rules_name() -> None:
    """No rules is nothing, an empty rule is everything."""
    assert not lets_through({"podSelector": {}})
    assert not lets_through({"policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": None})
    assert lets_through({"ingress": [{}]})
    assert lets_through({"egress": [{"ports": [{"port": 53}]}]})


@given(st.from_regex(r"[a-z_]{1,30}-[0-9a-f]{8}", fullmatch=True))
def test_a_token_makes_a_name_the_api_takes(token: str) -> None:
    """Lower case, digits and hyphens, neither first nor last."""
    name = policy_name(token)
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name.startswith("faultload-")
    assert not name.endswith("-")


def test_selectors_of_manifests_mean_the_same() -> None:
    """`matchLabels` and `matchExpressions` are kubectl's terms in other clothes."""
    manifest = {
        "matchLabels": {"app": "engine"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["fast", "slow"]},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    parsed = selectors.parse("app=engine,tier in (fast,slow),!old")
    assert selectors.of_object(manifest) == parsed
    assert selectors.matches(selectors.of_object({}), {"any": "thing"})
    assert selectors.matches(selectors.of_object(None), None)


def test_paths_are_the_apis() -> None:
    """The core group has a place of its own, and names cannot leave theirs."""
    assert PODS.path("llm", "a", "log") == "/api/v1/namespaces/llm/pods/a/log"
    assert DEPLOYMENTS.path("llm") == "/apis/apps/v1/namespaces/llm/deployments"
    assert Ref(NODES, "", "n").path() == "/api/v1/nodes/n"
    assert PODS.path("llm", "../secrets") == "/api/v1/namespaces/llm/pods/..%2Fsecrets"


def test_an_errors_message_has_its_causes() -> None:
    """The API says why in the causes: which budget, how many it needs."""
    causes = [{"reason": "DisruptionBudget", "message": "The budget engine needs 2"}]
    details = {"causes": causes, "retryAfterSeconds": 10}
    error = ApiError("text", 429, {"message": "Cannot evict.", "details": details})
    assert error.message == "Cannot evict. The budget engine needs 2"
    assert error.retry_after_s == 10
    assert ApiError("text", 0, {}).retry_after_s is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://127.0.0.1:6443", True),
        ("https://127.3.2.1", True),
        ("https://[::1]:6443", True),
        ("http://localhost:8080", True),
        ("https://10.0.0.1", False),
        ("https://localhost.example.com", False),
    ],
)
def test_loopback_is_known_by_its_address(url: str, expected: bool) -> None:
    """No proxy is asked for what is on this machine."""
    assert _is_loopback(url) is expected


def test_a_kubeconfig_is_looked_for_where_people_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several in KUBECONFIG are one, as for kubectl; none at all says where one was expected."""
    spec = KubernetesCluster(
        context="c",
        cluster_uid="4f2b9c61-7c1d-4c0e-9d55-0d8f6c1a2b3e",
        namespaces=["llm"],
        components={"engine": ENGINE},
        inference_url="http://x",
        prometheus_url="http://x",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", "a:b")
    with pytest.raises(MissingError, match="no kubeconfig: expected one at a:b; set KUBECONFIG"):
        kubeconfig_of(spec, tmp_path / "t.yaml")
    Path("b").touch()
    assert kubeconfig_of(spec, tmp_path / "t.yaml") == f"{tmp_path / 'a'}:{tmp_path / 'b'}"


def rows() -> list[str]:
    """Return the table of rights as the document has it."""
    lines = []
    for capability, found in rights.RIGHTS.items():
        verbs: dict[tuple[str, str, str], list[str]] = {}
        for right in found:
            key = (right.resource, right.kind.group or "core", right.scope)
            verbs.setdefault(key, []).append(right.verb)
        lines += [
            f"| {capability} | {resource} | {group} | {' '.join(names)} | {scope} |"
            for (resource, group, scope), names in verbs.items()
        ]
    return lines


def test_the_document_has_the_table_of_rights() -> None:
    """People grant what they read."""
    text = (ROOT / "docs/kubernetes-target.md").read_text(encoding="utf-8")
    table = text.partition("| needed for |")[2].splitlines()[2:]
    assert [line for line in table if line.startswith("|")] == rows()


def test_rules_are_one_a_resource_and_no_wider_than_their_scope() -> None:
    """What is asked for in namespaces is never asked for in the cluster, and names are named."""
    role, cluster = rights.rules_for(rights.RIGHTS, ["llm", "web"])
    assert [rule["resources"] for rule in cluster] == [["nodes"], ["pods"], ["namespaces"]]
    assert cluster[-1]["resourceNames"] == ["kube-system", "llm", "web"]
    resources = [(*rule["apiGroups"], *rule["resources"]) for rule in role]
    assert len(resources) == len(set(resources))
    assert not any(
        "*" in word for rule in [*role, *cluster] for words in rule.values() for word in words
    )
