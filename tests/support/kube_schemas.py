"""Holds objects against the schemas of Kubernetes and of the custom resources that we make."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from kubernetes_validate import utils
from platform_tools import need_crds
from referencing import Registry, Resource

VERSIONS = ("1.33", "1.34", "1.35")
_CRD_FILES = {
    "keda.sh/v1alpha1": "keda.sh_{}s.yaml",
    "monitoring.coreos.com/v1": "monitoring.coreos.com_{}.yaml",
    "argoproj.io/v1alpha1": "{}-crd.yaml",
    "monitoring.coreos.com/v1alpha1": "monitoring.coreos.com_{}.yaml",
}
_PLURALS = {"prometheus": "prometheuses"}


class _Loader(yaml.CSafeLoader):
    """Reads a lone `=`, which the Prometheus operator's enumerations have, as the text it is."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)

# LeaderWorkerSet publishes its schema on no registry we read, so these are the fields of its API v1
# that we use, and its pod templates are held against Kubernetes' own.
_LEADER_WORKER_SET: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["startupPolicy", "leaderWorkerTemplate"],
    "properties": {
        "replicas": {"type": "integer"},
        "startupPolicy": {"enum": ["LeaderCreated", "LeaderReady"]},
        "rolloutStrategy": {
            "type": "object",
            "additionalProperties": False,
            "required": ["type"],
            "properties": {
                "type": {"const": "RollingUpdate"},
                "rollingUpdateConfiguration": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "maxUnavailable": {"type": ["integer", "string"]},
                        "maxSurge": {"type": ["integer", "string"]},
                        "partition": {"type": "integer"},
                    },
                },
            },
        },
        "leaderWorkerTemplate": {
            "type": "object",
            "additionalProperties": False,
            "required": ["workerTemplate", "size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "restartPolicy": {"enum": ["Default", "RecreateGroupOnPodRestart", "None"]},
                "leaderTemplate": {"type": "object"},
                "workerTemplate": {"type": "object"},
            },
        },
    },
}

# Nor is that of the AWS Load Balancer Controller: the fields of its API v1beta1 that we use.
_TARGET_GROUP_BINDING: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["targetGroupARN", "targetType", "serviceRef"],
    "properties": {
        "targetGroupARN": {"type": "string"},
        "targetType": {"const": "ip"},
        "serviceRef": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "port"],
            "properties": {"name": {"type": "string"}, "port": {"type": ["integer", "string"]}},
        },
    },
}


def problems(one: dict[str, Any], version: str) -> list[str]:
    """Return what is wrong with an object in a Kubernetes version, unknown fields included.

    An object of a kind without a schema is wrong, too.
    """
    api, kind = one["apiVersion"], one["kind"]
    if api == "leaderworkerset.x-k8s.io/v1":
        return list(_leader_worker_set(one, version))
    if (api, kind) == ("elbv2.k8s.aws/v1beta1", "TargetGroupBinding"):
        validator = jsonschema.Draft202012Validator(_TARGET_GROUP_BINDING)
        return [_line(error) for error in validator.iter_errors(one["spec"])]
    if api in _CRD_FILES:
        validator = _custom(api, kind)
    else:
        try:
            validator = _core(api, kind, version)
        except FileNotFoundError:
            return [f"no schema for {api} {kind}"]
    return [_line(error) for error in validator.iter_errors(one)]


def read_crd(path: Path) -> dict[str, Any]:
    """Return a custom resource definition."""
    crd: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506  # safe
    return crd


def _line(error: jsonschema.ValidationError) -> str:
    return f"{'.'.join(str(part) for part in error.path)}: {error.message[:300]}"


def _leader_worker_set(one: dict[str, Any], version: str) -> Iterator[str]:
    for error in jsonschema.Draft202012Validator(_LEADER_WORKER_SET).iter_errors(one["spec"]):
        yield _line(error)
    for role in ("leaderTemplate", "workerTemplate"):
        template = one["spec"]["leaderWorkerTemplate"][role]
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        yield from (f"{role}: {text}" for text in problems(pod, version))


@functools.cache
def _core(api: str, kind: str, version: str) -> jsonschema.Draft202012Validator:
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    group, _, rest = api.partition("/")
    name = f"{group.split('.')[0]}-{rest}" if rest else group
    schema = utils.schema_contents(f"{folder}/{kind.lower()}-{name}.json", version)
    registry = Resource.from_contents(schema) @ (_definitions(folder, version) @ Registry())
    return jsonschema.Draft202012Validator(schema, registry=registry)


@functools.cache
def _definitions(folder: str, version: str) -> Resource[Any]:
    return Resource.from_contents(utils.schema_contents(f"{folder}/_definitions.json", version))


@functools.cache
def _custom(api: str, kind: str) -> jsonschema.Draft202012Validator:
    plural = _PLURALS.get(kind.lower(), kind.lower() + ("s" if "monitoring" in api else ""))
    path = need_crds() / _CRD_FILES[api].format(plural)
    crd = read_crd(path)
    wanted = api.rpartition("/")[2]
    schema = next(
        one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == wanted
    )
    schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
    return jsonschema.Draft202012Validator(_strict(schema))


def _strict(schema: Any) -> Any:
    """Return a schema that refuses fields it does not name; the API server drops those silently."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {
        key: {name: _strict(one) for name, one in value.items()}
        if key == "properties"
        else _strict(value)
        for key, value in schema.items()
        if key not in {"description", "format"}
    }
    open_ended = strict.get("x-kubernetes-preserve-unknown-fields") or (
        "additionalProperties" in strict
    )
    if "properties" in strict and not open_ended:
        strict["additionalProperties"] = False
    return strict
