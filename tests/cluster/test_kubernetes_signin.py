"""Signing in to the cluster that the target file means, and to no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from control_plane import ControlPlane
from kube_objects import kubeconfig_for
from kube_targets import cluster_uid, signed_in_target, target_spec
from kubernetes import client

from faultload.errors import FaultloadError, MissingError, RefusedError, SpecError
from faultload.targets import attach, connect
from faultload.targets.kubernetes import KubernetesTarget, rules_for

SECRET = "s3cr3t-t0ken-of-nobody"


def changed_kubeconfig(plane: ControlPlane, path: Path, change: Callable[[Any], None]) -> Path:
    """Write a changed copy of the administrator's kubeconfig; return its path."""
    document = json.loads(plane.admin_kubeconfig.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_the_kubeconfig_is_the_files_then_the_environments_then_the_users(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Relative to the target file, with `~` for home; the context named, whatever is current."""

    def no_current(document: Any) -> None:
        document["current-context"] = "another"

    ours = changed_kubeconfig(control_plane, tmp_path / "config", no_current)
    home = tmp_path / "somebody"
    (home / ".kube").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    target_file = tmp_path / "targets" / "test.yaml"
    spec = target_spec(admin, Path("../config"), namespace)
    unnamed = target_spec(admin, None, namespace)

    def opened(spec: Any) -> str:
        target = connect(spec, target_file)
        try:
            assert attach(spec, target.attachment()).identity == target.identity
            return target.attachment()["kubeconfig"]
        finally:
            target.close()

    assert opened(spec) == str(ours)
    with pytest.raises(
        MissingError, match="no kubeconfig: expected one at .*/somebody/.kube/config"
    ):
        opened(unnamed)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{ours}")
    assert opened(unnamed) == f"{tmp_path / 'absent'}:{ours}"
    ours.rename(home / ".kube" / "config")
    assert opened(target_spec(admin, Path("~/.kube/config"), namespace))
    monkeypatch.delenv("KUBECONFIG")
    assert opened(unnamed) == str(home / ".kube" / "config")
    with pytest.raises(SpecError, match=r"test.yaml: kubernetes.kubeconfig: no such file: /"):
        opened(spec)


def test_a_context_that_is_not_there_names_those_that_are(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """The current one is no substitute."""
    spec = target_spec(admin, control_plane.admin_kubeconfig, namespace, context="tost")
    with (
        pytest.raises(
            SpecError,
            match=r"kubernetes.context: no context named 'tost'; did you mean 'test'\?; found test",
        ),
        signed_in_target(spec),
    ):
        pass


def test_another_cluster_is_refused(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """A context that leads elsewhere shows both uids and what to do."""
    other = "11111111-2222-4333-8444-555555555555"
    spec = target_spec(admin, control_plane.admin_kubeconfig, namespace, cluster_uid=other)
    with (
        pytest.raises(RefusedError, match=f"cluster {cluster_uid(admin)}.* about {other}; correct"),
        signed_in_target(spec),
    ):
        pass


@pytest.mark.parametrize("labels", [{}, {"faultload.dev/opt-in": "false"}], ids=["none", "false"])
def test_a_namespace_must_have_opted_in(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    labels: dict[str, str],
) -> None:
    """Every namespace says itself that it may be harmed; the error has the command."""
    core = client.CoreV1Api(admin)
    core.patch_namespace(namespace, {"metadata": {"labels": {"faultload.dev/opt-in": None}}})
    core.patch_namespace(namespace, {"metadata": {"labels": labels}})
    spec = target_spec(admin, control_plane.admin_kubeconfig, namespace)
    match = f"kubectl --context test label namespace {namespace} faultload.dev/opt-in=true"
    with pytest.raises(RefusedError, match=match), signed_in_target(spec):
        pass


def test_a_namespace_that_does_not_exist_is_named(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """Only the cluster knows; what the file itself gets wrong was said when it was read."""
    both = [namespace, "gone"]
    spec = target_spec(admin, control_plane.admin_kubeconfig, namespace, namespaces=both)
    match = "kubernetes.namespaces: .* no namespace 'gone'"
    with pytest.raises(SpecError, match=match), signed_in_target(spec):
        pass


def test_an_expired_token_is_named_as_such(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """401 is about credentials, and says whose."""
    rules = rules_for([], [namespace])
    path = kubeconfig_for(control_plane, namespace, *rules, expiration_s=-120)
    with (
        pytest.raises(MissingError, match="credentials of context 'test' were not accepted"),
        signed_in_target(target_spec(admin, path, namespace)),
    ):
        pass


def test_a_token_that_was_renewed_on_disk_is_read_again(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str, tmp_path: Path
) -> None:
    """A run outlives its first token where something keeps a new one in its file.

    A file that ends its line is as good as one that does not.
    """
    rules = rules_for([], [namespace])
    old, new = (
        json.loads(
            kubeconfig_for(control_plane, namespace, *rules, expiration_s=end_s).read_text("utf-8")
        )["users"][0]["user"]["token"]
        for end_s in (-120, 3600)
    )
    token = tmp_path / "token"

    def from_file(document: Any) -> None:
        document["users"][0]["user"] = {"tokenFile": str(token)}

    token.write_text(f"{new}\n", encoding="utf-8")
    path = changed_kubeconfig(control_plane, tmp_path / "config", from_file)
    with signed_in_target(target_spec(admin, path, namespace)) as target:
        target._cluster.api._client.configuration.refresh_api_key_hook = None
        target._cluster.api._client.configuration.api_key["BearerToken"] = f"Bearer {old}"
        assert target.replicas("engine") == []


def test_the_identity_is_that_of_cluster_and_namespaces(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> None:
    """Another file, context or order makes no other target; another namespace does."""

    def fingerprint(**changes: Any) -> str:
        spec = target_spec(admin, control_plane.admin_kubeconfig, namespace, **changes)
        with signed_in_target(spec) as target:
            return target.identity.fingerprint

    core, other = client.CoreV1Api(admin), f"{namespace}-b"
    labels = {"faultload.dev/opt-in": "true"}
    core.create_namespace({"metadata": {"name": other, "labels": labels}})
    try:
        both = fingerprint(namespaces=[namespace, other])
        assert fingerprint() == fingerprint(components={"api": {"selector": "app=api"}})
        assert both == fingerprint(namespaces=[other, namespace])
        assert both != fingerprint()
    finally:
        core.delete_namespace(other)


def test_a_kubeconfig_that_is_none_gives_no_secret_away(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str, tmp_path: Path
) -> None:
    """The client quotes what it could not read, and that is where tokens are."""

    def no_cluster(document: Any) -> None:
        document["users"][0]["user"] = {"token": SECRET}
        document["clusters"] = []

    def no_names(document: Any) -> None:
        document["users"][0] = {"user": {"token": SECRET}}

    def no_context(document: Any) -> None:
        document["users"][0]["user"] = {"token": SECRET}
        document["contexts"][0] = {"name": "test", "token": SECRET}

    broken = tmp_path / "broken"
    broken.write_text(f"users: [{{token: {SECRET}", encoding="utf-8")
    text = tmp_path / "text"
    text.write_text(SECRET, encoding="utf-8")
    paths = [
        changed_kubeconfig(control_plane, tmp_path / "1", no_cluster),
        changed_kubeconfig(control_plane, tmp_path / "2", no_names),
        changed_kubeconfig(control_plane, tmp_path / "3", no_context),
        broken,
        text,
    ]
    for path in paths:
        with (
            pytest.raises(FaultloadError) as raised,
            signed_in_target(target_spec(admin, path, namespace)),
        ):
            pass
        assert SECRET not in str(raised.value), path
        assert str(path) in str(raised.value)
        assert raised.value.__cause__ is None


def test_a_proxy_never_sees_loopback(
    control_plane: ControlPlane,
    admin: client.ApiClient,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever HTTPS_PROXY says: what is on this machine is called directly."""
    spec = target_spec(admin, control_plane.admin_kubeconfig, namespace)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    target = KubernetesTarget.connect(spec, Path("targets/test.yaml"))
    try:
        assert target.replicas("engine") == []
    finally:
        target.close()
