"""One cluster and the part of it that a target file names: what every other module acts through."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faultload.errors import RefusedError, SpecError
from faultload.spec import labels as selectors
from faultload.spec.target import KubernetesCluster, KubernetesComponent
from faultload.targets.kubernetes.api import Api, GoneError, Object
from faultload.targets.kubernetes.resources import NAMESPACES, PODS, Ref, Resource

OPT_IN = "faultload.dev/opt-in"
SYSTEM_NAMESPACE = "kube-system"
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Cluster:
    """What may be touched, and how.

    Attributes:
        api: signed in.
        spec: of the target file.
    """

    api: Api
    spec: KubernetesCluster

    @property
    def namespaces(self) -> Sequence[str]:
        """Where we may act."""
        return self.spec.namespaces

    @property
    def fingerprint(self) -> str:
        """The same for the same namespaces of the same cluster only."""
        words = ["kubernetes", self.spec.cluster_uid, *sorted(set(self.namespaces))]
        return hashlib.sha256(":".join(words).encode()).hexdigest()[:16]

    def check(self, path: Path, *, to_undo: bool = False) -> None:
        """See that it is the cluster that the target file means, and that we may act there.

        Args:
            path: of the target file, for errors.
            to_undo: to take harm back and do none. A namespace whose owner said no more, or that
                is gone, is no reason to leave it there.

        Raises:
            SpecError: a namespace does not exist.
            RefusedError: it is another cluster, or a namespace has not opted in.
        """
        uid = self.api.get(Ref(NAMESPACES, "", SYSTEM_NAMESPACE))["metadata"]["uid"]
        context = self.spec.context
        if uid != self.spec.cluster_uid:
            raise RefusedError(
                f"{path}: kubernetes.cluster_uid: context {context!r} leads to cluster {uid}, and"
                f" the file is about {self.spec.cluster_uid}; correct the context, or the uid if"
                " you mean that cluster"
            )
        for namespace in () if to_undo else self.namespaces:
            found = self.api.find(Ref(NAMESPACES, "", namespace))
            if found is None:
                problem = f"context {context!r} leads to no namespace {namespace!r}"
                raise SpecError(path, "kubernetes.namespaces", problem)
            if (found["metadata"].get("labels") or {}).get(OPT_IN) != "true":
                raise RefusedError(
                    f"namespace {namespace} has not opted in to being harmed; if it may be, run:"
                    f" kubectl --context {context} label namespace {namespace} {OPT_IN}=true"
                )

    def namespace_of(self, component: KubernetesComponent) -> str:
        """Return where a component's pods are."""
        return component.namespace or self.namespaces[0]

    def pods(self, component: str) -> list[Object]:
        """Return the pods of a component that have not finished, by name; [] if it is unknown."""
        about = self.spec.components.get(component)
        if about is None:
            return []
        found = self.api.list_all(PODS, self.namespace_of(about), labels=about.selector)
        return sorted((pod for pod in found if not has_finished(pod)), key=name_of)

    def component_of(self, pod: Object) -> str:
        """Return the component that a pod is a replica of; "" for none of ours."""
        metadata = pod["metadata"]
        for name, about in self.spec.components.items():
            is_there = metadata["namespace"] == self.namespace_of(about)
            if is_there and selectors.matches(
                selectors.parse(about.selector), metadata.get("labels")
            ):
                return name
        return ""

    def locate(self, kind: Resource, name: str, uid: str) -> tuple[Ref, Object]:
        """Return the object of this name and uid, in whichever of our namespaces it is.

        Raises:
            GoneError: it is in none.
        """
        for namespace in self.namespaces:
            ref = Ref(kind, namespace, name, uid)
            found = self.api.find(ref)
            if found is not None and found["metadata"]["uid"] == uid:
                return ref, found
        raise GoneError(kind.words("", name))


def name_of(seen: Object) -> str:
    """Return an object's name."""
    return str(seen["metadata"]["name"])


def has_finished(pod: Object) -> bool:
    """Tell whether a pod's containers have ended for good."""
    return (pod.get("status") or {}).get("phase") in _FINISHED


def controller_of(seen: Object) -> Object | None:
    """Return the reference to the controller that an object belongs to; None: it has none."""
    owners = seen["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def has_condition(seen: Object, kind: str) -> bool:
    """Tell whether an object's status has a condition, and it is true."""
    conditions = (seen.get("status") or {}).get("conditions") or []
    return any(c.get("type") == kind and c.get("status") == "True" for c in conditions)
