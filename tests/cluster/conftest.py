"""A real control plane for the tests of this folder; docs/testing-on-kubernetes.md describes it.

`FAULTLOAD_REQUIRE_CLUSTER=1` makes its absence a failure, where it would be a skip. Of the moments
at which a harness is killed a sample is tried, drawn by `FAULTLOAD_SEED`, which is any text;
`FAULTLOAD_CRASHES=all` has them all.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator

import kube_binaries
import pytest
from control_plane import ControlPlane, running
from documented import only_documented
from kube_objects import TEST_NODE, make_deployment, make_node, selector, signed_in, wait_for
from kube_targets import signed_in_target, target_spec
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from faultload.spec.selection import sample
from faultload.targets.kubernetes import KubernetesTarget

_STARTED = pytest.StashKey[ControlPlane]()
_DRAWN = pytest.StashKey[str]()
_CRASHES = 40
"""A few minutes; all of them take a quarter of an hour and more."""


@pytest.hookimpl(trylast=True)  # a sample is drawn from what -k and -m leave
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the sample of crashes does not have."""
    crashes = {item.name: item for item in items if _is_of_the_matrix(item)}
    if os.environ.get("FAULTLOAD_CRASHES") == "all" or len(crashes) <= _CRASHES:
        return
    seed = os.environ.get("FAULTLOAD_SEED", "")
    taken = sample(list(crashes), _CRASHES, seed)
    left_out = [item for name, item in crashes.items() if name not in taken]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    names = "\n  ".join(taken)
    config.stash[_DRAWN] = (
        f"crashes: {len(taken)} of {len(crashes)}, drawn by FAULTLOAD_SEED={seed!r}:\n  {names}"
    )


def _is_of_the_matrix(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and {"fault", "step"} <= callspec.params.keys()


@pytest.fixture(autouse=True)
def _documented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """See that no fault makes a call that a dry run would not have shown."""
    with only_documented(monkeypatch):
        yield


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Return what tells the person who waits: pytest would keep the words to itself."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def tell(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text} ...", flush=True)  # noqa: T201  # the only way to the terminal

    return tell


@pytest.fixture(scope="session")
def control_plane(
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
    say: Callable[[str], None],
) -> Iterator[ControlPlane]:
    """The control plane that every test of the session shares."""
    try:
        binaries = kube_binaries.find(say)
    except kube_binaries.Missing as missing:
        raise kube_binaries.absence(str(missing)) from None
    with running(binaries, tmp_path_factory.mktemp("control-plane")) as started:
        pytestconfig.stash[_STARTED] = started
        yield started


@pytest.fixture
def controllers(control_plane: ControlPlane) -> None:
    """Skip a test that needs pods to be made and scheduled where nothing does it."""
    if not control_plane.controllers:
        raise kube_binaries.absence(
            "expected kube-controller-manager and kube-scheduler beside kube-apiserver, found"
            f" none in {control_plane.source}; add them, or have Go build all three"
        )


@pytest.fixture
def admin(control_plane: ControlPlane) -> Iterator[client.ApiClient]:
    """A client that may do everything; nodes made in the test are gone after it."""
    with signed_in(control_plane.admin_kubeconfig) as api:
        yield api
        client.CoreV1Api(api).delete_collection_node(label_selector=selector({TEST_NODE: "true"}))


@pytest.fixture
def namespace(control_plane: ControlPlane, admin: client.ApiClient) -> Iterator[str]:
    """A fresh namespace that may be touched; afterwards it and its pods are on their way out."""
    core = client.CoreV1Api(admin)
    name = f"test-{secrets.token_hex(4)}"
    labels = {"faultload.dev/opt-in": "true"}
    core.create_namespace({"metadata": {"name": name, "labels": labels}})
    if control_plane.controllers:
        wait_for(lambda: _default_account(core, name), f"service account default in {name}")
    else:  # pods are refused without it
        core.create_namespaced_service_account(name, {"metadata": {"name": "default"}})
    yield name
    core.delete_namespace(name)
    # No kubelet will say that they stopped.
    core.delete_collection_namespaced_pod(name, grace_period_seconds=0)


@pytest.fixture
def target(
    control_plane: ControlPlane, admin: client.ApiClient, namespace: str
) -> Iterator[KubernetesTarget]:
    """A target on the namespace, signed in as one who may do everything."""
    with signed_in_target(target_spec(admin, control_plane.admin_kubeconfig, namespace)) as signed:
        yield signed


@pytest.fixture
def engines(admin: client.ApiClient, namespace: str, controllers: None) -> None:
    """Two ready engines of the tier `fast`, with a grace of 40 s, on a node named `node`."""
    make_node(admin, "node")
    labels = {"app": "engine", "tier": "fast"}
    make_deployment(admin, namespace, "engine", labels, 2, grace_s=40)


def _default_account(core: client.CoreV1Api, namespace: str) -> client.V1ServiceAccount | None:
    try:
        return core.read_namespaced_service_account("default", namespace)
    except ApiException as error:
        if error.status != 404:
            raise
        return None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what the control plane was and what it cost."""
    if drawn := config.stash.get(_DRAWN, ""):
        terminalreporter.write_line(drawn)
    started = config.stash.get(_STARTED, None)
    if started is None:
        return
    built = "found ready" if started.built_s is None else f"built in {started.built_s:.0f} s"
    terminalreporter.write_line(
        f"control plane: {built}, started in {started.started_s:.1f} s, Kubernetes"
        f" {started.version}, etcd {started.etcd_version}"
        f" ({started.source}; {', '.join(started.pids)})"
    )
