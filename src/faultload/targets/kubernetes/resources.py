"""The kinds of objects we read or change, and how their paths are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote


@dataclass(frozen=True)
class Resource:
    """A kind of object.

    Attributes:
        group: "" for the core.
        version: of the group.
        plural: as in paths and rules.
        kind: as in manifests.
    """

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """As in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of one object, or of all in a namespace or in the cluster."""
        prefix = f"apis/{self.group}" if self.group else "api"
        parts = [prefix, self.version]
        if namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, subresource) if part]
        return "/" + "/".join(parts)

    def words(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return what errors call it: `pods/eviction engine-0 in namespace llm`."""
        noun = f"{self.plural}/{subresource}" if subresource else self.plural
        where = f"in namespace {namespace}" if namespace else ""
        return " ".join(filter(None, [noun, name, where]))


@dataclass(frozen=True)
class Ref:
    """One object.

    Attributes:
        kind: of it.
        namespace: "" where its kind has none.
        name, uid: another object may take the name, not the uid. "": whatever has the name.
    """

    kind: Resource
    namespace: str
    name: str
    uid: str = ""

    @classmethod
    def of(cls, kind: Resource, seen: Mapping[str, Any]) -> Self:
        """Return what refers to an object that was seen."""
        metadata = seen["metadata"]
        return cls(kind, metadata.get("namespace", ""), metadata["name"], metadata["uid"])

    def path(self, subresource: str = "") -> str:
        """Return its path."""
        return self.kind.path(self.namespace, self.name, subresource)

    def words(self, subresource: str = "") -> str:
        """Return what errors call it."""
        return self.kind.words(self.namespace, self.name, subresource)


DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
EVENTS = Resource("", "v1", "events", "Event")
AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
NODES = Resource("", "v1", "nodes", "Node")
PODS = Resource("", "v1", "pods", "Pod")
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet")
ACCESS_REVIEWS = Resource(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview"
)

WORKLOADS = (DEPLOYMENTS, STATEFUL_SETS)
"""What keeps replicas and can be scaled."""
