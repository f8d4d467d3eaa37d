"""An API server takes what the charts make: its validation and its admission, not our copy of them.

Helm and the custom resources come from `make test-platform`; without them this is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from charts import NAMESPACES, Object, every_case, pod_templates, render
from control_plane import ControlPlane
from kube_objects import signed_in, wait_for
from kube_schemas import read_crd
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, ResourceNotFoundError
from platform_tools import need, need_crds

_CASES = every_case()
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
# Admission looks these up, so they are made in earnest.
_LOOKED_UP = {"Namespace", "ServiceAccount", "PriorityClass"}
# The schema of its custom resource is on no registry that we read.
_UNKNOWN = {"LeaderWorkerSet"}


@pytest.fixture(scope="module")
def api(control_plane: ControlPlane) -> Iterator[DynamicClient]:
    """A client of an API server that knows the custom resources, with our namespaces."""
    need("helm")
    with signed_in(control_plane.admin_kubeconfig) as signed:
        client = DynamicClient(signed)
        definitions = [read_crd(path) for path in sorted(need_crds().glob("*.yaml"))]
        for one in definitions:
            _create(client, one)
        for name in {"inference", *NAMESPACES.values()}:
            metadata = {"name": name, "labels": _RESTRICTED}
            _create(client, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        kinds = [one["spec"]["names"]["kind"] for one in definitions]
        wait_for(lambda: _are_known(client, kinds), "custom resources")
        yield client


def _are_known(client: DynamicClient, kinds: Sequence[str]) -> bool:
    try:
        client.resources.invalidate_cache()
        return all(client.resources.search(kind=kind) for kind in kinds)
    except ResourceNotFoundError:  # a group is listed a moment before what it holds
        return False


def _create(client: DynamicClient, one: Object, *, dry: bool = False) -> str:
    """Create an object; return what the API server says against it, "" for nothing."""
    resource = client.resources.get(api_version=one["apiVersion"], kind=one["kind"])
    more = {"dry_run": "All"} if dry else {}
    try:
        client.create(resource, one, namespace=one["metadata"].get("namespace"), **more)
    except ConflictError:
        return ""
    except (DynamicApiError, ApiException) as error:
        return f"{one['kind']}/{one['metadata']['name']}: {error.reason} {error.body!r}"
    return ""


def _prepare(client: DynamicClient, objects: list[Object]) -> list[str]:
    """Create what admission looks up; return what the API server says against it."""
    return [_create(client, one) for one in objects if one["kind"] in _LOOKED_UP]


@pytest.mark.parametrize(
    ("chart", "layers"), _CASES, ids=["-".join([chart, *layers]) for chart, layers in _CASES]
)
def test_api_server_takes_every_object(
    api: DynamicClient, chart: str, layers: tuple[str, ...]
) -> None:
    """Rules that no schema has (a sleep longer than the grace period) are the API server's."""
    objects = render(chart, *layers)
    said = _prepare(api, objects)
    said += [
        _create(api, one, dry=True) for one in objects if one["kind"] not in _LOOKED_UP | _UNKNOWN
    ]
    assert [text for text in said if text] == []


@pytest.mark.parametrize(
    ("chart", "layers"), _CASES, ids=["-".join([chart, *layers]) for chart, layers in _CASES]
)
def test_pods_are_restricted_ones(api: DynamicClient, chart: str, layers: tuple[str, ...]) -> None:
    """They are admitted where Pod Security enforces `restricted`, the strictest there is."""
    objects = render(chart, *layers)
    _prepare(api, objects)
    namespace = NAMESPACES.get(chart, "inference")
    said = []
    # The controller of StatefulSets puts these in.
    claims = {
        f"{one['kind']}/{one['metadata']['name']}": [
            {"name": claim["metadata"]["name"], "emptyDir": {}}
            for claim in one["spec"].get("volumeClaimTemplates", [])
        ]
        for one in objects
        if one["kind"] == "StatefulSet"
    }
    for where, template in pod_templates(objects):
        template["spec"].setdefault("volumes", []).extend(claims.get(where, []))
        metadata = {**template["metadata"], "name": "pod", "namespace": namespace}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        said.append(f"{where}: {text}" if (text := _create(api, pod, dry=True)) else "")
    assert [text for text in said if text] == []


def test_what_is_wrong_is_refused(api: DynamicClient) -> None:
    """A dry run that took everything would prove nothing."""
    objects = render("vllm", "dev-simulator")
    _prepare(api, objects)
    (where, template), *_ = pod_templates(objects)
    assert where == "Deployment/chat-fast"
    metadata = {**template["metadata"], "name": "pod", "namespace": "inference"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    (engine,) = template["spec"]["containers"]
    engine["lifecycle"]["preStop"]["sleep"]["seconds"] = 121
    assert "must be non-negative and less than terminationGracePeriodSeconds" in _create(
        api, pod, dry=True
    )
    engine["lifecycle"]["preStop"]["sleep"]["seconds"] = 15
    engine["securityContext"]["allowPrivilegeEscalation"] = True
    assert "violates PodSecurity" in _create(api, pod, dry=True)
