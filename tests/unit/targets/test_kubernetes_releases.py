"""What is made of workloads and their pods, and of marks on a field inside a list."""

from __future__ import annotations

from typing import Any

import pytest

from faultload.errors import RefusedError
from faultload.targets import Mark
from faultload.targets.kubernetes.marks import UNDO, Field, Undo, changed, restored
from faultload.targets.kubernetes.releases import (
    is_stalled,
    main_container,
    max_unavailable,
    waits_for,
)

MARK = Mark("bad_release-1a2b3c4d", 2000.0)
IMAGE = Field(("spec", "template", "spec", "containers", "engine", "image"))
COMMAND = Field((*IMAGE.path[:-1], "command"))


def workload(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """Return a deployment with these containers."""
    template = {"metadata": {"labels": {"app": "engine"}}, "spec": {"containers": [*containers]}}
    metadata = {"name": "engine", "generation": 3}
    return {"metadata": metadata, "spec": {"replicas": 4, "template": template} | spec}


def patched(seen: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return what a merge patch makes of an object (RFC 7396)."""
    made = dict(seen)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            made[key] = patched(made.get(key) or {}, value)
        else:
            made[key] = value
    return made


@pytest.mark.parametrize(
    ("field", "value"), [(IMAGE, "faultload.invalid/x:1"), (COMMAND, ["/bin/false"])]
)
def test_a_field_in_a_list_is_set_and_set_back(field: Field, value: Any) -> None:
    """Other containers and other keys are in the patch as they were; what was unset goes."""
    sidecar = {"name": "proxy", "image": "proxy:1"}
    before = workload(sidecar, {"name": "engine", "image": "engine:1", "env": [{"name": "A"}]})

    change = changed(before, field, value, MARK, 1000.0)

    assert change is not None
    during = patched(before, change)
    assert field.read(during) == value
    assert during["spec"]["template"]["spec"]["containers"][0] == sidecar
    undo = Undo.of(during)
    assert undo is not None
    assert (undo.field, undo.was) == (field.path, field.read(before))
    assert changed(during, field, value, MARK, 1000.0) is None
    back, said = restored(during, Field(undo.field), undo, undo.was)
    assert said == ""
    after = patched(during, back)
    assert after["metadata"].pop("annotations") == {}
    assert after == before


def test_a_container_that_is_gone_is_left_alone() -> None:
    """Somebody took the broken container out: there is nothing to mend in the others."""
    seen = workload({"name": "other", "image": "other:1"})
    undo = Undo.new(MARK, "engine:1", "faultload.invalid/x:1", IMAGE.path)
    patch, said = restored(seen, IMAGE, undo, undo.was)
    assert patch == {"metadata": {"annotations": {UNDO: None}}}
    assert "image is None and no longer" in said


@pytest.mark.parametrize(
    ("field", "problem"), [(IMAGE, ""), (COMMAND, "has expired and was never undone")]
)
def test_an_expired_mark_is_taken_over_for_its_own_field_alone(field: Field, problem: str) -> None:
    """A second mark beside a change of another field would be the end of its undo."""
    seen = workload({"name": "engine", "image": "bad"})
    old = Undo.new(Mark("old", 500.0), "engine:1", "bad", IMAGE.path)
    seen["metadata"]["annotations"] = {UNDO: old.text()}
    if problem:
        with pytest.raises(RefusedError, match=problem):
            changed(seen, field, "new", MARK, 1000.0)
        return
    undo = Undo.of(patched(seen, changed(seen, field, "new", MARK, 1000.0) or {}))
    assert undo is not None
    assert undo.was == "engine:1"


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Deployment", {}, 1),
        ("Deployment", {"replicas": 3}, 0),
        ("Deployment", {"replicas": None}, 0),
        ("Deployment", {"replicas": 0}, 0),
        ("Deployment", {"strategy": {"type": "Recreate"}}, 4),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}, 4),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": 9}}}, 4),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": "40%"}}}, 1),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxUnavailable": 0}}}, 0),
        ("Deployment", {"strategy": {"rollingUpdate": {"maxSurge": 0}}}, 1),
        (
            "Deployment",
            {"strategy": {"rollingUpdate": {"maxSurge": "0%", "maxUnavailable": "10%"}}},
            1,
        ),
        ("StatefulSet", {}, 1),
        ("StatefulSet", {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "30%"}}}, 2),
    ],
)
def test_what_a_rollout_may_take(kind: str, spec: dict[str, Any], expected: int) -> None:
    """As the controllers count it: they round down what is missing, up what is too many."""
    assert max_unavailable(kind, workload(**spec)) == expected


@pytest.mark.parametrize(
    ("observed", "status", "reason", "stalled"),
    [
        (3, "False", "ProgressDeadlineExceeded", True),
        (2, "False", "ProgressDeadlineExceeded", False),
        (3, "True", "ReplicaSetUpdated", False),
    ],
)
def test_stalled_is_what_was_said_of_the_current_generation(
    observed: int, status: str, reason: str, stalled: bool
) -> None:
    """What the controller said before it saw the change is about another rollout."""
    condition = {"type": "Progressing", "status": status, "reason": reason}
    seen = workload() | {"status": {"observedGeneration": observed, "conditions": [condition]}}
    assert is_stalled(seen) is stalled
    assert not is_stalled(workload())


def waiting(reason: str, **container: Any) -> dict[str, Any]:
    """Return the status of a container that waits."""
    return {"ready": False, "state": {"waiting": {"reason": reason}}} | container


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"conditions": [{"type": "Ready", "status": "True"}]}, ""),
        ({"containerStatuses": [waiting("ImagePullBackOff")]}, "ImagePullBackOff"),
        (
            {
                "initContainerStatuses": [
                    {"ready": False, "state": {"terminated": {"exitCode": 0, "reason": "Done"}}}
                ],
                "containerStatuses": [{"ready": True, "state": {"running": {}}}],
                "conditions": [{"type": "Ready", "status": "False", "reason": "NotYet"}],
            },
            "NotYet",
        ),
        (
            {
                "containerStatuses": [
                    {"ready": False, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
                ]
            },
            "Error",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "PodScheduled",
                        "status": "False",
                        "reason": "Unschedulable",
                        "message": "0/4 nodes are available",
                    }
                ]
            },
            "Unschedulable: 0/4 nodes are available",
        ),
        ({"phase": "Pending"}, "Pending"),
        (None, "Pending"),
    ],
)
def test_why_a_pod_waits_is_said_as_kubernetes_says_it(status: Any, expected: str) -> None:
    """What its containers wait for, else how they ended, else what its conditions say."""
    pods = [{"metadata": {"name": name}, "status": status} for name in ("a", "b")]
    assert waits_for(workload(), pods) == expected


def test_why_no_pod_is_made_is_said() -> None:
    """A quota keeps pods from being made: the workload says so, there is no pod to ask."""
    failure = {
        "type": "ReplicaFailure",
        "status": "True",
        "reason": "FailedCreate",
        "message": "exceeded quota",
    }
    assert waits_for(workload() | {"status": {"conditions": [failure]}}, []) == (
        "FailedCreate: exceeded quota"
    )


@pytest.mark.parametrize(
    ("annotation", "expected"), [(None, "engine"), ("proxy", "proxy"), ("gone", "engine")]
)
def test_the_main_container_is_kubectls(annotation: str | None, expected: str) -> None:
    """The one that the annotation names, where it is there; else the first."""
    seen = workload({"name": "engine"}, {"name": "proxy"})
    if annotation:
        key = "kubectl.kubernetes.io/default-container"
        seen["spec"]["template"]["metadata"]["annotations"] = {key: annotation}
    assert main_container(seen) == expected
